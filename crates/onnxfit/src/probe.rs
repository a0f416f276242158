//! Looks at the values inside a model: copies of it with some of its values as further outputs.
//!
//! The copies share one data file, and no copy gives back more than a bounded number of bytes.

use std::path::{Path, PathBuf};

use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::{ModelProto, ValueInfoProto};
use onnxfit_onnx::{ModelFile, SaveOptions, TensorSource, save};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{OptimizationLevel, SessionSpec, Tensors};
use prost::Message as _;

use crate::Error;
use crate::verify::runtime_error;

/// A model on the disk whose values can be looked at.
#[derive(Debug)]
pub(crate) struct Probe {
    path: PathBuf,
    proto: ModelProto,
}

impl Probe {
    /// Writes a model, its weights in a file of their own.
    pub(crate) fn write(model: &GraphModel, source: &dyn TensorSource, path: &Path) -> Result<Self, Error> {
        let options = SaveOptions { force_external: true, ..SaveOptions::new(source) };
        save(&model.to_proto(), path, &options)?;
        Ok(Self { path: path.to_owned(), proto: ModelFile::open(path)?.proto.clone() })
    }

    /// The model itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that its weights lie in.
    pub(crate) fn desk(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// What is on the disk.
    pub(crate) fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// What the copies that are opened are made of.
    pub(crate) fn proto_mut(&mut self) -> &mut ModelProto {
        &mut self.proto
    }

    /// Opens a copy that gives back these values instead of its outputs. Nothing is fused, so that
    /// every value is really made.
    pub(crate) fn open(&self, client: &mut Client, library: &Path, values: &[&str]) -> Result<(), Error> {
        let mut proto = self.proto.clone();
        if let Some(graph) = &mut proto.graph {
            let declared = std::mem::take(&mut graph.output);
            graph.output = values
                .iter()
                .map(|name| {
                    let known = declared.iter().find(|output| output.name() == *name).cloned();
                    known.unwrap_or_else(|| ValueInfoProto { name: Some((*name).to_owned()), ..Default::default() })
                })
                .collect();
        }
        let path = self.path.with_extension("probe.onnx");
        std::fs::write(&path, proto.encode_to_vec()).map_err(|source| Error::Io {
            action: "write",
            path: path.clone(),
            source,
        })?;
        let spec = SessionSpec { optimization: OptimizationLevel::Disable, ..SessionSpec::new(&path) };
        client.open(library, &spec).map_err(runtime_error)?;
        Ok(())
    }

    /// The values of one run.
    pub(crate) fn run(client: &mut Client, inputs: &Tensors) -> Result<Tensors, Error> {
        Ok(client.run(inputs).map_err(runtime_error)?.outputs)
    }
}

/// Groups names so that no group's values take more than `most_bytes` together, if it can be
/// helped.
pub(crate) fn groups<'a>(values: &[(&'a str, u64)], most_bytes: u64) -> Vec<Vec<&'a str>> {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    let mut taken = u64::MAX;
    for (name, bytes) in values {
        match groups.last_mut() {
            Some(group) if taken.saturating_add(*bytes) <= most_bytes => {
                group.push(name);
                taken += bytes;
            }
            _ => {
                groups.push(vec![name]);
                taken = *bytes;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_stays_within_its_bytes_unless_one_value_alone_does_not() {
        let values = [("a", 3), ("b", 7), ("c", 1), ("d", 50), ("e", 2)];
        assert_eq!(groups(&values, 10), [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
        assert!(groups(&[], 10).is_empty());
    }
}
