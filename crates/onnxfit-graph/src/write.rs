//! From a graph back to a file.

use onnxfit_onnx::proto::{GraphProto, NodeProto, ValueInfoProto};

use crate::graph::{Graph, ValueInfo};
use crate::node::Node;
use crate::types::ValueType;
use crate::value::{Constant, ValueId};

impl Graph {
    /// The graph as a file has it: nodes in file order, everything else as it was read.
    pub fn to_proto(&self) -> GraphProto {
        let mut proto = GraphProto {
            node: self.order.iter().map(|id| self.node_to_proto(self.node(*id))).collect(),
            name: Some(self.name.clone()),
            doc_string: self.rest.doc_string.clone(),
            input: self.inputs.iter().map(|id| self.info(*id)).collect(),
            output: self.outputs.iter().map(|id| self.info(*id)).collect(),
            quantization_annotation: self.rest.quantization_annotation.clone(),
            metadata_props: self.rest.metadata_props.clone(),
            ..GraphProto::default()
        };
        for id in &self.initializers {
            match &self.value(*id).constant {
                Some(Constant::Dense(tensor)) => proto.initializer.push((**tensor).clone()),
                Some(Constant::Sparse(tensor)) => proto.sparse_initializer.push((**tensor).clone()),
                None => {}
            }
        }
        let infos = self.value_infos.iter().filter_map(|info| match info {
            ValueInfo::Stray(info) => Some(info.clone()),
            ValueInfo::Of(id) => {
                let value = self.value(*id);
                let live = value.producer.is_some() || value.constant.is_some();
                (live && !value.is_input && !value.is_output).then(|| self.info(*id))
            }
        });
        proto.value_info = infos.collect();
        proto
    }

    fn info(&self, id: ValueId) -> ValueInfoProto {
        let value = self.value(id);
        match &value.info {
            Some(info) => info.clone(),
            None => ValueInfoProto {
                name: Some(value.name.clone()),
                r#type: (value.ty != ValueType::Unknown).then(|| value.ty.to_proto()),
                ..ValueInfoProto::default()
            },
        }
    }

    fn node_to_proto(&self, node: &Node) -> NodeProto {
        let names = |values: &[Option<ValueId>]| {
            values.iter().map(|value| value.map_or_else(String::new, |id| self.value(id).name.clone())).collect()
        };
        let domain = match &node.rest.domain_written {
            Some(written) if written == &node.domain || (written == "ai.onnx" && node.domain.is_empty()) => {
                Some(written.clone())
            }
            _ => (!node.domain.is_empty()).then(|| node.domain.clone()),
        };
        NodeProto {
            input: names(&node.inputs),
            output: names(&node.outputs),
            name: (node.rest.name_written || !node.name.is_empty()).then(|| node.name.clone()),
            op_type: Some(node.op_type.clone()),
            attribute: node.attributes.iter().map(|attribute| attribute.to_proto()).collect(),
            doc_string: node.rest.doc_string.clone(),
            domain,
            overload: node.rest.overload.clone(),
            metadata_props: node.rest.metadata_props.clone(),
            device_configurations: node.rest.device_configurations.clone(),
        }
    }
}
