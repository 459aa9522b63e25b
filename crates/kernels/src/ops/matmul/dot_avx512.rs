//! One to a few rows of int8 activations: bound by reading the weights, so every weight row is read
//! once, in the form it has in the file, and unpacked in registers.
//!
//! A row is walked in pieces of 256 columns. For each piece a [`Format`] gives the scales of its 8 (or
//! 16) groups and, 64 columns at a time, unsigned codes u = code + offset. `vpdpbusd` sums four
//! products per lane; the lanes of a group get its scale by one permutation, one fused multiply-add
//! adds 64 columns to 16 running sums. Offsets and mins leave the inner loop through Σa per group.

use std::arch::x86_64::*;

use device::Shard;

use super::formats_avx512::*;
use super::{Args, Desc, Input};
use crate::ops::quantize::{Q8Row, q8_row};
use crate::packed::Form;
use crate::rows::row;
use gguf::DType;

/// Columns per piece.
pub const PIECE: usize = 256;

/// How one weight type is unpacked in registers. `at` points to the blocks of a piece of up to
/// `num_groups` groups.
pub trait Format {
    /// Columns per group: 16 or 32.
    const GROUP: usize;
    /// Added to codes to make them unsigned.
    const OFFSET: f32;
    /// Whether groups carry mins.
    const MINS: bool;
    /// Bytes of a full piece of 256 columns.
    const PIECE_BYTES: usize;
    /// Scales of the groups, one per lane; lanes of missing groups are 0.
    ///
    /// # Safety
    /// AVX-512; the blocks of `num_groups` groups must be readable. So for all functions here.
    unsafe fn scales(at: *const u8, num_groups: usize) -> __m512;
    /// Mins of the groups, one per lane, for types that have them.
    ///
    /// # Safety
    /// As [`Format::scales`].
    unsafe fn mins(at: *const u8, num_groups: usize) -> __m512;
    /// Unsigned codes of columns `64 * part ..`; of the first 32 only when `whole` is false.
    ///
    /// # Safety
    /// As [`Format::scales`].
    unsafe fn codes(at: *const u8, part: usize, whole: bool) -> __m512i;
}

/// Quantised types with a form of their own.
pub fn accepts(desc: &Desc) -> bool {
    use DType::*;
    (desc.input, desc.form) == (Input::Q8, Form::Rows)
        && matches!(desc.weight, Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4_K | Q5_K | Q6_K)
        && desc.rows != crate::op::Rows::Many
}

/// The kernel. Tiles are runs of weight rows.
///
/// # Safety
/// AVX-512 with VNNI; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub unsafe fn dot(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise; the format is the weights'.
    unsafe {
        match desc.weight {
            DType::Q4_0 => rows::<Q4_0>(desc, args, shard),
            DType::Q4_1 => rows::<Q4_1>(desc, args, shard),
            DType::Q5_0 => rows::<Q5_0>(desc, args, shard),
            DType::Q5_1 => rows::<Q5_1>(desc, args, shard),
            DType::Q8_0 => rows::<Q8_0>(desc, args, shard),
            DType::Q4_K => rows::<Q4_K>(desc, args, shard),
            DType::Q5_K => rows::<Q5_K>(desc, args, shard),
            DType::Q6_K => rows::<Q6_K>(desc, args, shard),
            other => unreachable!("{other} is not accepted"),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn rows<F: Format>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // Enough tiles for an even finish, large enough that drawing one costs nothing.
    let tile_rows = (desc.n / (16 * shard.count)).clamp(4, 64);
    for tile in shard.tiles(desc.n.div_ceil(tile_rows)) {
        for n in tile * tile_rows..desc.n.min((tile + 1) * tile_rows) {
            // SAFETY: the caller's promise; each output column belongs to one worker.
            unsafe {
                let weights = row(args.weight, n, desc.row_bytes);
                let bias = if desc.bias { *args.bias.add(n) } else { 0.0 };
                for r in 0..args.num_rows {
                    let x = q8_row(args.x, r, desc.k);
                    *args.out.add(r * desc.n + n) = dot_row::<F>(weights, &x) + bias;
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn dot_row<F: Format>(weights: &[u8], x: &Q8Row<'_>) -> f32 {
    let (mut products, mut corrections) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let num_pieces = x.codes.len() / PIECE;
    // SAFETY: pieces lie inside the rows, whose lengths belong together.
    unsafe {
        for piece in 0..num_pieces {
            let at = weights.as_ptr().add(piece * F::PIECE_BYTES);
            dot_piece::<F, true>(at, x, piece, PIECE / 32, &mut products, &mut corrections);
        }
        let rest = x.codes.len() % PIECE / 32;
        if rest > 0 {
            let at = weights.as_ptr().add(num_pieces * F::PIECE_BYTES);
            dot_piece::<F, false>(at, x, num_pieces, rest, &mut products, &mut corrections);
        }
    }
    _mm512_reduce_add_ps(_mm512_sub_ps(products, corrections))
}

/// Adds `num_blocks` (8 if `FULL`) blocks of 32 columns to the running sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn dot_piece<F: Format, const FULL: bool>(
    at: *const u8,
    x: &Q8Row<'_>,
    piece: usize,
    num_blocks: usize,
    products: &mut __m512,
    corrections: &mut __m512,
) {
    // SAFETY: the caller's promise; masked loads stay inside the row.
    unsafe {
        let num_blocks = if FULL { 8 } else { num_blocks };
        let num_groups = num_blocks * 32 / F::GROUP;
        let codes = x.codes.as_ptr().add(piece * PIECE);
        let block_mask = (1u16 << num_blocks) - 1;
        let x_scales = _mm512_maskz_loadu_ps(block_mask, x.scales.as_ptr().wrapping_add(piece * 8));
        let half_mask = ((1u32 << (2 * num_blocks)) - 1) as u16;
        let half_sums = _mm256_maskz_loadu_epi16(half_mask, x.sums.as_ptr().wrapping_add(piece * 16));
        // Per group: the activation's scale and the sum of its codes.
        let (x_scales, x_sums) = if F::GROUP == 16 {
            let twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            (_mm512_permutexvar_ps(twice, x_scales), _mm512_cvtepi16_epi32(half_sums))
        } else {
            let pairs = _mm256_madd_epi16(half_sums, _mm256_set1_epi16(1));
            (x_scales, _mm512_zextsi256_si512(pairs))
        };
        let x_sums = _mm512_cvtepi32_ps(x_sums);
        let scales = _mm512_mul_ps(F::scales(at, num_groups), x_scales);
        if F::MINS {
            let mins = _mm512_mul_ps(F::mins(at, num_groups), x_scales);
            *corrections = _mm512_fmadd_ps(mins, x_sums, *corrections);
        }
        if F::OFFSET != 0.0 {
            let offsets = _mm512_mul_ps(x_sums, _mm512_set1_ps(F::OFFSET));
            *corrections = _mm512_fmadd_ps(scales, offsets, *corrections);
        }
        let lane_of = if F::GROUP == 16 {
            _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)
        } else {
            _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1)
        };
        for part in 0..num_blocks.div_ceil(2) {
            let whole = FULL || 2 * part + 1 < num_blocks;
            let x_codes = if whole {
                _mm512_loadu_si512(codes.add(64 * part).cast())
            } else {
                _mm512_zextsi256_si512(_mm256_loadu_si256(codes.add(64 * part).cast()))
            };
            let dots = _mm512_dpbusd_epi32(_mm512_setzero_si512(), F::codes(at, part, whole), x_codes);
            let groups_before = _mm512_set1_epi32((part * 64 / F::GROUP) as i32);
            let scale = _mm512_permutexvar_ps(_mm512_add_epi32(lane_of, groups_before), scales);
            *products = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), scale, *products);
        }
    }
}
