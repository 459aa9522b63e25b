//! The plain truth of `quantize`.

use half::f16;

use super::{BLOCK, half_column};
use crate::fault;

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
/// stays visible downstream instead of turning into a number. Returns whether all values are sound.
pub fn quantize(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i16]) -> bool {
    let mut well = true;
    for (block, ((x, codes), scale)) in
        x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK)).zip(scales.iter_mut()).enumerate()
    {
        let finite = x.iter().all(|value| value.is_finite());
        let largest = x.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        well &= finite && fault::is_sound(largest);
        let inverse;
        (*scale, inverse) = self::scale(largest, finite);
        for (code, &value) in codes.iter_mut().zip(x) {
            *code = if inverse == 0.0 { 0 } else { (value * inverse).round_ties_even() as i8 };
        }
        for (half, codes) in codes.chunks_exact(16).enumerate() {
            sums[2 * block + half] = codes.iter().map(|&code| i16::from(code)).sum();
        }
    }
    well
}

/// Sizes that halves take as they are: a row whose largest is outside is divided by a power of two, which loses nothing.
const SUITED: std::ops::RangeInclusive<f32> = 0.0625..=16384.0;

/// Turns one row into halves, in the order of [`half_column`]. Returns whether all values are sound.
pub fn halve(x: &[f32], halves: &mut [u16], factor: &mut f32) -> bool {
    let largest = x.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let suited = !largest.is_finite() || largest == 0.0 || SUITED.contains(&largest);
    let exponent = if suited { 0 } else { f64::from(largest).log2().floor() as i32 };
    *factor = 2f64.powi(exponent) as f32;
    for (x, halves) in x.chunks_exact(BLOCK).zip(halves.chunks_exact_mut(BLOCK)) {
        for (at, half) in halves.iter_mut().enumerate() {
            // Exact as f64: what follows rounds once.
            *half = f16::from_f64(f64::from(x[half_column(at)]) * 2f64.powi(-exponent)).to_bits();
        }
    }
    x.iter().all(|value| value.is_finite()) && fault::is_sound(largest)
}

/// What [`halve`] left of column `column`.
pub fn halved(halves: &[u16], column: usize, factor: f32) -> f32 {
    let (block, column) = (column / BLOCK * BLOCK, column % BLOCK);
    // The inverse of `half_column`.
    let at = 16 * (column / 4 % 2) + 8 * (column % 2) + 2 * (column / 8) + column % 4 / 2;
    f16::from_bits(halves[block + at]).to_f32() * factor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Exactness;

    #[test]
    fn the_loss_is_what_the_op_declares() {
        let Exactness::Rounded { rel_ppb } = crate::ops::quantize::EXACTNESS else { panic!("not rounded") };
        let x: Vec<f32> = (0..BLOCK * 1000).map(|i| ((i * i) as f32 * 0.37).sin() * (1 + i / 500) as f32).collect();
        let (mut codes, mut scales, mut sums) = (vec![0; x.len()], vec![0f32; x.len() / 32], vec![0i16; x.len() / 16]);
        quantize(&x, &mut codes, &mut scales, &mut sums);
        for (block, (x, codes)) in x.chunks(BLOCK).zip(codes.chunks(BLOCK)).enumerate() {
            let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            for (x, &code) in x.iter().zip(codes) {
                let error = f64::from((x - f32::from(code) * scales[block]).abs());
                // Half a step, and the rounding of the scale itself.
                assert!(error <= f64::from(largest) * (f64::from(rel_ppb) * 1e-9 + 1e-6), "block {block}");
            }
            let sum = |half: usize| codes[16 * half..][..16].iter().map(|&code| i16::from(code)).sum::<i16>();
            assert_eq!(&sums[2 * block..][..2], [sum(0), sum(1)], "block {block}");
        }
    }

    #[test]
    fn halves_are_found_again() {
        let x: Vec<f32> = (0..96).map(|i| (i as f32 - 40.0) * 1e-6).collect();
        let (mut halves, mut factor) = (vec![0; x.len()], 0.0);
        assert!(halve(&x, &mut halves, &mut factor));
        assert_eq!(factor, 2f32.powi(-15), "of the largest, 5.5e-5");
        for (column, x) in x.iter().enumerate() {
            assert!((halved(&halves, column, factor) - x).abs() <= x.abs() * 4.89e-4, "column {column}");
        }
        assert!(!halve(&[f32::NAN; 32], &mut halves[..32], &mut factor));
    }

    #[test]
    fn broken_and_vanishing_blocks_have_no_codes() {
        for (value, scale) in [(f32::NAN, f32::NAN), (f32::INFINITY, f32::NAN), (1e-40, 0.0), (0.0, 0.0)] {
            let mut x = [0f32; BLOCK];
            x[7] = value;
            let (mut codes, mut scales, mut sums) = ([1; BLOCK], [1f32], [1i16; 2]);
            quantize(&x, &mut codes, &mut scales, &mut sums);
            assert_eq!((codes, sums), ([0; BLOCK], [0; 2]), "{value}");
            assert!(scales[0] == scale || (scales[0].is_nan() && scale.is_nan()), "{value}");
        }
    }
}
