//! exp(x) for x ≤ 0, the one the candidate list turns logits into weights with, and those weights as integers.
//!
//! Own polynomial instead of the platform's `expf`: the same bits on every machine, so the same request draws the
//! same token everywhere, and no call that would keep the loop from being vectorised. It is made of single additions
//! and multiplications, each rounded to nearest, **never fused**; whatever computes it that way (vector units, a
//! GPU's `__fmul_rn` and `__fadd_rn`) gets the same bits:
//!
//! ```text
//! c = max(x, SMALLEST)                    n = round(c · log2 e), ties to even
//! r = (c − n·LN2_HIGH) − n·LN2_LOW        |r| ≤ ln(2)/2
//! t = ((((T0·r + T1)·r + T2)·r + T3)·r + T4)·r + T5
//! exp(x) = (((t·r)·r + r) + 1) · 2^n      0 where x < SMALLEST
//! ```

/// 355/512: n·LN2_HIGH is exact for |n| < 2^15.
pub const LN2_HIGH: f32 = 0.693_359_4;
/// ln 2 − 355/512.
pub const LN2_LOW: f32 = -2.121_944_4e-4;
/// Below, the result would leave the normal numbers; it becomes 0.
pub const SMALLEST: f32 = -87.0;
/// 1/7!, 1/6! … 1/2!: the Taylor series to r^7; the first term left out is below 6e-9.
pub const TAYLOR: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// Weights are summed as integers in units of 2^-40, so that a sum does not depend on the order of its terms.
/// The largest weight is 1, hence sums are exact up to 2^24 tokens. A weight below 2^-40 counts as nothing.
pub const UNIT: f32 = (1u64 << 40) as f32;

const ROUND: f32 = 12_582_912.0; // 1.5·2^23: adding and taking it away rounds to the nearest integer

/// exp(x) for x ≤ 0, within 1 unit in the last place; 0 below -87; NaN gives 0.
#[inline]
pub fn exp(x: f32) -> f32 {
    let clamped = x.max(SMALLEST);
    let n = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW; // |r| ≤ ln(2)/2
    let [t0, t1, t2, t3, t4, t5] = TAYLOR;
    let tail = ((((t0 * r + t1) * r + t2) * r + t3) * r + t4) * r + t5;
    let fraction = tail * r * r + r + 1.0;
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32); // 2^n, -126 ≤ n ≤ 0
    if x >= SMALLEST { fraction * scale } else { 0.0 }
}

/// A weight, at most 1, in units of 2^-40, rounded down.
#[inline]
pub fn mass(weight: f32) -> u64 {
    (weight * UNIT) as i64 as u64 // by way of i64: one instruction on x86-64, where u64 takes a dozen
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_close_to_the_true_exponential_everywhere() {
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let (got, want) = (f64::from(super::exp(x)), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 1.2e-7, "exp({x}) = {got}, expected {want}");
        }
    }

    #[test]
    fn edges() {
        assert_eq!(super::exp(0.0), 1.0);
        assert_eq!(super::exp(-0.0), 1.0);
        assert!(super::exp(-87.0) > 0.0);
        for x in [-87.001, -1e30, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(super::exp(x), 0.0, "exp({x})");
        }
    }
}
