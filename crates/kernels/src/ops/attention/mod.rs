//! Causal attention of this step's queries over the paged cache, whose last entries are this step's
//! own keys and values: `out = softmax(scale * q Kᵀ, masked) V`, online over blocks (arXiv 2205.14135).

#[cfg(target_arch = "x86_64")]
pub mod bytes;
#[cfg(target_arch = "x86_64")]
pub mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_avx2;
#[cfg(target_arch = "x86_64")]
pub mod cpu_avx512;
#[cfg(target_arch = "x86_64")]
mod cpu_avx512bf16;
#[cfg(target_arch = "x86_64")]
pub mod cpu_bytes;
mod cuda;
#[cfg(target_arch = "x86_64")]
pub mod element;
#[cfg(target_arch = "x86_64")]
pub mod head;
#[cfg(target_arch = "x86_64")]
mod parts;
pub mod reference;
#[cfg(target_arch = "x86_64")]
pub mod stream;
#[cfg(target_arch = "x86_64")]
mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_bf16;
#[cfg(target_arch = "x86_64")]
mod tile_f32;

use device::Shard;

use crate::cost::{Cost, Unit};
use crate::fault::Faults;
use crate::kv::KvLayout;
use crate::kv::fit::KeyFit;
use crate::launch::{Frame, KvFrame, RowSet, Slot};
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
    /// [`scratch_bytes`] for results that workers hand each other within the op.
    pub scratch: Slot,
    /// What the cached keys, codes, have lost and scores get back.
    pub fit: Option<KeyFit>,
}

/// Most parts that the keys of one query are cut into, to be shared out among workers.
pub(crate) const MAX_PARTS: usize = 16;

/// Keys are cut only in steps of at most this many rows; others have work enough for all.
pub(crate) const SPLIT_ROWS: usize = 8;

/// Floats of the result of one part: sums of values, maximum and total, padded to a cache line.
pub(crate) const fn partial_len(desc: &Desc) -> usize {
    (desc.layout.head_dim_v + 2).next_multiple_of(16)
}

/// Bytes of [`Slots::scratch`] for steps of up to `max_rows` rows.
pub const fn scratch_bytes(desc: &Desc, max_rows: usize) -> usize {
    let rows = if max_rows < SPLIT_ROWS { max_rows } else { SPLIT_ROWS };
    rows * desc.num_heads * MAX_PARTS * partial_len(desc) * size_of::<f32>()
}

/// Addresses.
pub struct Args {
    /// See [`Slots::q`].
    pub q: *const f32,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// See [`Slots::scratch`].
    pub scratch: *mut f32,
    /// See [`Slots::fit`].
    pub fit: Option<KeyFit>,
    /// The cache of the description's group.
    pub kv: KvFrame,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Attention {
    const KIND: OpKind = OpKind::Attention;
    const VARIANTS: &'static [&'static Variant<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        &cpu_avx512bf16::VARIANT,
        #[cfg(target_arch = "x86_64")]
        &cpu_avx512::VARIANT,
        #[cfg(target_arch = "x86_64")]
        &cpu_avx2::VARIANT,
        #[cfg(target_arch = "x86_64")]
        &cpu_bytes::AVX512VNNI,
        #[cfg(target_arch = "x86_64")]
        &cpu_bytes::AVX2,
        &cuda::HALVES,
        &cuda::CODES,
        &cuda::VARIANT,
        &REFERENCE,
    ];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(desc: &Desc, slots: &Slots, frame: &Frame) -> Args {
        Args {
            q: frame.at(slots.q),
            out: frame.at(slots.out),
            scratch: frame.at(slots.scratch),
            fit: slots.fit,
            kv: frame.group(desc.group),
            num_rows: frame.num_rows,
        }
    }

    fn cost(desc: &Desc, _: &Slots) -> Cost {
        let (layout, heads) = (&desc.layout, desc.num_heads as u64);
        let dims = (layout.head_dim_k + layout.head_dim_v) as u64;
        Cost {
            group: desc.group,
            row_bytes: 4 * heads * dims,
            key_bytes: (layout.num_kv_heads * layout.token_bytes()) as u64,
            pair_ops: 2 * heads * dims,
            unit: if layout.k.is_quantized() { Unit::Int8 } else { Unit::F32 },
            ..Cost::over(RowSet::Tokens)
        }
    }
}

/// What is wrong with the sum of the weights of one query, of which the largest is 1.
#[inline(always)]
fn faults_of(total: f64) -> Faults {
    if total > 0.0 && total < f64::INFINITY { Faults::NONE } else { Faults::of(total) }
}

/// Sums in f32 in another order, weights from a polynomial.
pub(crate) const EXACTNESS: Exactness = Exactness::Reordered { ulp: 16 };

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
