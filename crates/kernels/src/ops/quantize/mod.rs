//! f32 activations to fewer bits, once per step, shared by every matmul that reads them: int8 blocks of 32, or 16-bit
//! floats ([`Codes`]).
//!
//! int8: a row of k values becomes `[k] i8 codes`, `[k/32] f32 scales`, `[k/16] i16 sums of codes`, padded to
//! a cache line. `scale = max|x| / 127`, `code = round(x / scale)`: an error of at most 1/254 of the
//! largest value of the block. The sums carry the offsets and minima of the weight formats:
//! `Σ (w·s - m)·a = s·Σ w·a - m·Σ a`.
//!
//! Halves: all rows become `[num_rows, k] u16`, then `[num_rows] f32`, the powers of two that the rows were divided by so
//! that their values suit 16 bits. Within 32 columns they lie in the order of [`half_column`].

#[cfg(target_arch = "x86_64")]
mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_avx2;
#[cfg(target_arch = "x86_64")]
mod cpu_avx512;
pub(crate) mod cuda;
pub mod reference;

use device::Shard;

use crate::cost::Cost;
use crate::fault::{self, Faults};
use crate::launch::{Frame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::rows::{row, row_mut};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Quantize;

/// Values per scale.
pub const BLOCK: usize = 32;

/// What the values become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codes {
    /// int8 with a scale for each [`BLOCK`].
    Int8,
    /// 16-bit floats, for tensor cores.
    Half,
}

impl Codes {
    /// The loss of rounding to them, whichever variant does it.
    pub const fn exactness(self) -> Exactness {
        match self {
            Codes::Int8 => EXACTNESS,
            Codes::Half => HALF_EXACTNESS,
        }
    }

    /// Bytes that each of several rows of `width` values takes.
    pub const fn row_bytes(self, width: usize) -> usize {
        match self {
            Codes::Int8 => row_bytes(width),
            Codes::Half => (2 * width + size_of::<f32>()).next_multiple_of(64),
        }
    }

    /// As it stands behind the name of a value.
    pub const fn name(self) -> &'static str {
        match self {
            Codes::Int8 => "q8",
            Codes::Half => "f16",
        }
    }
}

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per row, a multiple of [`BLOCK`].
    pub width: usize,
    /// What they become.
    pub codes: Codes,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[rows, width]` f32.
    pub x: Slot,
    /// `[rows]` rows of [`Codes::row_bytes`].
    pub out: Slot,
    /// Which rows.
    pub rows: RowSet,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::x`].
    pub x: *const f32,
    /// See [`Slots::out`].
    pub out: *mut u8,
    /// Rows of this step.
    pub num_rows: usize,
}

/// Bytes of one quantised row of `width` values.
pub const fn row_bytes(width: usize) -> usize {
    (width + width / 8 + width / 8).next_multiple_of(64)
}

/// Which of 32 columns lies at place `at`. Lane t of four hands tensor cores columns 8 t to 8 t + 7 in two steps of 16 values:
/// in each four neighbours, the first and the third of them at places 2 t and 2 t + 1, the others 8 places later.
pub const fn half_column(at: usize) -> usize {
    let (step, t, second, later) = (at / 16, at % 8 / 2, at % 2, at % 16 / 8);
    8 * t + 4 * step + 2 * second + later
}

/// One quantised row.
#[derive(Clone, Copy, Debug)]
pub struct Q8Row<'a> {
    /// Codes in -127..=127, `[width]`.
    pub codes: &'a [i8],
    /// `[width / 32]`.
    pub scales: &'a [f32],
    /// Sums of 16 codes each, `[width / 16]`.
    pub sums: &'a [i16],
}

/// Views row `index` of a quantised matrix.
///
/// # Safety
/// `base` must hold `index + 1` rows written by this op, and nobody may write them meanwhile.
pub unsafe fn q8_row<'a>(base: *const u8, index: usize, width: usize) -> Q8Row<'a> {
    // SAFETY: the caller's promise; the parts lie in the order given at the head of this file.
    unsafe {
        let at = base.add(index * row_bytes(width));
        Q8Row {
            codes: row(at.cast(), 0, width),
            scales: row(at.add(width).cast(), 0, width / BLOCK),
            sums: row(at.add(width + width / 8).cast(), 0, width / 16),
        }
    }
}

impl Op for Quantize {
    const KIND: OpKind = OpKind::Quantize;
    const VARIANTS: &'static [&'static Variant<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        &cpu_avx512::VARIANT,
        #[cfg(target_arch = "x86_64")]
        &cpu_avx2::VARIANT,
        &cuda::INT8,
        &cuda::HALF,
        &REFERENCE,
    ];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(_: &Desc, slots: &Slots, frame: &Frame) -> Args {
        Args { x: frame.at(slots.x), out: frame.at(slots.out), num_rows: frame.rows(slots.rows) }
    }

    fn cost(desc: &Desc, slots: &Slots) -> Cost {
        let row_bytes = (4 * desc.width + desc.codes.row_bytes(desc.width)) as u64;
        // Magnitude, product, rounding and sum per value.
        Cost { row_bytes, row_ops: 4 * desc.width as u64, ..Cost::over(slots.rows) }
    }
}

/// The loss of rounding to int8, whichever variant does it.
pub const EXACTNESS: Exactness = Exactness::Rounded { rel_ppb: 3_937_008 };

/// The loss of rounding to halves: 2^-11 of a value.
const HALF_EXACTNESS: Exactness = Exactness::Rounded { rel_ppb: 488_282 };

const REFERENCE: Variant<Quantize> = Variant {
    id: "quantize/any/reference",
    needs: &[],
    exactness: EXACTNESS,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        let width = desc.width;
        for i in shard.range(args.num_rows, 1) {
            // SAFETY: bound to live memory of the described shape; only this worker touches row i.
            unsafe {
                let x = row(args.x, i, width);
                let well = match desc.codes {
                    Codes::Int8 => {
                        let at = args.out.add(i * row_bytes(width));
                        reference::quantize(
                            x,
                            row_mut(at.cast(), 0, width),
                            row_mut(at.add(width).cast(), 0, width / BLOCK),
                            row_mut(at.add(width + width / 8).cast(), 0, width / 16),
                        )
                    }
                    Codes::Half => {
                        let factors = args.out.add(2 * width * args.num_rows).cast();
                        reference::halve(x, row_mut(args.out.cast(), i, width), &mut row_mut(factors, i, 1)[0])
                    }
                };
                fault::unless(well, shard, || Faults::among(x));
            }
        }
    }),
};
