//! `rope`, written once for all instruction sets.

use device::Shard;

use super::{Args, Desc, Pairing, reference};
use crate::rows::{row, row_mut};
use crate::simd::Lanes;

/// Workers take heads.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`.
#[inline(always)]
pub unsafe fn rope<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let half = desc.rotary_dim / 2;
    for i in shard.range(args.num_rows * desc.num_heads, 1) {
        // SAFETY: the caller's promise; only this worker touches head i.
        unsafe {
            let cosines = args.table.add(i / desc.num_heads * desc.rotary_dim);
            let (sines, head) = (cosines.add(half), args.x.add(i * desc.head_dim));
            match desc.pairing {
                Pairing::Halves if half.is_multiple_of(V::LEN) => halves::<V>(head, cosines, sines, half),
                Pairing::Adjacent if desc.rotary_dim.is_multiple_of(V::LEN) => {
                    adjacent::<V>(head, cosines, sines, half);
                }
                _ => reference::rope(desc, row(cosines, 0, desc.rotary_dim), row_mut(head, 0, desc.head_dim)),
            }
        }
    }
}

/// Rotates `head[j]` with `head[j + half]`.
#[inline(always)]
unsafe fn halves<V: Lanes>(head: *mut f32, cosines: *const f32, sines: *const f32, half: usize) {
    let mut j = 0;
    while j < half {
        // SAFETY: the caller's promise.
        unsafe {
            let (cosine, sine) = (V::load(cosines.add(j)), V::load(sines.add(j)));
            let (a, b) = (V::load(head.add(j)), V::load(head.add(half + j)));
            a.mul(cosine).sub(b.mul(sine)).store(head.add(j));
            a.mul(sine).add(b.mul(cosine)).store(head.add(half + j));
        }
        j += V::LEN;
    }
}

/// Rotates `head[2 j]` with `head[2 j + 1]`.
#[inline(always)]
unsafe fn adjacent<V: Lanes>(head: *mut f32, cosines: *const f32, sines: *const f32, half: usize) {
    let mut j = 0;
    while j < half {
        // SAFETY: the caller's promise.
        unsafe {
            let (cosine, sine) = (V::load_twice(cosines.add(j)), V::load_twice(sines.add(j)));
            let pairs = V::load(head.add(2 * j));
            let across = pairs.swap_neighbours().mul(sine).negate_even();
            pairs.mul(cosine).add(across).store(head.add(2 * j));
        }
        j += V::LEN / 2;
    }
}
