//! `glu`, written once for all instruction sets.

use device::Shard;

use super::{Activation, Args, Desc};
use crate::simd::{Lanes, exp};

/// Workers take stretches of values.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`.
#[inline(always)]
pub unsafe fn glu<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let share = shard.range(args.num_rows * desc.width, 16);
    let mut i = share.start;
    while i < share.end {
        let count = (share.end - i).min(V::LEN);
        // SAFETY: the caller's promise; shares do not overlap.
        unsafe {
            let (gate, up) = (V::load_part(args.gate.add(i), count), V::load_part(args.up.add(i), count));
            let activated = match desc.activation {
                Activation::Silu => times_sigmoid(gate, gate),
                Activation::GeluTanh => {
                    let cubic = gate.mul(gate).mul_add(V::splat(0.044_715), V::splat(1.0));
                    let inner = V::splat((8.0 / std::f32::consts::PI).sqrt()).mul(gate).mul(cubic);
                    times_sigmoid(gate, inner)
                }
            };
            activated.mul(up).store_part(args.out.add(i), count);
        }
        i += V::LEN;
    }
}

/// `x / (1 + e^-y)`.
#[inline(always)]
unsafe fn times_sigmoid<V: Lanes>(x: V, y: V) -> V {
    // SAFETY: the caller's promise.
    unsafe { x.div(V::splat(1.0).add(exp(V::splat(0.0).sub(y)))) }
}
