//! Cosines and sines for the positions of this step, shared by all layers with the same frequencies.
//!
//! A row is `[rotary_dim / 2] cos`, then `[rotary_dim / 2] sin`, of `position * inv_freq[j]`, times
//! `magnitude` (YaRN's attention factor, arXiv 2309.00071 §3.4; else 1). Scalings of every kind
//! (linear, Llama-3 factors, YaRN) are already in `inv_freq`.

mod cuda;
pub mod reference;

use device::Shard;

use crate::cost::Cost;
use crate::launch::{Frame, RowSet, Slot, Weight};
use crate::op::{Op, OpKind};
use crate::rows::{row, row_mut};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct RopeTable;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per head that are rotated.
    pub rotary_dim: usize,
    /// Factor on cosine and sine.
    pub magnitude: f32,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[rotary_dim / 2]` f32.
    pub inv_freq: Weight,
    /// `[num_rows, rotary_dim]` f32.
    pub out: Slot,
}

/// Addresses.
pub struct Args {
    /// Positions, `[num_rows]`.
    pub positions: *const u32,
    /// See [`Slots::inv_freq`].
    pub inv_freq: *const f32,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for RopeTable {
    const KIND: OpKind = OpKind::RopeTable;
    const VARIANTS: &'static [&'static Variant<Self>] = &[&cuda::VARIANT, &REFERENCE];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(_: &Desc, slots: &Slots, frame: &Frame) -> Args {
        let inv_freq = slots.inv_freq.0.cast();
        Args { positions: frame.positions, inv_freq, out: frame.at(slots.out), num_rows: frame.num_rows }
    }

    fn cost(desc: &Desc, _: &Slots) -> Cost {
        let values = desc.rotary_dim as u64;
        Cost { fixed_bytes: 2 * values, row_bytes: 4 * values, row_ops: 2 * values, ..Cost::over(RowSet::Tokens) }
    }
}

const REFERENCE: Variant<RopeTable> = Variant {
    id: "rope_table/f32/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        for i in shard.range(args.num_rows, 1) {
            // SAFETY: bound to live memory of the described shape; only this worker touches row i.
            unsafe {
                let inv_freq = row(args.inv_freq, 0, desc.rotary_dim / 2);
                reference::rope_table(desc, *args.positions.add(i), inv_freq, row_mut(args.out, i, desc.rotary_dim));
            }
        }
    }),
};
