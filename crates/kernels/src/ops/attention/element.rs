//! Types of cached keys and values, as the vector kernels load them.

use crate::simd::Lanes;

/// A type of cached keys or values.
pub trait Element {
    /// Bytes per value.
    const BYTES: usize;

    /// `V::LEN` values from `index` on, as f32.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn load<V: Lanes>(at: *const u8, index: usize) -> V;

    /// `len` values, a multiple of the vector, to f32.
    ///
    /// # Safety
    /// See [`Lanes`].
    #[inline(always)]
    unsafe fn widen<V: Lanes>(from: *const u8, len: usize, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut i = 0;
            while i < len {
                Self::load::<V>(from, i).store(out.add(i));
                i += V::LEN;
            }
        }
    }
}

/// Half precision.
pub enum F16 {}

impl Element for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<V: Lanes>(at: *const u8, index: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_f16(at.cast::<u16>().add(index)) }
    }
}

/// 32-bit floats.
pub enum F32 {}

impl Element for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<V: Lanes>(at: *const u8, index: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(at.cast::<f32>().add(index)) }
    }
}
