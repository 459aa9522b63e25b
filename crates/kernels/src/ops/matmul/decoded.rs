//! f32 activations, one weight row at a time: the row is decoded to f32, then multiplied with every
//! activation row. The exact plan's form for few rows, and AVX2's for any number.

use std::arch::x86_64::*;

use device::Shard;

use super::{Args, Desc, Input};
use crate::packed::Form;
use crate::rows::{row, row_mut};
use crate::scratch::with_scratch;
use crate::weights::decode_row;

/// f32 activations with weights of any type, as they lie in the file.
pub fn accepts(desc: &Desc) -> bool {
    desc.input == Input::F32 && desc.form == Form::Rows
}

/// The kernel for AVX2. Tiles are runs of weight rows.
///
/// # Safety
/// AVX2 and FMA; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn decoded_avx2(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let tile_rows = (desc.n / (16 * shard.count)).clamp(1, 16);
    with_scratch(4 * desc.k, |scratch| {
        for tile in shard.tiles(desc.n.div_ceil(tile_rows)) {
            for n in tile * tile_rows..desc.n.min((tile + 1) * tile_rows) {
                // SAFETY: the caller's promise; scratch holds one row.
                unsafe {
                    let weights = row_mut(scratch.cast::<f32>(), 0, desc.k);
                    decode_row(desc.weight, row(args.weight, n, desc.row_bytes), weights);
                    let bias = if desc.bias { *args.bias.add(n) } else { 0.0 };
                    for r in 0..args.num_rows {
                        *args.out.add(r * desc.n + n) = dot(weights, row(args.x.cast(), r, desc.k)) + bias;
                    }
                }
            }
        }
    });
}

/// Four chains of eight lanes each.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot(w: &[f32], x: &[f32]) -> f32 {
    let (w_pieces, w_rest) = w.as_chunks::<32>();
    let (x_pieces, x_rest) = x.as_chunks::<32>();
    let mut sums = [_mm256_setzero_ps(); 4];
    for (w, x) in w_pieces.iter().zip(x_pieces) {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a piece has 32 values.
            let (w, x) = unsafe { (_mm256_loadu_ps(w.as_ptr().add(8 * i)), _mm256_loadu_ps(x.as_ptr().add(8 * i))) };
            *sum = _mm256_fmadd_ps(w, x, *sum);
        }
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let halves = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
    let rest: f32 = w_rest.iter().zip(x_rest).map(|(w, x)| w * x).sum();
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs))) + rest
}
