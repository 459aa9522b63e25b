//! What int8 activations add to a product beside `Σ u·a`: through the offset that makes codes unsigned, and
//! through mins. Read by the products over panels and over bands, in every instruction set.

use super::{Args, Desc};
use crate::ops::quantize::q8_row;
use crate::rows::row_mut;
use crate::scratch::Carve;

/// What the activations add per group through offset and min, `[num_rows, num_groups]` each, empty where
/// the type has no such term. Every worker computes them once per call: m·k/32 numbers beside m·k·n products.
pub struct Corrections {
    /// Start of the integer sum: `-offset·Σ a`.
    pub starts: *mut i32,
    /// `s_a·Σ a`.
    pub sums: *mut f32,
}

impl Corrections {
    /// Room for the corrections of `num_rows` rows.
    pub fn carve(carve: &mut Carve, desc: &Desc, num_rows: usize) -> Self {
        let len = num_rows * desc.k / desc.weight.group_len();
        Self {
            starts: carve.take(if desc.weight.code_offset() > 0 { len } else { 0 }),
            sums: carve.take(if desc.weight.has_mins() { len } else { 0 }),
        }
    }
}

/// Fills the corrections of all activation rows.
///
/// # Safety
/// `args` bound to live memory of the described shape, `corrections` carved for it.
#[inline(always)] // compiled for the instruction set of the caller
pub unsafe fn correct(desc: &Desc, args: &Args, corrections: &Corrections) {
    let (offset, num_groups) = (i32::from(desc.weight.code_offset()), desc.k / desc.weight.group_len());
    let halves = desc.weight.group_len() == 16;
    for r in 0..args.num_rows {
        // SAFETY: the caller's promise.
        let (x, starts, sums) = unsafe {
            let starts = row_mut(corrections.starts, r, if offset > 0 { num_groups } else { 0 });
            let sums = row_mut(corrections.sums, r, if desc.weight.has_mins() { num_groups } else { 0 });
            (q8_row(args.x, r, desc.k), starts, sums)
        };
        if halves {
            starts.iter_mut().zip(x.sums).for_each(|(start, &sum)| *start = -offset * i32::from(sum));
            let scales = x.scales.iter().flat_map(|&scale| [scale; 2]);
            sums.iter_mut().zip(x.sums).zip(scales).for_each(|((out, &sum), scale)| *out = scale * f32::from(sum));
        } else {
            let pairs = x.sums.as_chunks::<2>().0;
            let pair = |&[low, high]: &[i16; 2]| i32::from(low) + i32::from(high);
            starts.iter_mut().zip(pairs).for_each(|(start, sum)| *start = -offset * pair(sum));
            sums.iter_mut().zip(pairs).zip(x.scales).for_each(|((out, sum), &scale)| *out = scale * pair(sum) as f32);
        }
    }
}
