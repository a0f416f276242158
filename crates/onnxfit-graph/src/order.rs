//! A topological order that keeps the file's order wherever it may.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::graph::Graph;
use crate::node::NodeId;

impl Graph {
    /// The nodes so that each comes after all it reads; ties keep the file's order.
    ///
    /// # Errors
    /// The nodes that wait for each other, if there is a cycle.
    pub fn topological_order(&self) -> Result<Vec<NodeId>, Vec<NodeId>> {
        if self.is_sorted() {
            return Ok(self.order.clone());
        }
        let mut position = vec![usize::MAX; self.node_capacity()];
        for (at, id) in self.order.iter().enumerate() {
            position[id.index()] = at;
        }
        let producers = |id: NodeId| -> BTreeSet<NodeId> {
            let node = self.node(id);
            let values = node.inputs.iter().flatten().chain(&node.implicit_inputs);
            values.filter_map(|value| self.value(*value).producer.map(|(producer, _)| producer)).collect()
        };
        let mut n_waiting = vec![0usize; self.node_capacity()];
        let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); self.node_capacity()];
        let mut ready = BinaryHeap::new();
        for id in &self.order {
            let before = producers(*id);
            n_waiting[id.index()] = before.len();
            if before.is_empty() {
                ready.push(Reverse(position[id.index()]));
            }
            for producer in before {
                readers[producer.index()].push(*id);
            }
        }
        let mut sorted = Vec::with_capacity(self.order.len());
        while let Some(Reverse(at)) = ready.pop() {
            let id = self.order[at];
            sorted.push(id);
            for reader in &readers[id.index()] {
                n_waiting[reader.index()] -= 1;
                if n_waiting[reader.index()] == 0 {
                    ready.push(Reverse(position[reader.index()]));
                }
            }
        }
        if sorted.len() == self.order.len() {
            Ok(sorted)
        } else {
            Err(self.order.iter().copied().filter(|id| n_waiting[id.index()] > 0).collect())
        }
    }

    /// Whether each node of the file already comes after all it reads.
    pub fn is_sorted(&self) -> bool {
        let mut seen = vec![false; self.node_capacity()];
        self.order.iter().all(|id| {
            let node = self.node(*id);
            let mut values = node.inputs.iter().flatten().chain(&node.implicit_inputs);
            let ready =
                values.all(|value| self.value(*value).producer.is_none_or(|(producer, _)| seen[producer.index()]));
            seen[id.index()] = true;
            ready
        })
    }

    /// The nodes that some graph output depends on.
    pub fn reachable_from_outputs(&self) -> BTreeSet<NodeId> {
        let mut reached = BTreeSet::new();
        let mut stack: Vec<NodeId> =
            self.outputs().iter().filter_map(|value| self.value(*value).producer.map(|(id, _)| id)).collect();
        while let Some(id) = stack.pop() {
            if reached.insert(id) {
                let node = self.node(id);
                let values = node.inputs.iter().flatten().chain(&node.implicit_inputs);
                stack.extend(values.filter_map(|value| self.value(*value).producer.map(|(producer, _)| producer)));
            }
        }
        reached
    }
}
