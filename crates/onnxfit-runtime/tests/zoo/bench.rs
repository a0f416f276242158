//! What the comparisons share: rows of measurements, a runnable copy of a graph, a worker.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use onnxfit_runtime::inputs::{self, InputOptions, InputSpec};
use onnxfit_runtime::worker::{Client, Opened};
use onnxfit_runtime::{ElementType, Library, OptimizationLevel, RunError, SessionSpec, Tensors, locate};
use serde_json::Value;

/// Quick rows: the graph runs in less than this, and has less weight.
const SECONDS_MAX: f64 = 0.5;
const WEIGHT_BYTES_MAX: u64 = 200 << 20;
/// Models for which stand-in weights will not do, or whose bytes are not a fact of the model.
const LEFT_OUT: &[(&str, &str)] = &[
    ("shipped_minilm_int8", "weights times stand-in scales are all equal, and equal weights are packed once"),
    ("resnet50_qdq_int8", "as above"),
    ("shipped_silero_vad_v4", "its real weights are partly equal, the stand-ins are not"),
    (
        "efficientnet_b0",
        "nodes of the blocked layout are added in the order of a hash table of addresses (nchwc_transformer.cc, ORT 1.31), and the order of execution follows",
    ),
    ("efficientnet_b4", "as above"),
    ("light_inception_v2", "as above"),
    ("shipped_ddddocr_det", "as above"),
    ("shipped_nudenet_yolov8n", "as above"),
    ("shufflenet_v2", "as above"),
    ("ssdlite320_mobilenetv3", "as above"),
];

/// The measurements beside the repository and the library that they were made with.
pub(crate) struct Bench {
    shared: PathBuf,
    library: PathBuf,
    /// Rows of `ground-truth.jsonl` that can be measured again here.
    pub(crate) rows: Vec<Value>,
    /// `ONNXFIT_TEST_ZOO`: empty, `quick` or `all`.
    pub(crate) asked: String,
}

impl Bench {
    /// `None` and a message when something is missing on this machine.
    pub(crate) fn set_up() -> Option<Self> {
        let shared = std::env::var_os("ONNXFIT_SHARED")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
        let found = locate::find(&locate::Places::of_this_process());
        let Some(library) = found.library() else {
            eprintln!("skipped: no ONNX Runtime found\n{found}");
            return None;
        };
        let version = Library::load(library).expect("a library that was found loads").version();
        if !version.starts_with("1.31.") {
            eprintln!("skipped: measured on 1.31, this is {version}");
            return None;
        }
        let asked = std::env::var("ONNXFIT_TEST_ZOO").unwrap_or_default();
        let mut bench = Self { shared, library: library.to_owned(), rows: Vec::new(), asked };
        let mut rows = bench.lines("zoo/ground-truth.jsonl")?;
        rows.retain(|row| row.get("error").is_none() && row["arena_run3"].is_object() && bench.is_wanted(row));
        bench.rows = rows;
        Some(bench)
    }

    fn is_wanted(&self, row: &Value) -> bool {
        let quick =
            row["run1_s"].as_f64() < Some(SECONDS_MAX) && row["weights_bytes"].as_u64() < Some(WEIGHT_BYTES_MAX);
        let fair = LEFT_OUT.iter().all(|(name, _)| row["model"] != *name);
        fair && (self.asked == "all" || quick)
    }

    /// Every so many'th, unless more are asked for.
    pub(crate) fn stride(&self, stride: usize) -> usize {
        if self.asked.is_empty() { stride } else { 1 }
    }

    /// A file beside the repository.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.shared.join(file)
    }

    /// The JSON lines of a file beside the repository.
    pub(crate) fn lines(&self, file: &str) -> Option<Vec<Value>> {
        let Ok(text) = fs::read_to_string(self.path(file)) else {
            eprintln!("skipped: no {file} beside the repository");
            return None;
        };
        Some(text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect())
    }

    /// The row that measured this model, variant and level.
    pub(crate) fn row_of(&self, other: &Value) -> Option<&Value> {
        self.rows.iter().find(|row| ["model", "variant", "opt"].iter().all(|key| row[key] == other[key]))
    }

    /// Loads a row's model in a process of its own, as the other harness did: which of two equal
    /// free chunks the arena takes depends on their addresses.
    pub(crate) fn open(&self, row: &Value, spec: &SessionSpec) -> Result<Loaded, RunError> {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("model.onnx");
        let graph = self.shared.join(format!("zoo/graphs/{}.onnx", row["model"].as_str().unwrap_or_default()));
        fs::copy(graph, &model).expect("a graph beside the repository");
        write_weights(&folder.path().join("model.onnx.data"), row["weights_bytes"].as_u64().unwrap_or(0));
        let optimization = match row["opt"].as_str() {
            Some("disable") => OptimizationLevel::Disable,
            Some("all") => OptimizationLevel::All,
            other => panic!("unknown level {other:?}"),
        };
        let spec = SessionSpec { model, optimization, intra_op_threads: Some(2), ..spec.clone() };
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "serves_as_a_child", "--nocapture"]).env(super::CHILD, "1");
        let mut client = Client::spawn_command(command)?;
        let opened = client.open(&self.library, &spec)?;
        let specs = specs(row).expect("inputs of a row");
        let inputs = inputs::make(&specs, InputOptions::default()).expect("these can be made up");
        Ok(Loaded { client, opened, inputs, _folder: folder })
    }
}

/// A row's model, loaded, and inputs for it.
pub(crate) struct Loaded {
    pub(crate) client: Client,
    pub(crate) opened: Opened,
    pub(crate) inputs: Tensors,
    _folder: tempfile::TempDir,
}

/// Weights of which no two are equal, and every number is as good as zero: now and then a lowest
/// bit, which is a tiny float and, for a table of places, place 0 or 1.
fn write_weights(path: &Path, bytes: u64) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut slot = [0u8; 64];
    for _ in 0..bytes / 64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        slot[0] = (state >> 63) as u8;
        file.write_all(&slot).expect("a full file");
    }
    let file = file.into_inner().expect("a full file");
    // Alignment between tensors makes the file longer than its tensors; the rest stays sparse.
    file.set_len(bytes + (1 << 30)).expect("a longer file");
}

/// `{"ids": ["int64", 1, 512]}`
fn specs(row: &Value) -> Result<Vec<InputSpec>, String> {
    let inputs = row["inputs"].as_object().ok_or("no inputs")?;
    let one = |(name, value): (&String, &Value)| {
        let parts = value.as_array().ok_or("an input is no list")?;
        let text = parts.first().and_then(Value::as_str).ok_or("an input has no type")?;
        let text = match text {
            "float32" => "float",
            "float64" => "double",
            other => other,
        };
        let element_type = ElementType::ALL.iter().find(|known| known.as_str() == text).ok_or("an unknown type")?;
        let shape = parts[1..].iter().map(|dim| dim.as_i64().ok_or("a dimension is no number"));
        let shape = shape.collect::<Result<Vec<i64>, &str>>()?;
        Ok(InputSpec { name: name.clone(), element_type: *element_type, shape, role: None })
    };
    inputs.iter().map(one).collect::<Result<Vec<_>, &str>>().map_err(str::to_owned)
}
