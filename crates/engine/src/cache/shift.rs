//! Context shift: positions are cut out of a sequence and the later ones move down.
//!
//! Keys are cached after RoPE, so every token that moves is rotated too. Whole blocks move by renaming
//! them in the table; what is left is a move of fewer than `block_size` positions, done in place where
//! the block is the sequence's own and into a new block where it is shared.

use super::{BlockPool, Cached, FREED, Group, KvCache, KvGroup, shortage};
use crate::batch::{BlockCopy, SeqId};
use crate::error::Error;
use std::ops::Range;

/// The shift of one group, in positions.
struct Cut {
    /// Discarded positions.
    discard: Range<u32>,
    /// First position held afterwards.
    start: u32,
    /// Length afterwards.
    len: u32,
    block_size: u32,
}

impl KvCache {
    /// Drops the positions of `discard`; those after them move down. The moves and rotations that the
    /// runner has to make are added to `copies`. Fails with [`Error::BehindWindow`] when a sliding window
    /// would reach over the cut to tokens that are gone, with [`Error::OutOfBlocks`] when shared blocks
    /// cannot be replaced: in both cases the sequence can still be freed and computed anew.
    pub fn seq_shift(&mut self, seq: SeqId, discard: Range<u32>, copies: &mut Vec<BlockCopy>) -> Result<(), Error> {
        let len = self.cached(seq)?.len;
        if discard.end > len {
            return Err(Error::NoSuchPosition { seq: seq.0, position: discard.end, len });
        }
        if discard.is_empty() {
            return Ok(());
        }
        if discard.end == len {
            return self.truncate(seq, discard.start);
        }
        for index in 0..self.groups.len() {
            let cut = self.cut(seq, index, &discard)?;
            let Group { pool, .. } = &self.groups[index];
            let old = &self.sequences[seq.0 as usize].tables[index].entries;
            let needed = cut.blocks().filter(|&block| cut.backing(block, old, pool).is_none()).count();
            self.make_free(index, needed as u32)?;
        }
        for index in 0..self.groups.len() {
            let cut = self.cut(seq, index, &discard)?;
            let Group { pool, .. } = &mut self.groups[index];
            let table = &mut self.sequences[seq.0 as usize].tables[index];
            cut.apply(index, &mut table.entries, &mut self.scratch, pool, copies)?;
            table.start = cut.start;
        }
        let cached = &mut self.sequences[seq.0 as usize];
        cached.shifted = true;
        cached.len = len - (discard.end - discard.start);
        cached.published = super::prefix::Mark::default();
        Ok(())
    }

    fn cut(&self, seq: SeqId, index: usize, discard: &Range<u32>) -> Result<Cut, Error> {
        let Cached { len, tables, .. } = self.cached(seq)?;
        let (spec, start) = (&self.groups[index].spec, tables[index].start);
        Cut::new(spec, start, *len, discard.clone()).ok_or_else(|| Error::BehindWindow {
            seq: seq.0,
            requested: len - (discard.end - discard.start),
            lowest: spec.reach(start),
        })
    }
}

impl Cut {
    /// `None` if the window of the next token would reach to tokens that are gone.
    fn new(spec: &KvGroup, start: u32, len: u32, discard: Range<u32>) -> Option<Cut> {
        let len = len - (discard.end - discard.start);
        let moved = if start <= discard.start { start } else { start.max(discard.end) - (discard.end - discard.start) };
        let window = spec.window_start(len);
        if moved > window {
            return None;
        }
        let start = moved.max(window / spec.block_size * spec.block_size);
        Some(Cut { discard, start, len, block_size: spec.block_size })
    }

    fn distance(&self) -> u32 {
        self.discard.end - self.discard.start
    }

    /// First new position of a token that moves.
    fn first_moved(&self) -> u32 {
        self.discard.start.max(self.start)
    }

    /// Logical blocks, afterwards, that hold tokens that move.
    fn blocks(&self) -> Range<u32> {
        self.first_moved() / self.block_size..self.len.div_ceil(self.block_size)
    }

    /// Positions of a block that stay where they are.
    fn kept(&self, block: u32) -> Range<u32> {
        self.start.max(block * self.block_size)..self.discard.start
    }

    /// Which of the old blocks can become this one: that of the tokens that stay, else the one that whole
    /// blocks of distance bring here. Only if it is held, and by nobody else.
    fn backing(&self, block: u32, old: &[u32], pool: &BlockPool) -> Option<u32> {
        let source = if self.kept(block).is_empty() { block + self.distance() / self.block_size } else { block };
        let own = |&entry: &u32| entry != FREED && pool.is_own(entry);
        (old.get(source as usize).is_some_and(own)).then_some(source)
    }

    /// Rewrites one table. A block is written only after every token that leaves it has been read:
    /// tokens move down, blocks are taken in ascending order.
    fn apply(
        &self,
        group: usize,
        entries: &mut Vec<u32>,
        old: &mut Vec<u32>,
        pool: &mut BlockPool,
        copies: &mut Vec<BlockCopy>,
    ) -> Result<(), Error> {
        old.clear();
        old.append(entries);
        let first_kept = self.start / self.block_size;
        entries.resize(first_kept as usize, FREED);
        for entry in &mut old[first_kept as usize..self.blocks().start as usize] {
            entries.push(std::mem::replace(entry, FREED));
        }
        for block in self.blocks() {
            let backing = self.backing(block, old, pool);
            let dst = match backing {
                Some(source) => old[source as usize],
                None => pool.allocate().ok_or_else(|| shortage(group, 1, pool))?,
            };
            let first = block * self.block_size;
            let copy = |from: u32, to: u32, num_tokens: u32, shift: i32| BlockCopy {
                group: group as u32,
                src: old[(from / self.block_size) as usize],
                src_offset: from % self.block_size,
                dst,
                dst_offset: to % self.block_size,
                num_tokens,
                shift,
            };
            let kept = self.kept(block);
            if backing.is_none() && !kept.is_empty() {
                copies.push(copy(kept.start, kept.start, kept.end - kept.start, 0));
            }
            let mut to = first.max(self.first_moved());
            let end = (first + self.block_size).min(self.len);
            while to < end {
                let from = to + self.distance();
                let num_tokens = (end - to).min(self.block_size - from % self.block_size);
                copies.push(copy(from, to, num_tokens, -(self.distance() as i32)));
                to += num_tokens;
            }
            if let Some(source) = backing {
                old[source as usize] = FREED;
            }
            entries.push(dst);
        }
        old.drain(..).filter(|&entry| entry != FREED).for_each(|entry| pool.release(entry));
        Ok(())
    }
}
