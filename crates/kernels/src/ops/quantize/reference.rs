//! The plain truth of `quantize`.

use super::BLOCK;

/// Quantises one row. A block with a value that is not finite gets a NaN scale, so that the fault
/// stays visible downstream instead of turning into a number.
pub fn quantize(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) {
    for (block, ((x, codes), scale)) in
        x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).zip(scales.iter_mut()).enumerate()
    {
        let finite = x.iter().all(|value| value.is_finite());
        let largest = x.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        *scale = if finite { largest / 127.0 } else { f32::NAN };
        let inverse = if finite && largest > 0.0 { 127.0 / largest } else { 0.0 };
        for (code, &value) in codes.iter_mut().zip(x) {
            *code = if finite { (value * inverse).round_ties_even() as i8 } else { 0 };
        }
        for (half, codes) in codes.chunks_exact(16).enumerate() {
            sums[2 * block + half] = codes.iter().map(|&code| i16::from(code)).sum();
        }
    }
}
