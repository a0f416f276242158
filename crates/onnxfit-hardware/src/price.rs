//! Prices by instance type, region and kind, each with the day it was read.

mod aws;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;

use crate::table;

pub use aws::PriceError;

/// The region whose prices are shown where a region's own are unknown.
pub const REFERENCE_REGION: &str = "us-east-1";

/// What an hour of Linux costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// The instance type.
    pub instance: String,
    /// The AWS region.
    pub region: String,
    /// How it is paid for.
    pub kind: PriceKind,
    /// US dollars an hour.
    pub usd_per_hour: f64,
    /// The day of the snapshot, `2026-07-20`.
    pub date: String,
    /// Where it was read.
    pub source: String,
}

/// How an instance is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriceKind {
    /// The list price by the hour.
    OnDemand,
    /// The spot price of one moment, in the cheapest zone of the region.
    Spot,
    /// A typical saving on the list price: rough, and different in every zone and hour.
    SpotEstimate,
}

impl PriceKind {
    /// The words used in text and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
            Self::SpotEstimate => "spot-estimate",
        }
    }
}

impl FromStr for PriceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on-demand" => Ok(Self::OnDemand),
            "spot" => Ok(Self::Spot),
            "spot-estimate" => Ok(Self::SpotEstimate),
            _ => Err(format!("`{text}` is no kind of price")),
        }
    }
}

/// A set of prices: the ones compiled in, or fresher ones.
#[derive(Clone, Debug, Default)]
pub struct PriceList {
    prices: BTreeMap<(String, String, PriceKind), Price>,
}

impl PriceList {
    /// The prices that are compiled in.
    pub fn embedded() -> &'static Self {
        static EMBEDDED: LazyLock<PriceList> = LazyLock::new(|| {
            table::rows(include_str!("../data/prices.csv"))
                .map(|row| Price {
                    instance: row.text("name"),
                    region: row.text("region"),
                    kind: row.get("kind"),
                    usd_per_hour: row.get("usd_per_hour"),
                    date: row.text("date"),
                    source: row.text("source"),
                })
                .collect()
        });
        &EMBEDDED
    }

    /// Reads prices as AWS hands them out: an offer file of EC2, the answer of `aws pricing
    /// get-products` or its products one a line, or the history of spot prices.
    ///
    /// # Errors
    ///
    /// When it is not JSON of one of these shapes, or holds no price of a type that is known here.
    pub fn from_aws(text: &[u8]) -> Result<Self, PriceError> {
        aws::read(text)
    }

    /// These prices, and where they say nothing the ones of `older`.
    pub fn over(mut self, older: &Self) -> Self {
        for (key, price) in &older.prices {
            self.prices.entry(key.clone()).or_insert_with(|| price.clone());
        }
        self
    }

    /// What an hour at the spot market costs: of one moment where that is known, else a rough figure.
    pub fn spot(&self, instance: &str, region: &str) -> Option<&Price> {
        let kinds = [PriceKind::Spot, PriceKind::SpotEstimate];
        kinds.into_iter().find_map(|kind| self.get(instance, region, kind))
    }

    /// One price.
    pub fn get(&self, instance: &str, region: &str, kind: PriceKind) -> Option<&Price> {
        self.prices.get(&(instance.to_owned(), region.to_owned(), kind))
    }

    /// Every price, by instance type.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.prices.values()
    }

    /// Whether anything is known about a region.
    pub fn covers(&self, region: &str) -> bool {
        self.iter().any(|price| price.region == region)
    }
}

impl FromIterator<Price> for PriceList {
    /// The last of several prices for the same thing counts.
    fn from_iter<I: IntoIterator<Item = Price>>(prices: I) -> Self {
        let key = |price: &Price| (price.instance.clone(), price.region.clone(), price.kind);
        Self { prices: prices.into_iter().map(|price| (key(&price), price)).collect() }
    }
}

/// The on-demand price that is compiled in.
pub fn price(instance: &str, region: &str) -> Option<&'static Price> {
    PriceList::embedded().get(instance, region, PriceKind::OnDemand)
}

/// A rough spot price that is compiled in.
pub fn spot_price(instance: &str, region: &str) -> Option<&'static Price> {
    PriceList::embedded().get(instance, region, PriceKind::SpotEstimate)
}
