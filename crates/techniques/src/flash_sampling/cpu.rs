//! The three sweeps over a row of logits, in vectors and plainly: block maxima, block masses, and which values of a
//! block reach a floor. Called by `row`; every form gives the same bits.
#![allow(unsafe_code)]

use device::{Feature, Hardware};
use engine::sampler::exp::{SMALLEST, exp, mass};

/// Values per block: 16 vectors of AVX-512, so that a vector's f32 sums of whole numbers up to 2^20 stay exact.
pub const BLOCK: usize = 256;

/// A bit for every value of a block.
pub type Bits = [u64; BLOCK / 64];

/// Values so far below the maximum weigh nothing: exp(-28) is below 2^-40.
const WEIGHTLESS: f32 = -28.0;

/// The sweeps for one instruction set.
pub struct Sweeps {
    /// Its name.
    pub id: &'static str,
    needs: &'static [Feature],
    maxima: unsafe fn(&[f32], &mut [f32]) -> bool,
    masses: unsafe fn(&[f32], Scale, &[f32], &mut [u64]),
    at_least: unsafe fn(&[f32], f32, f32) -> Bits,
}

/// How a logit becomes a weight: exp(logit / divisor − max).
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The temperature; 1 where there is none yet.
    pub divisor: f32,
    /// The largest logit, divided.
    pub max: f32,
}

/// Every form, best first; the last runs anywhere.
pub const SWEEPS: &[Sweeps] = &[
    #[cfg(target_arch = "x86_64")]
    Sweeps {
        id: "avx512",
        needs: &[Feature::Avx512],
        maxima: vectors::maxima_avx512,
        masses: vectors::masses_avx512,
        at_least: vectors::at_least_avx512,
    },
    #[cfg(target_arch = "x86_64")]
    Sweeps {
        id: "avx2",
        needs: &[Feature::Avx2],
        maxima: vectors::maxima_avx2,
        masses: vectors::masses_avx2,
        at_least: vectors::at_least_avx2,
    },
    Sweeps { id: "plain", needs: &[], maxima: plain::maxima, masses: plain::masses, at_least: plain::at_least },
];

/// Sweeps that the machine can run.
#[derive(Clone, Copy)]
pub struct Sweep(&'static Sweeps);

impl std::fmt::Debug for Sweep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.id)
    }
}

impl Sweep {
    /// The forms that `hardware` can run, best first.
    pub fn able(hardware: &Hardware) -> impl Iterator<Item = Self> {
        SWEEPS.iter().filter(|sweeps| sweeps.needs.iter().all(|&feature| hardware.has(feature))).map(Self)
    }

    /// Largest value of each block of [`BLOCK`] values. True when any value is NaN or +infinity; the maxima say
    /// nothing then.
    ///
    /// # Panics
    /// When there is not one maximum for each block.
    pub fn maxima(self, values: &[f32], maxima: &mut [f32]) -> bool {
        assert_eq!(maxima.len(), values.len().div_ceil(BLOCK));
        // SAFETY: `able` found the features; there is a maximum for each block.
        unsafe { (self.0.maxima)(values, maxima) }
    }

    /// Sum of the masses of each block, given the blocks' maxima, undivided.
    ///
    /// # Panics
    /// When there are not one maximum and one sum for each block.
    pub fn masses(self, values: &[f32], scale: Scale, maxima: &[f32], masses: &mut [u64]) {
        let num_blocks = values.len().div_ceil(BLOCK);
        assert_eq!((maxima.len(), masses.len()), (num_blocks, num_blocks));
        // SAFETY: `able` found the features; there are a maximum and a sum for each block.
        unsafe { (self.0.masses)(values, scale, maxima, masses) }
    }

    /// Which values of a block, divided, are at least `floor`.
    ///
    /// # Panics
    /// When the block has more than [`BLOCK`] values.
    pub fn at_least(self, block: &[f32], divisor: f32, floor: f32) -> Bits {
        assert!(block.len() <= BLOCK);
        // SAFETY: `able` found the features; the block is not longer than the bits.
        unsafe { (self.0.at_least)(block, divisor, floor) }
    }
}

/// The weight of a logit.
pub fn weight(logit: f32, scale: Scale) -> f32 {
    exp(logit / scale.divisor - scale.max)
}

/// The truth, one value after the other.
mod plain {
    use super::*;

    pub fn maxima(values: &[f32], maxima: &mut [f32]) -> bool {
        let larger = |a: f32, &b: &f32| if b > a { b } else { a };
        for (block, max) in values.chunks(BLOCK).zip(maxima) {
            *max = block.iter().fold(f32::NEG_INFINITY, larger);
        }
        values.iter().any(|&value| value.is_nan() || value == f32::INFINITY)
    }

    pub fn masses(values: &[f32], scale: Scale, maxima: &[f32], masses: &mut [u64]) {
        for ((block, &max), sum) in values.chunks(BLOCK).zip(maxima).zip(masses) {
            let weightless = max / scale.divisor - scale.max < WEIGHTLESS;
            *sum = if weightless { 0 } else { block.iter().map(|&logit| mass(weight(logit, scale))).sum() };
        }
    }

    pub fn at_least(block: &[f32], divisor: f32, floor: f32) -> Bits {
        let mut bits = Bits::default();
        for (at, &value) in block.iter().enumerate() {
            bits[at / 64] |= u64::from(value / divisor >= floor) << (at % 64);
        }
        bits
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::*;
    use engine::sampler::exp::{LN2_HIGH, LN2_LOW, TAYLOR};
    use kernels::simd::{Avx2, Avx512, LOG2_E, Lanes};

    /// Vectors whose sums of whole numbers up to 2^20 are exact in f32.
    const EXACT: usize = 16;

    /// The thin functions that give the generic ones their features.
    macro_rules! forms {
        ($vector:ty, $features:literal, $maxima:ident, $masses:ident, $at_least:ident) => {
            #[target_feature(enable = $features)]
            pub unsafe fn $maxima(values: &[f32], out: &mut [f32]) -> bool {
                // SAFETY: the features are enabled here, the caller keeps the rest.
                unsafe { maxima::<$vector>(values, out) }
            }

            #[target_feature(enable = $features)]
            pub unsafe fn $masses(values: &[f32], scale: Scale, maxima: &[f32], out: &mut [u64]) {
                // SAFETY: the features are enabled here, the caller keeps the rest.
                unsafe {
                    match scale.divisor {
                        1.0 => masses::<$vector, false>(values, scale, maxima, out),
                        _ => masses::<$vector, true>(values, scale, maxima, out),
                    }
                }
            }

            #[target_feature(enable = $features)]
            pub unsafe fn $at_least(block: &[f32], divisor: f32, floor: f32) -> Bits {
                // SAFETY: the features are enabled here, the caller keeps the rest.
                unsafe { at_least::<$vector>(block, divisor, floor) }
            }
        };
    }

    forms!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl", maxima_avx512, masses_avx512, at_least_avx512);
    forms!(Avx2, "avx2,fma,f16c", maxima_avx2, masses_avx2, at_least_avx2);

    #[inline(always)]
    unsafe fn maxima<V: Lanes>(values: &[f32], out: &mut [f32]) -> bool {
        // SAFETY: the features are there; vectors are loaded only where that many values are left.
        unsafe {
            let (zero, one, infinity) = (V::splat(0.0), V::splat(1.0), V::splat(f32::INFINITY));
            let mut bad = zero;
            let mut bad_rest = false;
            for (nth, block) in values.chunks(BLOCK).enumerate() {
                let mut max = [V::splat(f32::NEG_INFINITY); 2];
                let mut at = 0;
                while at + 2 * V::LEN <= block.len() {
                    let a = V::load(block.as_ptr().add(at));
                    let b = V::load(block.as_ptr().add(at + V::LEN));
                    // The greatest value allowed is below +infinity; NaN is below nothing.
                    bad = a.where_less(infinity, bad, one);
                    bad = b.where_less(infinity, bad, one);
                    max = [max[0].max(a), max[1].max(b)];
                    at += 2 * V::LEN;
                }
                let mut largest = max[0].max(max[1]).largest();
                while at < block.len() {
                    let value = block[at];
                    bad_rest |= value.is_nan() || value == f32::INFINITY;
                    largest = if value > largest { value } else { largest };
                    at += 1;
                }
                out[nth] = largest;
            }
            bad.largest() > 0.0 || bad_rest
        }
    }

    #[inline(always)]
    unsafe fn masses<V: Lanes, const DIVIDE: bool>(values: &[f32], scale: Scale, maxima: &[f32], out: &mut [u64]) {
        // SAFETY: the features are there; vectors are loaded only where that many values are left.
        unsafe {
            let (divisor, max, step) = (V::splat(scale.divisor), V::splat(scale.max), V::splat((1 << 20) as f32));
            for (nth, block) in values.chunks(BLOCK).enumerate() {
                let mut total = 0;
                let weightless = maxima[nth] / scale.divisor - scale.max < WEIGHTLESS;
                let mut at = if weightless { block.len() } else { 0 };
                while at + V::LEN <= block.len() {
                    // A mass in two halves of 20 bits, each a whole number in f32.
                    let (mut high, mut low) = (V::splat(0.0), V::splat(0.0));
                    let end = block.len().min(at + EXACT * V::LEN);
                    while at + V::LEN <= end {
                        let logit = V::load(block.as_ptr().add(at));
                        let logit = if DIVIDE { logit.div(divisor) } else { logit };
                        let units = weights(logit.sub(max)).mul(step);
                        let whole = units.truncate();
                        high = high.add(whole);
                        low = low.add(units.sub(whole).mul(step).truncate());
                        at += V::LEN;
                    }
                    total += ((high.whole_sum() as u64) << 20) + low.whole_sum() as u64;
                }
                while at < block.len() {
                    total += mass(weight(block[at], scale));
                    at += 1;
                }
                out[nth] = total;
            }
        }
    }

    #[inline(always)]
    unsafe fn at_least<V: Lanes>(block: &[f32], divisor: f32, floor: f32) -> Bits {
        let mut bits = Bits::default();
        // SAFETY: the features are there; a part is loaded where fewer values are left.
        unsafe {
            let (divisor, floor) = (V::splat(divisor), V::splat(floor));
            let mut at = 0;
            while at < block.len() {
                let count = V::LEN.min(block.len() - at);
                let values = V::load_part(block.as_ptr().add(at), count);
                let reaching = u64::from(values.div(divisor).at_least(floor)) & ((1 << count) - 1);
                bits[at / 64] |= reaching << (at % 64);
                at += V::LEN;
            }
        }
        bits
    }

    /// `engine::sampler::exp` of every lane, x ≤ 0, operation by operation. Below `SMALLEST` the result is some
    /// number whose mass is 0.
    #[inline(always)]
    unsafe fn weights<V: Lanes>(x: V) -> V {
        // SAFETY: the caller's promise.
        unsafe {
            let x = x.max(V::splat(SMALLEST));
            let n = x.mul(V::splat(LOG2_E)).round();
            let r = x.sub(n.mul(V::splat(LN2_HIGH))).sub(n.mul(V::splat(LN2_LOW)));
            let mut tail = V::splat(TAYLOR[0]);
            let mut term = 1;
            while term < TAYLOR.len() {
                tail = tail.mul(r).add(V::splat(TAYLOR[term]));
                term += 1;
            }
            tail.mul(r).mul(r).add(r).add(V::splat(1.0)).scale(n)
        }
    }
}
