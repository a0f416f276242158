//! The search for what makes a model fit: exact changes first, approximate ones only when needed
//! or asked for.
//!
//! Pure: the judge is an [`Oracle`], which is the memory twin in the product and a formula in the
//! tests. Nothing is chosen by folklore: every lever is replayed, and what does not help is not
//! proposed. Every search is bounded and says why it stopped.

mod account;
mod point;
mod search;
pub mod stages;

pub use account::{Account, Outcome, Refused, account, name};
pub use point::{Band, Fit, Judged, Levers, Point, Precision};
pub use search::{Goal, Oracle, Plan, Prefer, StopReason, search};

#[cfg(test)]
mod tests;
