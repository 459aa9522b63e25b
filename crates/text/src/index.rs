//! Many byte strings in one buffer, and a hash index over them. Used by [`crate::vocab`] for the
//! tokens: at start-up 150 000 strings must be in place within milliseconds, and the words of a
//! text are looked up one by one.

use std::hash::BuildHasher;

/// Byte strings numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`; the vocabulary's loader refuses more than 4 GiB.
    ends: Vec<u32>,
}

impl Texts {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Texts { bytes: Vec::with_capacity(count * 8), ends: Vec::with_capacity(count) }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        self.bytes.get(start as usize..end as usize)
    }
}

/// From a byte string to its number: open addressing, at most two thirds full.
///
/// The hash is keyed afresh in every process, so that no file can be made to collide.
#[derive(Debug)]
pub(crate) struct Index {
    /// `tag << 24 | id + 1`; 0 is a free slot. The tag is a part of the hash that does not choose
    /// the slot, and spares most comparisons. Small slots keep the table in the cache.
    slots: Vec<u32>,
    key: u64,
}

/// The most strings that an [`Index`] can number.
pub(crate) const MOST_STRINGS: usize = (1 << 24) - 1;

impl Index {
    pub(crate) fn with_capacity(count: usize) -> Self {
        let slots = vec![0; (count + count / 2).next_power_of_two().max(16)];
        Index { slots, key: random_key() }
    }

    #[inline]
    pub(crate) fn get(&self, texts: &Texts, text: &[u8]) -> Option<u32> {
        self.find(texts, text).ok()
    }

    /// Has the processor fetch what a look-up of `text` will read first. Worth its while before
    /// many look-ups, which then wait for memory together instead of one by one.
    #[inline]
    pub(crate) fn touch(&self, text: &[u8]) {
        let slot = hash(self.key, text) as usize & (self.slots.len() - 1);
        std::hint::black_box(self.slots[slot]);
    }

    /// Enters string `id` of `texts`; gives back the id already entered for an equal string.
    pub(crate) fn insert(&mut self, texts: &Texts, id: u32) -> Result<(), u32> {
        let Some(text) = texts.get(id) else { return Ok(()) };
        match self.find(texts, text) {
            Ok(same) => Err(same),
            Err((slot, tag)) => {
                self.slots[slot] = tag << 24 | (id + 1);
                Ok(())
            }
        }
    }

    /// The id of an equal string, or the free slot and the tag for a new one.
    #[inline]
    fn find(&self, texts: &Texts, text: &[u8]) -> Result<u32, (usize, u32)> {
        let mask = self.slots.len() - 1;
        let hash = hash(self.key, text);
        let tag = (hash >> 56) as u32;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return Err((slot, tag));
            }
            let id = (entry & 0xff_ffff).wrapping_sub(1);
            if entry >> 24 == tag && texts.get(id) == Some(text) {
                return Ok(id);
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// A key that no file can foresee.
pub(crate) fn random_key() -> u64 {
    std::collections::hash_map::RandomState::new().hash_one(0u64) | 1
}

/// One multiplication for each eight bytes, both halves of the product folded together. The last
/// bytes are read in one or two overlapping pieces, since a loop over them would mispredict.
#[inline]
pub(crate) fn hash(key: u64, text: &[u8]) -> u64 {
    let word = |at: usize| text[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
    let half = |at: usize| text[at..at + 4].try_into().map_or(0, |bytes| u64::from(u32::from_le_bytes(bytes)));
    let len = text.len();
    let mut state = key ^ len as u64;
    let last = match len {
        0 => 0,
        1..4 => u64::from(text[0]) | u64::from(text[len / 2]) << 8 | u64::from(text[len - 1]) << 16,
        4..8 => half(0) | half(len - 4) << 32,
        _ => {
            for at in (0..len - 8).step_by(8) {
                state = fold(state ^ word(at));
            }
            word(len - 8)
        }
    };
    fold(fold(state ^ last) ^ key)
}

#[inline]
pub(crate) fn fold(word: u64) -> u64 {
    // The fraction of the golden ratio: odd, with bits everywhere.
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}
