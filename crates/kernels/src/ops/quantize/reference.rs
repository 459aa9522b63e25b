//! The plain truth of `quantize`.

use super::BLOCK;

/// Scale of a block and the factor that turns values into codes; factor 0 stands for codes 0: in a
/// block of zeros, of values too small to be divided by, or with a value that is not finite.
#[inline(always)]
pub fn scale(largest: f32, finite: bool) -> (f32, f32) {
    let inverse = 127.0 / largest;
    match (finite, inverse.is_finite()) {
        (true, true) => (largest / 127.0, inverse),
        (true, false) => (0.0, 0.0),
        (false, _) => (f32::NAN, 0.0),
    }
}

/// Quantises one row. A block with a value that is not finite gets a NaN scale, so that the fault
/// stays visible downstream instead of turning into a number.
pub fn quantize(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) {
    for (block, ((x, codes), scale)) in
        x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).zip(scales.iter_mut()).enumerate()
    {
        let finite = x.iter().all(|value| value.is_finite());
        let largest = x.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let inverse;
        (*scale, inverse) = self::scale(largest, finite);
        for (code, &value) in codes.iter_mut().zip(x) {
            *code = if inverse == 0.0 { 0 } else { (value * inverse).round_ties_even() as i8 };
        }
        for (half, codes) in codes.chunks_exact(16).enumerate() {
            sums[2 * block + half] = codes.iter().map(|&code| i16::from(code)).sum();
        }
    }
}
