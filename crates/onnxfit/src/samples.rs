//! The inputs that a conversion is measured and verified on: files, or made up from a seed.
//!
//! Every file is read and looked over before anything long begins; afterwards one is in memory at
//! a time.

mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onnxfit_base::Diagnostic;
use onnxfit_graph::{Dim, Model as GraphModel, ValueType};
use onnxfit_rewrite::uint8_input::Uint8Options;
use onnxfit_runtime::{ElementType, Tensor, Tensors, npz};
use onnxfit_shape::{Bindings, infer};

use crate::verify::VerifyInputs;
use crate::{Error, Request, sizes, weights};
use rows::{Rows, is_of_rows};

/// Sets of inputs.
#[derive(Debug)]
pub(crate) enum Samples {
    /// Some that were made up, from this seed and those after it.
    MadeUp(Vec<Tensors>, u64),
    /// Files, each with one array for each input.
    Files(Vec<PathBuf>),
    /// Rows of arrays, or images, and where they are.
    Rows(Rows, PathBuf),
}

impl Samples {
    /// Inputs for the sizes of the request; sizes that nobody gave are 1, and that is said.
    pub(crate) fn made_up(
        model: &GraphModel,
        request: &Request,
        seed: u64,
        n_sets: u64,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Self, Error> {
        let mut bindings = Bindings {
            dims: request.dims.clone(),
            inputs: request.shapes.clone(),
            values: sizes::known_values(&model.graph, &request.dims),
            ..Bindings::default()
        };
        let mut facts = infer(model, &bindings).graph;
        let open = sizes::open_dims(&model.graph, &facts);
        if !open.is_empty() {
            let names: Vec<String> = open.iter().map(|name| format!("{name}=1")).collect();
            let hint = format!("give them as `--dim {}=N`, or whole shapes as `--shape INPUT:…`", open[0]);
            let message = format!("measured with {}", names.join(" "));
            diagnostics.push(Diagnostic::warning("open-dims", message).with_hint(hint));
            bindings.dims.extend(open.into_iter().map(|name| (name, 1)));
            facts = infer(model, &bindings).graph;
        }
        let mut shapes = BTreeMap::new();
        for id in model.graph.required_inputs() {
            let fact = facts.fact(id);
            let element_type = fact.element_type.and_then(|element_type| ElementType::from_onnx(element_type.number()));
            let name = &model.graph.value(id).name;
            let (Some(element_type), Some(shape)) = (element_type, fact.concrete()) else {
                let hint = "give its shape with `--shape INPUT:1,3,224,224`, or the inputs with `--calib x.npz`";
                return Err(Error::Binding(format!("the size of input `{name}` is not known"), Some(hint.to_owned())));
            };
            let shape = shape.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
            shapes.insert(name.clone(), (element_type, shape));
        }
        let vocab_size = weights::vocab_size(model);
        let sets = (seed..seed.saturating_add(n_sets))
            .map(|seed| crate::verify::inputs(&VerifyInputs::Seeded(seed), &shapes, vocab_size));
        Ok(Self::MadeUp(sets.collect::<Result<_, _>>()?, seed))
    }

    /// An `.npz` file or all such files of a folder, a set of inputs each; or arrays with a row for
    /// each sample, or images; looked over.
    pub(crate) fn of_path(path: &Path, model: &GraphModel, pixels: &Uint8Options) -> Result<Self, Error> {
        if is_of_rows(path) {
            let rows = Rows::open(path, model, pixels).map_err(|error| refuse(path, &error.to_string()))?;
            if rows.len() == 0 {
                return Err(refuse(path, "has fewer rows than the model takes at once"));
            }
            for index in 0..rows.len() {
                let sample = rows.get(index).map_err(|error| refuse(path, &error.to_string()))?;
                look_over(model, &sample).map_err(|reason| refuse(path, &format!("sample {index}: {reason}")))?;
            }
            return Ok(Self::Rows(rows, path.to_owned()));
        }
        let files = if path.is_dir() { npz_files(path)? } else { vec![path.to_owned()] };
        for file in &files {
            look_over(model, &read(file)?).map_err(|reason| refuse(file, &reason))?;
        }
        Ok(Self::Files(files))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::MadeUp(sets, _) => sets.len(),
            Self::Files(files) => files.len(),
            Self::Rows(rows, _) => rows.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Result<Tensors, Error> {
        match self {
            Self::MadeUp(sets, _) => Ok(sets[index].clone()),
            Self::Files(files) => read(&files[index]),
            Self::Rows(rows, path) => rows.get(index).map_err(|error| refuse(path, &error.to_string())),
        }
    }

    /// How many answers in how many may be further off: what is made up may happen to lie where an
    /// answer turns over, and says little of real inputs then.
    pub(crate) fn n_odd_max(&self) -> usize {
        match self {
            Self::MadeUp(sets, _) => sets.len() / 4,
            Self::Files(_) | Self::Rows(..) => 0,
        }
    }

    /// What they are, in words.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::MadeUp(sets, seed) if sets.len() == 1 => format!("inputs made up from seed {seed}"),
            Self::MadeUp(sets, seed) => {
                format!("inputs made up from seeds {seed} to {}", seed + sets.len() as u64 - 1)
            }
            Self::Rows(rows, path) => format!("{} samples of {}", rows.len(), path.display()),
            Self::Files(files) => match files.as_slice() {
                [one] => format!("the inputs of {}", one.display()),
                [first, ..] => format!("the inputs of {} and {} more files", first.display(), files.len() - 1),
                [] => "no inputs".to_owned(),
            },
        }
    }
}

fn npz_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let io = |source| Error::Io { action: "look into", path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "npz") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(refuse(folder, "holds neither .npz files nor arrays nor images"));
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Tensors, Error> {
    npz::read(file).map_err(|error| Error::Binding(error.to_string(), Some(HINT.to_owned())))
}

const HINT: &str = "calibration data are .npz files with one array for each input of the model, as \
                    `numpy.savez(\"0.npz\", name=array)` writes them; or .npy, .safetensors, .parquet or .arrow files with a \
                    row for each sample, or a folder of images";

fn refuse(path: &Path, reason: &str) -> Error {
    Error::Binding(format!("calibration data `{}`: {reason}", path.display()), Some(HINT.to_owned()))
}

/// Why these cannot be fed to the model, if so.
fn look_over(model: &GraphModel, tensors: &Tensors) -> Result<(), String> {
    let graph = &model.graph;
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for id in graph.required_inputs() {
        let value = graph.value(id);
        let name = &value.name;
        let tensor = tensors.get(name).ok_or_else(|| format!("there is no array `{name}`"))?;
        let ValueType::Tensor(ty) = &value.ty else {
            return Err(format!("input `{name}` is no tensor and cannot be given in a file"));
        };
        if let Some(wanted) = ty.element_type.and_then(|element| ElementType::from_onnx(element.number()))
            && wanted != tensor.element_type()
        {
            return Err(format!("array `{name}` is {}, the model takes {wanted}", tensor.element_type()));
        }
        if let Some(shape) = &ty.shape {
            fits(name, tensor.shape(), shape, &mut sizes)?;
        }
        finite(name, tensor)?;
    }
    let is_input = |name: &str| graph.inputs().iter().any(|id| graph.value(*id).name == name);
    match tensors.iter().find(|(name, _)| !is_input(name)) {
        Some((name, _)) => Err(format!("array `{name}` is no input of the model")),
        None => Ok(()),
    }
}

fn fits(name: &str, have: &[u64], wanted: &[Dim], sizes: &mut BTreeMap<String, u64>) -> Result<(), String> {
    if have.len() != wanted.len() {
        return Err(format!("array `{name}` has the shape {have:?}, the model takes {} axes", wanted.len()));
    }
    for (axis, (size, dim)) in have.iter().zip(wanted).enumerate() {
        let expected = match dim {
            Dim::Known(expected) => u64::try_from(*expected).unwrap_or(*size),
            // Paddle calls every open dimension so.
            Dim::Symbol(symbol) if symbol == "?" => *size,
            Dim::Symbol(symbol) => *sizes.entry(symbol.clone()).or_insert(*size),
            Dim::Unknown => *size,
        };
        if expected != *size {
            return Err(format!("array `{name}` has the shape {have:?}, but axis {axis} must be {expected}"));
        }
    }
    Ok(())
}

fn finite(name: &str, tensor: &Tensor) -> Result<(), String> {
    if !tensor.element_type().is_float() {
        return Ok(());
    }
    let n_bad = tensor.values().unwrap_or_default().iter().filter(|number| !number.is_finite()).count();
    if n_bad > 0 { Err(format!("array `{name}` has {n_bad} NaN or infinite numbers")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> GraphModel {
        let text = "g (float[n,3] x, int64[n] i) => (float[n,3] y) { y = Relu(x) }";
        GraphModel::from_proto(&onnxfit_onnx::text::parse(text).unwrap()).unwrap()
    }

    fn refusal(x: Tensor, i: Tensor) -> String {
        let tensors = [("x".to_owned(), x), ("i".to_owned(), i)].into_iter().collect();
        look_over(&model(), &tensors).err().unwrap_or_default()
    }

    #[test]
    fn data_that_the_model_cannot_take_is_refused_with_the_reason() {
        let x = || Tensor::from_f32(vec![1, 3], &[1.0, 2.0, 3.0]).unwrap();
        let i = || Tensor::from_i64(vec![1], &[1]).unwrap();
        assert_eq!(refusal(x(), i()), "");
        assert_eq!(
            refusal(Tensor::from_f32(vec![1, 2], &[1.0, 2.0]).unwrap(), i()),
            "array `x` has the shape [1, 2], but axis 1 must be 3"
        );
        assert_eq!(
            refusal(x(), Tensor::from_i64(vec![2], &[1, 2]).unwrap()),
            "array `i` has the shape [2], but axis 0 must be 1"
        );
        assert_eq!(
            refusal(Tensor::from_f32(vec![3], &[1.0, 2.0, 3.0]).unwrap(), i()),
            "array `x` has the shape [3], the model takes 2 axes"
        );
        assert_eq!(refusal(i(), i()), "array `x` is int64, the model takes float");
        assert_eq!(
            refusal(Tensor::from_f32(vec![1, 3], &[1.0, f32::NAN, 3.0]).unwrap(), i()),
            "array `x` has 1 NaN or infinite numbers"
        );
        let missing = [("x".to_owned(), x())].into_iter().collect();
        assert_eq!(look_over(&model(), &missing), Err("there is no array `i`".to_owned()));
        let unknown = [("x", x()), ("i", i()), ("z", i())].map(|(name, tensor)| (name.to_owned(), tensor));
        assert_eq!(
            look_over(&model(), &unknown.into_iter().collect()),
            Err("array `z` is no input of the model".into())
        );
    }

    #[test]
    fn an_empty_folder_and_a_truncated_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Samples::of_path(folder.path(), &model(), &Uint8Options::default());
        let error = open().unwrap_err().to_string();
        assert!(error.ends_with("holds neither .npz files nor arrays nor images"), "{error}");
        let file = folder.path().join("0.npz");
        let x = Tensor::from_f32(vec![1, 3], &[1.0, 2.0, 3.0]).unwrap();
        let i = Tensor::from_i64(vec![1], &[1]).unwrap();
        npz::write(&file, &[("x".to_owned(), x), ("i".to_owned(), i)].into_iter().collect()).unwrap();
        assert_eq!(open().unwrap().len(), 1);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        let error = open().unwrap_err().to_string();
        assert!(error.contains("is no .npz file"), "{error}");
    }

    #[test]
    fn images_and_arrays_of_rows_are_fed_in_the_models_shape_and_type() {
        let text = "g (float[n,3,2,2] x) => (float[n,3,2,2] y) { y = Relu(x) }";
        let model = GraphModel::from_proto(&onnxfit_onnx::text::parse(text).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pixels.npy");
        let bytes: Vec<u8> = (0..36).map(|byte| byte * 5).collect();
        let pixels = Tensor::from_bytes(ElementType::Uint8, vec![3, 3, 2, 2], bytes).unwrap();
        std::fs::write(&file, onnxfit_runtime::npy::write(&pixels).unwrap()).unwrap();
        let options = Uint8Options { mean: vec![0.0, 0.5, 1.0], deviation: vec![0.5], ..Uint8Options::default() };
        let samples = Samples::of_path(&file, &model, &options).unwrap();
        let second = samples.get(1).unwrap();
        let x = second.get("x").unwrap();
        assert_eq!((samples.len(), x.element_type(), x.shape()), (3, ElementType::Float, &[1, 3, 2, 2][..]));
        // The first number of the second channel: byte (12 + 4) * 5.
        let wanted = (80.0 / 255.0 - 0.5) / 0.5;
        assert!((x.values().unwrap()[4] - wanted).abs() < 1e-6);
        assert_eq!(samples.text(), format!("3 samples of {}", file.display()));
        std::fs::write(
            &file,
            onnxfit_runtime::npy::write(&Tensor::from_f32(vec![1, 2, 2], &[0.0; 4]).unwrap()).unwrap(),
        )
        .unwrap();
        let error = Samples::of_path(&file, &model, &options).unwrap_err().to_string();
        assert!(error.contains("sample 0: array `x` has the shape [1, 2, 2], the model takes 4 axes"), "{error}");
    }
}
