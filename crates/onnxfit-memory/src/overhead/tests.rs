use super::calibration::{calibration_from, entries};
use super::*;

const TEXT: &str = "
* | any | | | | | 2026-01-01 | published | 160 360 560 | 16 64 256 | 4 4 4 | reports
9.x | Hopper | | | | | 2026-01-01 | published | 160 360 560 | 16 64 256 | 32 32 32 | documentation
7.5 | T4 | 580 | 12.8 | 9.5 | 1.31.1 | 2026-02-01 | measured | 300 300 300 | 80 80 80 | 4 4 4 | nvidia-smi
7.5 | T4 | 570 | 12.6 | 9.5 | 1.31.1 | 2026-02-02 | measured | 310 312 314 | 90 90 90 | 4 4 4 | nvidia-smi
a line that is no entry
";

fn described(compute_capability: Option<(u32, u32)>) -> String {
    let calibration = calibration_from(&entries(TEXT), compute_capability);
    let mib = |band: Band| format!("{} {} {}", band.low.0 >> 20, band.expected.0 >> 20, band.high.0 >> 20);
    let parts = [calibration.context, calibration.library_code, calibration.handle].map(mib).join(" | ");
    format!("{:?} {parts} ({})", calibration.kind, calibration.evidence.len())
}

#[test]
fn measured_entries_of_a_card_replace_published_ones() {
    expect_test::expect!["Measured 300 312 314 | 80 90 90 | 4 4 4 (2)"].assert_eq(&described(Some((7, 5))));
}

#[test]
fn a_generation_comes_before_any_card() {
    expect_test::expect!["Published 160 360 560 | 16 64 256 | 32 32 32 (1)"].assert_eq(&described(Some((9, 0))));
    expect_test::expect!["Published 160 360 560 | 16 64 256 | 4 4 4 (1)"].assert_eq(&described(Some((8, 6))));
    expect_test::expect!["Published 160 360 560 | 16 64 256 | 4 4 4 (1)"].assert_eq(&described(None));
}

#[test]
fn every_line_of_the_table_is_an_entry() {
    let table = include_str!("calibration.txt");
    let lines = table.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(entries(table).len(), lines);
    assert!(entries(table).iter().any(|entry| entry.capability == "*"), "a card that nobody listed has an entry");
}

#[test]
fn the_driver_rounds_large_requests_to_pages_and_packs_small_ones() {
    let mut trace = Trace::default();
    let mut held = 0;
    for bytes in [1 << 20, 100, (2 << 20) + 1] {
        held += bytes;
        trace.push(Event::Held { place: Place::Device, total_allocated_bytes: Bytes(held) });
    }
    trace.push(Event::Held { place: Place::Host, total_allocated_bytes: Bytes(1) });
    let small = (2 << 20) - (1 << 20) - 100;
    assert_eq!(driver_rounding(&trace).expected, Bytes(small + (2 << 20) - 1));
}

/// A card whose context is 300 MiB; cuBLAS and cuDNN bring 90 MiB and two workspaces of 4 MiB.
fn readings(context_mib: [u64; 3], products_mib: u64) -> Result<(Band, Band), UnusableReadings> {
    let arena = Bytes(2_097_152 + 256);
    let reading = |mib: u64| DeviceReading { device: Bytes::mib(mib + 4), arena };
    let plain: Vec<DeviceReading> = context_mib.into_iter().map(reading).collect();
    derive(&plain, &[reading(products_mib)], Band::exact(Bytes::mib(4)), HANDLES_PER_THREAD)
}

#[test]
fn readings_of_a_card_come_to_an_entry_that_is_read_back() {
    let (context, library_code) = readings([300, 298, 302], 398).unwrap();
    let entry = CalibrationEntry {
        capability: "7.5".to_owned(),
        card: "Tesla T4".to_owned(),
        versions: ["580.1", "12.8", "", "1.31.1"].map(str::to_owned),
        date: "2026-11-23".to_owned(),
        kind: CalibrationKind::Measured,
        context,
        library_code,
        handle: Band::exact(Bytes::mib(4)),
        evidence: "onnxfit measure --calibrate | here".to_owned(),
    };
    let text = line(&entry);
    expect_test::expect![[
        "7.5 | Tesla T4 | 580.1 | 12.8 |  | 1.31.1 | 2026-11-23 | measured | 298 300 304 | 86 90 94 | 4 4 4 | onnxfit measure --calibrate   here"
    ]]
    .assert_eq(&text);
    let back = read_entries(&format!("# a comment\n\n{text}\n")).unwrap();
    assert_eq!(back.iter().map(line).collect::<Vec<_>>(), [text]);
    let used = calibration_with(&back, Some((7, 5)));
    assert_eq!((used.kind, used.context.expected), (CalibrationKind::Measured, Bytes::mib(300)));
    assert_eq!(calibration_with(&back, Some((8, 6))), calibration_for(Some((8, 6))));
}

#[test]
fn readings_that_cannot_be_are_refused() {
    assert!(matches!(readings([300, 300, 300], 200), Err(UnusableReadings::LessThanPlain { .. })));
    assert_eq!(readings([0, 0, 0], 100), Err(UnusableReadings::NoContext));
    let short = DeviceReading { device: Bytes::mib(1), arena: Bytes::mib(8) };
    let refused = derive(&[short], &[short], Band::default(), 2);
    assert!(matches!(refused, Err(UnusableReadings::LessThanArena { .. })));
    assert!(read_entries("7.5 | T4").is_err());
}
