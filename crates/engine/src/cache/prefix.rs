//! Prefix sharing: full blocks of computed tokens, found again by their content.
//!
//! Off until [`KvCache::share_prefixes`]. The scheduler publishes what a sequence has computed and lets new
//! sequences adopt what they have in common with it. A block is known by a hash of its tokens and of the
//! hash of the block before it, so its name says all that its keys were computed from. Each group keeps
//! names of its own: a published run that nobody uses any more stays where it is until its pool runs dry,
//! and the one that has been idle longest goes first. So a sliding window's blocks are kept, or not, apart
//! from those of other layers, and any prefix can be adopted whose window is still there.

use super::{BlockPool, FREED, Group, KvCache};
use crate::batch::SeqId;
use crate::error::Error;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// The name of a block: two 64-bit hashes with secret keys, so that nobody can make two prefixes collide
/// and chance needs some 2^64 blocks. 0 is what comes before the first block.
type Key = u128;

/// How far a sequence is published: so many blocks, and the name of the last.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Mark {
    blocks: u32,
    key: Key,
}

/// The published blocks.
pub(super) struct PrefixIndex {
    block_size: usize,
    hashers: [RandomState; 2],
    /// By group.
    known: Vec<Known>,
    /// Scratch: the names of a prefix's blocks; their runs, `[block, group]`; and by group, how many blocks
    /// in a row are known.
    chain: Vec<Key>,
    found: Vec<u32>,
    held: Vec<usize>,
}

/// The published runs of one group.
struct Known {
    runs: HashMap<Key, u32>,
    /// The name of each published run, by its number in the pool.
    keys: Vec<Key>,
}

impl KvCache {
    /// Turns prefix sharing on.
    pub fn share_prefixes(&mut self) -> Result<(), Error> {
        let block_size = self.groups.first().map_or(1, |group| group.spec.block_size);
        if self.groups.iter().any(|group| group.spec.block_size != block_size) {
            return Err(Error::CacheLayout("prefixes are shared only if all groups have one block size".into()));
        }
        let most_blocks = self.limits.context.div_ceil(block_size) as usize;
        self.prefix.get_or_insert_with(|| PrefixIndex::new(block_size as usize, most_blocks, &self.groups));
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
        let num_blocks = prefix.find(tokens, &self.groups);
        let len = (num_blocks * prefix.block_size) as u32;
        let cached = &mut self.sequences[seq.0 as usize];
        let num_groups = self.groups.len();
        for (index, Group { spec, pool }) in self.groups.iter_mut().enumerate() {
            let table = &mut cached.tables[index];
            let first = ((spec.window_start(len) / spec.block_size) as usize).min(num_blocks);
            table.start = first as u32 * spec.block_size;
            table.entries.resize(first, FREED);
            for block in first..num_blocks {
                let entry = prefix.found[block * num_groups + index];
                pool.share(entry);
                table.entries.push(entry);
            }
        }
        cached.len = len;
        if let Some(&key) = prefix.chain[..num_blocks].last() {
            cached.published = Mark { blocks: num_blocks as u32, key };
        }
        Ok(len)
    }

    /// Publishes the full blocks of a sequence whose tokens these are. A block that is known already takes
    /// the place of the sequence's own.
    pub fn publish_prefix(&mut self, seq: SeqId, tokens: &[u32]) -> Result<(), Error> {
        self.cached(seq)?;
        let Some(prefix) = &mut self.prefix else { return Ok(()) };
        let cached = &mut self.sequences[seq.0 as usize];
        if cached.shifted {
            return Ok(());
        }
        let num_full = cached.len.min(tokens.len() as u32) / prefix.block_size as u32;
        for logical in cached.published.blocks as usize..num_full as usize {
            let block = &tokens[logical * prefix.block_size..][..prefix.block_size];
            let key = prefix.key(cached.published.key, block);
            for (index, Group { pool, .. }) in self.groups.iter_mut().enumerate() {
                let own = &mut cached.tables[index].entries[logical];
                match prefix.known[index].runs.get(&key).copied() {
                    _ if *own == FREED => {}
                    None => prefix.known[index].insert(key, *own, pool),
                    Some(run) if run != *own => {
                        pool.share(run);
                        pool.release(*own);
                        *own = run;
                    }
                    Some(_) => {}
                }
            }
            cached.published = Mark { blocks: logical as u32 + 1, key };
        }
        Ok(())
    }
}

impl PrefixIndex {
    fn new(block_size: usize, most_blocks: usize, groups: &[Group]) -> Self {
        let known = |Group { pool, .. }: &Group| Known {
            // Twice the room, so that removing and inserting in turn never makes it grow.
            runs: HashMap::with_capacity(2 * pool.num_runs() as usize),
            keys: vec![0; pool.num_runs() as usize],
        };
        PrefixIndex {
            block_size,
            hashers: [RandomState::new(), RandomState::new()],
            known: groups.iter().map(known).collect(),
            chain: Vec::with_capacity(most_blocks),
            found: Vec::with_capacity(most_blocks * groups.len()),
            held: vec![0; groups.len()],
        }
    }

    /// Finds the longest prefix of whole blocks that every group can go on from, leaves its names and runs in
    /// `chain` and `found`, and returns the number of its blocks.
    fn find(&mut self, tokens: &[u32], groups: &[Group]) -> usize {
        self.chain.clear();
        self.found.clear();
        self.held.fill(0);
        let (mut key, mut longest) = (0, 0);
        for block in tokens.chunks_exact(self.block_size) {
            key = self.key(key, block);
            self.chain.push(key);
            let num_blocks = self.chain.len();
            let (mut usable, mut hopeless) = (true, false);
            for ((known, held), Group { spec, .. }) in self.known.iter().zip(&mut self.held).zip(groups) {
                let run = known.runs.get(&key).copied();
                self.found.push(run.unwrap_or(FREED));
                *held = if run.is_some() { *held + 1 } else { 0 };
                let first = spec.window_start((num_blocks * self.block_size) as u32) as usize / self.block_size;
                usable &= *held >= num_blocks - first.min(num_blocks);
                hopeless |= run.is_none() && spec.window.is_none();
            }
            if usable {
                longest = num_blocks;
            }
            if hopeless {
                break;
            }
        }
        longest
    }

    /// The name of a block of tokens that follows the block named `before`.
    fn key(&self, before: Key, block: &[u32]) -> Key {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((before, block)));
        Key::from(high) << 64 | Key::from(low)
    }

    /// Frees the run of a group that has been idle longest, if there is one.
    pub(super) fn evict_one(&mut self, group: usize, pool: &mut BlockPool) -> bool {
        let Some(run) = pool.evict() else { return false };
        let Known { runs, keys } = &mut self.known[group];
        runs.remove(&keys[pool.number(run)]);
        true
    }

    /// Every published run of a group under its name and under the name that the index has for it.
    pub(super) fn published(&self, group: usize, pool: &BlockPool) -> impl Iterator<Item = (u32, Key, Key)> {
        let Known { runs, keys } = &self.known[group];
        runs.iter().map(|(&key, &run)| (run, key, keys[pool.number(run)]))
    }
}

impl Known {
    fn insert(&mut self, key: Key, run: u32, pool: &mut BlockPool) {
        self.runs.insert(key, run);
        self.keys[pool.number(run)] = key;
        pool.publish(run);
    }
}
