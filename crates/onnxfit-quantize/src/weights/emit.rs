//! Writes a choice into the model.

use std::sync::{Arc, Mutex};

use onnxfit_graph::{AttributeValue, Graph, Model, NewNode, NodeId, Patch, Place, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::pack::Grid;
use super::pieces::{Form, Job, Part, Pieces};
use super::site::{Kind, Step};
use super::{WeightOnly, WeightOutcome};
use crate::QuantizeError;
use crate::layer::{Choice, Level, level_of};

/// ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";
/// The first version in which `DequantizeLinear` has an axis.
const OPSET_WITH_AXIS: i64 = 13;

struct Emitter<'a> {
    only: &'a WeightOnly<'a>,
    pieces: Pieces,
    uses_microsoft: bool,
    transient_bytes: u64,
}

pub(super) fn emit(only: &WeightOnly<'_>, choice: &Choice) -> Result<WeightOutcome, QuantizeError> {
    let mut emitter = Emitter { only, pieces: Pieces::default(), uses_microsoft: false, transient_bytes: 0 };
    let changed: Vec<(usize, Level)> = (0..only.sites.len())
        .map(|index| (index, level_of(choice, &only.sites[index].name)))
        .filter(|(_, level)| *level < Level::Float)
        .collect();
    let patch = emitter.graph(&only.model.graph, &[], &changed)?;
    let mut model: Model = only.model.clone();
    model.graph.apply(&patch)?;
    if emitter.uses_microsoft {
        model.import_opset(MICROSOFT, 1);
    }
    Ok(WeightOutcome { model, pieces: emitter.pieces, transient_bytes: emitter.transient_bytes })
}

impl Emitter<'_> {
    /// The change of one graph and the bodies in it.
    fn graph(&mut self, graph: &Graph, path: &[Step], changed: &[(usize, Level)]) -> Result<Patch, QuantizeError> {
        let mut patch = Patch::new(graph, "weight-only");
        let mut below: Vec<Step> = Vec::new();
        for (index, level) in changed {
            let site = &self.only.sites[*index];
            if site.path == path {
                self.site(graph, &mut patch, *index, *level)?;
            } else if let Some(step) = site.path.get(path.len())
                && site.path.starts_with(path)
                && !below.contains(step)
            {
                below.push(step.clone());
            }
        }
        for step in below {
            let node = graph.node(step.node);
            let mut bodies = node.subgraphs().filter(|(attribute, _)| *attribute == step.attribute);
            let Some((_, body)) = bodies.nth(step.index) else { continue };
            let inner = self.graph(body, &[path, std::slice::from_ref(&step)].concat(), changed)?;
            patch.subgraph(step.node, &step.attribute, step.index, inner);
        }
        Ok(patch)
    }

    fn site(&mut self, graph: &Graph, patch: &mut Patch, index: usize, level: Level) -> Result<(), QuantizeError> {
        let site = &self.only.sites[index];
        match (site.kind, level) {
            (Kind::Product { .. }, Level::Int4 | Level::Int8) => self.product(graph, patch, index, level),
            (Kind::Table, _) => self.table(graph, patch, index, level),
            _ => self.whole(graph, patch, index, level),
        }
    }

    fn job(&self, index: usize, level: Level) -> Arc<Job> {
        let site = &self.only.sites[index];
        if let Some(job) = self.only.jobs.borrow().get(&(index, level)) {
            return job.clone();
        }
        let form = match (level, site.product()) {
            (Level::Half, _) => Form::Half,
            (Level::Int4 | Level::Int8, Some((n_inputs, n_outputs))) => Form::Product {
                grid: self.grid(level, n_inputs),
                n_inputs,
                n_outputs,
                is_turned: site.kind == Kind::Product { is_turned: true },
                factor: self.only.factors.get(&site.name).cloned(),
            },
            _ => {
                let axis = match site.kind {
                    Kind::Whole { axis } => axis,
                    _ => 0,
                };
                Form::Channels { dims: site.dims.clone(), axis }
            }
        };
        let done = self.only.options.keep.then(|| Mutex::new(None));
        let job = Arc::new(Job { tensor: site.tensor.clone(), form, done });
        self.only.jobs.borrow_mut().insert((index, level), job.clone());
        job
    }

    /// A block is no longer than the axis, rounded up to a power of two. Eight bits are so much finer
    /// that four times as many may share a scale.
    fn grid(&self, level: Level, n_inputs: usize) -> Grid {
        let (bits, length) = if level == Level::Int4 { (4, 1) } else { (8, 4) };
        let block = self.only.options.block_size.saturating_mul(length).next_power_of_two();
        Grid { bits, block: block.min(n_inputs.next_power_of_two()).max(16) }
    }

    /// A new initializer that is a part of a weight.
    fn tensor(
        &mut self,
        patch: &mut Patch,
        job: &Arc<Job>,
        part: Part,
        name: &str,
        data_type: DataType,
        dims: &[usize],
    ) -> Result<ValueId, QuantizeError> {
        let dims = dims.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let mut tensor = TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(data_type.number()),
            dims,
            ..TensorProto::default()
        };
        self.pieces.point(job, part, &mut tensor)?;
        Ok(patch.add_initializer(tensor))
    }

    /// Takes the float weight away; what is called so is free to be made by a node.
    fn remove(graph: &Graph, patch: &mut Patch, value: ValueId) {
        match graph.producer(value) {
            Some((node, _)) => patch.remove_node(node),
            None => patch.remove_initializer(value),
        }
    }

    /// `DequantizeLinear` or `Cast` in the weight's place, under the weight's name.
    fn whole(&mut self, graph: &Graph, patch: &mut Patch, index: usize, level: Level) -> Result<(), QuantizeError> {
        let only = self.only;
        let site = &only.sites[index];
        let job = self.job(index, level);
        let name = &graph.value(site.value).name;
        Self::remove(graph, patch, site.value);
        self.transient_bytes = self.transient_bytes.max(4 * site.dims.iter().product::<usize>() as u64);
        let node = if level == Level::Half {
            let half = format!("{name}_half");
            let small = self.tensor(patch, &job, Part::Main, &half, DataType::Float16, &site.dims)?;
            let to = AttributeValue::Int(DataType::Float.number().into());
            NewNode::new("Cast", name, &[small], &[site.value]).with("to", to)
        } else {
            let axis = match site.kind {
                Kind::Whole { axis } => axis,
                // A product's weight at eight bits is no case of this.
                _ => 0,
            };
            let n_channels = [site.dims[axis]];
            let int = self.tensor(patch, &job, Part::Main, &format!("{name}_int8"), DataType::Int8, &site.dims)?;
            let scales = format!("{name}_scale");
            let scale = self.tensor(patch, &job, Part::Scales, &scales, DataType::Float, &n_channels)?;
            let zeros = format!("{name}_zero_point");
            let zero = self.tensor(patch, &job, Part::ZeroPoints, &zeros, DataType::Int8, &n_channels)?;
            let mut node = NewNode::new("DequantizeLinear", name, &[int, scale, zero], &[site.value]);
            if only.model.opset("") < OPSET_WITH_AXIS {
                node.domain = MICROSOFT.to_owned();
                self.uses_microsoft = true;
            }
            node.with("axis", AttributeValue::Int(axis as i64))
        };
        patch.add_node(Place::Start, node);
        Ok(())
    }

    /// The rows that are found are scaled, the table is not.
    fn table(&mut self, graph: &Graph, patch: &mut Patch, index: usize, level: Level) -> Result<(), QuantizeError> {
        let only = self.only;
        let site = &only.sites[index];
        let job = self.job(index, level);
        let name = graph.value(site.value).name.clone();
        let is_half = level == Level::Half;
        let (suffix, data_type) = if is_half { ("half", DataType::Float16) } else { ("int8", DataType::Int8) };
        let small = self.tensor(patch, &job, Part::Main, &format!("{name}_{suffix}"), data_type, &site.dims)?;
        let scale = if is_half {
            None
        } else {
            let mut dims = vec![1; site.dims.len()];
            dims[0] = site.dims[0];
            Some(self.tensor(patch, &job, Part::Scales, &format!("{name}_scale"), DataType::Float, &dims)?)
        };
        for reader in &graph.value(site.value).uses {
            let node = graph.node(reader.node);
            let (Some(ids), Some(output)) = (node.input(1), node.output(0)) else { continue };
            let result = graph.value(output).name.clone();
            let mut fresh = |suffix: &str| patch.add_value(&format!("{result}_{suffix}"), ValueType::Unknown);
            let (found, float) = (fresh("found"), fresh("found_float"));
            let to = AttributeValue::Int(DataType::Float.number().into());
            let gather = NewNode::new("Gather", &format!("{result}_found"), &[small, ids], &[found]);
            let last = if scale.is_some() { float } else { output };
            let cast = NewNode::new("Cast", &format!("{result}_float"), &[found], &[last]).with("to", to);
            let place = Place::After(reader.node);
            if let Some(scale) = scale {
                let scales = patch.add_value(&format!("{result}_scales"), ValueType::Unknown);
                let gathered = NewNode::new("Gather", &format!("{result}_scales"), &[scale, ids], &[scales]);
                let scaled = NewNode::new("Mul", &result, &[float, scales], &[output]);
                Self::in_place(patch, place, [gather, cast, gathered, scaled]);
            } else {
                Self::in_place(patch, place, [gather, cast]);
            }
            patch.remove_node(reader.node);
        }
        Self::remove(graph, patch, site.value);
        Ok(())
    }

    /// In this order, after a node.
    fn in_place<const N: usize>(patch: &mut Patch, place: Place, nodes: [NewNode; N]) -> NodeId {
        let mut place = place;
        let mut last = None;
        for node in nodes {
            let id = patch.add_node(place, node);
            place = Place::After(id);
            last = Some(id);
        }
        last.expect("there is at least one node")
    }

    fn product(&mut self, graph: &Graph, patch: &mut Patch, index: usize, level: Level) -> Result<(), QuantizeError> {
        let only = self.only;
        let site = &only.sites[index];
        let Some((n_inputs, n_outputs)) = site.product() else { return Ok(()) };
        let job = self.job(index, level);
        let name = graph.value(site.value).name.clone();
        let grid = self.grid(level, n_inputs);
        let bits = grid.bits;
        let n_blocks = n_inputs.div_ceil(grid.block);
        let dims = [n_outputs, n_blocks, grid.bytes_per_block()];
        let int = self.tensor(patch, &job, Part::Main, &format!("{name}_int{bits}"), DataType::Uint8, &dims)?;
        let scales = [n_outputs * n_blocks];
        let scale = self.tensor(patch, &job, Part::Scales, &format!("{name}_scale"), DataType::Float, &scales)?;
        let mut read = vec![int, scale];
        if bits == 4 {
            let dims = [n_outputs * n_blocks.div_ceil(2)];
            read.push(self.tensor(patch, &job, Part::ZeroPoints, &format!("{name}_zero"), DataType::Uint8, &dims)?);
        }
        for reader in &graph.value(site.value).uses {
            let node = graph.node(reader.node);
            let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { continue };
            let result = graph.value(output).name.clone();
            let bias = node.input(2).filter(|_| node.is("Gemm"));
            let made = match bias {
                Some(_) => patch.add_value(&format!("{result}_product"), ValueType::Unknown),
                None => output,
            };
            let inputs: Vec<ValueId> = [input].into_iter().chain(read.iter().copied()).collect();
            let label =
                if bias.is_some() { format!("{result}_product") } else { graph.node_label(reader.node).to_owned() };
            let mut product = NewNode::new("MatMulNBits", &label, &inputs, &[made])
                .with("K", AttributeValue::Int(n_inputs as i64))
                .with("N", AttributeValue::Int(n_outputs as i64))
                .with("bits", AttributeValue::Int(bits.into()))
                .with("block_size", AttributeValue::Int(grid.block as i64));
            product.domain = MICROSOFT.to_owned();
            let place = Place::After(reader.node);
            match bias {
                Some(bias) => {
                    let add = NewNode::new("Add", graph.node_label(reader.node), &[made, bias], &[output]);
                    Self::in_place(patch, place, [product, add])
                }
                None => patch.add_node(place, product),
            };
            patch.remove_node(reader.node);
        }
        self.uses_microsoft = true;
        Self::remove(graph, patch, site.value);
        Ok(())
    }
}
