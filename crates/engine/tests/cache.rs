//! The KV cache against a naive model: after any sequence of operations, a simulated storage that is only
//! ever touched through slots and `BlockCopy` records holds exactly what plain vectors would hold, and
//! every reference is accounted for.

use engine::Error;
use engine::batch::{BlockCopy, SeqId};
use engine::cache::{CacheLimits, KvCache, KvGroup};
use proptest::prelude::*;
use std::collections::HashMap;

const SEQUENCES: u32 = 4;
const CONTEXT: u32 = 48;
const STEP: u32 = 20;

fn group(layers: u32, heads: u32, window: Option<u32>, block_size: u32) -> KvGroup {
    KvGroup {
        layers: (0..layers).collect(),
        num_kv_heads: heads,
        head_dim_k: 8,
        head_dim_v: 8,
        k_bytes: 16,
        v_bytes: 16,
        window,
        block_size,
    }
}

/// Layouts under test, the flag telling whether prefixes are shared.
fn layouts() -> Vec<(Vec<KvGroup>, bool)> {
    let mixed = vec![group(2, 3, None, 4), group(5, 1, Some(6), 4)];
    vec![
        (vec![group(1, 1, None, 4)], false),
        (vec![group(1, 2, None, 4)], true),
        (vec![group(3, 1, None, 5), group(2, 2, Some(7), 3), group(1, 1, Some(1), 2)], false),
        (mixed.clone(), false),
        (mixed, true),
        (vec![group(2, 1, Some(9), 4)], true),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Append { seq: u32, tokens: Vec<u32> },
    Abandon { seq: u32, num_tokens: u32 },
    Truncate { seq: u32, part: f32 },
    Copy { src: u32, dst: u32, part: f32 },
    Shift { seq: u32, from: f32, to: f32 },
    Publish { seq: u32 },
    Adopt { seq: u32, like: u32, tail: Vec<u32> },
    Free { seq: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let seq = 0..SEQUENCES;
    // Two tokens only, so that prefixes coincide.
    let tokens = |most| prop::collection::vec(0..2u32, 0..most as usize);
    prop_oneof![
        6 => (seq.clone(), tokens(STEP + 1)).prop_map(|(seq, tokens)| Op::Append { seq, tokens }),
        1 => (seq.clone(), 0..STEP).prop_map(|(seq, num_tokens)| Op::Abandon { seq, num_tokens }),
        2 => (seq.clone(), 0.0..=1.0f32).prop_map(|(seq, part)| Op::Truncate { seq, part }),
        2 => (seq.clone(), seq.clone(), 0.0..=1.0f32).prop_map(|(src, dst, part)| Op::Copy { src, dst, part }),
        2 => (seq.clone(), 0.0..=1.0f32, 0.0..=1.0f32).prop_map(|(seq, from, to)| Op::Shift { seq, from, to }),
        2 => seq.clone().prop_map(|seq| Op::Publish { seq }),
        2 => (seq.clone(), seq.clone(), tokens(6)).prop_map(|(seq, like, tail)| Op::Adopt { seq, like, tail }),
        2 => seq.prop_map(|seq| Op::Free { seq }),
    ]
}

/// A cached key: what it was computed from, and the position it is rotated to.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Key {
    value: u64,
    position: i64,
}

struct World {
    cache: KvCache,
    /// Storage by (group, table entry, offset).
    storage: HashMap<(u32, u32, u32), Key>,
    /// The naive model: (token, value) by position.
    naive: Vec<Vec<(u32, u64)>>,
}

impl World {
    fn new(groups: Vec<KvGroup>, prefixes: bool, limits: CacheLimits) -> World {
        let mut cache = KvCache::new(groups, limits).unwrap();
        if prefixes {
            cache.share_prefixes().unwrap();
        }
        (0..SEQUENCES).for_each(|seq| cache.create(SeqId(seq)).unwrap());
        World { cache, storage: HashMap::new(), naive: vec![Vec::new(); SEQUENCES as usize] }
    }

    fn num_groups(&self) -> usize {
        self.cache.groups().len()
    }

    fn free_runs(&self) -> Vec<u32> {
        (0..self.num_groups()).map(|index| self.cache.free_runs(index)).collect()
    }

    /// What the runner does: one record after the other, each as a `memmove`.
    fn apply(&mut self, copies: &[BlockCopy]) {
        for copy in copies {
            let block_size = self.cache.groups().nth(copy.group as usize).unwrap().block_size;
            assert!(copy.num_tokens > 0 && copy.src_offset + copy.num_tokens <= block_size, "{copy:?}");
            assert!(copy.dst_offset + copy.num_tokens <= block_size, "{copy:?}");
            let read: Vec<_> = (0..copy.num_tokens)
                .map(|token| self.storage.get(&(copy.group, copy.src, copy.src_offset + token)).copied())
                .collect();
            for (token, key) in read.into_iter().enumerate() {
                let moved = key.map(|key| Key { position: key.position + i64::from(copy.shift), ..key });
                let slot = (copy.group, copy.dst, copy.dst_offset + token as u32);
                self.storage.insert(slot, moved.expect("a copy reads what was written"));
            }
        }
    }

    /// Writes the tokens from `first` on into their slots, as a step would.
    fn write(&mut self, seq: u32, first: usize) {
        for index in 0..self.num_groups() {
            let view = self.cache.view(SeqId(seq), index).unwrap();
            for (position, &(_, value)) in self.naive[seq as usize].iter().enumerate().skip(first) {
                let entry = view.table[position / view.block_size as usize];
                assert!(entry < self.cache.num_blocks(index), "entry {entry} lies outside the storage");
                let slot = (index as u32, entry, position as u32 % view.block_size);
                self.storage.insert(slot, Key { value, position: position as i64 });
            }
        }
    }

    fn append(&mut self, seq: u32, tokens: &[u32]) {
        let len = self.naive[seq as usize].len();
        let mut copies = Vec::new();
        let before = self.free_runs();
        match self.cache.reserve(SeqId(seq), tokens.len() as u32, &mut copies) {
            Ok(()) => {
                self.apply(&copies);
                for &token in tokens {
                    let before = self.naive[seq as usize].last().map_or(7, |&(_, value)| value);
                    let value = (before ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
                    self.naive[seq as usize].push((token, value));
                }
                self.write(seq, len);
                self.cache.commit(SeqId(seq), tokens.len() as u32).unwrap();
            }
            Err(Error::OutOfBlocks { group, needed, free }) => {
                assert!(copies.is_empty());
                assert!(free < needed && self.cache.free_runs(group) == free, "nothing more could be had");
                assert_eq!(self.free_runs(), before, "all groups or none");
                let block_size = self.cache.groups().nth(group).unwrap().block_size;
                assert!(needed <= (tokens.len() as u32).div_ceil(block_size) + 1);
            }
            Err(Error::ContextFull { .. }) => assert!(len + tokens.len() > CONTEXT as usize),
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether some window reaches from `len` to positions that are gone.
    fn is_behind(&self, seq: u32, len: u32) -> bool {
        self.cache.groups().enumerate().any(|(index, group)| {
            let start = self.cache.view(SeqId(seq), index).unwrap().start;
            len > 0 && start > group.window_start(len)
        })
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Append { seq, tokens } => self.append(*seq, tokens),
            Op::Abandon { seq, num_tokens } => {
                let mut copies = Vec::new();
                let _ = self.cache.reserve(SeqId(*seq), *num_tokens, &mut copies);
                self.apply(&copies);
            }
            Op::Truncate { seq, part } => {
                let len = self.part(*seq, *part);
                let expected = self.is_behind(*seq, len);
                match self.cache.truncate(SeqId(*seq), len) {
                    Ok(()) => self.naive[*seq as usize].truncate(len as usize),
                    Err(error) => assert!(expected && matches!(error, Error::BehindWindow { .. }), "{error}"),
                }
            }
            Op::Copy { src, dst, part } => {
                let len = self.part(*src, *part);
                let expected = self.is_behind(*src, len);
                match self.cache.seq_copy(SeqId(*src), SeqId(*dst), len) {
                    Ok(()) => self.naive[*dst as usize] = self.naive[*src as usize][..len as usize].to_vec(),
                    Err(Error::SequenceInUse(_)) => {}
                    Err(error) => assert!(expected && matches!(error, Error::BehindWindow { .. }), "{error}"),
                }
            }
            Op::Shift { seq, from, to } => {
                let (from, to) = (self.part(*seq, from.min(*to)), self.part(*seq, to.max(*from)));
                let mut copies = Vec::new();
                let before = self.free_runs();
                match self.cache.seq_shift(SeqId(*seq), from..to, &mut copies) {
                    Ok(()) => {
                        self.naive[*seq as usize].drain(from as usize..to as usize);
                        self.apply(&copies);
                    }
                    Err(Error::OutOfBlocks { .. }) => {
                        assert!(copies.is_empty());
                        assert_eq!(self.free_runs(), before, "all groups or none");
                    }
                    // Only a window that reaches over the cut can be at fault.
                    Err(error) => {
                        assert!(matches!(error, Error::BehindWindow { .. }), "{error}");
                        let new_len = self.naive[*seq as usize].len() as u32 - (to - from);
                        assert!(
                            self.cache
                                .groups()
                                .any(|group| group.window_start(new_len) < from || self.is_behind(*seq, new_len))
                        );
                    }
                }
            }
            Op::Publish { seq } => {
                let tokens: Vec<u32> = self.naive[*seq as usize].iter().map(|&(token, _)| token).collect();
                self.cache.publish_prefix(SeqId(*seq), &tokens).unwrap();
            }
            Op::Adopt { seq, like, tail } => {
                let mut tokens: Vec<_> = self.naive[*like as usize].clone();
                let before = |tokens: &[(u32, u64)]| tokens.last().map_or(7, |&(_, value)| value);
                for &token in tail {
                    let value = (before(&tokens) ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    tokens.push((token, value.rotate_left(29)));
                }
                let ids: Vec<u32> = tokens.iter().map(|&(token, _)| token).collect();
                match self.cache.adopt_prefix(SeqId(*seq), &ids) {
                    Ok(len) => {
                        // What is adopted was computed from these very tokens and nothing else.
                        let mut value = 7u64;
                        self.naive[*seq as usize].clear();
                        for &token in &ids[..len as usize] {
                            value = (value ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
                            self.naive[*seq as usize].push((token, value));
                        }
                    }
                    Err(error) => assert!(matches!(error, Error::SequenceInUse(_)), "{error}"),
                }
            }
            Op::Free { seq } => {
                self.cache.free(SeqId(*seq)).unwrap();
                self.cache.create(SeqId(*seq)).unwrap();
                self.naive[*seq as usize].clear();
            }
        }
    }

    fn part(&self, seq: u32, part: f32) -> u32 {
        (self.naive[seq as usize].len() as f32 * part).round() as u32
    }

    fn check(&self) {
        self.cache.audit().unwrap();
        for (seq, naive) in self.naive.iter().enumerate() {
            assert_eq!(self.cache.len(SeqId(seq as u32)), Ok(naive.len() as u32));
            for (index, group) in self.cache.groups().enumerate() {
                let view = self.cache.view(SeqId(seq as u32), index).unwrap();
                for (position, &(_, value)) in naive.iter().enumerate().skip(view.start as usize) {
                    let entry = view.table[position / group.block_size as usize];
                    let slot = (index as u32, entry, position as u32 % group.block_size);
                    let expected = Key { value, position: position as i64 };
                    assert_eq!(self.storage.get(&slot), Some(&expected), "sequence {seq} group {index} {position}");
                }
                // A window and the block that it starts in are all that is kept.
                if let Some(window) = group.window
                    && view.table.len() as u32 == group.blocks_for(naive.len() as u32)
                {
                    let held = view.table.len() as u32 - view.first_logical.min(view.table.len() as u32);
                    assert!(held <= (window - 1).div_ceil(group.block_size) + 1, "{held} blocks for {window}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_holds_what_plain_vectors_would_hold(
        layout in 0..layouts().len(),
        total_tokens in CONTEXT..=CONTEXT * 3,
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let (groups, prefixes) = layouts()[layout].clone();
        let limits = CacheLimits {
            context: CONTEXT,
            num_sequences: SEQUENCES,
            total_tokens: u64::from(total_tokens),
            step_tokens: STEP,
        };
        let mut world = World::new(groups, prefixes, limits);
        for op in &ops {
            world.step(op);
            world.check();
        }
        for seq in 0..SEQUENCES {
            world.cache.free(SeqId(seq)).unwrap();
        }
        world.cache.audit().unwrap();
        for index in 0..world.num_groups() {
            prop_assert_eq!(world.cache.free_runs(index), world.cache.num_runs(index), "nothing leaked");
        }
    }
}

/// One sequence alone can always have its whole context, whatever chunks it comes in.
#[test]
fn a_lone_sequence_never_runs_out() {
    for (groups, prefixes) in layouts() {
        for chunk in 1..=STEP {
            let limits =
                CacheLimits { context: CONTEXT, num_sequences: 4, total_tokens: CONTEXT.into(), step_tokens: STEP };
            let mut world = World::new(groups.clone(), prefixes, limits);
            while world.naive[0].len() < CONTEXT as usize {
                let len = world.naive[0].len();
                world.append(0, &vec![1; (CONTEXT as usize - len).min(chunk as usize)]);
                assert!(world.naive[0].len() > len, "stuck at {len} with chunks of {chunk}");
                world.check();
            }
        }
    }
}

#[test]
fn a_shared_partial_block_is_copied_by_whoever_writes_first() {
    let mut world = World::new(vec![group(2, 3, None, 4)], false, CacheLimits::full(CONTEXT, SEQUENCES, STEP));
    world.append(0, &[0, 1, 0, 1, 0, 1]);
    world.cache.seq_copy(SeqId(0), SeqId(1), 6).unwrap();
    world.naive[1] = world.naive[0].clone();
    let mut copies = Vec::new();
    world.cache.reserve(SeqId(0), 1, &mut copies).unwrap();
    assert_eq!(
        copies,
        [BlockCopy { group: 0, src: 6, src_offset: 0, dst: 12, dst_offset: 0, num_tokens: 2, shift: 0 }]
    );
    world.apply(&copies);
    copies.clear();
    world.cache.reserve(SeqId(1), 1, &mut copies).unwrap();
    assert!(copies.is_empty(), "the other one has it to itself now");
    world.check();
}

#[test]
fn a_shift_by_whole_blocks_moves_no_token_but_rotates_all() {
    let mut world = World::new(vec![group(1, 1, None, 4)], false, CacheLimits::full(CONTEXT, SEQUENCES, STEP));
    world.append(0, &[0; 16]);
    let before = world.cache.view(SeqId(0), 0).unwrap().table.to_vec();
    let mut copies = Vec::new();
    world.cache.seq_shift(SeqId(0), 4..12, &mut copies).unwrap();
    assert_eq!(world.cache.view(SeqId(0), 0).unwrap().table, [before[0], before[3]]);
    assert_eq!(copies.len(), 1);
    assert_eq!((copies[0].src, copies[0].dst, copies[0].shift), (before[3], before[3], -8));
}

#[test]
fn published_prefixes_outlive_their_sequence_until_memory_is_short() {
    let limits = CacheLimits { context: CONTEXT, num_sequences: 4, total_tokens: CONTEXT.into(), step_tokens: STEP };
    let mut world = World::new(vec![group(1, 1, None, 4), group(1, 1, Some(6), 4)], true, limits);
    let tokens = [0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0];
    for chunk in tokens.chunks(4) {
        world.append(0, chunk);
        world.step(&Op::Publish { seq: 0 });
    }
    world.step(&Op::Free { seq: 0 });
    assert_eq!(world.cache.adopt_prefix(SeqId(1), &tokens), Ok(12));
    world.cache.free(SeqId(1)).unwrap();
    assert_eq!(world.cache.adopt_prefix(SeqId(2), &tokens[..11]), Ok(8));
    world.cache.free(SeqId(2)).unwrap();
    for chunk in 0..CONTEXT / 16 {
        world.append(3, &[chunk; 16]);
    }
    assert_eq!(world.naive[3].len(), CONTEXT as usize);
    assert_eq!(world.cache.free_runs(0), world.cache.num_runs(0) - CONTEXT / 4);
    world.cache.audit().unwrap();
}

#[test]
fn a_prefix_in_use_stays_known_when_memory_is_short() {
    let limits = CacheLimits { context: CONTEXT, num_sequences: 4, total_tokens: CONTEXT.into(), step_tokens: STEP };
    let mut world = World::new(vec![group(1, 1, None, 4)], true, limits);
    // All blocks are alike: what tells them apart is what comes before them.
    world.append(0, &[1; 16]);
    world.step(&Op::Publish { seq: 0 });
    for _ in 0..6 {
        world.append(1, &[2; 8]);
    }
    assert_eq!(world.cache.free_runs(0), 1, "as short as can be");
    assert_eq!(world.cache.adopt_prefix(SeqId(2), &[1; 15]), Ok(12));
    assert_eq!(world.cache.adopt_prefix(SeqId(3), &[1; 17]), Ok(16));
}

#[test]
fn what_cannot_be_done_is_refused_and_named() {
    let limits = CacheLimits::full(CONTEXT, 2, STEP);
    let mut cache = KvCache::new(vec![group(1, 1, Some(8), 4)], limits).unwrap();
    let mut copies = Vec::new();
    assert_eq!(cache.reserve(SeqId(0), 1, &mut copies), Err(Error::UnknownSequence(0)));
    assert_eq!(cache.create(SeqId(9)), Err(Error::UnknownSequence(9)));
    cache.create(SeqId(0)).unwrap();
    assert_eq!(cache.create(SeqId(0)), Err(Error::SequenceInUse(0)));
    assert_eq!(cache.commit(SeqId(0), 1), Err(Error::NoSuchPosition { seq: 0, position: 1, len: 0 }));
    for _ in 0..4 {
        cache.reserve(SeqId(0), 8, &mut copies).unwrap();
        cache.commit(SeqId(0), 8).unwrap();
    }
    assert_eq!(cache.truncate(SeqId(0), 33), Err(Error::NoSuchPosition { seq: 0, position: 33, len: 32 }));
    assert_eq!(cache.truncate(SeqId(0), 30), Err(Error::BehindWindow { seq: 0, requested: 30, lowest: 31 }));
    assert_eq!(cache.truncate(SeqId(0), 31), Ok(()));
    let full = Error::ContextFull { seq: 0, wanted: 49, context: 48 };
    assert_eq!(cache.reserve(SeqId(0), 18, &mut copies), Err(full));
    assert!(cache.reserve(SeqId(0), u32::MAX, &mut copies).is_err());
    let mut slots = Vec::new();
    assert!(cache.slot_mapping(SeqId(0), 0, 0..4, &mut slots).is_err());
    cache.slot_mapping(SeqId(0), 0, 29..31, &mut slots).unwrap();
    assert_eq!(slots.len(), 2);

    let refused = |limits| KvCache::new(vec![group(40, 8, None, 16)], limits).err();
    assert!(matches!(refused(CacheLimits::full(u32::MAX, 1, 1)), Some(Error::CacheLayout(_))));
    assert!(matches!(refused(CacheLimits::full(0, 1, 1)), Some(Error::CacheLayout(_))));
    assert!(matches!(refused(CacheLimits::full(1 << 30, 1 << 10, 1)), Some(Error::CacheLayout(_))));
}
