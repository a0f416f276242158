//! Feeds and outputs that cross between host and device.
//!
//! `utils.cc:CopyInputsAcrossDevices`, `CopyOutputsAcrossDevices` (ORT 1.31).

use super::frame::STREAM;
use super::machine::{Held, Machine};
use super::{Compiled, Failure};
use crate::program::{Place, ValueIdx};
use crate::sizes::RunSizes;
use crate::trace::OwnerKind;

/// Feeds that the device reads are copied there and live to the end of the run.
pub(super) fn copy_in(compiled: &Compiled, sizes: &RunSizes, machine: &mut Machine) -> Result<Vec<Held>, Failure> {
    let mut feeds = Vec::new();
    if !machine.has_device() {
        return Ok(feeds);
    }
    for &input in &compiled.program.inputs {
        if compiled.plan.place[input.index()] != Place::Device {
            continue;
        }
        let owner = compiled.owner(OwnerKind::Feed, input, None);
        match machine.alloc(Place::Device, sizes.bytes(input), Some(STREAM), owner) {
            Ok(held) => feeds.push(held),
            Err(error) => {
                for feed in feeds {
                    machine.free(feed);
                }
                return Err(Failure { run: None, node: None, place: Place::Device, error });
            }
        }
    }
    Ok(feeds)
}

/// Device outputs are copied into host memory, then die.
pub(super) fn copy_out(
    compiled: &Compiled,
    sizes: &RunSizes,
    machine: &mut Machine,
    outputs: Vec<(ValueIdx, Held)>,
) -> Result<Vec<Held>, Failure> {
    let mut copies = Vec::new();
    let mut dying = Vec::new();
    let mut failure = None;
    for (value, held) in outputs {
        if held.place != Place::Device {
            copies.push(held);
            continue;
        }
        dying.push(held);
        let owner = compiled.owner(OwnerKind::OutputCopy, value, compiled.producers[value.index()]);
        match machine.alloc(Place::Host, sizes.bytes(value), None, owner) {
            Ok(copy) => copies.push(copy),
            Err(error) => failure = Some(Failure { run: None, node: None, place: Place::Host, error }),
        }
    }
    for held in dying {
        machine.free(held);
    }
    match failure {
        None => Ok(copies),
        Some(failure) => {
            for copy in copies {
                machine.free(copy);
            }
            Err(failure)
        }
    }
}
