//! Picks the rows that yield logits: `out[i] = x[output_rows[i]]`.

mod cuda;

use device::Shard;

use crate::cost::Cost;
use crate::launch::{Frame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::rows::{row, row_mut};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Gather;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per row.
    pub width: usize,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[num_rows, width]` f32.
    pub x: Slot,
    /// `[num_outputs, width]` f32.
    pub out: Slot,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::x`].
    pub x: *const f32,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// Which rows yield logits, `[num_outputs]`.
    pub output_rows: *const u32,
    /// Rows that yield logits.
    pub num_outputs: usize,
}

impl Op for Gather {
    const KIND: OpKind = OpKind::Gather;
    const VARIANTS: &'static [&'static Variant<Self>] = &[&cuda::VARIANT, &REFERENCE];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(_: &Desc, slots: &Slots, frame: &Frame) -> Args {
        let (x, out) = (frame.at(slots.x), frame.at(slots.out));
        Args { x, out, output_rows: frame.output_rows, num_outputs: frame.num_outputs }
    }

    fn cost(desc: &Desc, _: &Slots) -> Cost {
        Cost { row_bytes: 8 * desc.width as u64, ..Cost::over(RowSet::Outputs) }
    }
}

// A copy has nothing to gain from variants.
const REFERENCE: Variant<Gather> = Variant {
    id: "gather/f32/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        for i in shard.range(args.num_outputs, 1) {
            // SAFETY: bound to live memory of the described shape; the runner checks output rows.
            unsafe {
                let from = *args.output_rows.add(i) as usize;
                row_mut(args.out, i, desc.width).copy_from_slice(row(args.x, from, desc.width));
            }
        }
    }),
};
