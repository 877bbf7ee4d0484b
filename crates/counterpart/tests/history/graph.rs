//! The graph of who must come before whom. A history is strictly serializable exactly if the graph has no cycle, as
//! far as its reads tell; this is how Elle judges histories of lists.
//!
//! ```text
//!  ww   the element right before mine is another's     his → mine
//!  wr   the last element that I read is another's      his → mine
//!  rw   the element right after what I read            mine → his
//!  time one was answered before the other was asked    through a chain of moments, not pair by pair
//!  sitting  the reads of one client of a mirror, in order
//! ```
//!
//! A mirror may answer with an old state, so nothing that was answered before has to come before its reads; but no read
//! shows what is asked for only after its answer.

use std::collections::{BTreeMap, HashMap, VecDeque};

use petgraph::{
    algo::tarjan_scc,
    graph::{DiGraph, NodeIndex},
    visit::EdgeRef,
};

use super::{
    lists::{Anomaly, Lists},
    model::{Key, Promise, Told},
};

/// Why one comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Ww(Key),
    Wr(Key),
    Rw(Key),
    Time,
    Sitting,
}

/// The graph; its nodes are transactions, and moments, which have no number.
pub struct Graph<'a> {
    lists: &'a Lists<'a>,
    graph: DiGraph<Option<usize>, Why>,
    nodes: BTreeMap<usize, NodeIndex>,
}

impl<'a> Graph<'a> {
    pub fn new(lists: &'a Lists<'a>) -> Graph<'a> {
        let mut graph = DiGraph::new();
        let happened = (0..lists.history.len()).filter(|i| lists.happened(*i));
        let nodes = happened.map(|i| (i, graph.add_node(Some(i)))).collect();
        let mut this = Graph { lists, graph, nodes };
        this.add_orders();
        this.add_reads();
        this.add_time();
        this.add_sittings();
        this
    }

    fn edge(&mut self, from: Option<usize>, to: Option<usize>, why: Why) {
        let node = |i: Option<usize>| i.and_then(|i| self.nodes.get(&i)).copied();
        if let (Some(a), Some(b)) = (node(from), node(to))
            && a != b
        {
            self.graph.update_edge(a, b, why);
        }
    }

    fn add_orders(&mut self) {
        for (key, order) in &self.lists.orders {
            for pair in order.windows(2) {
                let (before, after) = (self.lists.writer(pair[0]), self.lists.writer(pair[1]));
                self.edge(before, after, Why::Ww(*key));
            }
        }
    }

    fn add_reads(&mut self) {
        let readers: Vec<usize> = self.nodes.keys().copied().collect();
        for reader in readers {
            let transaction = &self.lists.history[reader];
            // What an unknown transaction read, nobody was told for good.
            if transaction.told != Told::Committed {
                continue;
            }
            for (key, list) in transaction.reads() {
                let foreign = self.lists.foreign(reader, list);
                let last = foreign.last().and_then(|element| self.lists.writer(*element));
                self.edge(last, Some(reader), Why::Wr(key));
                let order = self.lists.orders.get(&key).copied().unwrap_or_default();
                let next = order.get(foreign.len()).and_then(|element| self.lists.writer(*element));
                self.edge(Some(reader), next, Why::Rw(key));
            }
        }
    }

    /// One moment for each answer; whatever is asked later hangs on the last moment before it.
    fn add_time(&mut self) {
        let history = self.lists.history;
        let answered = self.nodes.iter().filter(|(i, _)| history[**i].told == Told::Committed);
        let mut ends: Vec<(u64, NodeIndex)> =
            answered.map(|(i, n)| (history[*i].end, *n)).collect();
        ends.sort_unstable();
        let mut moments: Vec<(u64, NodeIndex)> = Vec::with_capacity(ends.len());
        for (end, node) in ends {
            let moment = self.graph.add_node(None);
            self.graph.add_edge(node, moment, Why::Time);
            if let Some((_, before)) = moments.last() {
                self.graph.add_edge(*before, moment, Why::Time);
            }
            moments.push((end, moment));
        }
        for (i, node) in &self.nodes {
            let transaction = &history[*i];
            let before = moments.partition_point(|(end, _)| *end < transaction.begin);
            if transaction.promise == Promise::Strict && before > 0 {
                self.graph.add_edge(moments[before - 1].1, *node, Why::Time);
            }
        }
    }

    fn add_sittings(&mut self) {
        let mut last: HashMap<u32, usize> = HashMap::new();
        let mut order: Vec<usize> = self.nodes.keys().copied().collect();
        order.sort_by_key(|i| self.lists.history[*i].begin);
        for i in order {
            if let Promise::Prefix { sitting } = self.lists.history[i].promise {
                let before = last.insert(sitting, i);
                self.edge(before, Some(i), Why::Sitting);
            }
        }
    }

    pub fn edges(&self) -> usize {
        self.graph.edge_count()
    }

    /// One shortest cycle of each knot.
    pub fn anomalies(&self) -> Vec<Anomaly> {
        let knots = tarjan_scc(&self.graph).into_iter().filter(|knot| knot.len() > 1);
        knots.map(|knot| self.describe(&self.shortest_cycle(&knot))).collect()
    }

    fn shortest_cycle(&self, knot: &[NodeIndex]) -> Vec<(NodeIndex, Why)> {
        let inside: std::collections::HashSet<_> = knot.iter().copied().collect();
        // A knot can be as large as the history; a few starting points are enough for a story.
        let starts = knot.iter().filter(|n| self.graph[**n].is_some()).take(50);
        let cycles = starts.filter_map(|start| self.cycle_through(*start, &inside));
        cycles.min_by_key(Vec::len).expect("moments alone are no cycle")
    }

    fn cycle_through(
        &self,
        start: NodeIndex,
        inside: &std::collections::HashSet<NodeIndex>,
    ) -> Option<Vec<(NodeIndex, Why)>> {
        let mut came: HashMap<NodeIndex, (NodeIndex, Why)> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for edge in self.graph.edges(node).filter(|e| inside.contains(&e.target())) {
                if edge.target() == start {
                    let mut cycle = vec![(node, *edge.weight())];
                    while let Some((before, why)) = came.get(&cycle[cycle.len() - 1].0) {
                        cycle.push((*before, *why));
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                if let std::collections::hash_map::Entry::Vacant(free) = came.entry(edge.target()) {
                    free.insert((node, *edge.weight()));
                    queue.push_back(edge.target());
                }
            }
        }
        None
    }

    /// Names the cycle as Adya does: by how many of its edges are anti-dependencies, and whether it needs the clock.
    fn describe(&self, cycle: &[(NodeIndex, Why)]) -> Anomaly {
        let count = |wanted: fn(&Why) -> bool| cycle.iter().filter(|(_, why)| wanted(why)).count();
        let timed = count(|why| matches!(why, Why::Time)) > 0;
        let sitting = count(|why| matches!(why, Why::Sitting)) > 0;
        let reads = count(|why| matches!(why, Why::Wr(_)));
        let kind = match count(|why| matches!(why, Why::Rw(_))) {
            _ if sitting => "went back",
            0 if timed => "G1-realtime",
            _ if timed => "stale",
            0 if reads == 0 => "G0",
            0 => "G1c",
            1 => "G-single",
            _ => "G2",
        };
        let step = |(node, why): &(NodeIndex, Why)| {
            self.graph[*node].map(|i| format!("{} -{why:?}->", self.lists.name(i)))
        };
        let story: Vec<String> = cycle.iter().filter_map(step).collect();
        Anomaly::new(kind, story.join(" "))
    }
}
