//! Merging inside one word.

use super::merges::{Merge, Merges};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Words of up to this many symbols are scanned for their best merge again and again, which beats
/// a heap as long as a word fits a few cache lines; longer ones must not cost the square.
const SCAN_AT_MOST: usize = 48;

/// No neighbour, and no merge.
const NONE: u32 = u32::MAX;

/// A stretch of the word. Merging joins it with its right neighbour, which is dead from then on.
#[derive(Clone, Copy, Debug)]
struct Node {
    symbol: u32,
    /// Bytes; 0 when dead.
    len: u32,
    previous: u32,
    next: u32,
}

/// A merge that was possible when it was entered: ordered by rank, then by place.
type Candidate = Reverse<(u32, u32, u32, u32, u32)>;

/// Working memory for one word after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    nodes: Vec<Node>,
    /// The merge of each node with its right neighbour (short words only).
    pairs: Vec<Merge>,
    heap: BinaryHeap<Candidate>,
}

const NO_MERGE: Merge = Merge { rank: NONE, symbol: NONE };

impl Scratch {
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Appends a symbol of `len` bytes to the word.
    #[inline]
    pub(super) fn push(&mut self, symbol: u32, len: usize) {
        let at = self.nodes.len() as u32;
        self.nodes.push(Node { symbol, len: len as u32, previous: at.wrapping_sub(1), next: at + 1 });
    }

    /// What merging left: symbols and their lengths in bytes.
    pub(super) fn symbols(&self) -> impl Iterator<Item = (u32, usize)> {
        self.nodes.iter().filter(|node| node.len > 0).map(|node| (node.symbol, node.len as usize))
    }

    /// Applies merges, lowest rank first and leftmost first among equals, until none applies.
    pub(super) fn merge(&mut self, merges: &Merges) {
        if self.nodes.len() <= SCAN_AT_MOST { self.merge_scanning(merges) } else { self.merge_queueing(merges) }
    }

    fn merge_scanning(&mut self, merges: &Merges) {
        let pair = |left: &Node, right: &Node| merges.get(left.symbol, right.symbol).unwrap_or(NO_MERGE);
        let nodes = &mut self.nodes;
        let pairs = &mut self.pairs;
        pairs.clear();
        pairs.extend(nodes.windows(2).map(|two| pair(&two[0], &two[1])));
        loop {
            let best = (0..pairs.len()).min_by_key(|&at| pairs[at].rank);
            let Some(at) = best.filter(|&at| pairs[at].rank != NONE) else { break };
            nodes[at].symbol = pairs[at].symbol;
            nodes[at].len += nodes[at + 1].len;
            nodes.remove(at + 1);
            pairs.remove(at);
            if at > 0 {
                pairs[at - 1] = pair(&nodes[at - 1], &nodes[at]);
            }
            if at < pairs.len() {
                pairs[at] = pair(&nodes[at], &nodes[at + 1]);
            }
        }
    }

    fn merge_queueing(&mut self, merges: &Merges) {
        let Scratch { nodes, heap, .. } = self;
        if let Some(last) = nodes.last_mut() {
            last.next = NONE;
        }
        heap.clear();
        let candidate = |nodes: &[Node], left: u32| {
            let (a, right) = (nodes[left as usize].symbol, nodes[left as usize].next);
            let b = nodes.get(right as usize)?.symbol;
            merges.get(a, b).map(|merge| Reverse((merge.rank, left, a, b, merge.symbol)))
        };
        heap.extend((0..nodes.len() as u32 - 1).filter_map(|left| candidate(nodes, left)));
        while let Some(Reverse((_, left, a, b, joined))) = heap.pop() {
            let node = nodes[left as usize];
            let Some(&right) = nodes.get(node.next as usize) else { continue };
            // Either side may have been joined otherwise since the candidate was entered.
            if node.len == 0 || (node.symbol, right.symbol) != (a, b) {
                continue;
            }
            nodes[node.next as usize].len = 0;
            if let Some(after) = nodes.get_mut(right.next as usize) {
                after.previous = left;
            }
            nodes[left as usize] = Node { symbol: joined, len: node.len + right.len, next: right.next, ..node };
            if node.previous != NONE {
                heap.extend(candidate(nodes, node.previous));
            }
            heap.extend(candidate(nodes, left));
        }
    }
}
