//! Int8 activations with any quantised weights in any form, one weight row at a time: the row is unpacked to codes,
//! scales and mins, then multiplied with every activation row. The form for types and machines that
//! have no better one.

use std::arch::x86_64::*;

use device::Shard;

use super::{Args, Desc, Input};
use crate::ops::quantize::{BLOCK, Q8Row, q8_row};
use crate::rows::row_mut;
use crate::scratch::{Carve, with_scratch};
use crate::weights::{RowReader, is_readable};

/// Quantised weights, int8 activations.
pub fn accepts(desc: &Desc) -> bool {
    desc.input == Input::Q8
        && desc.weight.is_quantized()
        && desc.k.is_multiple_of(BLOCK)
        && is_readable(desc.weight, desc.form)
}

/// The kernel for AVX2. Tiles are runs of weight rows.
///
/// # Safety
/// AVX2 and FMA; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn unpacked_avx2(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_groups = desc.k / desc.weight.group_len();
    // SAFETY: the caller's promise.
    let rows = unsafe { RowReader::new(args.weight, desc.weight, desc.form, desc.k, desc.row_bytes) };
    let tile_rows = (desc.n / (16 * shard.count)).clamp(1, 16);
    let carve = |base| {
        let mut carve = Carve::new(base);
        (carve.take::<i8>(desc.k), carve.take::<f32>(num_groups), carve.take::<f32>(num_groups), carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).3, |scratch| {
        let (codes, scales, mins, _) = carve(scratch);
        for tile in shard.tiles(desc.n.div_ceil(tile_rows)) {
            for n in tile * tile_rows..desc.n.min((tile + 1) * tile_rows) {
                // SAFETY: the caller's promise; scratch was carved for these lengths.
                unsafe {
                    let codes = row_mut(codes, 0, desc.k);
                    let scales = row_mut(scales, 0, num_groups);
                    let mins = row_mut(mins, 0, if desc.weight.has_mins() { num_groups } else { 0 });
                    rows.unpack(n, codes, scales, mins);
                    let bias = if desc.bias { *args.bias.add(n) } else { 0.0 };
                    for r in 0..args.num_rows {
                        let x = q8_row(args.x, r, desc.k);
                        *args.out.add(r * desc.n + n) = dot(codes, scales, mins, &x) + bias;
                    }
                }
            }
        }
    });
}

/// `Σ_g s_w·s_x·Σ w·x - m·s_x·Σ x` over blocks of 32 columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot(codes: &[i8], scales: &[f32], mins: &[f32], x: &Q8Row<'_>) -> f32 {
    let ones = _mm256_set1_epi16(1);
    let mut sums = _mm256_setzero_ps();
    let mut corrections = 0f32;
    let groups_per_block = scales.len() / x.scales.len();
    for (block, &x_scale) in x.scales.iter().enumerate() {
        // SAFETY: both rows have 32 codes per block.
        let (w, a) = unsafe {
            let at = block * BLOCK;
            (_mm256_loadu_si256(codes.as_ptr().add(at).cast()), _mm256_loadu_si256(x.codes.as_ptr().add(at).cast()))
        };
        // |w| · sign(a, w): `vpmaddubsw` wants one unsigned factor. Pairs stay below 2 · 128 · 127 < 2^15.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
        let dots = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
        let scale = if groups_per_block == 1 {
            _mm256_set1_ps(scales[block])
        } else {
            _mm256_set_m128(_mm_set1_ps(scales[2 * block + 1]), _mm_set1_ps(scales[2 * block]))
        };
        sums = _mm256_fmadd_ps(dots, _mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), sums);
        if !mins.is_empty() {
            let (low, high) = (f32::from(x.sums[2 * block]), f32::from(x.sums[2 * block + 1]));
            corrections += x_scale
                * if groups_per_block == 1 {
                    mins[block] * (low + high)
                } else {
                    mins[2 * block] * low + mins[2 * block + 1] * high
                };
        }
    }
    let halves = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
    let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs))) - corrections
}
