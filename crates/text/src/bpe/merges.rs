//! The merges of a vocabulary, by the two symbols they join.

use crate::alphabet;
use crate::chain::{NONE, Pair};
use crate::index::{Index, Texts, fold, random_key};
use crate::vocab::Vocab;
use gguf::StringArray;

/// Lines of the list that are taken in together: enough for their look-ups to wait for memory at
/// the same time.
const BLOCK: usize = 64;

/// All merges. A *symbol* is a token, or a string that only merges mention; those are numbered
/// from the number of tokens up.
#[derive(Debug)]
pub(super) struct Merges {
    /// Open addressing, at most two thirds full: (left, right, rank, joined); a rank of [`NONE`] is a
    /// free slot.
    slots: Vec<(u32, u32, u32, u32)>,
    key: u64,
    extra: Extra,
}

impl Default for Merges {
    fn default() -> Self {
        Merges { slots: vec![(0, 0, NONE, 0); 1], key: 0, extra: Extra::default() }
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
        let num_slots = (list.len() + list.len() / 2).next_power_of_two().max(2);
        let mut merges = Merges { slots: vec![(0, 0, NONE, 0); num_slots], key: random_key(), extra: Extra::default() };
        let mut lines = (0u32..NONE).zip(list.iter());
        let mut block = Block::default();
        while lines.len() > 0 {
            block.read(vocab, lines.by_ref().take(BLOCK));
            block.resolve(vocab, &mut merges);
            block.pairs.iter().for_each(|&(left, right, _)| merges.touch(left, right));
            block.pairs.iter().for_each(|&(left, right, pair)| merges.insert(left, right, pair));
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
    pub(super) fn get(&self, left: u32, right: u32) -> Pair {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(left, right) & mask;
        loop {
            let (slot_left, slot_right, rank, symbol) = self.slots[slot];
            if rank == NONE {
                return Pair::NONE;
            }
            if (slot_left, slot_right) == (left, right) {
                return Pair { key: rank, symbol };
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Announces [`Merges::insert`], as [`Index::touch`] does a look-up.
    #[inline]
    fn touch(&self, left: u32, right: u32) {
        std::hint::black_box(self.slots[self.hash(left, right) & (self.slots.len() - 1)].2);
    }

    /// Enters a merge; of two for the same pair the first stays.
    fn insert(&mut self, left: u32, right: u32, merge: Pair) {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(left, right) & mask;
        while self.slots[slot].2 != NONE {
            if (self.slots[slot].0, self.slots[slot].1) == (left, right) {
                return;
            }
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (left, right, merge.key, merge.symbol);
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

/// Some lines of the list on their way in.
#[derive(Default)]
struct Block {
    /// The bytes of both sides, line after line.
    bytes: Vec<u8>,
    /// Rank, and where in `bytes` the left side begins, the right side begins, and both end.
    lines: Vec<(u32, usize, usize, usize)>,
    pairs: Vec<(u32, u32, Pair)>,
    /// Vocabularies list the results of merges in the order of the merges, so that the token after
    /// the last result is the likely next one: comparing saves most look-ups.
    likely: u32,
}

impl Block {
    fn read<'l>(&mut self, vocab: &Vocab, lines: impl Iterator<Item = (u32, &'l [u8])>) {
        self.bytes.clear();
        self.lines.clear();
        for (rank, line) in lines {
            let start = self.bytes.len();
            match join_halves(vocab, line, &mut self.bytes) {
                Some(middle) => self.lines.push((rank, start, middle, self.bytes.len())),
                None => self.bytes.truncate(start),
            }
        }
    }

    fn resolve(&mut self, vocab: &Vocab, merges: &mut Merges) {
        let Block { bytes, lines, pairs, likely } = self;
        for &(_, start, middle, end) in lines.iter() {
            vocab.touch(&bytes[start..middle]);
            vocab.touch(&bytes[middle..end]);
        }
        pairs.clear();
        for &(rank, start, middle, end) in lines.iter() {
            let left = merges.intern(vocab, &bytes[start..middle]);
            let right = merges.intern(vocab, &bytes[middle..end]);
            let joined = &bytes[start..end];
            let symbol = match vocab.words().get(*likely) == Some(joined) {
                true => *likely,
                false => merges.intern(vocab, joined),
            };
            *likely = symbol.wrapping_add(1);
            pairs.push((left, right, Pair { key: rank, symbol }));
        }
    }
}

/// Appends both sides of a line of the list as bytes and says where the second begins; `None` for
/// a line no text can match.
fn join_halves(vocab: &Vocab, line: &[u8], joined: &mut Vec<u8>) -> Option<usize> {
    // A side may itself be a space, but no side is empty.
    let space = 1 + memchr::memchr(b' ', line.get(1..)?)?;
    let (left, right) = (&line[..space], &line[space + 1..]);
    if right.is_empty() {
        return None;
    }
    if vocab.is_byte_level() {
        let middle = alphabet::decode(left, joined).then_some(joined.len())?;
        alphabet::decode(right, joined).then_some(middle)
    } else {
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        Some(joined.len() - right.len())
    }
}
