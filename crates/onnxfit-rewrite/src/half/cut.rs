//! The cheapest way to tell two kinds of nodes apart: a minimum cut (Dinic's algorithm).
//!
//! A variable takes one of two sides. Being on the far side forfeits its reward; a net whose
//! members are on both sides costs its weight once, however many members there are. Among equally
//! cheap answers the one with the most variables on the near side is returned.

/// "Never cut this"; larger than any sum of costs that can occur.
const NEVER: u64 = 1 << 60;
/// Rounds of breadth-first search; Dinic's own bound is the number of vertices, real models need
/// tens.
const N_ROUNDS_MAX: usize = 10_000;

/// A problem under construction. Vertices 0 and 1 are the near and the far side.
#[derive(Clone, Debug, Default)]
pub(super) struct CutProblem {
    heads: Vec<Vec<usize>>,
    edges: Vec<Edge>,
    n_variables: usize,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    to: usize,
    capacity: u64,
}

const NEAR: usize = 0;
const FAR: usize = 1;

impl CutProblem {
    /// `n_variables` free variables.
    pub(super) fn new(n_variables: usize) -> Self {
        Self { heads: vec![Vec::new(); n_variables + 2], edges: Vec::new(), n_variables }
    }

    fn edge(&mut self, from: usize, to: usize, capacity: u64) {
        self.heads[from].push(self.edges.len());
        self.edges.push(Edge { to, capacity });
        self.heads[to].push(self.edges.len());
        self.edges.push(Edge { to: from, capacity: 0 });
    }

    /// What is lost when the variable ends on the far side.
    pub(super) fn reward(&mut self, variable: usize, reward: u64) {
        self.edge(NEAR, variable + 2, reward.min(NEVER / 4));
    }

    /// The variable must end on the near side.
    pub(super) fn fix_near(&mut self, variable: usize) {
        self.edge(NEAR, variable + 2, NEVER);
    }

    /// The variable must end on the far side.
    pub(super) fn fix_far(&mut self, variable: usize) {
        self.edge(variable + 2, FAR, NEVER);
    }

    /// The variables must end on one side.
    pub(super) fn tie(&mut self, one: usize, other: usize) {
        self.edge(one + 2, other + 2, NEVER);
        self.edge(other + 2, one + 2, NEVER);
    }

    /// Costs `cost` once unless all members are on one side.
    pub(super) fn net(&mut self, members: &[usize], cost: u64) {
        let cost = cost.clamp(1, NEVER / 1024);
        if let [one, other] = members {
            self.edge(one + 2, other + 2, cost);
            self.edge(other + 2, one + 2, cost);
            return;
        }
        let (entry, exit) = (self.heads.len(), self.heads.len() + 1);
        self.heads.extend([Vec::new(), Vec::new()]);
        self.edge(entry, exit, cost);
        for member in members {
            self.edge(member + 2, entry, NEVER);
            self.edge(exit, member + 2, NEVER);
        }
    }

    /// For each variable whether it is on the near side. Should the search be given up, the answer
    /// is still a valid one, only not proven the cheapest.
    pub(super) fn solve(mut self) -> Vec<bool> {
        for _ in 0..N_ROUNDS_MAX {
            let levels = self.levels();
            if levels[FAR] == usize::MAX {
                break;
            }
            let mut next = vec![0usize; self.heads.len()];
            while self.push_one(&levels, &mut next) {}
        }
        let far = self.reaches_far();
        (0..self.n_variables).map(|variable| !far[variable + 2]).collect()
    }

    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![usize::MAX; self.heads.len()];
        levels[NEAR] = 0;
        let mut queue = std::collections::VecDeque::from([NEAR]);
        while let Some(at) = queue.pop_front() {
            for edge in self.heads[at].iter().map(|edge| self.edges[*edge]) {
                if edge.capacity > 0 && levels[edge.to] == usize::MAX {
                    levels[edge.to] = levels[at] + 1;
                    queue.push_back(edge.to);
                }
            }
        }
        levels
    }

    /// Pushes flow along one shortest path; no recursion, paths can be as long as the model.
    fn push_one(&mut self, levels: &[usize], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = Vec::new();
        let mut at = NEAR;
        while at != FAR {
            let heads = &self.heads[at];
            let found = heads[next[at]..].iter().position(|edge| {
                let edge = self.edges[*edge];
                edge.capacity > 0 && levels[edge.to] == levels[at].wrapping_add(1)
            });
            match found {
                Some(offset) => {
                    next[at] += offset;
                    let edge = heads[next[at]];
                    path.push(edge);
                    at = self.edges[edge].to;
                }
                None => {
                    next[at] = heads.len();
                    let Some(back) = path.pop() else { return false };
                    at = self.edges[back ^ 1].to;
                    next[at] += 1;
                }
            }
        }
        let flow = path.iter().map(|edge| self.edges[*edge].capacity).min().unwrap_or(0);
        for edge in path {
            self.edges[edge].capacity -= flow;
            self.edges[edge ^ 1].capacity += flow;
        }
        flow > 0
    }

    /// The vertices from which the far side can still be reached.
    fn reaches_far(&self) -> Vec<bool> {
        let mut reaches = vec![false; self.heads.len()];
        reaches[FAR] = true;
        let mut stack = vec![FAR];
        while let Some(at) = stack.pop() {
            for edge in &self.heads[at] {
                let from = self.edges[*edge].to;
                if !reaches[from] && self.edges[*edge ^ 1].capacity > 0 {
                    reaches[from] = true;
                    stack.push(from);
                }
            }
        }
        reaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cheap_node_between_two_far_ones_joins_them() {
        let mut problem = CutProblem::new(3);
        problem.fix_far(0);
        problem.fix_far(2);
        problem.reward(1, 5);
        problem.net(&[0, 1], 4);
        problem.net(&[1, 2], 4);
        assert_eq!(problem.solve(), [false, false, false]);
    }

    #[test]
    fn one_net_is_paid_once_for_all_its_members() {
        // One producer that must stay, four readers worth 3 each: one cast for 10 pays.
        let mut problem = CutProblem::new(5);
        problem.fix_far(0);
        (1..5).for_each(|reader| problem.reward(reader, 3));
        problem.net(&[0, 1, 2, 3, 4], 10);
        assert_eq!(problem.solve(), [false, true, true, true, true]);
    }

    #[test]
    fn a_tie_goes_to_the_near_side() {
        let mut problem = CutProblem::new(2);
        problem.fix_far(0);
        problem.net(&[0, 1], 7);
        problem.reward(1, 7);
        assert_eq!(problem.solve(), [false, true]);
    }

    #[test]
    fn the_answer_costs_no_more_than_any_other() {
        // Every assignment of a few small problems, against the one that was returned.
        for seed in 0..300u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut draw = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let n_variables = 2 + draw(6) as usize;
            let rewards: Vec<u64> = (0..n_variables).map(|_| draw(9)).collect();
            let fixed: Vec<u64> = (0..n_variables).map(|_| draw(5)).collect();
            let nets: Vec<(Vec<usize>, u64)> = (0..draw(8))
                .map(|_| {
                    let mut members: Vec<usize> = (0..2 + draw(3)).map(|_| draw(n_variables as u64) as usize).collect();
                    members.sort_unstable();
                    members.dedup();
                    (members, 1 + draw(9))
                })
                .filter(|(members, _)| members.len() > 1)
                .collect();
            let mut problem = CutProblem::new(n_variables);
            for (variable, (reward, fixed)) in rewards.iter().zip(&fixed).enumerate() {
                problem.reward(variable, *reward);
                match fixed {
                    0 => problem.fix_far(variable),
                    1 => problem.fix_near(variable),
                    _ => {}
                }
            }
            nets.iter().for_each(|(members, cost)| problem.net(members, *cost));
            let cost_of = |near: &dyn Fn(usize) -> bool| -> Option<u64> {
                let allowed = fixed.iter().enumerate().all(|(variable, fixed)| match fixed {
                    0 => !near(variable),
                    1 => near(variable),
                    _ => true,
                });
                let lost: u64 = (0..n_variables).filter(|variable| !near(*variable)).map(|v| rewards[v]).sum();
                let cut = |members: &Vec<usize>| members.iter().any(|m| near(*m) != near(members[0]));
                let cut: u64 = nets.iter().filter(|(members, _)| cut(members)).map(|(_, cost)| cost).sum();
                allowed.then_some(lost + cut)
            };
            let best = (0..1u32 << n_variables).filter_map(|bits| cost_of(&|v| bits >> v & 1 == 1)).min();
            let solved = problem.solve();
            assert_eq!(cost_of(&|variable| solved[variable]), best, "seed {seed}");
        }
    }
}
