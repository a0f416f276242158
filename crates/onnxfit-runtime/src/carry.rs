//! Values that stay in the runtime's memory: the outputs of one run are inputs of the next.
//!
//! There are two buffers for each value, and a binding for each direction between them, so a run
//! copies and allocates nothing but what is fed anew. What a run wrote counts only when it is
//! taken over ([`Carry::commit`]); until then the buffers before it are as they were.

use onnxfit_base::Bytes;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::IoBinding;
use ort::value::{DynTensor, DynValue};

use crate::{RunError, Session, Stage, Tensor, Tensors, value};

/// Values that are carried from run to run.
pub struct Carry {
    /// The input of each value, and the output with its next state.
    names: Vec<(String, String)>,
    sides: [Vec<DynTensor>; 2],
    /// For each side the binding that reads it and writes the other.
    bindings: [Option<IoBinding>; 2],
    /// The side with the values as they are.
    current: usize,
    /// Whether the current side is on the host although the session runs elsewhere.
    is_elsewhere: bool,
    bytes: Bytes,
}

fn failed(error: &ort::Error) -> RunError {
    RunError::from_message(Stage::Run, error.message())
}

fn shape_of(tensor: &Tensor) -> Vec<i64> {
    tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect()
}

impl Session {
    /// Begins to carry values: the input and the output of each, and what it is at first.
    pub fn carry(&self, values: &[(&str, &str, &Tensor)]) -> Result<Carry, RunError> {
        let device = self.device_allocator();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let (mut names, mut bytes) = (Vec::new(), 0);
        for (input, output, tensor) in values {
            let fed = value::to_value(input, tensor)?;
            first.push(as_tensor(fed, input)?);
            second.push(new_like(device, tensor).map_err(|error| failed(&error))?);
            names.push(((*input).to_owned(), (*output).to_owned()));
            bytes += tensor.bytes().map_or(0, <[u8]>::len) as u64;
        }
        let is_elsewhere = device.is_some();
        Ok(Carry {
            names,
            sides: [first, second],
            bindings: [None, None],
            current: 0,
            is_elsewhere,
            bytes: Bytes(bytes),
        })
    }

    /// Runs once with the carried values and what is fed besides; gives the outputs that are not
    /// carried.
    pub fn run_carrying(&mut self, carry: &mut Carry, inputs: &[(&str, &Tensor)]) -> Result<Tensors, RunError> {
        let from = carry.current;
        if carry.bindings[from].is_none() {
            let binding = self.bind(carry, from)?;
            carry.bindings[from] = Some(binding);
        }
        let Some(binding) = &mut carry.bindings[from] else { return Ok(Tensors::new()) };
        for (name, tensor) in inputs {
            binding.bind_input(*name, &value::to_value(name, tensor)?).map_err(|error| failed(&error))?;
        }
        let outputs = self.run_bound(binding)?;
        let is_carried = |name: &str| carry.names.iter().any(|(_, output)| output == name);
        let others = outputs.iter().filter(|(name, _)| !is_carried(name));
        others.map(|(name, value)| Ok((name.clone(), value::from_value(name, value)?))).collect()
    }

    fn bind(&self, carry: &mut Carry, from: usize) -> Result<IoBinding, RunError> {
        let failed = |error: ort::Error| failed(&error);
        let mut binding = self.new_binding()?;
        let host =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default).map_err(failed)?;
        for info in self.outputs() {
            match carry.names.iter().position(|(_, output)| *output == info.name) {
                Some(at) => binding.bind_output(info.name.as_str(), &mut carry.sides[1 - from][at]).map_err(failed)?,
                None => binding.bind_output_to_device(info.name.as_str(), &host).map_err(failed)?,
            }
        }
        for ((input, _), tensor) in carry.names.iter().zip(&carry.sides[from]) {
            binding.bind_input(input.as_str(), tensor).map_err(failed)?;
        }
        Ok(binding)
    }

    /// The values as they are now, copied to the host.
    pub fn fetch(&self, carry: &Carry) -> Result<Tensors, RunError> {
        let values = carry.names.iter().zip(&carry.sides[carry.current]);
        let fetched = values.map(|((input, _), tensor)| {
            if tensor.memory_info().is_cpu_accessible() {
                return Ok((input.clone(), value::from_tensor(input, tensor)?));
            }
            let copy = tensor.to(AllocationDevice::CPU, 0).map_err(|error| failed(&error))?;
            Ok((input.clone(), value::from_tensor(input, &copy)?))
        });
        fetched.collect()
    }
}

impl Carry {
    /// Takes over what the last run wrote.
    pub fn commit(&mut self, session: &Session) -> Result<(), RunError> {
        let written = 1 - self.current;
        if self.is_elsewhere {
            // The first values were the host's: their place is taken by buffers where the session runs.
            let Some(device) = session.device_allocator() else { return Ok(()) };
            for tensor in &mut self.sides[self.current] {
                let (element_type, shape) = (*tensor.data_type(), tensor.shape().to_vec());
                *tensor = DynTensor::new(device, element_type, shape).map_err(|error| failed(&error))?;
            }
            self.bindings = [None, None];
            self.is_elsewhere = false;
        }
        self.current = written;
        Ok(())
    }

    /// Bytes of the values, once.
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }
}

fn as_tensor(value: DynValue, name: &str) -> Result<DynTensor, RunError> {
    value.downcast().map_err(|error| RunError::Input { name: name.to_owned(), reason: error.to_string() })
}

fn new_like(device: Option<&Allocator>, tensor: &Tensor) -> Result<DynTensor, ort::Error> {
    let element_type = value::to_ort(tensor.element_type());
    match device {
        Some(device) => DynTensor::new(device, element_type, shape_of(tensor)),
        None => DynTensor::new(&Allocator::default(), element_type, shape_of(tensor)),
    }
}
