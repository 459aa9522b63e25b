//! Prefix sharing: full blocks of computed tokens, found again by their content.
//!
//! Off until [`KvCache::share_prefixes`]. The scheduler publishes what a sequence has computed and lets
//! new sequences adopt what they have in common with it. The index holds one reference to each run it
//! knows; runs that nobody else uses are given up, least recently used first, when a pool runs dry.
//!
//! An entry is one block of tokens after a given parent entry, so a chain of entries is a prefix. Entries
//! are found by a hash and then compared, parent and tokens: a collision can never share wrong keys.

use super::{FREED, Group, KvCache};
use crate::batch::SeqId;
use crate::error::Error;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// How far a sequence is in the index: its first `blocks` blocks end in the entry `serial` at `slot`.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Mark {
    blocks: u32,
    slot: u32,
    /// Serial number of the entry; 0 at the root.
    serial: u64,
}

/// No neighbour in the list, no run in a group.
const NONE: u32 = FREED;

struct Entry {
    key: u64,
    /// Unique for all time; 0 while the slot is vacant.
    serial: u64,
    /// Serial number of the entry before it in the prefix.
    parent: u64,
    older: u32,
    newer: u32,
}

/// The published blocks, in the order of their last use. Every entry is newer than its children, so what
/// is given up first has none.
pub(super) struct PrefixIndex {
    block_size: usize,
    num_groups: usize,
    hasher: RandomState,
    slots: HashMap<u64, u32>,
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    /// `[slot, block_size]`
    tokens: Vec<u32>,
    /// `[slot, group]`: the run of that block, `NONE` once its window has passed or it was given up.
    runs: Vec<u32>,
    oldest: u32,
    newest: u32,
    last_serial: u64,
    /// Scratch: the entries of the prefix being adopted.
    chain: Vec<u32>,
}

impl KvCache {
    /// Turns prefix sharing on.
    pub fn share_prefixes(&mut self) -> Result<(), Error> {
        let block_size = self.groups.first().map_or(1, |group| group.spec.block_size);
        if self.groups.iter().any(|group| group.spec.block_size != block_size) {
            return Err(Error::CacheLayout("prefixes are shared only if all groups have one block size".into()));
        }
        let capacity = self.groups.iter().map(|group| group.pool.num_runs()).max().unwrap_or(0) as usize;
        self.prefix.get_or_insert_with(|| PrefixIndex::new(block_size as usize, self.groups.len(), capacity));
        Ok(())
    }

    /// Lets an empty sequence begin with the longest published prefix of `tokens`, and returns its length.
    /// Pass all but the last token of a prompt: that one has to be computed to yield logits.
    pub fn adopt_prefix(&mut self, seq: SeqId, tokens: &[u32]) -> Result<u32, Error> {
        if self.cached(seq)?.tables.iter().any(|table| !table.entries.is_empty()) {
            return Err(Error::SequenceInUse(seq.0));
        }
        let Some(prefix) = &mut self.prefix else { return Ok(0) };
        let tokens = &tokens[..tokens.len().min(self.limits.context as usize)];
        let num_blocks = prefix.find_chain(tokens, &self.groups);
        let len = (num_blocks * prefix.block_size) as u32;
        let cached = &mut self.sequences[seq.0 as usize];
        for (index, Group { spec, pool }) in self.groups.iter_mut().enumerate() {
            let table = &mut cached.tables[index];
            let first = (spec.window_start(len) / spec.block_size) as usize;
            table.start = first as u32 * spec.block_size;
            table.entries.resize(first.min(num_blocks), FREED);
            for &slot in prefix.chain[..num_blocks].iter().skip(first) {
                let entry = prefix.runs[slot as usize * prefix.num_groups + index];
                pool.share(entry);
                table.entries.push(entry);
            }
        }
        cached.len = len;
        if let Some(&slot) = prefix.chain[..num_blocks].last() {
            cached.published = Mark { blocks: num_blocks as u32, slot, serial: prefix.entries[slot as usize].serial };
        }
        Ok(len)
    }

    /// Publishes the full blocks of a sequence whose tokens these are. A block that is known already takes
    /// the place of the sequence's own.
    pub fn publish_prefix(&mut self, seq: SeqId, tokens: &[u32]) -> Result<(), Error> {
        self.cached(seq)?;
        let Some(prefix) = &mut self.prefix else { return Ok(()) };
        let cached = &mut self.sequences[seq.0 as usize];
        let num_full = cached.len.min(tokens.len() as u32) / prefix.block_size as u32;
        if cached.shifted || cached.published.blocks >= num_full {
            return Ok(());
        }
        if !prefix.is_alive(cached.published) {
            cached.published = Mark::default();
        }
        for logical in cached.published.blocks as usize..num_full as usize {
            let block = &tokens[logical * prefix.block_size..][..prefix.block_size];
            let found = prefix.find(cached.published.serial, block);
            let Some(slot) = found.or_else(|| prefix.insert(cached.published, block, &mut self.groups)) else { break };
            for (index, Group { pool, .. }) in self.groups.iter_mut().enumerate() {
                let known = &mut prefix.runs[slot as usize * prefix.num_groups + index];
                let own = &mut cached.tables[index].entries[logical];
                match (*known, *own) {
                    (NONE, FREED) => {}
                    (NONE, run) => {
                        pool.share(run);
                        *known = run;
                    }
                    (_, FREED) => {}
                    (run, replaced) if run != replaced => {
                        pool.share(run);
                        pool.release(replaced);
                        *own = run;
                    }
                    _ => {}
                }
            }
            cached.published = Mark { blocks: logical as u32 + 1, slot, serial: prefix.entries[slot as usize].serial };
        }
        Ok(())
    }
}

impl PrefixIndex {
    fn new(block_size: usize, num_groups: usize, capacity: usize) -> Self {
        PrefixIndex {
            block_size,
            num_groups,
            hasher: RandomState::new(),
            slots: HashMap::with_capacity(capacity * 2),
            entries: (0..capacity).map(|_| Entry { key: 0, serial: 0, parent: 0, older: NONE, newer: NONE }).collect(),
            vacant: (0..capacity as u32).rev().collect(),
            tokens: vec![0; capacity * block_size],
            runs: vec![NONE; capacity * num_groups],
            oldest: NONE,
            newest: NONE,
            last_serial: 0,
            chain: Vec::with_capacity(capacity),
        }
    }

    /// Finds the longest prefix of whole blocks that every group can go on from, marks it as used, leaves
    /// its entries in `chain`, and returns the number of its blocks.
    fn find_chain(&mut self, tokens: &[u32], groups: &[Group]) -> usize {
        self.chain.clear();
        let mut parent = 0;
        for block in tokens.chunks_exact(self.block_size) {
            let Some(slot) = self.find(parent, block) else { break };
            parent = self.entries[slot as usize].serial;
            self.chain.push(slot);
        }
        for index in (0..self.chain.len()).rev() {
            let slot = self.chain[index];
            self.unlink(slot);
            self.link_older_than(NONE, slot);
        }
        let usable = |&num_blocks: &usize| {
            groups.iter().enumerate().all(|(group, Group { spec, .. })| {
                let first = spec.window_start((num_blocks * self.block_size) as u32) as usize / self.block_size;
                let needed = self.chain[..num_blocks].iter().skip(first);
                needed.into_iter().all(|&slot| self.runs[slot as usize * self.num_groups + group] != NONE)
            })
        };
        (0..=self.chain.len()).rev().find(usable).unwrap_or(0)
    }

    fn find(&self, parent: u64, block: &[u32]) -> Option<u32> {
        let slot = *self.slots.get(&self.hasher.hash_one((parent, block)))?;
        let known = &self.tokens[slot as usize * self.block_size..][..self.block_size];
        (self.entries[slot as usize].parent == parent && known == block).then_some(slot)
    }

    /// Adds an entry, without runs, after the one that `mark` names.
    fn insert(&mut self, mark: Mark, block: &[u32], groups: &mut [Group]) -> Option<u32> {
        let parent = mark.serial;
        let key = self.hasher.hash_one((parent, block));
        if self.slots.contains_key(&key) {
            return None; // another block with the same hash: the first comer stays
        }
        if self.vacant.is_empty() && (parent == 0 || self.oldest != mark.slot) {
            self.remove(self.oldest, groups);
        }
        let slot = self.vacant.pop()?;
        self.last_serial += 1;
        self.entries[slot as usize] = Entry { key, serial: self.last_serial, parent, older: NONE, newer: NONE };
        self.tokens[slot as usize * self.block_size..][..self.block_size].copy_from_slice(block);
        self.slots.insert(key, slot);
        self.link_older_than(if parent == 0 { NONE } else { mark.slot }, slot);
        Some(slot)
    }

    fn is_alive(&self, mark: Mark) -> bool {
        mark.serial == 0 || self.entries[mark.slot as usize].serial == mark.serial
    }

    /// Runs of a group that would be free without the index.
    pub(super) fn evictable(&self, group: usize, pool: &super::BlockPool) -> u32 {
        let runs = self.runs.iter().skip(group).step_by(self.num_groups);
        runs.filter(|&&run| run != NONE && pool.refs(run) == 1).count() as u32
    }

    /// Frees one run of a group that nobody else uses, if there is one. A windowed group gives up just
    /// the run; elsewhere the entry goes, as no prefix can do without it.
    pub(super) fn evict_one(&mut self, group: usize, groups: &mut [Group]) -> bool {
        let mut slot = self.oldest;
        while slot != NONE {
            let run = self.runs[slot as usize * self.num_groups + group];
            if run != NONE && groups[group].pool.refs(run) == 1 {
                if groups[group].spec.window.is_some() {
                    self.runs[slot as usize * self.num_groups + group] = NONE;
                    groups[group].pool.release(run);
                } else {
                    self.remove(slot, groups);
                }
                return true;
            }
            slot = self.entries[slot as usize].newer;
        }
        false
    }

    fn remove(&mut self, slot: u32, groups: &mut [Group]) {
        self.unlink(slot);
        let runs = &mut self.runs[slot as usize * self.num_groups..][..self.num_groups];
        for (run, Group { pool, .. }) in runs.iter_mut().zip(groups) {
            if *run != NONE {
                pool.release(*run);
                *run = NONE;
            }
        }
        self.slots.remove(&self.entries[slot as usize].key);
        self.entries[slot as usize].serial = 0;
        self.vacant.push(slot);
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { older, newer, .. } = self.entries[slot as usize];
        *self.newer_of(older) = newer;
        *self.older_of(newer) = older;
    }

    /// Puts an unlinked entry just below `above` in the order of use; at its newest end for `NONE`.
    fn link_older_than(&mut self, above: u32, slot: u32) {
        let below = std::mem::replace(self.older_of(above), slot);
        *self.newer_of(below) = slot;
        self.entries[slot as usize].newer = above;
        self.entries[slot as usize].older = below;
    }

    /// The link from an entry to the next newer one; for `NONE` the oldest end of the list.
    fn newer_of(&mut self, slot: u32) -> &mut u32 {
        if slot == NONE { &mut self.oldest } else { &mut self.entries[slot as usize].newer }
    }

    /// The link from an entry to the next older one; for `NONE` the newest end of the list.
    fn older_of(&mut self, slot: u32) -> &mut u32 {
        if slot == NONE { &mut self.newest } else { &mut self.entries[slot as usize].older }
    }

    /// Every run that the index refers to, as (group, run).
    pub(super) fn references(&self) -> impl Iterator<Item = (usize, u32)> {
        let runs = self.runs.iter().enumerate().filter(|&(_, &run)| run != NONE);
        runs.map(|(index, &run)| (index % self.num_groups, run))
    }

    /// Whether the order of use holds what it promises: each live entry once, newer than its children.
    pub(super) fn is_ordered(&self) -> bool {
        let mut seen = vec![0];
        let mut slot = self.newest;
        while slot != NONE && seen.len() <= self.entries.len() {
            let entry = &self.entries[slot as usize];
            if !seen.contains(&entry.parent) || self.slots.get(&entry.key) != Some(&slot) {
                return false;
            }
            seen.push(entry.serial);
            slot = entry.older;
        }
        slot == NONE && seen.len() - 1 + self.vacant.len() == self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colliding_hash_finds_nothing() {
        let mut index = PrefixIndex::new(2, 0, 4);
        let root = Mark::default();
        let first = index.insert(root, &[1, 2], &mut []).unwrap();
        assert_eq!(index.find(0, &[1, 2]), Some(first));
        let serial = index.entries[first as usize].serial;
        for (parent, block) in [(0, [1, 3]), (serial, [1, 2])] {
            let key = index.hasher.hash_one((parent, &block[..]));
            index.slots.insert(key, first);
            assert_eq!(index.find(parent, &block), None, "{parent} {block:?}");
        }
    }
}
