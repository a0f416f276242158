//! Reads prices as AWS hands them out: the price list, and the history of spot prices.
//!
//! Four shapes are told apart by themselves: an offer file of EC2 (`.../AmazonEC2/current/REGION/
//! index.json`, some hundred megabytes), the answer of `aws pricing get-products`, its products one
//! a line, and the answer of `aws ec2 describe-spot-price-history`. Kept is Linux on shared
//! hardware, by the hour, for instance types with an accelerator; all else is skipped and counted.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Price, PriceKind, PriceList};
use crate::instance;

/// A text that holds no prices that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Not JSON, or not JSON of these shapes.
    #[error("line {line}, column {column} is not as AWS writes prices: {why}")]
    Unreadable {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
        /// What the reader says.
        why: String,
    },
    /// Readable, and nothing in it is a price of an instance type with an accelerator.
    #[error(
        "no price of a Linux instance with an accelerator on shared hardware is in it ({n_skipped} products are something else)"
    )]
    NothingUsable {
        /// Products and rows that are something else.
        n_skipped: usize,
    },
}

impl PriceError {
    /// What to give instead.
    pub fn hint(&self) -> &'static str {
        "write one with `aws pricing get-products --service-code AmazonEC2 --region us-east-1 --filters \
         Type=TERM_MATCH,Field=regionCode,Value=us-east-1 Type=TERM_MATCH,Field=operatingSystem,Value=Linux`, or with \
         `aws ec2 describe-spot-price-history --product-descriptions Linux/UNIX`"
    }
}

/// Prices read from such a text.
pub(super) fn read(text: &[u8]) -> Result<PriceList, PriceError> {
    let mut found = Found::default();
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
    let read = match first {
        Some(b'[') => {
            serde_json::from_slice::<Vec<Item>>(text).map(|items| items.into_iter().for_each(|item| found.item(item)))
        }
        _ => serde_json::Deserializer::from_slice(text).into_iter::<Item>().try_for_each(|item| {
            found.item(item?);
            Ok(())
        }),
    };
    read.map_err(|error| PriceError::Unreadable {
        line: error.line(),
        column: error.column(),
        why: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    })?;
    if found.on_demand.is_empty() && found.spot.is_empty() {
        return Err(PriceError::NothingUsable { n_skipped: found.n_skipped });
    }
    Ok(found.into_list())
}

#[derive(Default)]
struct Found {
    on_demand: Vec<Price>,
    /// The newest price by type and zone.
    spot: BTreeMap<(String, String), (String, f64)>,
    n_skipped: usize,
}

impl Found {
    fn item(&mut self, item: Item) {
        let document = match item {
            Item::Document(document) => *document,
            // A document that was written into a string; anything else in one is no product.
            Item::Text(text) => match serde_json::from_str(&text) {
                Ok(document) => document,
                Err(_) => {
                    self.n_skipped += 1;
                    return;
                }
            },
        };
        let date = document.publication_date.as_deref().map(day).unwrap_or_default();
        let terms = document.terms.unwrap_or_default();
        if let Some(product) = &document.product {
            let rates = terms.on_demand.values().flat_map(|rates| &rates.0);
            self.product(product, rates.clone().next(), &date);
        }
        for (sku, product) in document.products.map(|products| products.0).unwrap_or_default() {
            let rate = terms.on_demand.get(&sku).and_then(|rates| rates.0.first());
            self.product(&product, rate, &date);
        }
        document.price_list.into_iter().flatten().for_each(|item| self.item(item));
        document.spot.into_iter().flatten().for_each(|row| self.spot(row));
    }

    fn product(&mut self, product: &Product, rate: Option<&Rate>, date: &str) {
        let attributes = &product.attributes;
        let is = |key: &str, wanted: &str| attributes.get(key).is_none_or(|value| value.eq_ignore_ascii_case(wanted));
        let usable = is("operatingSystem", "Linux")
            && is("tenancy", "Shared")
            && is("preInstalledSw", "NA")
            && is("capacitystatus", "Used")
            && is("locationType", "AWS Region");
        let name = attributes.get("instanceType").filter(|name| instance(name).is_some());
        let (Some(name), Some(region), Some(rate), true) = (name, attributes.get("regionCode"), rate, usable) else {
            self.n_skipped += 1;
            return;
        };
        self.on_demand.push(Price {
            instance: name.clone(),
            region: region.clone(),
            kind: PriceKind::OnDemand,
            usd_per_hour: rate.usd_per_hour,
            date: rate.since.as_deref().map_or_else(|| date.to_owned(), |since| day(since).max(date.to_owned())),
            source: "AWS price list".to_owned(),
        });
    }

    fn spot(&mut self, row: SpotRow) {
        let price = row.price.parse::<f64>().ok().filter(|price| price.is_finite() && *price > 0.0);
        let linux = row.product.as_deref().is_none_or(|product| product.starts_with("Linux/UNIX"));
        let (Some(price), true, Some(_)) = (price, linux, instance(&row.instance)) else {
            self.n_skipped += 1;
            return;
        };
        let newest = self.spot.entry((row.instance, row.zone)).or_insert_with(|| (row.timestamp.clone(), price));
        if row.timestamp > newest.0 {
            *newest = (row.timestamp, price);
        }
    }

    /// Of the zones of a region the cheapest counts: a worker can be started in any.
    fn into_list(self) -> PriceList {
        let mut cheapest: BTreeMap<(String, String), Price> = BTreeMap::new();
        for ((instance, zone), (timestamp, usd_per_hour)) in self.spot {
            let region = zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase()).to_owned();
            let price = Price {
                instance: instance.clone(),
                region: region.clone(),
                kind: PriceKind::Spot,
                usd_per_hour,
                date: day(&timestamp),
                source: format!("spot price history, {zone}"),
            };
            let held = cheapest.entry((instance, region)).or_insert_with(|| price.clone());
            if price.usd_per_hour < held.usd_per_hour {
                *held = price;
            }
        }
        self.on_demand.into_iter().chain(cheapest.into_values()).collect()
    }
}

/// The day of a point in time: `2026-11-20T22:30:15Z` is `2026-11-20`.
fn day(timestamp: &str) -> String {
    timestamp.chars().take(10).collect()
}

/// One thing of a list or a stream: a document, or one that was written into a string.
enum Item {
    Document(Box<Document>),
    Text(String),
}

#[derive(Default, Deserialize)]
struct Document {
    #[serde(rename = "publicationDate")]
    publication_date: Option<String>,
    products: Option<Products>,
    terms: Option<Terms>,
    product: Option<Product>,
    #[serde(rename = "PriceList")]
    price_list: Option<Vec<Item>>,
    #[serde(rename = "SpotPriceHistory")]
    spot: Option<Vec<SpotRow>>,
}

#[derive(Default, Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: BTreeMap<String, Rates>,
}

#[derive(Deserialize)]
struct Product {
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct SpotRow {
    #[serde(rename = "AvailabilityZone")]
    zone: String,
    #[serde(rename = "InstanceType")]
    instance: String,
    #[serde(rename = "ProductDescription")]
    product: Option<String>,
    #[serde(rename = "SpotPrice")]
    price: String,
    #[serde(rename = "Timestamp")]
    timestamp: String,
}

/// The products of an offer file, by stock-keeping unit, of which only instances that we know are
/// kept: the file has some hundred thousand.
struct Products(BTreeMap<String, Product>);

/// What is paid by the hour, wherever it lies below: an offer file nests once more than a product.
#[derive(Default)]
struct Rates(Vec<Rate>);

struct Rate {
    usd_per_hour: f64,
    since: Option<String>,
}

#[derive(Deserialize)]
struct Dimension {
    unit: Option<String>,
    #[serde(rename = "pricePerUnit", default)]
    price_per_unit: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a product or a list of prices")
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                let document = Document::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Item::Document(Box::new(document)))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Products {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kept;
        impl<'de> Visitor<'de> for Kept {
            type Value = Products;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("products by stock-keeping unit")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Products, A::Error> {
                let mut kept = BTreeMap::new();
                while let Some((sku, product)) = map.next_entry::<String, Product>()? {
                    if product.attributes.get("instanceType").is_some_and(|name| instance(name).is_some()) {
                        kept.insert(sku, product);
                    }
                }
                Ok(Products(kept))
            }
        }
        deserializer.deserialize_map(Kept)
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Below;
        impl<'de> Visitor<'de> for Below {
            type Value = Rates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a term with its price dimensions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rates, A::Error> {
                let mut rates = Vec::new();
                let mut since = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "priceDimensions" => {
                            let dimensions: BTreeMap<String, Dimension> = map.next_value()?;
                            rates.extend(dimensions.into_values().filter_map(rate_of));
                        }
                        "effectiveDate" => since = Some(map.next_value::<String>()?),
                        "sku" | "offerTermCode" | "termAttributes" => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        _ => rates.extend(map.next_value::<Rates>()?.0),
                    }
                }
                for rate in &mut rates {
                    rate.since = rate.since.take().or_else(|| since.clone());
                }
                Ok(Rates(rates))
            }

            fn visit_str<E>(self, _: &str) -> Result<Rates, E> {
                Ok(Rates::default())
            }

            fn visit_unit<E>(self) -> Result<Rates, E> {
                Ok(Rates::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Rates, E> {
                Ok(Rates::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Rates, E> {
                Ok(Rates::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Rates, E> {
                Ok(Rates::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Rates, E> {
                Ok(Rates::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rates, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Rates::default())
            }
        }
        deserializer.deserialize_any(Below)
    }
}

/// Reserved capacity is listed at nothing; it is no price.
fn rate_of(dimension: Dimension) -> Option<Rate> {
    let hourly = dimension.unit.as_deref().is_none_or(|unit| unit.eq_ignore_ascii_case("hrs"));
    let usd_per_hour: f64 = dimension.price_per_unit.get("USD")?.parse().ok()?;
    (hourly && usd_per_hour.is_finite() && usd_per_hour > 0.0).then_some(Rate { usd_per_hour, since: None })
}
