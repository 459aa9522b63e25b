//! What an operation is: a kind, a description of the problem, and a list of variants.

use std::fmt::Debug;

use crate::cost::Cost;
use crate::launch::Frame;
use crate::variant::Variant;

/// Names every operation; counters, `explain` and pins speak of ops by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpKind {
    /// Token ids to rows of the embedding table.
    Embed,
    /// RMS normalisation over rows or heads.
    Norm,
    /// f32 activations to int8 blocks that several matmuls share.
    Quantize,
    /// Weights times activations.
    Matmul,
    /// Cosines and sines for the positions of this step.
    RopeTable,
    /// Rotary position embedding of queries or keys, in place.
    Rope,
    /// Keys and values into the paged cache.
    KvStore,
    /// Attention of this step's queries over the paged cache.
    Attention,
    /// Gated activation: act(gate) * up.
    Glu,
    /// Residual addition, in place.
    Add,
    /// tanh soft-capping, in place.
    Softcap,
    /// Picks the rows that yield logits.
    Gather,
}

impl OpKind {
    /// Lower-case name, the first part of every variant id.
    pub const fn name(self) -> &'static str {
        match self {
            OpKind::Embed => "embed",
            OpKind::Norm => "norm",
            OpKind::Quantize => "quantize",
            OpKind::Matmul => "matmul",
            OpKind::RopeTable => "rope_table",
            OpKind::Rope => "rope",
            OpKind::KvStore => "kv_store",
            OpKind::Attention => "attention",
            OpKind::Glu => "glu",
            OpKind::Add => "add",
            OpKind::Softcap => "softcap",
            OpKind::Gather => "gather",
        }
    }
}

/// How many rows (tokens) a plan is made for. Kernels may specialise; every kernel must still be
/// right for any number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rows {
    /// One token: bound by reading the weights.
    One,
    /// 2 to 7 tokens: several sequences decode, or speculation is verified.
    Few,
    /// 8 tokens and more: prefill, bound by arithmetic.
    Many,
}

impl Rows {
    /// Every regime.
    pub const ALL: [Rows; 3] = [Rows::One, Rows::Few, Rows::Many];

    /// What reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Rows::One => "decode",
            Rows::Few => "few",
            Rows::Many => "prefill",
        }
    }

    /// The regime that `num_rows` falls into.
    pub const fn of(num_rows: usize) -> Self {
        match num_rows {
            0 | 1 => Rows::One,
            2..8 => Rows::Few,
            _ => Rows::Many,
        }
    }
}

/// An operation. Implemented by one empty type per folder in `ops/`.
pub trait Op: Sized + Send + Sync + 'static {
    /// Which op this is.
    const KIND: OpKind;
    /// All variants, best first; the last is the reference and accepts every description.
    const VARIANTS: &'static [&'static Variant<Self>];
    /// The problem: shapes, types and constants, fixed when the plan is built.
    type Desc: Copy + Debug + Send + Sync + 'static;
    /// Where the plan keeps inputs and outputs.
    type Slots: Copy + Send + Sync + 'static;
    /// Addresses and counts of one execution.
    type Args;

    /// Turns the plan's places into addresses for this step.
    fn bind(desc: &Self::Desc, slots: &Self::Slots, frame: &Frame) -> Self::Args;

    /// What a step of this description moves and computes.
    fn cost(desc: &Self::Desc, slots: &Self::Slots) -> Cost;
}
