//! The plain truth of `matmul`.

use device::Shard;

use super::{Args, Desc, Input};
use crate::ops::quantize::reference::halved;
use crate::ops::quantize::{BLOCK, q8_row};
use crate::rows::row;
use crate::weights::RowReader;

/// `Σ x·w` in f64, rounded once.
pub fn dot(x: &[f32], w: &[f32]) -> f32 {
    x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum::<f64>() as f32
}

/// Decodes each weight row once and multiplies it with all activation rows.
///
/// # Safety
/// `args` must be bound to live memory of the described shape.
pub unsafe fn matmul(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let mut weights = vec![0f32; desc.k];
    let mut dequantized = vec![0f32; desc.k];
    // SAFETY: the caller's promise.
    let rows = unsafe { RowReader::new(args.weight, desc.weight, desc.form, desc.k, desc.row_bytes) };
    for n in shard.range(desc.n, 1) {
        // SAFETY: the caller's promise; each output column belongs to one worker.
        unsafe {
            rows.decode(n, &mut weights);
            let bias = if desc.bias { *args.bias.add(n) } else { 0.0 };
            for r in 0..args.num_rows {
                let x = match desc.input {
                    Input::F32 => row(args.x.cast::<f32>(), r, desc.k),
                    Input::Q8 => {
                        let q8 = q8_row(args.x, r, desc.k);
                        for (k, value) in dequantized.iter_mut().enumerate() {
                            *value = f32::from(q8.codes[k]) * q8.scales[k / BLOCK];
                        }
                        &dequantized
                    }
                    Input::Half => {
                        let factors = args.x.add(2 * desc.k * args.num_rows).cast::<f32>();
                        let (halves, factor) = (row(args.x.cast(), r, desc.k), *factors.add(r));
                        for (k, value) in dequantized.iter_mut().enumerate() {
                            *value = halved(halves, k, factor);
                        }
                        &dequantized
                    }
                };
                *args.out.add(r * desc.n + n) = dot(x, &weights) + bias;
            }
        }
    }
}
