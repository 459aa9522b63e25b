//! Many rows of int8 activations: weights are unpacked once into panels of 32 rows, then multiplied
//! with all activation rows by `vpdpbusd`.
//!
//! Per group g of 16 or 32 columns, with unsigned codes u = code + offset:
//! `Σ w·a = s_w·s_a·(Σ u·a - offset·Σ a) - m·s_a·Σ a`. The offset term starts the integer accumulator,
//! so it costs nothing; the min term is one fused multiply-add per group.

#![allow(clippy::needless_range_loop)] // register tiles are indexed in step with addresses

use std::arch::x86_64::*;

use device::Shard;

use super::transpose_avx512::transpose_16x16;
use super::{Args, Desc, Input};
use crate::ops::quantize::q8_row;
use crate::packed::Form;
use crate::rows::{row, row_mut};
use crate::scratch::{Carve, with_scratch};
use crate::weights::unpack_row;

/// Weight rows per panel: two registers of 16 lanes.
const PANEL_ROWS: usize = 32;
/// Activation rows per register tile: 2 × 6 integer and 2 × 6 float accumulators of 32 registers.
const TILE_ROWS: usize = 6;

/// Quantised weights of whole groups of 64 columns, int8 activations.
pub fn accepts(desc: &Desc) -> bool {
    (desc.input, desc.form) == (Input::Q8, Form::Rows)
        && desc.weight.is_quantized()
        && desc.k.is_multiple_of(32)
        && desc.k >= 32
}

/// Unpacked weights of 32 rows and what the current activation rows contribute per group.
struct Panel {
    /// `[32, k_padded]` codes, row by row, as `unpack` writes them.
    codes: *mut i8,
    /// `[k_padded / 4, 32]` groups of four unsigned codes.
    columns: *mut u8,
    /// One row of scales or mins before transposition.
    row_scales: *mut f32,
    row_mins: *mut f32,
    /// `[num_groups, 32]`.
    scales: *mut f32,
    mins: *mut f32,
    k_padded: usize,
    num_groups: usize,
}

impl Panel {
    fn carve(carve: &mut Carve, desc: &Desc) -> Self {
        let k_padded = desc.k.next_multiple_of(64);
        let num_groups = desc.k / desc.weight.group_len();
        Self {
            codes: carve.take(PANEL_ROWS * k_padded),
            columns: carve.take(PANEL_ROWS * k_padded),
            row_scales: carve.take(num_groups),
            row_mins: carve.take(num_groups),
            scales: carve.take(num_groups * PANEL_ROWS),
            mins: carve.take(num_groups * PANEL_ROWS),
            k_padded,
            num_groups,
        }
    }
}

/// What the activations add per group through offset and min, `[num_rows, num_groups]` each, empty where
/// the type has no such term. Every worker computes them once per call: m·k/32 numbers beside m·k·n products.
struct Corrections {
    /// Start of the integer sum: `-offset·Σ a`.
    starts: *mut i32,
    /// `s_a·Σ a`.
    sums: *mut f32,
}

impl Corrections {
    fn carve(carve: &mut Carve, desc: &Desc, num_rows: usize) -> Self {
        let len = num_rows * desc.k / desc.weight.group_len();
        Self {
            starts: carve.take(if desc.weight.code_offset() > 0 { len } else { 0 }),
            sums: carve.take(if desc.weight.has_mins() { len } else { 0 }),
        }
    }
}

/// The kernel. Tiles are (panel, range of activation rows), the latter cut only when there are few panels.
///
/// # Safety
/// AVX-512 with VNNI; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn gemm(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_panels = desc.n.div_ceil(PANEL_ROWS);
    let cuts = (4 * shard.count).div_ceil(num_panels).min(args.num_rows.div_ceil(4 * TILE_ROWS)).max(1);
    let rows_per_cut = args.num_rows.div_ceil(cuts).next_multiple_of(TILE_ROWS);
    let carve = |base| {
        let mut carve = Carve::new(base);
        (Panel::carve(&mut carve, desc), Corrections::carve(&mut carve, desc, args.num_rows), carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).2, |scratch| {
        let (panel, corrections, _) = carve(scratch);
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
                fill(desc, args, first, &panel);
                for start in rows.clone().step_by(TILE_ROWS) {
                    let count = TILE_ROWS.min(rows.end - start);
                    multiply(desc, args, first, start, count, &panel, &corrections);
                }
            }
        }
    });
}

/// Unpacks weight rows `first .. first + 32` and turns them into columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn fill(desc: &Desc, args: &Args, first: usize, panel: &Panel) {
    // SAFETY: the caller's promise; all indices stay inside the panel by construction.
    unsafe {
        for r in 0..PANEL_ROWS {
            let codes = row_mut(panel.codes, r, panel.k_padded);
            codes[desc.k..].fill(0);
            let (scales, mins) =
                (row_mut(panel.row_scales, 0, panel.num_groups), row_mut(panel.row_mins, 0, panel.num_groups));
            if first + r < desc.n {
                let packed = row(args.weight, first + r, desc.row_bytes);
                let mins = if desc.weight.has_mins() { &mut *mins } else { &mut [] };
                unpack_row(desc.weight, packed, &mut codes[..desc.k], scales, mins);
            } else {
                scales.fill(0.0);
                mins.fill(0.0);
            }
            for g in 0..panel.num_groups {
                *panel.scales.add(g * PANEL_ROWS + r) = scales[g];
                if desc.weight.has_mins() {
                    *panel.mins.add(g * PANEL_ROWS + r) = mins[g];
                }
            }
        }
        for half in 0..2 {
            for k in (0..panel.k_padded).step_by(64) {
                let from = panel.codes.add(half * 16 * panel.k_padded + k).cast();
                let to = panel.columns.add(k * PANEL_ROWS + half * 64);
                transpose_16x16(from, panel.k_padded, desc.weight.code_offset(), to, 4 * PANEL_ROWS);
            }
        }
    }
}

/// Fills the corrections of all activation rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn correct(desc: &Desc, args: &Args, corrections: &Corrections) {
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
