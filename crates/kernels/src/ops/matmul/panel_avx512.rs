//! Many rows of int8 activations: weights come in panels of 32 unpacked rows, which are multiplied with all
//! activation rows by `vpdpbusd`. Where the panel comes from is the [`Source`]'s business.
//!
//! Per group g of 16 or 32 columns, with unsigned codes u = code + offset:
//! `Σ w·a = s_w·s_a·(Σ u·a - offset·Σ a) - m·s_a·Σ a`. The offset term starts the integer accumulator,
//! so it costs nothing; the min term is one fused multiply-add per group. With 8 `vpdpbusd` to one multiply and
//! one or two multiply-adds per group of 32, at most 8 of 10 (with mins 11) slots of the two multipliers count.

#![allow(clippy::needless_range_loop)] // register tiles are indexed in step with addresses

use std::arch::x86_64::*;

use device::Shard;

use super::corrections::{Corrections, correct};
use super::{Args, Desc};
use crate::ops::quantize::q8_row;
use crate::scratch::{Carve, with_scratch};

/// Weight rows per panel: two registers of 16 lanes.
pub const PANEL_ROWS: usize = 32;
/// Activation rows per register tile: 2 × 6 integer and 2 × 6 float accumulators of 32 registers.
const TILE_ROWS: usize = 6;

/// Unpacked weights of 32 rows.
pub struct Panel {
    /// `[k / 4, 32]` groups of four unsigned codes, with room for `k` rounded up to 64 columns.
    pub columns: *mut u8,
    /// `[num_groups, 32]`.
    pub scales: *mut f32,
    /// `[num_groups, 32]`.
    pub mins: *mut f32,
    /// Groups of a row.
    pub num_groups: usize,
}

/// Where panels come from.
pub trait Source {
    /// Scratch of its own.
    fn carve(carve: &mut Carve, desc: &Desc) -> Self;

    /// Writes weight rows `first .. first + 32`; rows from `n` on have scale and min 0.
    ///
    /// # Safety
    /// AVX-512; `args` bound to live memory of the described shape, the panel carved for it.
    unsafe fn fill(&self, desc: &Desc, args: &Args, first: usize, panel: &Panel);
}

impl Panel {
    fn carve(carve: &mut Carve, desc: &Desc) -> Self {
        let num_groups = desc.k / desc.weight.group_len();
        Self {
            columns: carve.take(PANEL_ROWS * desc.k.next_multiple_of(64)),
            scales: carve.take(num_groups * PANEL_ROWS),
            mins: carve.take(num_groups * PANEL_ROWS),
            num_groups,
        }
    }
}

/// The product. Tiles are (panel, range of activation rows), the latter cut only when there are few panels.
///
/// # Safety
/// AVX-512 with VNNI; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn gemm<S: Source>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_panels = desc.n.div_ceil(PANEL_ROWS);
    let cuts = (4 * shard.count).div_ceil(num_panels).min(args.num_rows.div_ceil(4 * TILE_ROWS)).max(1);
    let rows_per_cut = args.num_rows.div_ceil(cuts).next_multiple_of(TILE_ROWS);
    let carve = |base| {
        let mut carve = Carve::new(base);
        let parts = (S::carve(&mut carve, desc), Panel::carve(&mut carve, desc));
        (parts, Corrections::carve(&mut carve, desc, args.num_rows), carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).2, |scratch| {
        let ((source, panel), corrections, _) = carve(scratch);
        // SAFETY: the caller's promise; carved for these rows.
        unsafe { correct(desc, args, &corrections) };
        for tile in shard.tiles(num_panels * cuts) {
            let first = tile / cuts * PANEL_ROWS;
            let rows = tile % cuts * rows_per_cut..args.num_rows.min((tile % cuts + 1) * rows_per_cut);
            if rows.is_empty() {
                continue;
            }
            // SAFETY: the caller's promise; the panel has room for 32 rows, `fill` zeroes missing ones.
            unsafe {
                source.fill(desc, args, first, &panel);
                for start in rows.clone().step_by(TILE_ROWS) {
                    let count = TILE_ROWS.min(rows.end - start);
                    multiply(desc, args, first, start, count, &panel, &corrections);
                }
            }
        }
    });
}

/// Chooses the register tile for this many rows and this kind of group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply(
    desc: &Desc,
    args: &Args,
    first: usize,
    start: usize,
    count: usize,
    panel: &Panel,
    corrections: &Corrections,
) {
    macro_rules! dispatch {
        ($($t:literal)*) => {
            // SAFETY: the caller's promise.
            unsafe { match (count, desc.weight.code_offset() > 0, desc.weight.has_mins()) {
                $(
                    ($t, true, false) => form!($t, true, false),
                    ($t, false, true) => form!($t, false, true),
                    ($t, true, true) => form!($t, true, true),
                    ($t, false, false) => form!($t, false, false),
                )*
                _ => unreachable!("tiles have 1 to {TILE_ROWS} rows"),
            } }
        };
    }
    macro_rules! form {
        ($t:literal, $starts:literal, $mins:literal) => {
            if desc.weight.group_len() == 32 {
                tile::<$t, 8, $starts, $mins>(desc, args, first, start, panel, corrections)
            } else {
                tile::<$t, 4, $starts, $mins>(desc, args, first, start, panel, corrections)
            }
        };
    }
    dispatch!(1 2 3 4 5 6);
}

/// 32 weight rows times T activation rows; a group is `STEPS` steps of four columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tile<const T: usize, const STEPS: usize, const STARTS: bool, const MINS: bool>(
    desc: &Desc,
    args: &Args,
    first: usize,
    start: usize,
    panel: &Panel,
    corrections: &Corrections,
) {
    // SAFETY: the caller's promise; the ragged edge of `n` is masked.
    unsafe {
        let x: [_; T] = std::array::from_fn(|t| q8_row(args.x, start + t, desc.k));
        let x_codes: [*const i8; T] = std::array::from_fn(|t| x[t].codes.as_ptr());
        let x_scales: [*const f32; T] = std::array::from_fn(|t| x[t].scales.as_ptr());
        let starts = corrections.starts.wrapping_add(start * panel.num_groups);
        let x_sums = corrections.sums.wrapping_add(start * panel.num_groups);
        let mut sums = [[_mm512_setzero_ps(); 2]; T];
        for g in 0..panel.num_groups {
            let mut dots: [[__m512i; 2]; T] = std::array::from_fn(|t| {
                let from = starts.wrapping_add(t * panel.num_groups + g);
                [if STARTS { _mm512_set1_epi32(*from) } else { _mm512_setzero_si512() }; 2]
            });
            for step in g * STEPS..(g + 1) * STEPS {
                let at = panel.columns.add(step * 4 * PANEL_ROWS);
                let weights = [_mm512_load_si512(at.cast()), _mm512_load_si512(at.add(64).cast())];
                for t in 0..T {
                    let codes = _mm512_set1_epi32(x_codes[t].add(4 * step).cast::<i32>().read_unaligned());
                    dots[t][0] = _mm512_dpbusd_epi32(dots[t][0], weights[0], codes);
                    dots[t][1] = _mm512_dpbusd_epi32(dots[t][1], weights[1], codes);
                }
            }
            let scales = panel.scales.add(g * PANEL_ROWS);
            let scales = [_mm512_load_ps(scales), _mm512_load_ps(scales.add(16))];
            for t in 0..T {
                let x_scale = _mm512_set1_ps(*x_scales[t].add(g * STEPS / 8));
                for h in 0..2 {
                    let scale = _mm512_mul_ps(scales[h], x_scale);
                    sums[t][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][h]), scale, sums[t][h]);
                }
            }
            if MINS {
                let mins = panel.mins.add(g * PANEL_ROWS);
                let mins = [_mm512_load_ps(mins), _mm512_load_ps(mins.add(16))];
                for t in 0..T {
                    let x_sum = _mm512_set1_ps(*x_sums.add(t * panel.num_groups + g));
                    for h in 0..2 {
                        sums[t][h] = _mm512_fnmadd_ps(mins[h], x_sum, sums[t][h]);
                    }
                }
            }
        }
        for h in 0..2 {
            let n = first + 16 * h;
            let mask = lanes(desc.n.saturating_sub(n));
            let bias =
                if desc.bias { _mm512_maskz_loadu_ps(mask, args.bias.wrapping_add(n)) } else { _mm512_setzero_ps() };
            for t in 0..T {
                let out = args.out.wrapping_add((start + t) * desc.n + n);
                _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(sums[t][h], bias));
            }
        }
    }
}

/// A mask of the first `count` of 16 lanes.
fn lanes(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}
