//! The order in which ONNX Runtime walks the nodes.
//!
//! `Graph::ReverseDFSFrom` (graph.cc, ORT 1.31): depth first from the leaves, the last leaf first,
//! producers with the largest index first.

use super::{Net, OpId};

impl Net {
    /// The live nodes, each after all it reads.
    pub(crate) fn topological_order(&self) -> Vec<OpId> {
        self.order.borrow_mut().get_or_insert_with(|| self.sorted()).clone()
    }

    /// An edge changed: the order must be found anew.
    pub(super) fn forget_order(&mut self) {
        *self.order.get_mut() = None;
    }

    fn sorted(&self) -> Vec<OpId> {
        let n_ops = self.ops.len();
        let mut order = Vec::with_capacity(n_ops);
        let mut visited = vec![false; n_ops];
        let mut stack: Vec<(OpId, bool)> = Vec::with_capacity(n_ops);
        stack.extend(self.ids().filter(|id| !self.has_output_edges(*id)).map(|id| (id, false)));
        let mut producers: Vec<OpId> = Vec::new();
        while let Some((id, leaving)) = stack.pop() {
            if leaving {
                order.push(id);
                continue;
            }
            if std::mem::replace(&mut visited[id.index()], true) {
                continue;
            }
            stack.push((id, true));
            producers.clear();
            let op = self.op(id);
            for arg in op.inputs.iter().flatten().chain(&op.implicit) {
                if let Some((producer, _)) = self.args[arg.index()].producer {
                    producers.push(producer);
                }
            }
            producers.sort_unstable();
            stack.extend(producers.iter().filter(|id| !visited[id.index()]).map(|id| (*id, false)));
        }
        order
    }
}
