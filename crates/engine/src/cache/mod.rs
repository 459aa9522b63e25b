//! The paged KV cache: which physical blocks hold the tokens of which sequence.
//!
//! Bookkeeping only. The storage itself belongs to the runner, which asks here for a [`TableView`] per
//! sequence and group and applies the [`BlockCopy`] records that these operations report. The scheduler
//! reserves and commits; prompt reuse, speculation, context shift and the C API use the rest.
//!
//! Life of a step: `reserve` blocks for the new tokens, compute them, `commit` them.

mod audit;
mod block_pool;
mod block_table;
mod group;
mod prefix;
mod shift;

pub use block_pool::BlockPool;
pub use block_table::{BlockTable, FREED, TableView};
pub use group::{CacheLimits, KvGroup};

use crate::batch::{BlockCopy, SeqId};
use crate::error::Error;
use prefix::PrefixIndex;
use std::ops::Range;

/// The cache: block pools by group, block tables by sequence.
///
/// Whatever fails leaves everything as it was.
pub struct KvCache {
    pub(self) groups: Vec<Group>,
    pub(self) sequences: Vec<Cached>,
    pub(self) prefix: Option<PrefixIndex>,
    /// The table that a shift takes apart.
    pub(self) scratch: Vec<u32>,
    limits: CacheLimits,
}

struct Group {
    spec: KvGroup,
    pool: BlockPool,
}

/// What the cache holds of one sequence.
#[derive(Default)]
struct Cached {
    live: bool,
    /// Tokens computed and kept.
    len: u32,
    /// By group.
    tables: Vec<BlockTable>,
    /// Its keys depend on tokens that have been discarded, so they are no function of its tokens.
    shifted: bool,
    /// Where it stands in the prefix index.
    published: prefix::Mark,
}

impl KvCache {
    /// A cache of these groups, empty.
    pub fn new(groups: Vec<KvGroup>, limits: CacheLimits) -> Result<Self, Error> {
        let refuse = |what: String| Err(Error::CacheLayout(what));
        if limits.context > i32::MAX as u32 {
            return refuse(format!("a context of {} tokens is more than positions can count", limits.context));
        }
        if limits.context == 0 || limits.num_sequences == 0 || limits.step_tokens == 0 {
            return refuse(format!("nothing to hold: {limits:?}"));
        }
        if limits.total_tokens < u64::from(limits.context) {
            return refuse(format!("{} tokens in all, one context is {}", limits.total_tokens, limits.context));
        }
        for (index, group) in groups.iter().enumerate() {
            if group.run_len() == 0 || group.block_size == 0 || group.window == Some(0) {
                return refuse(format!("group {index} has no layers, heads, positions or window"));
            }
            let blocks = group.num_runs(&limits).saturating_mul(u64::from(group.run_len()));
            if blocks >= u64::from(FREED) {
                return refuse(format!("group {index}: {blocks} blocks are more than 32 bits can count"));
            }
        }
        let table_len = |group: &KvGroup| group.blocks_for(limits.context) as usize;
        let tables =
            || groups.iter().map(|group| BlockTable { entries: Vec::with_capacity(table_len(group)), start: 0 });
        let sequences =
            (0..limits.num_sequences).map(|_| Cached { tables: tables().collect(), ..Cached::default() }).collect();
        let scratch = Vec::with_capacity(groups.iter().map(table_len).max().unwrap_or(0));
        let groups = groups
            .into_iter()
            .map(|spec| Group { pool: BlockPool::new(spec.num_runs(&limits) as u32, spec.run_len()), spec })
            .collect();
        Ok(KvCache { groups, sequences, prefix: None, scratch, limits })
    }

    /// Bytes of storage that such a cache needs.
    pub fn plan_bytes(groups: &[KvGroup], limits: &CacheLimits) -> u64 {
        groups.iter().map(|group| group.num_bytes(limits)).fold(0, u64::saturating_add)
    }

    /// Bytes of storage that this cache describes.
    pub fn bytes(&self) -> u64 {
        self.groups().map(|group| group.num_bytes(&self.limits)).fold(0, u64::saturating_add)
    }

    /// Bytes of the blocks that sequences hold.
    pub fn used_bytes(&self) -> u64 {
        let used = |(index, Group { spec, pool }): (usize, &Group)| {
            u64::from(pool.num_runs() - self.free_runs(index)) * spec.run_bytes()
        };
        self.groups.iter().enumerate().map(used).sum()
    }

    /// The groups, in the order of their indices.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &KvGroup> {
        self.groups.iter().map(|group| &group.spec)
    }

    /// What it was made to hold.
    pub fn limits(&self) -> &CacheLimits {
        &self.limits
    }

    /// Physical blocks of a group: the extent of its storage.
    pub fn num_blocks(&self, group: usize) -> u32 {
        self.groups[group].pool.num_runs() * self.groups[group].spec.run_len()
    }

    /// Runs of a group, free or not.
    pub fn num_runs(&self, group: usize) -> u32 {
        self.groups[group].pool.num_runs()
    }

    /// Runs of a group that a reservation can have: the free ones, and the idle ones that keep prefixes.
    pub fn free_runs(&self, group: usize) -> u32 {
        self.groups[group].pool.num_free() + self.groups[group].pool.num_idle()
    }

    /// A sequence that is not in use.
    pub fn unused(&self) -> Option<SeqId> {
        self.sequences.iter().position(|cached| !cached.live).map(|index| SeqId(index as u32))
    }

    /// Starts an empty sequence.
    pub fn create(&mut self, seq: SeqId) -> Result<(), Error> {
        let cached = self.sequences.get_mut(seq.0 as usize).ok_or(Error::unknown(seq))?;
        if cached.live {
            return Err(Error::SequenceInUse(seq.0));
        }
        cached.live = true;
        Ok(())
    }

    /// Gives back everything that a sequence holds.
    pub fn free(&mut self, seq: SeqId) -> Result<(), Error> {
        self.truncate(seq, 0)?;
        self.sequences[seq.0 as usize].live = false;
        Ok(())
    }

    /// Tokens of a sequence in the cache.
    pub fn len(&self, seq: SeqId) -> Result<u32, Error> {
        Ok(self.cached(seq)?.len)
    }

    /// Whether `num_new` tokens could be added now, in steps of at most `step_tokens`, and `spare` runs of
    /// each group would still be free. A window gives back blocks as it moves on, so it never needs more
    /// than a sequence may hold at a time.
    pub fn has_room(&self, seq: SeqId, num_new: u32, spare: u32) -> bool {
        let Ok(&Cached { len, .. }) = self.cached(seq) else { return false };
        let wanted = len.saturating_add(num_new);
        wanted <= self.limits.context
            && self.groups.iter().enumerate().all(|(index, group)| {
                let (new, shared) = self.missing(seq, index, len, wanted);
                let table = &self.sequences[seq.0 as usize].tables[index];
                let held = table.entries.len() as u32 - table.start / group.spec.block_size;
                let most = group.spec.runs_per_sequence(&self.limits).saturating_sub(held);
                new.min(most) + u32::from(shared) + spare <= self.free_runs(index)
            })
    }

    /// Makes room for the next `num_new` tokens, in all groups or in none. A partly filled block that is
    /// shared is replaced by a copy of its own, reported in `copies`.
    pub fn reserve(&mut self, seq: SeqId, num_new: u32, copies: &mut Vec<BlockCopy>) -> Result<(), Error> {
        let len = self.cached(seq)?.len;
        let wanted = len.saturating_add(num_new);
        if wanted > self.limits.context {
            return Err(Error::ContextFull { seq: seq.0, wanted, context: self.limits.context });
        }
        for index in 0..self.groups.len() {
            let (new, shared) = self.missing(seq, index, len, wanted);
            self.make_free(index, new + u32::from(shared))?;
        }
        for index in 0..self.groups.len() {
            let (new, shared) = self.missing(seq, index, len, wanted);
            let Group { spec, pool } = &mut self.groups[index];
            let entries = &mut self.sequences[seq.0 as usize].tables[index].entries;
            if shared {
                let last = &mut entries[(len / spec.block_size) as usize];
                let (src, dst) = (*last, pool.allocate().ok_or_else(|| shortage(index, 1, pool))?);
                pool.release(src);
                *last = dst;
                let (group, num_tokens) = (index as u32, len % spec.block_size);
                copies.push(BlockCopy { group, src, src_offset: 0, dst, dst_offset: 0, num_tokens, shift: 0 });
            }
            for _ in 0..new {
                entries.push(pool.allocate().ok_or_else(|| shortage(index, 1, pool))?);
            }
        }
        Ok(())
    }

    /// Counts the next `num_tokens` reserved tokens as computed, and gives back what the window has left.
    pub fn commit(&mut self, seq: SeqId, num_tokens: u32) -> Result<(), Error> {
        let len = self.cached(seq)?.len.saturating_add(num_tokens);
        let reserved = self.reserved(seq);
        if len > reserved {
            return Err(Error::NoSuchPosition { seq: seq.0, position: len, len: reserved });
        }
        let cached = &mut self.sequences[seq.0 as usize];
        cached.len = len;
        for (Group { spec, pool }, table) in self.groups.iter_mut().zip(&mut cached.tables) {
            let first = spec.window_start(len) / spec.block_size;
            for logical in table.start / spec.block_size..first {
                let entry = std::mem::replace(&mut table.entries[logical as usize], FREED);
                pool.release(entry);
            }
            table.start = table.start.max(first * spec.block_size);
        }
        Ok(())
    }

    /// Keeps the first `len` tokens only. With sliding windows this reaches back at most about a block
    /// ([`Error::BehindWindow`]), except to nothing.
    pub fn truncate(&mut self, seq: SeqId, len: u32) -> Result<(), Error> {
        self.check_reach(seq, len)?;
        let cached = &mut self.sequences[seq.0 as usize];
        for (Group { spec, pool }, table) in self.groups.iter_mut().zip(&mut cached.tables) {
            let keep = spec.blocks_for(len) as usize;
            // The last first: of an idle prefix the end is given up before what it stands on.
            for entry in table.entries.drain(keep.min(table.entries.len())..).rev().filter(|&entry| entry != FREED) {
                pool.release(entry);
            }
            if len == 0 {
                table.start = 0;
            }
        }
        cached.len = len;
        cached.published = prefix::Mark::default();
        cached.shifted &= len != 0;
        Ok(())
    }

    /// Lets `dst`, which is empty, begin with the first `len` tokens of `src`. Blocks are shared; whoever
    /// writes to the last one first gets a copy of it.
    pub fn seq_copy(&mut self, src: SeqId, dst: SeqId, len: u32) -> Result<(), Error> {
        self.check_reach(src, len)?;
        if src == dst || self.cached(dst)?.tables.iter().any(|table| !table.entries.is_empty()) {
            return Err(Error::SequenceInUse(dst.0));
        }
        for (index, Group { spec, pool }) in self.groups.iter_mut().enumerate() {
            let keep = spec.blocks_for(len) as usize;
            let [from, to] = pair(&mut self.sequences, src, dst);
            let (from, to) = (&from.tables[index], &mut to.tables[index]);
            to.entries.extend_from_slice(&from.entries[..keep]);
            to.start = if len == 0 { 0 } else { from.start };
            to.entries.iter().filter(|&&entry| entry != FREED).for_each(|&entry| pool.share(entry));
        }
        let [from, to] = pair(&mut self.sequences, src, dst);
        to.len = len;
        to.shifted = from.shifted && len != 0;
        Ok(())
    }

    /// Where the tokens of a sequence lie in a group, reserved blocks included.
    pub fn view(&self, seq: SeqId, group: usize) -> Result<TableView<'_>, Error> {
        let cached = self.cached(seq)?;
        let (spec, table) = (&self.groups[group].spec, &cached.tables[group]);
        Ok(TableView {
            table: &table.entries,
            first_logical: table.start / spec.block_size,
            start: table.start,
            num_tokens: cached.len,
            block_size: spec.block_size,
            layer_stride: 0,
            head_stride: 0,
            layer_step: spec.num_kv_heads,
            head_step: 1,
        })
    }

    /// Appends the slot of each position ([`TableView::slot`]) to `slots`.
    pub fn slot_mapping(
        &self,
        seq: SeqId,
        group: usize,
        positions: Range<u32>,
        slots: &mut Vec<u64>,
    ) -> Result<(), Error> {
        let view = self.view(seq, group)?;
        let reserved = view.table.len() as u32 * view.block_size;
        if positions.start < view.start || positions.end > reserved {
            return Err(Error::NoSuchPosition { seq: seq.0, position: positions.end, len: reserved });
        }
        slots.extend(positions.map(|position| view.slot(position)));
        Ok(())
    }

    fn cached(&self, seq: SeqId) -> Result<&Cached, Error> {
        self.sequences.get(seq.0 as usize).filter(|cached| cached.live).ok_or(Error::unknown(seq))
    }

    /// Tokens that the blocks of a live sequence have room for.
    fn reserved(&self, seq: SeqId) -> u32 {
        let tables = self.sequences.get(seq.0 as usize).map_or(&[][..], |cached| &cached.tables);
        let room = |(group, table): (&Group, &BlockTable)| table.entries.len() as u32 * group.spec.block_size;
        self.groups.iter().zip(tables).map(room).min().unwrap_or(self.limits.context)
    }

    /// Runs that the table of a sequence lacks for `wanted` tokens, and whether its last block is shared.
    fn missing(&self, seq: SeqId, group: usize, len: u32, wanted: u32) -> (u32, bool) {
        let Group { spec, pool } = &self.groups[group];
        let entries = &self.sequences[seq.0 as usize].tables[group].entries;
        let new = spec.blocks_for(wanted).saturating_sub(entries.len() as u32);
        let partial = wanted > len && !len.is_multiple_of(spec.block_size);
        (new, partial && !pool.is_own(entries[(len / spec.block_size) as usize]))
    }

    /// Sees to it that so many runs of a group are free, at the expense of unused prefixes.
    fn make_free(&mut self, group: usize, needed: u32) -> Result<(), Error> {
        while self.groups[group].pool.num_free() < needed {
            let pool = &mut self.groups[group].pool;
            if !self.prefix.as_mut().is_some_and(|prefix| prefix.evict_one(group, pool)) {
                return Err(shortage(group, needed, pool));
            }
        }
        Ok(())
    }

    /// Whether the sequence can go on from its first `len` tokens.
    fn check_reach(&self, seq: SeqId, len: u32) -> Result<(), Error> {
        let cached = self.cached(seq)?;
        if len > cached.len {
            return Err(Error::NoSuchPosition { seq: seq.0, position: len, len: cached.len });
        }
        let tables = self.groups.iter().zip(&cached.tables);
        let lowest = tables.map(|(group, table)| group.spec.reach(table.start)).max().unwrap_or(0);
        if len > 0 && len < lowest {
            return Err(Error::BehindWindow { seq: seq.0, requested: len, lowest });
        }
        Ok(())
    }
}

fn shortage(group: usize, needed: u32, pool: &BlockPool) -> Error {
    Error::OutOfBlocks { group, needed, free: pool.num_free() }
}

/// Two different sequences at once.
fn pair(sequences: &mut [Cached], first: SeqId, second: SeqId) -> [&mut Cached; 2] {
    let (low, high) = (first.0.min(second.0) as usize, first.0.max(second.0) as usize);
    let (left, right) = sequences.split_at_mut(high);
    if first.0 < second.0 { [&mut left[low], &mut right[0]] } else { [&mut right[0], &mut left[low]] }
}
