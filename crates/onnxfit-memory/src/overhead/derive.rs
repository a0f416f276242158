//! What readings of a card come to: an entry of the calibration table.

use onnxfit_base::Bytes;

use super::Band;
use super::calibration::CalibrationEntry;

/// Driver memory comes in pages of this size, and what a driver tells is rounded to them.
const PAGE_BYTES: u64 = 2 << 20;

/// One session: what the driver says the process holds, and what its arenas say they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceReading {
    /// Device memory with the session, less without it.
    pub device: Bytes,
    /// `TotalAllocated` of the device arena at the same moment.
    pub arena: Bytes,
}

impl DeviceReading {
    /// What the process holds besides its arena; an arena's last page may be shared.
    fn besides(self) -> Option<Bytes> {
        self.device.get().checked_sub(self.arena.get().next_multiple_of(PAGE_BYTES)).map(Bytes)
    }
}

/// Why readings tell nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableReadings {
    /// The driver told less than the arena holds: other processes gave memory back meanwhile.
    #[error("the card is in use by others: it holds {device} with a session whose arena alone holds {arena}")]
    LessThanArena {
        /// What the driver said.
        device: Bytes,
        /// What the arena said.
        arena: Bytes,
    },
    /// Nothing besides the arena: no context of this process was counted.
    #[error("no context was seen: the driver does not count this process (a container without its tools?)")]
    NoContext,
    /// Products took less than no products.
    #[error("{products} besides the arena with matrix products, {plain} without: others use the card")]
    LessThanPlain {
        /// Without products.
        plain: Bytes,
        /// With products.
        products: Bytes,
    },
}

/// The context from the median of sessions without products, the libraries' code from those with
/// products, less `n_handles` workspaces. The bands hold every reading and the driver's rounding.
pub fn derive(
    plain: &[DeviceReading],
    products: &[DeviceReading],
    handle: Band,
    n_handles: u64,
) -> Result<(Band, Band), UnusableReadings> {
    let besides = |readings: &[DeviceReading]| -> Result<Band, UnusableReadings> {
        let mut all = Vec::new();
        for reading in readings {
            let DeviceReading { device, arena } = *reading;
            all.push(reading.besides().ok_or(UnusableReadings::LessThanArena { device, arena })?);
        }
        all.sort_unstable();
        let (Some(&low), Some(&high)) = (all.first(), all.last()) else { return Err(UnusableReadings::NoContext) };
        Ok(Band { low, expected: all[all.len() / 2], high: high + Bytes(PAGE_BYTES) })
    };
    let context = besides(plain)?;
    if context.expected < Bytes(PAGE_BYTES) {
        return Err(UnusableReadings::NoContext);
    }
    let with_products = besides(products)?;
    if with_products.expected < context.expected {
        return Err(UnusableReadings::LessThanPlain { plain: context.expected, products: with_products.expected });
    }
    let handles = |bytes: Bytes| bytes.checked_mul(n_handles).unwrap_or(bytes);
    let less = |total: Bytes, plain: Bytes, handle: Bytes| total.saturating_sub(plain).saturating_sub(handles(handle));
    let code = Band {
        low: less(with_products.low, context.high, handle.high),
        expected: less(with_products.expected, context.expected, handle.expected),
        high: less(with_products.high, context.low, handle.low),
    };
    Ok((context, code))
}

/// The line of an entry, as the table has it; sizes are rounded outwards to whole MiB.
pub fn line(entry: &CalibrationEntry) -> String {
    let band = |band: Band| {
        let mib = 1_u64 << 20;
        let expected = (band.expected.get() + mib / 2) / mib;
        let (low, high) = (band.low.get() / mib, band.high.get().div_ceil(mib));
        format!("{} {expected} {}", low.min(expected), high.max(expected))
    };
    let kind = match entry.kind {
        super::CalibrationKind::Published => "published",
        super::CalibrationKind::Measured => "measured",
    };
    // A bar would end a field.
    let plain = |text: &str| text.replace(['|', '\n'], " ");
    let [driver, cuda, cudnn, runtime] = entry.versions.each_ref().map(|version| plain(version));
    [
        plain(&entry.capability),
        plain(&entry.card),
        driver,
        cuda,
        cudnn,
        runtime,
        plain(&entry.date),
        kind.to_owned(),
        band(entry.context),
        band(entry.library_code),
        band(entry.handle),
        plain(&entry.evidence),
    ]
    .join(" | ")
}
