//! Joining neighbours, best pair first: the heart of both [`crate::bpe`] (pairs ranked by the list
//! of merges) and [`crate::spm`] (by the score of the token they make).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Chains of up to this many nodes are scanned for their best pair again and again, which beats a
/// heap as long as they fit a few cache lines; longer ones must not cost the square.
const SCAN_AT_MOST: usize = 48;

/// No symbol, no neighbour, no pair.
pub(crate) const NONE: u32 = u32::MAX;

/// What two neighbours make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Lower goes first; of equals, the leftmost. [`NONE`] if the two do not join.
    pub(crate) key: u32,
    /// The symbol they join to.
    pub(crate) symbol: u32,
}

impl Pair {
    pub(crate) const NONE: Self = Pair { key: NONE, symbol: NONE };
}

/// A stretch of the text. Joining adds its right neighbour to it, which is dead from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) symbol: u32,
    /// Place in the text, in bytes.
    pub(crate) start: u32,
    /// Bytes; 0 when dead.
    pub(crate) len: u32,
    previous: u32,
    next: u32,
    /// What it makes with its right neighbour.
    pair: Pair,
}

/// A text as symbols, with the working memory to join them. Reused from word to word.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    nodes: Vec<Node>,
    /// `key << 32 | index of the left node`. Entries go stale when either node joins otherwise;
    /// a live one agrees with its node's pair.
    heap: BinaryHeap<Reverse<u64>>,
}

impl Chain {
    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
    }

    /// Appends a symbol that covers the next `len` bytes.
    #[inline]
    pub(crate) fn push(&mut self, symbol: u32, len: usize) {
        let (start, previous) = match self.nodes.last() {
            Some(last) => (last.start + last.len, self.nodes.len() as u32 - 1),
            None => (0, NONE),
        };
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { symbol, start, len: len as u32, previous, next, pair: Pair::NONE });
    }

    /// What joining left, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.len > 0)
    }

    /// Joins neighbours until no two of them make a pair.
    pub(crate) fn join(&mut self, pair: impl Fn(&Node, &Node) -> Pair) {
        self.prepare(&pair);
        if self.nodes.len() <= SCAN_AT_MOST { self.join_scanning(pair) } else { self.join_queueing(pair) }
    }

    fn prepare(&mut self, pair: impl Fn(&Node, &Node) -> Pair) {
        for at in 1..self.nodes.len() {
            self.nodes[at - 1].pair = pair(&self.nodes[at - 1], &self.nodes[at]);
        }
    }

    fn join_scanning(&mut self, pair: impl Fn(&Node, &Node) -> Pair) {
        let nodes = &mut self.nodes;
        while let Some(at) = (0..nodes.len()).min_by_key(|&at| nodes[at].pair.key) {
            let Pair { key, symbol } = nodes[at].pair;
            if key == NONE {
                break;
            }
            let right = nodes.remove(at + 1);
            nodes[at].symbol = symbol;
            nodes[at].len += right.len;
            nodes[at].pair = nodes.get(at + 1).map_or(Pair::NONE, |next| pair(&nodes[at], next));
            if at > 0 {
                nodes[at - 1].pair = pair(&nodes[at - 1], &nodes[at]);
            }
        }
    }

    fn join_queueing(&mut self, pair: impl Fn(&Node, &Node) -> Pair) {
        let Chain { nodes, heap } = self;
        let entry = |nodes: &[Node], at: usize| {
            let key = nodes[at].pair.key;
            (key != NONE).then_some(Reverse(u64::from(key) << 32 | at as u64))
        };
        heap.clear();
        heap.extend((0..nodes.len()).filter_map(|at| entry(nodes, at)));
        while let Some(Reverse(best)) = heap.pop() {
            let at = best as u32 as usize;
            let node = nodes[at];
            if u64::from(node.pair.key) != best >> 32 {
                continue;
            }
            let right = nodes[node.next as usize];
            nodes[node.next as usize] = Node { len: 0, pair: Pair::NONE, ..right };
            nodes[at] = Node { symbol: node.pair.symbol, len: node.len + right.len, next: right.next, ..node };
            let next = nodes.get(right.next as usize).copied();
            nodes[at].pair = next.map_or(Pair::NONE, |next| pair(&nodes[at], &next));
            heap.extend(entry(nodes, at));
            if let Some(next) = nodes.get_mut(right.next as usize) {
                next.previous = at as u32;
            }
            if node.previous != NONE {
                let previous = node.previous as usize;
                nodes[previous].pair = pair(&nodes[previous], &nodes[at]);
                heap.extend(entry(nodes, previous));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A chain of one-byte symbols.
    fn chain(symbols: &[u32]) -> Chain {
        let mut chain = Chain::default();
        symbols.iter().for_each(|&symbol| chain.push(symbol, 1));
        chain
    }

    fn result(chain: &Chain) -> Vec<(u32, u32)> {
        chain.live().map(|node| (node.symbol, node.len)).collect()
    }

    /// What the two methods stand for, at its plainest.
    fn plainly(symbols: &[u32], pair: impl Fn(u32, u32) -> Pair) -> Vec<(u32, u32)> {
        let mut parts: Vec<(u32, u32)> = symbols.iter().map(|&symbol| (symbol, 1)).collect();
        loop {
            let pairs = parts.windows(2).map(|two| pair(two[0].0, two[1].0));
            let Some((at, best)) = pairs.enumerate().min_by_key(|(_, pair)| pair.key).filter(|(_, p)| p.key != NONE)
            else {
                return parts;
            };
            parts[at] = (best.symbol, parts[at].1 + parts.remove(at + 1).1);
        }
    }

    proptest! {
        #[test]
        fn scanning_and_queueing_agree(
            symbols in prop::collection::vec(0u32..4, 1..120),
            table in prop::collection::vec((0u32..40, 0u32..8), 64),
            with_ties: bool,
        ) {
            // Symbols are 0 to 7; a third of the pairs do not join. Without ties each pair has a
            // key of its own, as merges have; with them they are like scores.
            let pair = |left: u32, right: u32| {
                let at = left * 8 + right;
                let (key, symbol) = table[at as usize];
                match key {
                    0..13 => Pair::NONE,
                    key => Pair { key: if with_ties { key } else { key << 8 | at }, symbol },
                }
            };
            let expected = plainly(&symbols, pair);
            let of_nodes = |left: &Node, right: &Node| pair(left.symbol, right.symbol);
            let (mut scanned, mut queued) = (chain(&symbols), chain(&symbols));
            scanned.prepare(of_nodes);
            scanned.join_scanning(of_nodes);
            prop_assert_eq!(&result(&scanned), &expected);
            queued.prepare(of_nodes);
            queued.join_queueing(of_nodes);
            prop_assert_eq!(&result(&queued), &expected);
        }
    }
}
