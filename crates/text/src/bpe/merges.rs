//! The merges of a vocabulary, by the two symbols they join.

use crate::alphabet;
use crate::index::{Index, Texts, fold, random_key};
use crate::vocab::Vocab;
use gguf::StringArray;
use std::borrow::Cow;

/// What joining two neighbours gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    /// Its place in the file's list: lower goes first.
    pub(super) rank: u32,
    /// The joined symbol.
    pub(super) symbol: u32,
}

/// All merges. A *symbol* is a token, or a string that only merges mention; those are numbered
/// from the number of tokens up.
#[derive(Debug)]
pub(super) struct Merges {
    /// Open addressing, at most half full: (left, right, rank, joined); a rank of `u32::MAX` is a
    /// free slot.
    slots: Vec<(u32, u32, u32, u32)>,
    key: u64,
    extra: Extra,
}

impl Default for Merges {
    fn default() -> Self {
        Merges { slots: vec![(0, 0, u32::MAX, 0); 1], key: 0, extra: Extra::default() }
    }
}

/// The symbols that are no tokens.
#[derive(Debug)]
struct Extra {
    texts: Texts,
    index: Index,
}

impl Default for Extra {
    fn default() -> Self {
        Extra { texts: Texts::default(), index: Index::with_capacity(0) }
    }
}

impl Merges {
    pub(super) fn new(vocab: &Vocab, list: &StringArray) -> Self {
        let num_slots = (list.len() * 2).next_power_of_two().max(2);
        let mut merges =
            Merges { slots: vec![(0, 0, u32::MAX, 0); num_slots], key: random_key(), extra: Extra::default() };
        // Vocabularies list the results of merges in the order of the merges, so that the token
        // after the last result is the likely next one: comparing saves most look-ups.
        let mut likely = 0;
        let mut joined = Vec::new();
        for (rank, line) in (0u32..u32::MAX).zip(list.iter()) {
            let Some((left, right)) = halves(vocab, line) else { continue };
            joined.clear();
            joined.extend_from_slice(&left);
            joined.extend_from_slice(&right);
            let left = merges.intern(vocab, &left);
            let right = merges.intern(vocab, &right);
            let symbol = match vocab.words().get(likely) == Some(&joined[..]) {
                true => likely,
                false => merges.intern(vocab, &joined),
            };
            likely = symbol.wrapping_add(1);
            merges.insert(left, right, Merge { rank, symbol });
        }
        merges
    }

    /// The symbol of these bytes, if any merge or token mentions them.
    pub(super) fn symbol(&self, vocab: &Vocab, bytes: &[u8]) -> Option<u32> {
        let extra = || self.extra.index.get(&self.extra.texts, bytes).map(|id| id + vocab.len() as u32);
        vocab.word(bytes).or_else(extra)
    }

    /// What `left` followed by `right` gives.
    #[inline]
    pub(super) fn get(&self, left: u32, right: u32) -> Option<Merge> {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(left, right) & mask;
        loop {
            let (slot_left, slot_right, rank, symbol) = self.slots[slot];
            if rank == u32::MAX {
                return None;
            }
            if (slot_left, slot_right) == (left, right) {
                return Some(Merge { rank, symbol });
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Enters a merge; of two for the same pair the first stays.
    fn insert(&mut self, left: u32, right: u32, merge: Merge) {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(left, right) & mask;
        while self.slots[slot].2 != u32::MAX {
            if (self.slots[slot].0, self.slots[slot].1) == (left, right) {
                return;
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (left, right, merge.rank, merge.symbol);
    }

    #[inline]
    fn hash(&self, left: u32, right: u32) -> usize {
        fold((u64::from(left) << 32 | u64::from(right)) ^ self.key) as usize
    }

    fn intern(&mut self, vocab: &Vocab, bytes: &[u8]) -> u32 {
        if let Some(symbol) = self.symbol(vocab, bytes) {
            return symbol;
        }
        let id = self.extra.texts.len() as u32;
        self.extra.texts.push(bytes);
        self.extra.enter(id);
        id + vocab.len() as u32
    }
}

impl Extra {
    fn enter(&mut self, id: u32) {
        if self.texts.len().is_power_of_two() {
            self.index = Index::with_capacity(self.texts.len() * 2);
            for id in 0..=id {
                let _ = self.index.insert(&self.texts, id);
            }
        } else {
            let _ = self.index.insert(&self.texts, id);
        }
    }
}

/// The two sides of a line of the list, as bytes; `None` for a line no text can match.
fn halves<'l>(vocab: &Vocab, line: &'l [u8]) -> Option<(Cow<'l, [u8]>, Cow<'l, [u8]>)> {
    // A side may itself be a space, but no side is empty.
    let space = 1 + line.get(1..)?.iter().position(|&byte| byte == b' ')?;
    let (left, right) = (&line[..space], &line[space + 1..]);
    if right.is_empty() {
        return None;
    }
    if !vocab.is_byte_level() {
        return Some((Cow::Borrowed(left), Cow::Borrowed(right)));
    }
    let decode = |side: &[u8]| {
        let mut bytes = Vec::with_capacity(side.len());
        alphabet::decode(side, &mut bytes).then_some(Cow::Owned(bytes))
    };
    Some((decode(left)?, decode(right)?))
}
