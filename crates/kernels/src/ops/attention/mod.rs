//! Causal attention of this step's queries over the paged cache, whose last entries are this step's
//! own keys and values: `out = softmax(scale * q Kᵀ, masked) V`, online over blocks (arXiv 2205.14135).

pub mod reference;

use device::Shard;

use crate::kv::KvLayout;
use crate::launch::{Frame, KvFrame, Slot};
use crate::op::{Op, OpKind, Rows};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Attention;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Shape of a block; its `num_kv_heads` divides `num_heads`.
    pub layout: KvLayout,
    /// KV group of the layer.
    pub group: u32,
    /// Layer within the group.
    pub layer: u32,
    /// Query heads.
    pub num_heads: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)` before masking; 0 for none.
    pub softcap: f32,
    /// A query at position p sees keys in `p - window + 1 ..= p`; 0 for all up to p.
    pub window: u32,
    /// Regime the plan is made for.
    pub rows: Rows,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[num_rows, num_heads * head_dim_k]` f32, after RoPE.
    pub q: Slot,
    /// `[num_rows, num_heads * head_dim_v]` f32.
    pub out: Slot,
}

/// Addresses.
pub struct Args {
    pub(crate) q: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) kv: KvFrame,
}

impl Op for Attention {
    const KIND: OpKind = OpKind::Attention;
    const VARIANTS: &'static [&'static Variant<Self>] = &[&REFERENCE];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(desc: &Desc, slots: &Slots, frame: &Frame) -> Args {
        Args { q: frame.at(slots.q), out: frame.at(slots.out), kv: frame.group(desc.group) }
    }
}

const REFERENCE: Variant<Attention> = Variant {
    id: "attention/any/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    // SAFETY: the plan binds live memory; see `Launch::Cpu`.
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| unsafe {
        reference::attention(desc, args, shard)
    }),
};
