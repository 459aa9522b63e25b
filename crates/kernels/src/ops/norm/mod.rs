//! RMS normalisation (arXiv 1910.07467): `out = x / sqrt(mean(x²) + eps) * weight`, over whole rows
//! or over each head of a row.

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
use crate::fault::{self, Faults};
use crate::launch::{Frame, RowSet, Slot, Weight};
use crate::op::{Op, OpKind};
use crate::rows::{row, row_mut};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Norm;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values normalised together.
    pub width: usize,
    /// Independent groups of `width` values per row: 1, or the number of heads.
    pub groups: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// Places. `out` may be `x`.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[rows, groups * width]` f32.
    pub x: Slot,
    /// `[width]` f32.
    pub weight: Weight,
    /// `[rows, groups * width]` f32.
    pub out: Slot,
    /// Which rows.
    pub rows: RowSet,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::x`].
    pub x: *const f32,
    /// See [`Slots::weight`].
    pub weight: *const f32,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Norm {
    const KIND: OpKind = OpKind::Norm;
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
        let weight = slots.weight.0.cast();
        Args { x: frame.at(slots.x), weight, out: frame.at(slots.out), num_rows: frame.rows(slots.rows) }
    }

    fn cost(desc: &Desc, slots: &Slots) -> Cost {
        let width = (desc.groups * desc.width) as u64;
        let fixed_bytes = 4 * desc.width as u64;
        Cost { fixed_bytes, row_bytes: 8 * width, row_ops: 4 * width, ..Cost::over(slots.rows) }
    }
}

/// Whether values with this mean square are sound: its root is at most [`fault::LARGEST`], and the scale is
/// not infinite. False for NaN.
fn is_sound(desc: &Desc, mean: f64) -> bool {
    mean <= f64::from(f32::MAX) && mean + f64::from(desc.eps) > 0.0
}

/// The sum of squares in another order, still in f64.
const EXACTNESS: Exactness = Exactness::Reordered { ulp: 4 };

const REFERENCE: Variant<Norm> = Variant {
    id: "norm/f32/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        for i in shard.range(args.num_rows * desc.groups, 1) {
            // SAFETY: bound to live memory of the described shape; only this worker touches group i.
            unsafe {
                let out = row_mut(args.out, i, desc.width);
                std::ptr::copy(args.x.add(i * desc.width), out.as_mut_ptr(), desc.width); // may be the same place
                let mean = reference::norm(desc, row(args.weight, 0, desc.width), out);
                fault::unless(is_sound(desc, mean), shard, || Faults::of(mean));
            }
        }
    }),
};
