//! `convert --uint8-input`: the model takes bytes, and both models run on the same pixels.

use std::path::PathBuf;

use onnxfit_base::Bytes;
use onnxfit_onnx::{SaveOptions, save};
use onnxfit_report::DiagnosticView;
use onnxfit_report::bytes_in::BytesInView;
use onnxfit_report::fix::VerifyView;
use onnxfit_rewrite::uint8_input::{Layout, Uint8Options, uint8_input};
use onnxfit_runtime::verify::{Exactness, compare};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{ElementType, SessionSpec, Tensor, Tensors};

use super::refuse_losses;
use crate::progress::Progress;
use crate::samples::Samples;
use crate::verify::{output_view, runtime_error};
use crate::workplace::Workplace;
use crate::{Error, Model, Request, weights};

pub use onnxfit_rewrite::uint8_input::{Layout as ByteLayout, Resize as ByteResize, Uint8Options as BytesIn};

/// How a model is given an input of bytes.
#[derive(Clone, Debug)]
pub struct BytesInOptions {
    /// How bytes become floats.
    pub bytes: BytesIn,
    /// The file to write.
    pub output: PathBuf,
    /// The seed of made-up inputs.
    pub seed: u64,
    /// Fill absent weights with random numbers.
    pub random_weights: Option<u64>,
    /// Rewrite even if unknown fields are lost.
    pub force: bool,
    /// Install nothing.
    pub offline: bool,
    /// A program that serves runs when started with `__worker`: the command itself.
    pub worker: PathBuf,
}

/// Makes the model take bytes and writes it, if its answers stay what they were.
pub fn bytes_in(
    model: &Model,
    request: &Request,
    options: &BytesInOptions,
    progress: &dyn Progress,
) -> Result<BytesInView, Error> {
    refuse_losses(model, options.force, options.random_weights.is_some())?;
    let outcome = uint8_input(model.graph(), &options.bytes)
        .map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
    let mut diagnostics = Vec::new();
    let made_up = Samples::made_up(model.graph(), request, options.seed, 1, &mut diagnostics)?;
    let (Some(mut floats), Samples::MadeUp(_, seed)) = (made_up.get(0).ok(), made_up) else {
        return Err(Error::Predict("inputs that were made up are not files".to_owned()));
    };
    let like = floats.get(&outcome.input).cloned();
    let (pixels, made) = like
        .as_ref()
        .and_then(|like| pixels(like, &options.bytes))
        .ok_or_else(|| Error::Predict(format!("no pixels can be made up for `{}`", outcome.input)))?;
    let before_bytes = Bytes(like.as_ref().and_then(Tensor::bytes).map_or(0, |bytes| bytes.len() as u64));
    let after_bytes = Bytes(pixels.len());
    let mut bytes: Tensors = floats.clone();
    bytes.insert(outcome.input.clone(), pixels);
    floats.insert(outcome.input.clone(), made);

    let workplace = Workplace::begin(&options.output, model)?;
    let source = weights::source(model, options.random_weights);
    let original = workplace.desk().join("original.onnx");
    save(&model.graph().to_proto(), &original, &SaveOptions::new(source.as_ref()))?;
    let saved = save(&outcome.model.to_proto(), &workplace.model(), &SaveOptions::new(source.as_ref()))?;
    let library = crate::library::ensure(options.offline, progress)?;
    let mut client = Client::spawn(&options.worker, &["__worker"]).map_err(runtime_error)?;
    let mut run = |path: PathBuf, inputs: &Tensors| {
        client.open(&library, &SessionSpec::new(path))?;
        client.run(inputs)
    };
    progress.doing("running both models");
    let before = run(original, &floats).map_err(runtime_error)?.outputs;
    let after = run(workplace.model(), &bytes).map_err(runtime_error)?.outputs;
    let comparison = compare(&before, &after, Exactness::Exact);
    let verify = VerifyView {
        agrees: comparison.agrees,
        how: format!("both models ran on the CPU provider on the same pixels, made up from seed {seed}"),
        tolerance: "relative L2 at most 1e-5, no element off by more than 1e-4 of the largest".to_owned(),
        outputs: comparison.outputs.iter().map(output_view).collect(),
    };
    let mut files = Vec::new();
    if comparison.agrees {
        files = workplace.finish(&options.output, saved.data_name.as_deref())?;
    }
    Ok(BytesInView {
        schema: "onnxfit.bytes-in/1",
        converted: comparison.agrees,
        model: model.name(),
        input: outcome.input,
        feed_before_bytes: before_bytes.into(),
        feed_after_bytes: after_bytes.into(),
        verify,
        files,
        diagnostics: diagnostics.iter().map(DiagnosticView::from).collect(),
    })
}

/// Pixels in the layout of the caller, and the floats that the caller made of them so far.
fn pixels(like: &Tensor, options: &Uint8Options) -> Option<(Tensor, Tensor)> {
    let [rows, channels, height, width] = <[u64; 4]>::try_from(like.shape()).ok()?;
    // Pictures that are resized come larger, and not in proportion.
    let (fed_height, fed_width) = match options.resize {
        Some(_) => (height + height / 2 + 1, width * 2 + 1),
        None => (height, width),
    };
    let size = |number: u64| usize::try_from(number).ok();
    let (n_channels, n_planes) = (size(channels)?, size(rows * channels)?);
    let (plane, fed_plane) = (size(height * width)?, size(fed_height * fed_width)?);
    let byte = |place: usize| (place.wrapping_mul(2_654_435_761) >> 7) as u8;
    let of = |numbers: &[f32], channel: usize| numbers.get(channel).or(numbers.first()).copied().unwrap_or(0.0);
    let mut floats: Vec<f64> = Vec::with_capacity(n_planes * plane);
    for at in 0..n_planes {
        let picture: Vec<f32> = (0..fed_plane).map(|place| f32::from(byte(at * fed_plane + place))).collect();
        let picture = match options.resize {
            Some(_) => resized(&picture, (size(fed_height)?, size(fed_width)?), (size(height)?, size(width)?)),
            None => picture,
        };
        let channel = at % n_channels.max(1);
        let (mean, deviation) = (of(&options.mean, channel), of(&options.deviation, channel));
        floats.extend(picture.iter().map(|number| f64::from((number / options.scale - mean) / deviation)));
    }
    let (shape, bytes): (Vec<u64>, Vec<u8>) = match options.layout {
        Layout::Nchw => (vec![rows, channels, fed_height, fed_width], (0..n_planes * fed_plane).map(byte).collect()),
        Layout::Nhwc => {
            let image = n_channels * fed_plane;
            let moved = (0..n_planes * fed_plane).map(|place| {
                let (row, rest) = (place / image, place % image);
                byte(row * image + rest % n_channels * fed_plane + rest / n_channels)
            });
            (vec![rows, fed_height, fed_width, channels], moved.collect())
        }
    };
    let floats = Tensor::from_f64(like.element_type(), like.shape().to_vec(), &floats)?.ok()?;
    Some((Tensor::from_bytes(ElementType::Uint8, shape, bytes).ok()?, floats))
}

/// A plane of another size, linear between the centres of pixels (`half_pixel` of `Resize`).
fn resized(plane: &[f32], (height, width): (usize, usize), (to_height, to_width): (usize, usize)) -> Vec<f32> {
    // Of each target pixel the two pixels that it lies between, and how far it is from the first.
    let between = |size: usize, to_size: usize| -> Vec<(usize, usize, f32)> {
        let step = size as f32 / to_size as f32;
        let place = |to: usize| ((to as f32 + 0.5) * step - 0.5).clamp(0.0, (size - 1) as f32);
        let pair = |place: f32| (place as usize, (place as usize + 1).min(size - 1), place.fract());
        (0..to_size).map(|to| pair(place(to))).collect()
    };
    let (rows, columns) = (between(height, to_height), between(width, to_width));
    let mut made = Vec::with_capacity(to_height * to_width);
    for (top, bottom, down) in &rows {
        for (left, right, aside) in &columns {
            let on = |row: usize| plane[row * width + left] * (1.0 - aside) + plane[row * width + right] * aside;
            made.push(on(*top) * (1.0 - down) + on(*bottom) * down);
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_of_another_size_is_linear_between_the_centres_of_pixels() {
        assert_eq!(resized(&[0.0, 10.0], (1, 2), (1, 4)), [0.0, 2.5, 7.5, 10.0]);
        assert_eq!(resized(&[0.0, 4.0, 8.0, 12.0], (2, 2), (1, 1)), [6.0]);
        let plane: Vec<f32> = (0..12).map(|number| number as f32).collect();
        assert_eq!(resized(&plane, (3, 4), (3, 4)), plane);
    }

    #[test]
    fn pixels_hold_the_same_numbers_in_either_layout() {
        let like = Tensor::from_f32(vec![2, 3, 2, 5], &[0.0; 60]).unwrap();
        let options = |layout| Uint8Options { scale: 1.0, layout, ..Uint8Options::default() };
        let (planes, floats) = pixels(&like, &options(Layout::Nchw)).unwrap();
        let (moved, same) = pixels(&like, &options(Layout::Nhwc)).unwrap();
        assert_eq!(floats, same);
        assert_eq!(planes.values(), floats.values());
        assert_eq!(moved.shape(), [2, 2, 5, 3]);
        let (planes, moved) = (planes.values().unwrap(), moved.values().unwrap());
        // Row 1, channel 2, height 1, width 3.
        assert_eq!(planes[30 + 2 * 10 + 5 + 3], moved[30 + (5 + 3) * 3 + 2]);
        assert!(planes.iter().any(|byte| *byte > 200.0) && planes.iter().any(|byte| *byte < 50.0));
    }
}
