//! `measure --calibrate`: what a card takes besides the arenas, as a file for `--calibration`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use onnxfit_base::Bytes;
use onnxfit_memory::overhead::{
    CalibrationEntry, CalibrationKind, DeviceReading, HANDLES_PER_THREAD, calibration_for, derive, line, read_entries,
};
use onnxfit_onnx::{SaveOptions, WeightStore, save, text};
use onnxfit_runtime::Meter;

use super::copy::{Folder, RunnableCopy};
use super::reading::{Reading, Session, read};
use super::{MeasureOptions, tensors};
use crate::progress::Progress;
use crate::request::{Provider, Request};
use crate::verify::VerifyInputs;
use crate::{Error, Model, library};

/// Sessions of each kind: the middle one counts, the others are its band.
const N_SESSIONS: usize = 3;
/// A model that needs neither cuBLAS nor cuDNN.
const PLAIN: &str =
    "<ir_version: 8, opset_import: [\"\" : 17]> plain (float[1024] x) => (float[1024] y) { y = Relu (x) }";

/// What is written, and how it came about.
#[derive(Clone, Debug)]
pub struct CalibrateOptions {
    /// The file; entries that it has already are kept.
    pub file: PathBuf,
    /// The command, for the entry.
    pub command: String,
}

/// What the driver's own tool says of the first card.
struct Card {
    name: String,
    capability: (u32, u32),
    driver: String,
    cuda: String,
}

/// Reads a file of entries.
pub fn read_calibration(path: &Path) -> Result<Vec<CalibrationEntry>, Error> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    read_entries(&text).map_err(|problem| {
        let hint = "`onnxfit measure MODEL --calibrate FILE` writes one on a machine with a card".to_owned();
        Error::Binding(format!("`{}` is no calibration: {problem}", path.display()), Some(hint))
    })
}

/// Measures the first card and adds what it told to a file; gives the new entry's line.
pub fn calibrate(
    model: &Model,
    request: &Request,
    options: &MeasureOptions,
    calibrate: &CalibrateOptions,
    progress: &dyn Progress,
) -> Result<String, Error> {
    let card = card()?;
    // A file that is no calibration is told before anything is measured.
    let known = if calibrate.file.exists() { read_calibration(&calibrate.file)? } else { Vec::new() };
    let library = library::ensure(options.offline, progress)?;
    let request = Request { provider: Provider::Cuda, target: None, arena_limit: None, ..request.clone() };
    let folder = Folder::new()?;
    let path = folder.path.join("plain.onnx");
    let plain = text::parse(PLAIN).expect("a model of one node is written down right");
    let weights = WeightStore::new("");
    save(&plain, &path, &SaveOptions::new(&weights))?;
    let plain = Model::open(&path)?;
    let mut version = String::new();
    let mut measure = |model: &Model, what: &str| -> Result<Vec<DeviceReading>, Error> {
        let copy = RunnableCopy::make(model, options.random_weights, progress)?;
        let dims = crate::check(copy.model(), &request)?.dims;
        let inputs = tensors(copy.model(), &dims, &request, &VerifyInputs::Seeded(0))?;
        let session =
            Session { worker: &options.worker, library: &library, model: copy.path(), request: &request, n_runs: 2 };
        let mut readings = Vec::new();
        for number in 1..=N_SESSIONS {
            progress.doing(&format!("measuring {what}, {number} of {N_SESSIONS}"));
            let reading = read(&session, Meter::Arena, false, &inputs)?;
            version.clone_from(&reading.version);
            readings.push(of(&reading)?);
        }
        Ok(readings)
    };
    let without = measure(&plain, "a session without products")?;
    let with = measure(model, "a session of the model")?;
    let handle = calibration_for(Some(card.capability)).handle;
    let (context, library_code) = derive(&without, &with, handle, HANDLES_PER_THREAD).map_err(|error| {
        Error::Runtime { message: error.to_string(), hint: Some("let nothing else use the card".to_owned()) }
    })?;
    let entry = CalibrationEntry {
        capability: format!("{}.{}", card.capability.0, card.capability.1),
        card: card.name,
        versions: [card.driver, card.cuda, String::new(), version],
        date: today(),
        kind: CalibrationKind::Measured,
        context,
        library_code,
        handle,
        evidence: format!("onnxfit {}", calibrate.command),
    };
    let mut text = String::from(
        "# capability | card | driver | CUDA | cuDNN | onnxruntime | date | kind | context | library code | one cuBLAS handle | command\n\
         # Sizes are MiB: low expected high. Read with `onnxfit check --calibration FILE`.\n",
    );
    for entry in known.iter().chain([&entry]) {
        text.push_str(&line(entry));
        text.push('\n');
    }
    write_whole(&calibrate.file, &text)?;
    Ok(line(&entry))
}

fn of(reading: &Reading) -> Result<DeviceReading, Error> {
    let untold = || Error::Runtime {
        message: "neither driver nor arena told what the session holds".to_owned(),
        hint: Some("this needs onnxruntime-gpu 1.23 or later and `nvidia-smi`".to_owned()),
    };
    let arena = reading.runs.last().map(|run| run.released.total_allocated).ok_or_else(untold)?;
    Ok(DeviceReading { device: reading.device.filter(|device| *device > Bytes::ZERO).ok_or_else(untold)?, arena })
}

/// The first card, or a plain word that there is none.
fn card() -> Result<Card, Error> {
    let none = || Error::Runtime {
        message: "there is no CUDA card here: `nvidia-smi` is absent or found none".to_owned(),
        hint: Some("run this on the machine whose card it is; everything else works without".to_owned()),
    };
    let ask = |arguments: &[&str]| {
        let output =
            Command::new("nvidia-smi").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let told =
        ask(&["--id=0", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]).ok_or_else(none)?;
    let cuda =
        ask(&[]).and_then(|text| Some(text.split_once("CUDA Version:")?.1.split_whitespace().next()?.to_owned()));
    described(&told, cuda.unwrap_or_default()).ok_or_else(none)
}

/// `Tesla T4, 7.5, 580.95.05` as a card.
fn described(told: &str, cuda: String) -> Option<Card> {
    let fields: Vec<&str> = told.lines().next()?.split(',').map(str::trim).collect();
    let &[name, capability, driver] = fields.as_slice() else { return None };
    let (major, minor) = capability.split_once('.')?;
    Some(Card {
        name: name.to_owned(),
        capability: (major.parse().ok()?, minor.parse().ok()?),
        driver: driver.to_owned(),
        cuda,
    })
}

fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let part = path.with_extension("part");
    std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path)).map_err(|source| Error::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// The date in UTC.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    date(seconds / 86_400)
}

/// Days since 1970 as a date of the Gregorian calendar.
fn date(days: u64) -> String {
    let (mut year, mut left) = (1970_u64, days);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(
            [0, 58, 59, 11_016, 20_780].map(date).join(" "),
            "1970-01-01 1970-02-28 1970-03-01 2000-02-29 2026-11-23"
        );
    }

    #[test]
    fn what_the_driver_tells_is_a_card() {
        let card = described("Tesla T4, 7.5, 580.95.05\n", "13.0".to_owned()).unwrap();
        assert_eq!((card.name.as_str(), card.capability, card.driver.as_str()), ("Tesla T4", (7, 5), "580.95.05"));
        assert!(described("No devices were found\n", String::new()).is_none());
    }
}
