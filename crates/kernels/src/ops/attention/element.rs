//! Types of floats in the cache, as the vector kernels load them.

use crate::kv::KvType;
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
}

/// `len` values of a type of floats, a multiple of the vector, to f32.
///
/// # Safety
/// See [`Lanes`].
#[inline(always)]
pub unsafe fn widen<V: Lanes>(kv_type: KvType, from: *const u8, len: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut i = 0;
        while i < len {
            let values = match kv_type {
                KvType::F16 => F16::load::<V>(from, i),
                KvType::Bf16 => BF16::load::<V>(from, i),
                _ => F32::load::<V>(from, i),
            };
            values.store(out.add(i));
            i += V::LEN;
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

/// The upper halves of 32-bit floats.
pub enum BF16 {}

impl Element for BF16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<V: Lanes>(at: *const u8, index: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16(at.cast::<u16>().add(index)) }
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
