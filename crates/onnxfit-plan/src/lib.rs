//! The search for what makes a model fit
