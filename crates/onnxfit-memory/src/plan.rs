//! The allocation plan: which values get memory of their own, which reuse whose, and when each is
//! released.
//!
//! `core/framework/allocation_planner.cc` (ORT 1.31), sequential execution, one stream per device.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use onnxfit_base::NameHasher;
use onnxfit_onnx::DataType;

use crate::kernels;
use crate::program::{DeclaredDim, Node, NodeIdx, Place, Program, Value, ValueIdx, tensor_bytes};

/// How a value comes by its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocKind {
    /// Nothing produces it here, or nothing reads it: a hole.
    Absent,
    /// Fed by the caller or captured from an enclosing graph.
    Preexisting,
    /// A weight.
    Static,
    /// Memory of its own, freed after its last reader.
    Allocate,
    /// Memory of its own that the caller takes.
    Output,
    /// The memory of another value; follow [`Plan::buffer`].
    Reuse,
}

/// Why a value may share bytes with another; what a checker needs to accept it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseKind {
    /// The kernel's output *is* its input (Reshape).
    Alias,
    /// The kernel may overwrite its input, and this is the last use (Relu).
    InPlace,
    /// A buffer that nothing will read again.
    FreeList,
}

/// The plan of one program.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes in the order they run.
    pub order: Vec<NodeIdx>,
    /// How each value comes by its memory.
    pub kind: Vec<AllocKind>,
    /// The value whose memory each value uses; itself unless reused.
    pub buffer: Vec<ValueIdx>,
    /// Why a reused value may share.
    pub reuse: Vec<Option<ReuseKind>>,
    /// Where each value lies.
    pub place: Vec<Place>,
    /// By node: the buffers that are free once it has run.
    pub released_after: Vec<Vec<ValueIdx>>,
}

/// What a plan depends on besides the program.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// `enable_mem_reuse`; off, only the free list is unused.
    pub mem_reuse: bool,
    /// `ORT_PARALLEL`: no reuse of any kind.
    pub parallel: bool,
    /// Whether the program is the body of a `Loop`.
    pub in_loop: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { mem_reuse: true, parallel: false, in_loop: false }
    }
}

/// Plans a program. `streams` holds the nodes of each device in planned order; `order` is the
/// sequence in which they really run.
pub fn plan(
    program: &Program,
    order: Vec<NodeIdx>,
    streams: &[Vec<NodeIdx>],
    place: Vec<Place>,
    options: PlanOptions,
) -> Plan {
    let mut planner = Planner::new(program, order, place, options);
    for stream in streams {
        planner.plan_stream(stream);
    }
    planner.plan_releases();
    planner.plan
}

struct Planner<'a> {
    program: &'a Program,
    options: PlanOptions,
    plan: Plan,
    sizes: Vec<Option<ComparableSize<'a>>>,
    initial_use_counts: Vec<u32>,
    is_output: Vec<bool>,
    has_consumer: Vec<bool>,
    use_counts: Vec<u32>,
    /// Buffers that nothing will read again, by the key of their size and place, last freed last.
    free: HashMap<(u64, Place), Vec<ValueIdx>, BuildHasherDefault<NameHasher>>,
}

impl<'a> Planner<'a> {
    fn new(program: &'a Program, order: Vec<NodeIdx>, place: Vec<Place>, options: PlanOptions) -> Self {
        let n_values = program.values.len();
        let mut kind = vec![AllocKind::Absent; n_values];
        for value in program.inputs.iter().copied().chain(program.captured.iter().map(|capture| capture.inner)) {
            kind[value.index()] = AllocKind::Preexisting;
        }
        for weight in &program.weights {
            kind[weight.value.index()] = AllocKind::Static;
        }
        let mut is_output = vec![false; n_values];
        for output in &program.outputs {
            is_output[output.index()] = true;
        }
        let mut has_consumer = vec![false; n_values];
        for node in &program.nodes {
            for value in node.reads() {
                has_consumer[value.index()] = true;
            }
        }
        Self {
            options,
            plan: Plan {
                order,
                kind,
                buffer: (0..n_values).map(ValueIdx::new).collect(),
                reuse: vec![None; n_values],
                place,
                released_after: vec![Vec::new(); program.nodes.len()],
            },
            sizes: program.values.iter().map(ComparableSize::of).collect(),
            initial_use_counts: use_counts(program),
            is_output,
            has_consumer,
            use_counts: Vec::new(),
            free: HashMap::default(),
            program,
        }
    }

    /// Each stream starts with fresh counts, its own buffers and an empty free list.
    fn plan_stream(&mut self, stream: &[NodeIdx]) {
        self.use_counts.clone_from(&self.initial_use_counts);
        self.free.clear();
        let mut buffer: Vec<ValueIdx> = (0..self.program.values.len()).map(ValueIdx::new).collect();
        let program = self.program;
        for &index in stream {
            let node = program.node(index);
            for (position, output) in node.outputs.iter().enumerate() {
                if let Some(output) = *output {
                    self.plan_output(node, position, output, &mut buffer);
                }
            }
            for value in node.reads().chain(node.present_outputs()) {
                let owner = buffer[value.index()];
                let count = &mut self.use_counts[owner.index()];
                *count = count.wrapping_sub(1);
                if *count == 0 {
                    let place = self.plan.place[owner.index()];
                    if let Some(key) = self.key(owner) {
                        self.free.entry((key, place)).or_default().push(owner);
                    }
                }
            }
        }
    }

    fn plan_output(&mut self, node: &Node, position: usize, output: ValueIdx, buffer: &mut [ValueIdx]) {
        if self.is_output[output.index()] {
            self.plan.kind[output.index()] = AllocKind::Output;
            if let Some(input) = self.passed_on(node) {
                self.plan.kind[output.index()] = AllocKind::Reuse;
                self.plan.buffer[output.index()] = buffer[input.index()];
                self.plan.reuse[output.index()] = Some(ReuseKind::Alias);
            }
            return;
        }
        let reused = if self.options.parallel {
            None
        } else {
            self.reusable_input(node, position, output, buffer).or_else(|| {
                let tensor = self.program.value(output).is_tensor;
                (tensor && self.has_consumer[output.index()]).then(|| self.take_free(output)).flatten()
            })
        };
        match reused {
            Some((source, kind)) => {
                let owner = buffer[source.index()];
                buffer[output.index()] = owner;
                self.use_counts[owner.index()] += self.use_counts[output.index()];
                self.plan.kind[output.index()] = AllocKind::Reuse;
                self.plan.buffer[output.index()] = owner;
                self.plan.reuse[output.index()] = Some(kind);
            }
            None => self.plan.kind[output.index()] = AllocKind::Allocate,
        }
    }

    /// What a loop's body passes on as it came: not the iteration number, which the loop changes.
    fn passed_on(&self, node: &Node) -> Option<ValueIdx> {
        let is_identity = self.options.in_loop && node.domain.is_empty() && node.op_type.as_str() == "Identity";
        let input = node.input(0).filter(|_| is_identity)?;
        let changes = self.program.inputs.first() == Some(&input);
        (!changes && self.plan.kind[input.index()] == AllocKind::Preexisting).then_some(input)
    }

    /// `FindReusableInput`: an alias always, an in-place kernel when nobody else needs the input.
    fn reusable_input(
        &self,
        node: &Node,
        position: usize,
        output: ValueIdx,
        buffer: &[ValueIdx],
    ) -> Option<(ValueIdx, ReuseKind)> {
        let traits = kernels::traits_of(node);
        for &(from, to) in traits.alias {
            if let Some(input) = node.input(from).filter(|_| to == position) {
                return Some((input, ReuseKind::Alias));
            }
        }
        for &(from, to) in traits.may_in_place {
            if let Some(input) = node.input(from).filter(|_| to == position) {
                let last_use = self.use_counts[buffer[input.index()].index()] == 1;
                if last_use && self.same_size(input, output) {
                    return Some((input, ReuseKind::InPlace));
                }
            }
        }
        None
    }

    /// `FindReusableTensor`: the most recently freed buffer of the same size and place.
    fn take_free(&mut self, output: ValueIdx) -> Option<(ValueIdx, ReuseKind)> {
        if !self.options.mem_reuse || self.sizes[output.index()].as_ref().is_none_or(|size| size.dims.is_empty()) {
            return None;
        }
        let alike = (self.key(output)?, self.plan.place[output.index()]);
        let at = self.free.get(&alike)?.iter().rposition(|&free| self.same_size(free, output))?;
        let free = self.free.get_mut(&alike)?.remove(at);
        Some((free, ReuseKind::FreeList))
    }

    /// Equal for equal sizes; nothing for those that equal nothing.
    fn key(&self, value: ValueIdx) -> Option<u64> {
        self.sizes[value.index()].as_ref().and_then(|size| size.key)
    }

    fn same_size(&self, left: ValueIdx, right: ValueIdx) -> bool {
        match (&self.sizes[left.index()], &self.sizes[right.index()]) {
            (Some(left), Some(right)) => left.certainly_equals(right),
            _ => false,
        }
    }

    /// `GenerateDeallocationPlan`: an owned buffer dies after the last node that reads any value
    /// in it; one that nobody reads lives to the end of the run.
    fn plan_releases(&mut self) {
        let mut last_reader: Vec<Option<NodeIdx>> = vec![None; self.program.values.len()];
        for &node in &self.plan.order {
            for value in self.program.node(node).reads() {
                let owner = self.plan.buffer[value.index()];
                if self.plan.kind[owner.index()] == AllocKind::Allocate {
                    last_reader[owner.index()] = Some(node);
                }
            }
        }
        for (value, node) in last_reader.into_iter().enumerate() {
            if let Some(node) = node {
                self.plan.released_after[node.index()].push(ValueIdx::new(value));
            }
        }
    }
}

/// `ComputeReuseCount`: one for each definition and reader; one more for whatever outlives the run.
fn use_counts(program: &Program) -> Vec<u32> {
    let mut counts = vec![0_u32; program.values.len()];
    let outlives = program
        .inputs
        .iter()
        .copied()
        .chain(program.captured.iter().map(|capture| capture.inner))
        .chain(program.weights.iter().map(|weight| weight.value))
        .chain(program.outputs.iter().copied());
    let uses = program.nodes.iter().flat_map(|node| node.reads().chain(node.present_outputs()));
    for value in outlives.chain(uses) {
        counts[value.index()] += 1;
    }
    counts
}

/// What `SameSize` compares: bytes per element and the shape known at load.
#[derive(Clone, Debug)]
struct ComparableSize<'a> {
    /// Differs for most sizes that differ; `None` for a size that equals none, not even itself.
    key: Option<u64>,
    element_bytes: u64,
    dims: &'a [DeclaredDim],
}

impl<'a> ComparableSize<'a> {
    /// `None` for strings, non-tensors and unknown shapes, which equal nothing.
    fn of(value: &'a Value) -> Option<Self> {
        let element = value.element.filter(|&element| value.is_tensor && element != DataType::String)?;
        let (element_bytes, dims) = (tensor_bytes(element, 1)?, value.declared.as_deref()?);
        Some(Self { key: key_of(element_bytes, dims), element_bytes, dims })
    }

    fn certainly_equals(&self, other: &Self) -> bool {
        self.element_bytes == other.element_bytes
            && self.dims.len() == other.dims.len()
            && self.dims.iter().zip(other.dims).all(|(left, right)| match (left, right) {
                (DeclaredDim::Value(left), DeclaredDim::Value(right)) => left == right,
                (DeclaredDim::Symbol(left), DeclaredDim::Symbol(right)) => left == right && !left.is_empty(),
                _ => false,
            })
    }
}

/// The key of a size whose dimensions are all known by number or by name.
fn key_of(element_bytes: u64, dims: &[DeclaredDim]) -> Option<u64> {
    let mut hasher = NameHasher::default();
    hasher.write_u64(element_bytes);
    for dim in dims {
        match dim {
            DeclaredDim::Value(number) => hasher.write_u64(*number),
            DeclaredDim::Symbol(name) if !name.is_empty() => hasher.write(name.as_bytes()),
            DeclaredDim::Symbol(_) | DeclaredDim::Unknown => return None,
        }
    }
    Some(hasher.finish())
}
