//! Converts models to half width and says what happened:
//! `cargo run -p onnxfit-rewrite --example half -- OUT_FOLDER [--bf16|--only-float] MODEL…`.
//!
//! Each model is written twice, as `NAME.float.onnx` and, but for `--only-float`, `NAME.half.onnx`;
//! weights that are absent are made up, the same in both.

use std::path::{Path, PathBuf};
use std::time::Instant;

use onnxfit_graph::Model;
use onnxfit_onnx::{ModelFile, RandomWeights, SaveOptions, save};
use onnxfit_rewrite::half::{HalfOptions, HalfType, to_half};
use onnxfit_rewrite::weight_roles::roles;

#[allow(clippy::print_stdout, reason = "an example talks to who runs it")]
fn main() {
    let mut target = Some(HalfType::Float16);
    let mut paths = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--bf16" => target = Some(HalfType::Bfloat16),
            "--only-float" => target = None,
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    let mut paths = paths.into_iter();
    let folder = paths.next().expect("the first argument is a folder");
    for path in paths {
        match convert(&path, &folder, target) {
            Ok(line) => println!("{}: {line}", path.display()),
            Err(error) => println!("{}: FAILED: {error}", path.display()),
        }
    }
}

fn convert(path: &Path, folder: &Path, target: Option<HalfType>) -> Result<String, Box<dyn std::error::Error>> {
    let file = ModelFile::open(path)?;
    let model = Model::from_proto(&file.proto)?;
    let weights = RandomWeights::new(file.weights(), 1, roles(&model));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let original = save(&file.proto, &folder.join(format!("{name}.float.onnx")), &SaveOptions::new(&weights))?;
    let Some(target) = target else { return Ok(format!("{}", original.model_bytes)) };
    let start = Instant::now();
    let outcome = to_half(&model, &weights, &HalfOptions::new(target))?;
    let converted = start.elapsed();
    let source = outcome.source(&weights);
    let half = save(&outcome.model.to_proto(), &folder.join(format!("{name}.half.onnx")), &SaveOptions::new(&source))?;
    let size = |report: &onnxfit_onnx::SaveReport| (report.model_bytes.get() + report.data_bytes.get()) as f64;
    let report = &outcome.report;
    Ok(format!(
        "ratio {:.3} of {:.1} MB, weights {:.3}, {} half, {} float, {} casts, {} clamped, {:.2?} + {:.2?}; {:?}",
        size(&half) / size(&original),
        size(&original) / 1e6,
        report.after_bytes.get() as f64 / report.before_bytes.get().max(1) as f64,
        report.n_converted,
        report.islands.len(),
        report.n_casts,
        report.clamped.len(),
        converted,
        start.elapsed() - converted,
        report.reasons(),
    ))
}
