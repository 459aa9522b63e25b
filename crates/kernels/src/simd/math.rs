//! exp, exp2 and tanh of whole vectors, to about one unit in the last place.
//!
//! The polynomials are minimax fits made for these intervals (Remez, relative error); NaN goes through.

use super::Lanes;

/// `log2(e)`: `exp(x) = exp2(x * LOG2_E)`.
pub const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// `2^x`: the whole part goes into the exponent, the rest, in -0.5..=0.5, into a polynomial.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn exp2<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        // NaN is the second operand and stays; beyond the bounds the result is 0 or infinite anyway.
        let x = V::splat(-160.0).max(V::splat(130.0).min(x));
        let whole = x.round();
        let rest = x.sub(whole);
        polynomial(rest, &EXP2).scale(whole)
    }
}

/// `2^x` for x up to 127 to 1 in 13 000: for weights that are rounded to fewer bits afterwards.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn exp2_rough<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let x = V::splat(-160.0).max(x);
        let whole = x.round();
        polynomial(x.sub(whole), &EXP2_ROUGH).scale(whole)
    }
}

/// `e^x`, with the argument reduced in two steps so that large arguments lose nothing.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn exp<V: Lanes>(x: V) -> V {
    // ln 2 in two parts, the first with few enough bits that its product with a whole number is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // SAFETY: the caller's promise.
    unsafe {
        let x = V::splat(-110.0).max(V::splat(90.0).min(x));
        let whole = x.mul(V::splat(LOG2_E)).round();
        let rest = whole.mul_add(V::splat(-LN2_HIGH), x);
        let rest = whole.mul_add(V::splat(-LN2_LOW), rest);
        polynomial(rest, &EXP).scale(whole)
    }
}

/// `tanh x`: an odd polynomial near zero, `1 - 2 / (e^2|x| + 1)` with the sign of x elsewhere.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn tanh<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let (zero, one, two) = (V::splat(0.0), V::splat(1.0), V::splat(2.0));
        let size = x.abs();
        let far = one.sub(two.div(exp(size.add(size)).add(one)));
        let far = x.where_less(zero, zero.sub(far), far);
        let square = x.mul(x);
        let near = polynomial(square, &TANH).mul(square).mul_add(x, x);
        size.where_less(V::splat(0.625), near, far)
    }
}

/// Horner's scheme, highest coefficient first.
#[inline(always)]
unsafe fn polynomial<V: Lanes, const N: usize>(x: V, coefficients: &[f32; N]) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = V::splat(coefficients[0]);
        let mut i = 1;
        while i < N {
            sum = sum.mul_add(x, V::splat(coefficients[i]));
            i += 1;
        }
        sum
    }
}

/// `2^x` on -0.5..=0.5; error 2e-9 before rounding.
#[allow(clippy::approx_constant)] // a fit near ln 2, not ln 2
const EXP2: [f32; 7] = [1.534_581_2e-4, 1.339_993_1e-3, 9.618_489e-3, 0.055_503_286, 0.240_226_46, 0.693_147_2, 1.0];

/// `2^x` on -0.5..=0.5; error 7.5e-5.
const EXP2_ROUGH: [f32; 4] = [0.055_171_67, 0.242_611_13, 0.693_260_97, 0.999_928_06];

/// `e^x` on -0.35..=0.35; error 2e-9 before rounding.
const EXP: [f32; 7] = [1.383_581_3e-3, 8.375_635e-3, 0.041_668_29, 0.166_664_11, 0.499_999_9, 1.0, 1.0];

/// `(tanh x / x - 1) / x²` as a function of x² on 0..=0.4; error 2e-10 before rounding.
const TANH: [f32; 6] = [2.122_745_8e-3, -8.156_28e-3, 0.021_692_608, -0.053_945_377, 0.133_331_95, -0.333_333_3];
