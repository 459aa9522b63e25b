//! Rotary position embedding (arXiv 2104.09864, eq. 34) of queries or keys, in place.

#[cfg(target_arch = "x86_64")]
mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_avx2;
#[cfg(target_arch = "x86_64")]
mod cpu_avx512;
mod cuda;
pub mod reference;

use device::Shard;

use crate::cost::Cost;
use crate::launch::{Frame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::rows::{row, row_mut};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Rope;

/// Which values of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// (2j, 2j + 1): GGUF files of the llama architecture, whose rows were permuted for it.
    Adjacent,
    /// (j, j + rotary_dim / 2): GPT-NeoX, and most newer architectures.
    Halves,
}

impl Pairing {
    /// The values of pair `j`, of `half` pairs.
    #[inline(always)]
    pub const fn pair(self, j: usize, half: usize) -> (usize, usize) {
        match self {
            Pairing::Adjacent => (2 * j, 2 * j + 1),
            Pairing::Halves => (j, j + half),
        }
    }
}

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per head.
    pub head_dim: usize,
    /// Heads per row.
    pub num_heads: usize,
    /// Leading values of a head that are rotated.
    pub rotary_dim: usize,
    /// Which values form a pair.
    pub pairing: Pairing,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[num_rows, num_heads * head_dim]` f32.
    pub x: Slot,
    /// `[num_rows, rotary_dim]` f32, written by `rope_table`.
    pub table: Slot,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::x`].
    pub x: *mut f32,
    /// See [`Slots::table`].
    pub table: *const f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Rope {
    const KIND: OpKind = OpKind::Rope;
    const VARIANTS: &'static [&'static Variant<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        &cpu_avx512::VARIANT,
        #[cfg(target_arch = "x86_64")]
        &cpu_avx2::VARIANT,
        &cuda::VARIANT,
        &REFERENCE,
    ];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(_: &Desc, slots: &Slots, frame: &Frame) -> Args {
        Args { x: frame.at(slots.x), table: frame.at(slots.table), num_rows: frame.num_rows }
    }

    fn cost(desc: &Desc, _: &Slots) -> Cost {
        let values = (desc.num_heads * desc.rotary_dim) as u64;
        let row_bytes = 8 * values + 4 * desc.rotary_dim as u64;
        Cost { row_bytes, row_ops: 3 * values, ..Cost::over(RowSet::Tokens) }
    }
}

/// Two products and a sum, each rounded, as in the reference.
const EXACTNESS: Exactness = Exactness::Bitwise;

const REFERENCE: Variant<Rope> = Variant {
    id: "rope/f32/reference",
    needs: &[],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        for i in shard.range(args.num_rows * desc.num_heads, 1) {
            // SAFETY: bound to live memory of the described shape; only this worker touches head i.
            unsafe {
                let table = row(args.table, i / desc.num_heads, desc.rotary_dim);
                reference::rope(desc, table, row_mut(args.x, i, desc.head_dim));
            }
        }
    }),
};
