//! What the engine tells about itself: one report per step, for metrics, logs and the monitor; and sums over
//! steps per kernel, for whoever asks where the time goes.

mod counters;

use crate::watch::Notice;

pub use counters::{OpCount, Tally, count};

/// What a step did, and how long it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Rows computed.
    pub num_rows: u32,
    /// Those of them that are prompt tokens, or computed anew after a preemption; the others decode.
    pub num_prompt_rows: u32,
    /// Tokens sampled.
    pub num_sampled: u32,
    /// Prompt tokens that sequences let in by this step have found in the cache.
    pub num_cached: u32,
    /// Sequences in the step.
    pub num_sequences: u32,
    /// Sequences in the cache after the step.
    pub num_running: u32,
    /// Sequences that wait for a place.
    pub num_waiting: u32,
    /// Sequences that lost their place for lack of blocks.
    pub num_preempted: u32,
    /// Sequences that have ended.
    pub num_finished: u32,
    /// Bytes of cache blocks that sequences hold after the step. Prefixes that are merely kept for later do
    /// not count.
    pub kv_used_bytes: u64,
    /// Bytes of all cache blocks.
    pub kv_bytes: u64,
    /// Cache moves: copies of shared blocks and context shifts.
    pub num_copies: u32,
    /// Putting the batch together.
    pub schedule_us: u64,
    /// Computing it.
    pub run_us: u64,
    /// Sampling, detokenizing and sending.
    pub sample_us: u64,
    /// Whether the runner gave up.
    pub failed: bool,
    /// Whether numbers went wrong and the step was redone on the exact plan, or its sequences are.
    pub redone: bool,
}

/// Is told of every step, on the engine's thread: be quick.
pub trait Observer: Send {
    /// A step has ended.
    fn step(&mut self, report: &StepReport);

    /// The watch over numbers has something to tell.
    fn notice(&mut self, _: &Notice) {}
}
