//! Vectors of f32: kernels that gain from SIMD are written once over [`Lanes`] and compiled for each
//! instruction set by a thin `#[target_feature]` function beside them (`cpu_avx512.rs`, `cpu_avx2.rs`).
//!
//! Everything here is `#[inline(always)]`, so that the code ends up inside that thin function and is
//! compiled with its features. For the same reason kernels over `Lanes` use loops and no closures.

/// Functions of one expression each, for the implementations of [`Lanes`].
#[cfg(target_arch = "x86_64")]
macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $type),*) $(-> $out)? {
            // SAFETY: the promises of `Lanes`.
            unsafe { $body }
        })*
    };
}

/// The same with `self`.
#[cfg(target_arch = "x86_64")]
macro_rules! methods {
    ($($name:ident($self:ident $(, $arg:ident: $type:ty)*) $(-> $out:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($self $(, $arg: $type)*) $(-> $out)? {
            // SAFETY: the promises of `Lanes`.
            unsafe { $body }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod dots;
mod math;
#[cfg(target_arch = "x86_64")]
mod powers;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "x86_64")]
pub use dots::{Dots, log2_below};
pub use math::{LOG2_E, exp, exp2, exp2_rough, tanh};
#[cfg(target_arch = "x86_64")]
pub use powers::STEPS;

/// A vector register of f32 values.
///
/// # Safety
/// Every function requires that the CPU has the features of the implementing type, and that the
/// addresses given to loads and stores are valid for as many values as the function names. No address
/// needs more alignment than its element.
#[expect(clippy::missing_safety_doc, reason = "said once, above, for all functions")]
pub trait Lanes: Copy {
    /// Values per vector.
    const LEN: usize;
    /// Vectors that fit into half of the registers: what a tile may use for its sums.
    const SUMS: usize;

    /// The same value everywhere.
    unsafe fn splat(value: f32) -> Self;
    /// `LEN` values.
    unsafe fn load(at: *const f32) -> Self;
    /// The first `count` values, `count <= LEN`; zeros after them.
    unsafe fn load_part(at: *const f32, count: usize) -> Self;
    /// `LEN / 2` values, each twice.
    unsafe fn load_twice(at: *const f32) -> Self;
    /// `LEN` half-precision values.
    unsafe fn load_f16(at: *const u16) -> Self;
    /// `LEN` upper halves of values.
    unsafe fn load_bf16(at: *const u16) -> Self;
    /// Writes `LEN` values.
    unsafe fn store(self, at: *mut f32);
    /// Writes the first `count` values, `count <= LEN`.
    unsafe fn store_part(self, at: *mut f32, count: usize);
    /// Writes `LEN` values in half precision, ties to even.
    unsafe fn store_f16(self, at: *mut u16);

    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger; `other` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller; `other` where either is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// Without the sign.
    unsafe fn abs(self) -> Self;
    /// Lanes 0 and 1 exchanged, 2 and 3, …
    unsafe fn swap_neighbours(self) -> Self;
    /// The other sign in lanes 0, 2, 4, …
    unsafe fn negate_even(self) -> Self;
    /// To the nearest whole number, ties to even.
    unsafe fn round(self) -> Self;
    /// To a whole number, towards zero.
    unsafe fn truncate(self) -> Self;
    /// `self * 2^n` for whole `n` in -250..=250, with overflow to infinity and gradual underflow.
    unsafe fn scale(self, n: Self) -> Self;
    /// `yes` where `self < bound`, else (also for NaN) `no`.
    unsafe fn where_less(self, bound: Self, yes: Self, no: Self) -> Self;
    /// Bit n is set where lane n is at least `bound`'s; never for NaN.
    unsafe fn at_least(self, bound: Self) -> u32;

    /// Sum of all lanes.
    unsafe fn sum(self) -> f32;
    /// Exact sum of all lanes, which hold whole numbers of 2^24 at most.
    unsafe fn whole_sum(self) -> i32;
    /// Largest lane; unspecified when a lane is NaN.
    unsafe fn largest(self) -> f32;
    /// Writes the sums of the lanes of four vectors.
    unsafe fn store_sums(four: [Self; 4], at: *mut f32);
    /// Writes the largest lane of each of four vectors; unspecified when one is NaN.
    unsafe fn store_largest(four: [Self; 4], at: *mut f32);
    /// Sum of the squares of all values at `at`, in f64.
    unsafe fn sum_of_squares(at: *const f32, count: usize) -> f64;
}
