//! Memory over a session: who is alive at every step of load and runs.
//!
//! A step is one node of one run, at the moment of it when most is in use; a phase begins with a
//! step of its own. At every step, the bytes of the tensors alive there and [`StepView::gap_bytes`]
//! sum to [`StepView::in_use_bytes`] exactly.

use crate::Size;

/// The course of one arena over load and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineView {
    /// What is drawn, as `device memory`.
    pub place: &'static str,
    /// Held by the process besides the arena: context, code, handles.
    pub besides_bytes: Size,
    /// What the process may take in all; `None` for no limit.
    pub budget_bytes: Option<Size>,
    /// Load and runs, in order; a run equal to the one before it is left out.
    pub phases: Vec<PhaseView>,
    /// The nodes, each once.
    pub nodes: Vec<NodeView>,
    /// The steps, in order.
    pub steps: Vec<StepView>,
    /// The tensors, by their first step.
    pub tensors: Vec<TensorView>,
    /// The step at which most is in use.
    pub peak_step: usize,
    /// The step that fails on the target.
    pub failed_step: Option<usize>,
    /// Nodes that one step stands for where a run has too many to draw.
    pub nodes_per_step: usize,
}

/// A part of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseView {
    /// As `load` or `run 2`.
    pub name: String,
    /// Its first step.
    pub first_step: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op_type: String,
}

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepView {
    /// Index of the node; `None` for load and for the beginning of a run.
    pub node: Option<usize>,
    /// Most bytes in use during the step.
    pub in_use_bytes: Size,
    /// What the arena holds.
    pub held_bytes: Size,
    /// Bytes of a memory pattern's block that no tensor occupies.
    pub gap_bytes: Size,
}

/// One tensor, from the first to the last step at which it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorView {
    /// Its name, or what the memory is for.
    pub name: String,
    /// As `weight` or `activation`.
    pub kind: &'static str,
    /// Index of the node that made it.
    pub node: Option<usize>,
    /// What it takes.
    pub bytes: Size,
    /// The first step.
    pub first_step: usize,
    /// The last step, included.
    pub last_step: usize,
}

impl TimelineView {
    /// The tensors alive at a step.
    pub fn alive(&self, step: usize) -> impl Iterator<Item = &TensorView> {
        self.tensors.iter().filter(move |tensor| tensor.first_step <= step && step <= tensor.last_step)
    }
}
