//! A run on memory that is somebody else's: inputs are read where they lie, outputs are written
//! where they belong.
//!
//! Nothing is copied on the way in; an output that was given a place is not copied on the way out.
#![allow(unsafe_code)] // ONNX Runtime takes foreign memory through its C interface only.

use std::ffi::{CString, c_char, c_void};
use std::ptr::NonNull;

use ort::memory::AllocatorType;
use ort::session::RunOptions;
use ort::value::DynValue;
use ort::{AsPointer, sys};

use crate::arena::{check, cpu_info};
use crate::{ElementType, RunError, Session, Stage, Tensor, Tensors, value};

/// A tensor to read, or part of one.
#[derive(Clone, Debug)]
pub(crate) struct Feed<'a> {
    /// Which of the model's inputs.
    pub(crate) input: usize,
    pub(crate) element_type: ElementType,
    pub(crate) shape: &'a [i64],
    /// As many as shape and type need.
    pub(crate) bytes: &'a [u8],
}

/// A place to write an output to.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub(crate) element_type: ElementType,
    pub(crate) shape: Vec<i64>,
    /// As many as shape and type need.
    pub(crate) bytes: &'a mut [u8],
}

/// How a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// As the session's run options say.
    Plain,
    /// Computes nothing, and gives the arena's unused regions back: a run that is told to stop
    /// before its first node still shrinks (inference_session.cc, ORT 1.31).
    ShrinkOnly,
}

/// What runs on foreign memory need, made once.
pub(crate) struct Binder {
    input_names: Vec<CString>,
    output_names: Vec<CString>,
    memory: ort::memory::MemoryInfo<'static>,
    shrink: RunOptions,
}

impl Binder {
    pub(crate) fn new(session: &Session) -> Result<Self, RunError> {
        let names = |infos: &[crate::TensorInfo]| -> Result<Vec<CString>, RunError> {
            let name = |info: &crate::TensorInfo| CString::new(info.name.as_str());
            let refuse = |_| RunError::Option("an input or output has a zero byte in its name".to_owned());
            infos.iter().map(name).collect::<Result<_, _>>().map_err(refuse)
        };
        let fail = |error: ort::Error| RunError::from_message(Stage::Load, error.message());
        let mut shrink = RunOptions::new().map_err(fail)?;
        shrink.set("memory.enable_memory_arena_shrinkage", session.arena_name()).map_err(fail)?;
        shrink.terminate().map_err(fail)?;
        Ok(Self {
            input_names: names(session.inputs())?,
            output_names: names(session.outputs())?,
            memory: cpu_info(AllocatorType::Device)?,
            shrink,
        })
    }

    /// Runs, and returns every output that had no place of its own.
    pub(crate) fn run(
        &self,
        session: &mut Session,
        feeds: &[Feed<'_>],
        fetches: &mut [Option<Fetch<'_>>],
        kind: RunKind,
    ) -> Result<Vec<Option<Tensor>>, RunError> {
        let fail = |error: ort::Error| RunError::from_message(Stage::Run, error.message());
        let mut input_names = Vec::with_capacity(feeds.len());
        let mut values = Vec::with_capacity(feeds.len());
        for feed in feeds {
            input_names.push(self.input_names[feed.input].as_ptr());
            // SAFETY: ONNX Runtime only reads a feed, and the value is released before the borrow
            // of its bytes ends.
            let value = unsafe { self.wrap(feed.element_type, feed.shape, feed.bytes.as_ptr(), feed.bytes.len()) };
            values.push(value.map_err(fail)?);
        }
        let inputs: Vec<*const sys::OrtValue> = values.iter().map(|value| value.0.as_ptr().cast_const()).collect();
        let mut places = Vec::with_capacity(fetches.len());
        for fetch in fetches.iter_mut() {
            let place = fetch.as_mut().map(|fetch| {
                // SAFETY: the bytes are borrowed mutably for as long as the value lives.
                unsafe { self.wrap(fetch.element_type, &fetch.shape, fetch.bytes.as_mut_ptr(), fetch.bytes.len()) }
            });
            places.push(place.transpose().map_err(fail)?);
        }
        let mut outputs: Vec<*mut sys::OrtValue> =
            places.iter().map(|place| place.as_ref().map_or(std::ptr::null_mut(), |place| place.0.as_ptr())).collect();
        outputs.resize(self.output_names.len(), std::ptr::null_mut());
        let output_names: Vec<*const c_char> = self.output_names.iter().map(|name| name.as_ptr()).collect();
        let (ort_session, plain) = session.parts();
        let options = match kind {
            RunKind::Plain => plain,
            RunKind::ShrinkOnly => &self.shrink,
        };
        // SAFETY: session and options are alive; names and values are arrays of the lengths given;
        // a null output asks ONNX Runtime to allocate it, and then it is ours to release.
        let status = unsafe {
            (ort::api().Run)(
                ort_session.ptr().cast_mut(),
                options.ptr(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            )
        };
        let made: Vec<Option<Made>> = outputs
            .into_iter()
            .enumerate()
            .map(|(at, output)| match places.get(at) {
                Some(Some(_)) => None,
                _ => NonNull::new(output).map(Made),
            })
            .collect();
        check(status).map_err(fail)?;
        let mut copies = Vec::with_capacity(made.len());
        for (at, made) in made.into_iter().enumerate() {
            let copy = made.map(|made| {
                // SAFETY: the value was just returned by this session's run and is handed over;
                // the session's allocator outlives it.
                let value: DynValue = unsafe { DynValue::from_ptr(made.into_inner(), Some(ort_session.allocator())) };
                value::from_value(&session_output_name(&self.output_names[at]), &value)
            });
            copies.push(copy.transpose()?);
        }
        Ok(copies)
    }

    /// # Safety
    /// `length` bytes at `bytes` stay valid while the value lives, and are writable if the value is
    /// used as an output.
    unsafe fn wrap(
        &self,
        element_type: ElementType,
        shape: &[i64],
        bytes: *const u8,
        length: usize,
    ) -> Result<Made, ort::Error> {
        let mut value: *mut sys::OrtValue = std::ptr::null_mut();
        // SAFETY: the memory is this function's promise; shape is an array of the length given.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                self.memory.ptr(),
                bytes.cast_mut().cast::<c_void>(),
                length,
                shape.as_ptr(),
                shape.len(),
                value::to_ort(element_type).into(),
                &mut value,
            )
        })?;
        Ok(Made(NonNull::new(value).expect("ONNX Runtime returns a value when it returns no error")))
    }
}

/// A value of ONNX Runtime's that is ours to release.
struct Made(NonNull<sys::OrtValue>);

impl Made {
    fn into_inner(self) -> NonNull<sys::OrtValue> {
        let value = self.0;
        std::mem::forget(self);
        value
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: owned by this, and released once.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

fn session_output_name(name: &CString) -> String {
    name.to_string_lossy().into_owned()
}

/// Shapes as ONNX Runtime counts.
pub(crate) fn signed(shape: &[u64]) -> Option<Vec<i64>> {
    shape.iter().map(|dim| i64::try_from(*dim).ok()).collect()
}

/// Whether every tensor is made of bytes.
pub(crate) fn all_packed(inputs: &Tensors) -> bool {
    inputs.iter().all(|(_, tensor)| tensor.bytes().is_some())
}
