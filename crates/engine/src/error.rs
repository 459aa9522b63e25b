//! Everything that can go wrong in the engine, each error naming the thing.

use crate::batch::SeqId;

/// The engine's error.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool of a cache group cannot serve a reservation; preempting a sequence mends it.
    #[error("KV cache group {group}: {needed} more blocks needed, {free} free")]
    OutOfBlocks {
        /// Index of the group.
        group: usize,
        /// Runs of blocks that the reservation lacks.
        needed: u32,
        /// Runs that are free.
        free: u32,
    },
    /// A sequence that the cache does not hold.
    #[error("sequence {0}: not in the KV cache")]
    UnknownSequence(u32),
    /// A sequence that was to be created, or copied into, is already in use.
    #[error("sequence {0}: already in use in the KV cache")]
    SequenceInUse(u32),
    /// An operation on positions that the sequence does not have.
    #[error("sequence {seq}: position {position} asked for, it has {len} tokens")]
    NoSuchPosition {
        /// The sequence.
        seq: u32,
        /// The position, or the end of the range, asked for.
        position: u32,
        /// Tokens in the cache.
        len: u32,
    },
    /// More tokens than a sequence may have.
    #[error("sequence {seq}: {wanted} tokens wanted, the context holds {context}")]
    ContextFull {
        /// The sequence.
        seq: u32,
        /// Tokens it would have.
        wanted: u32,
        /// Tokens it may have.
        context: u32,
    },
    /// Sliding-window layers no longer hold what would be attended to. The tokens must be computed anew:
    /// free the sequence (or truncate it to nothing) and prefill.
    #[error("sequence {seq}: cannot be cut to {requested} tokens, its sliding window only reaches back to {lowest}")]
    BehindWindow {
        /// The sequence.
        seq: u32,
        /// Length asked for.
        requested: u32,
        /// The least length, other than nothing, that can be had now.
        lowest: u32,
    },
    /// A prompt without tokens.
    #[error("the prompt is empty: there is nothing to go on from")]
    EmptyPrompt,
    /// A prompt that leaves no room for an answer.
    #[error(
        "the prompt has {num_prompt} tokens, the context holds {context}: shorten it or enlarge the context \
         (-c, and --kv-memory where that is given)"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        num_prompt: usize,
        /// Tokens of the context.
        context: u32,
    },
    /// More requests than the queue holds.
    #[error("{num_waiting} requests are waiting already, the queue holds {max_waiting}: try again later")]
    QueueFull {
        /// Sequences that wait.
        num_waiting: usize,
        /// Most that may wait.
        max_waiting: u32,
    },
    /// A step that the runner gave up, by an error of its device or a panic.
    #[error("the step failed: {0}")]
    Step(String),
    /// Numbers that went wrong on the exact plan too.
    #[error("{faults} in {op} {name} at step {step}, on the exact plan too: {hint}")]
    NotFinite {
        /// What was seen.
        faults: kernels::Faults,
        /// The op.
        op: &'static str,
        /// The node, mostly the name of its weight.
        name: String,
        /// Which step of the runner.
        step: u64,
        /// What may be the cause.
        hint: &'static str,
    },
    /// Numbers that went wrong over a cache that may have lost what matters. The engine prefills the
    /// sequences of the step again, exactly; others do so by truncating them to nothing.
    #[error("{0}: the sequence must be prefilled again")]
    PrefillAgain(String),
    /// A fault to be put in on purpose that no plan has a place for.
    #[error("--inject: {0}: the model has no such step")]
    Inject(String),
    /// The engine has ended, so nothing can be submitted.
    #[error("the engine has stopped")]
    Stopped,
    /// A grammar or schema that an answer cannot keep to any longer.
    #[error("the grammar: {0}")]
    Constraint(String),
    /// A logits row that cannot be sampled.
    #[error(transparent)]
    Sampler(#[from] crate::sampler::Error),
    /// A cache that cannot be laid out.
    #[error("KV cache: {0}")]
    CacheLayout(String),
}

impl Error {
    pub(crate) fn unknown(seq: SeqId) -> Self {
        Error::UnknownSequence(seq.0)
    }
}
