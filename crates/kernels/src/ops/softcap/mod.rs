//! tanh soft-capping of logits in place (Gemma 2, arXiv 2408.00118 §2): `x = cap * tanh(x / cap)`.

use device::Shard;

#[cfg(target_arch = "x86_64")]
mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_avx2;
#[cfg(target_arch = "x86_64")]
mod cpu_avx512;
mod cuda;

use crate::cost::Cost;
use crate::launch::{Frame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::rows::row_mut;
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Softcap;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per row.
    pub width: usize,
    /// Bound on the absolute value.
    pub cap: f32,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[rows, width]` f32, changed.
    pub x: Slot,
    /// Which rows.
    pub rows: RowSet,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::x`].
    pub x: *mut f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Softcap {
    const KIND: OpKind = OpKind::Softcap;
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
        Args { x: frame.at(slots.x), num_rows: frame.rows(slots.rows) }
    }

    fn cost(desc: &Desc, slots: &Slots) -> Cost {
        Cost { row_bytes: 8 * desc.width as u64, row_ops: 3 * desc.width as u64, ..Cost::over(slots.rows) }
    }
}

/// The plain truth of `softcap`.
pub fn reference(desc: &Desc, x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = desc.cap * (*x / desc.cap).tanh());
}

/// tanh in f32, by another polynomial.
const EXACTNESS: Exactness = Exactness::Reordered { ulp: 4 };

const REFERENCE: Variant<Softcap> = Variant {
    id: "softcap/f32/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        let share = shard.range(args.num_rows * desc.width, 16);
        // SAFETY: bound to live memory of the described shape; shares do not overlap.
        reference(desc, unsafe { row_mut(args.x.add(share.start), 0, share.len()) });
    }),
};
