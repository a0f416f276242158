//! A teacher beside a student, in one model.
//!
//! Both read the same inputs. The teacher's values are there under names that begin with
//! [`TEACHER`], to be targets of a loss; only the student is trained. What the teacher computes is
//! not kept for the way back.

use std::collections::BTreeSet;

use bytes::Bytes;
use onnxfit_graph::Model;
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{TensorError, TensorSource};

use crate::error::TrainError;
use crate::lift::lift;
use crate::rename::rename;

/// What the names of the teacher's values begin with.
pub const TEACHER: &str = "teacher/";

/// One model that computes what both compute. Inputs of the same name are shared; the outputs are
/// the student's.
pub fn join(teacher: &Model, student: &Model) -> Result<Model, TrainError> {
    let (teacher, student) = (lift(teacher)?, lift(student)?);
    for (domain, version) in teacher.opset_imports() {
        let own = student.opset_imports().get(domain);
        if own.is_some_and(|own| own != version) {
            let name = if domain.is_empty() { "ai.onnx" } else { domain };
            return Err(TrainError::Model(format!(
                "teacher and student use versions {version} and {} of `{name}`",
                student.opset(domain)
            )));
        }
    }
    let mut proto = student.to_proto();
    let mut graph = proto.graph.take().unwrap_or_default();
    let mut guest = teacher.to_proto().graph.unwrap_or_default();
    let stored: BTreeSet<&str> = guest.initializer.iter().map(TensorProto::name).collect();
    let own: BTreeSet<String> = graph.input.iter().map(|info| info.name().to_owned()).collect();
    let fed: Vec<_> = guest.input.iter().filter(|info| !stored.contains(info.name())).cloned().collect();
    let shared: BTreeSet<String> = fed.iter().map(|info| info.name().to_owned()).collect();
    graph.input.extend(fed.into_iter().filter(|info| !own.contains(info.name())));
    rename(&mut guest, &|name: &mut String| {
        if !name.is_empty() && !shared.contains(name.as_str()) {
            name.insert_str(0, TEACHER);
        }
    })?;
    graph.initializer.extend(guest.initializer);
    graph.sparse_initializer.extend(guest.sparse_initializer);
    graph.value_info.extend(guest.value_info);
    // The teacher first, so that its activations are gone before the student's are made.
    guest.node.extend(std::mem::take(&mut graph.node));
    graph.node = guest.node;
    let mut joined = Model::from_proto(&ModelProto { graph: Some(graph), ..proto })?;
    for (domain, version) in teacher.opset_imports() {
        joined.import_opset(domain, *version);
    }
    Ok(joined)
}

/// The weights of a joined model: the teacher's from one place, the student's from another.
pub struct JoinedWeights<'a> {
    /// Where the teacher's bytes are.
    pub teacher: &'a dyn TensorSource,
    /// Where the student's are.
    pub student: &'a dyn TensorSource,
}

impl JoinedWeights<'_> {
    fn of(&self, tensor: &TensorProto) -> &dyn TensorSource {
        if tensor.name().starts_with(TEACHER) { self.teacher } else { self.student }
    }
}

impl TensorSource for JoinedWeights<'_> {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Bytes, TensorError> {
        self.of(tensor).tensor_bytes(tensor)
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        self.of(tensor).check(tensor)
    }
}
