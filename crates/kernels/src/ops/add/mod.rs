//! Residual addition in place: `x += y`.

#[cfg(target_arch = "x86_64")]
mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_avx2;
#[cfg(target_arch = "x86_64")]
mod cpu_avx512;
mod cuda;

use device::Shard;

use crate::cost::Cost;
use crate::launch::{Frame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::rows::{row, row_mut};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Add;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per row.
    pub width: usize,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[rows, width]` f32, changed.
    pub x: Slot,
    /// `[rows, width]` f32.
    pub y: Slot,
    /// Which rows.
    pub rows: RowSet,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::x`].
    pub x: *mut f32,
    /// See [`Slots::y`].
    pub y: *const f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Add {
    const KIND: OpKind = OpKind::Add;
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
        Args { x: frame.at(slots.x), y: frame.at(slots.y), num_rows: frame.rows(slots.rows) }
    }

    fn cost(desc: &Desc, slots: &Slots) -> Cost {
        Cost { row_bytes: 12 * desc.width as u64, row_ops: desc.width as u64, ..Cost::over(slots.rows) }
    }
}

const REFERENCE: Variant<Add> = Variant {
    id: "add/f32/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        let share = shard.range(args.num_rows * desc.width, 16);
        // SAFETY: bound to live memory of the described shape; shares do not overlap.
        let (x, y) =
            unsafe { (row_mut(args.x.add(share.start), 0, share.len()), row(args.y.add(share.start), 0, share.len())) };
        x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
    }),
};
