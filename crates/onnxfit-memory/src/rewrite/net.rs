//! The graph while it is being rewritten: cheap to edit, with ONNX Runtime's own numbering.
//!
//! ONNX Runtime numbers nodes by their place in the file and gives a node made later the next free
//! number; the execution order depends on these numbers, so they are kept here. Producers and
//! readers of every value are up to date after each edit. One [`Net`] becomes one patch at the end.

mod edit;
mod emit;
mod read;
mod resolve;
mod topology;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use onnxfit_graph::{AttributeValue, Dim, Graph, NodeId, ValueId, ValueType};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, TensorSource};

use super::Provider;

pub(crate) use read::known_dim;

onnxfit_base::typed_id!(
    /// A node, by ONNX Runtime's index.
    OpId
);
onnxfit_base::typed_id!(
    /// A value (ONNX Runtime: `NodeArg`).
    ArgId
);

/// A graph under rewriting.
#[derive(Debug, Default)]
pub(crate) struct Net {
    ops: Vec<Option<Op>>,
    args: Vec<Arg>,
    names: HashMap<String, ArgId>,
    pub(crate) inputs: Vec<ArgId>,
    pub(crate) outputs: Vec<ArgId>,
    /// Versions of the operator sets.
    pub(crate) opsets: Arc<BTreeMap<String, i64>>,
    /// Whether an initializer that is also an input can be overridden (IR version 4 and later).
    pub(crate) overridable: bool,
    n_generated: usize,
    generated_op_names: HashSet<String>,
    /// Nodes whose inputs changed since shapes were inferred.
    dirty: Vec<bool>,
    /// The topological order, until an edge changes.
    order: RefCell<Option<Vec<OpId>>>,
}

/// A node.
#[derive(Debug, Default)]
pub(crate) struct Op {
    pub(crate) name: String,
    pub(crate) op_type: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<Option<ArgId>>,
    /// Values that the bodies capture.
    pub(crate) implicit: Vec<ArgId>,
    pub(crate) outputs: Vec<Option<ArgId>>,
    pub(crate) attributes: BTreeMap<String, AttributeValue>,
    /// Attributes that were changed or removed since the file was read.
    pub(crate) touched: Vec<String>,
    pub(crate) bodies: Vec<Body>,
    pub(crate) origin: Option<NodeId>,
    /// Where it runs; `None` before the graph is partitioned, or when no kernel fits.
    pub(crate) provider: Option<Provider>,
}

/// A subgraph of a node.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) attribute: String,
    pub(crate) index: usize,
    pub(crate) net: Net,
    /// What it was read from.
    pub(crate) source: Arc<Graph>,
}

/// A value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arg {
    pub(crate) name: String,
    pub(crate) elem: Option<DataType>,
    pub(crate) shape: Option<Vec<Dim>>,
    /// What the file declares, if it is no tensor.
    pub(crate) other: Option<ValueType>,
    /// The initializer behind it.
    pub(crate) constant: Option<Arc<TensorProto>>,
    /// The same initializer, if its bytes were read in from another file to look at them.
    pub(crate) read_in: Option<Arc<TensorProto>>,
    /// The initializer of a graph around this one that it captures.
    pub(crate) outer_constant: Option<Arc<TensorProto>>,
    pub(crate) is_input: bool,
    pub(crate) is_output: bool,
    pub(crate) is_captured: bool,
    pub(crate) producer: Option<(OpId, usize)>,
    pub(crate) uses: Vec<Use>,
    pub(crate) origin: Option<ValueId>,
    /// The content as far as ONNX Runtime's data propagation knows it, with its rank (0 or 1).
    pub(crate) known: Option<(Vec<i64>, u8)>,
}

/// One reading of a value: explicit inputs first, then captured ones (ONNX Runtime counts so).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) op: OpId,
    pub(crate) slot: usize,
}

impl Net {
    /// Reads a graph; `outer` tells the initializers and types of captured values later.
    pub(crate) fn from_graph(graph: &Graph, opsets: &Arc<BTreeMap<String, i64>>, overridable: bool) -> Self {
        let mut net = Self { opsets: opsets.clone(), overridable, ..Self::default() };
        net.args.reserve(graph.n_values());
        net.names.reserve(graph.n_values());
        net.ops.reserve(graph.node_capacity());
        for (id, value) in graph.values() {
            let mut arg = Arg {
                name: value.name.clone(),
                constant: value.tensor().cloned(),
                is_input: value.is_input,
                is_output: value.is_output,
                is_captured: value.is_captured,
                origin: Some(id),
                ..Arg::default()
            };
            match &value.ty {
                ValueType::Tensor(tensor) => {
                    arg.elem = tensor.element_type;
                    arg.shape = tensor.shape.clone();
                }
                ValueType::Unknown => {}
                other => arg.other = Some(other.clone()),
            }
            net.push_arg(arg);
        }
        net.inputs = graph.inputs().iter().map(|id| ArgId::new(id.index())).collect();
        net.outputs = graph.outputs().iter().map(|id| ArgId::new(id.index())).collect();
        let arg = |id: &Option<ValueId>| id.map(|id| ArgId::new(id.index()));
        let mut nodes: Vec<_> = graph.nodes().collect();
        nodes.sort_by_key(|(id, _)| *id);
        for (id, node) in nodes {
            // Ids are kept, so that "lower index" means the same here and in the file.
            while net.ops.len() < id.index() {
                net.ops.push(None);
                net.dirty.push(false);
            }
            if node.is("Constant") && net.absorb_constant(node) {
                net.ops.push(None);
                net.dirty.push(false);
                continue;
            }
            let mut op = Op {
                name: node.name.clone(),
                op_type: node.op_type.clone(),
                domain: node.domain.clone(),
                inputs: node.inputs.iter().map(arg).collect(),
                implicit: node.implicit_inputs.iter().map(|id| ArgId::new(id.index())).collect(),
                outputs: node.outputs.iter().map(arg).collect(),
                origin: Some(id),
                ..Op::default()
            };
            for attribute in &node.attributes {
                if attribute.graphs().is_empty() {
                    op.attributes.insert(attribute.name.clone(), attribute.value.clone());
                }
                for (index, inner) in attribute.graphs().iter().enumerate() {
                    let net = Self::from_graph(inner, opsets, overridable);
                    let source = Arc::new(inner.clone());
                    op.bodies.push(Body { attribute: attribute.name.clone(), index, net, source });
                }
            }
            net.push_op(op);
        }
        for arg in &mut net.args {
            if let Some(tensor) = &arg.constant {
                arg.elem = tensor.element_type().ok().or(arg.elem);
                arg.shape = Some(tensor.dims.iter().map(|dim| Dim::Known(*dim)).collect());
            }
        }
        net
    }

    /// Turns a `Constant` node into an initializer, as ONNX Runtime does on reading a graph
    /// (graph.cc, ORT 1.31).
    fn absorb_constant(&mut self, node: &onnxfit_graph::Node) -> bool {
        let Some(output) = node.output(0) else { return false };
        let Some(tensor) = super::constant_node::tensor(node) else { return false };
        let arg = &mut self.args[output.index()];
        arg.constant = Some(Arc::new(tensor));
        true
    }

    fn push_arg(&mut self, arg: Arg) -> ArgId {
        let id = ArgId::new(self.args.len());
        // A removed value may have left its name to another one.
        self.names.insert(arg.name.clone(), id);
        self.args.push(arg);
        id
    }

    /// A node that is there.
    ///
    /// # Panics
    /// If it was removed.
    pub(crate) fn op(&self, id: OpId) -> &Op {
        self.ops[id.index()].as_ref().expect("only live nodes are looked up")
    }

    pub(crate) fn op_mut(&mut self, id: OpId) -> &mut Op {
        self.ops[id.index()].as_mut().expect("only live nodes are looked up")
    }

    /// Takes a node out of a graph that is about to be dropped.
    pub(crate) fn take_op(&mut self, id: OpId) -> Op {
        self.ops[id.index()].take().expect("only live nodes are looked up")
    }

    /// A node, if it was not removed.
    pub(crate) fn get(&self, id: OpId) -> Option<&Op> {
        self.ops.get(id.index()).and_then(Option::as_ref)
    }

    /// The live nodes by index.
    pub(crate) fn ids(&self) -> impl Iterator<Item = OpId> + '_ {
        self.ops.iter().enumerate().filter(|(_, op)| op.is_some()).map(|(index, _)| OpId::new(index))
    }

    pub(crate) fn arg(&self, id: ArgId) -> &Arg {
        &self.args[id.index()]
    }

    pub(crate) fn arg_mut(&mut self, id: ArgId) -> &mut Arg {
        &mut self.args[id.index()]
    }

    pub(crate) fn arg_ids(&self) -> impl Iterator<Item = ArgId> + use<> {
        (0..self.args.len()).map(ArgId::new)
    }

    pub(crate) fn arg_named(&self, name: &str) -> Option<ArgId> {
        self.names.get(name).copied()
    }

    /// The version of ONNX's own operator set.
    pub(crate) fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(1)
    }
}

impl Net {
    /// Reads external tensors up to a size, so that shape computations can be followed.
    pub(crate) fn read_small_constants(&mut self, weights: &dyn TensorSource, bytes_max: u64) {
        for arg in &mut self.args {
            let Some(tensor) = &arg.constant else { continue };
            let is_small = tensor.is_external() && tensor.size_bytes().is_ok_and(|bytes| bytes.get() <= bytes_max);
            if let Some(Ok(bytes)) = is_small.then(|| weights.tensor_bytes(tensor)) {
                let mut inline = (**tensor).clone();
                inline.set_raw(bytes);
                arg.constant = Some(Arc::new(inline));
                arg.read_in = arg.constant.clone();
            }
        }
        for op in self.ops.iter_mut().flatten() {
            for body in &mut op.bodies {
                body.net.read_small_constants(weights, bytes_max);
            }
        }
    }
}
