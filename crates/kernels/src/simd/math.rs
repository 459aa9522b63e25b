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

