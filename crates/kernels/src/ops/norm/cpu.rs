//! `norm`, written once for all instruction sets.

use device::Shard;

use super::{Args, Desc, is_sound};
use crate::fault::{self, Faults};
use crate::simd::Lanes;

/// Workers take groups of values.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`.
#[inline(always)]
pub unsafe fn norm<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    for group in shard.range(args.num_rows * desc.groups, 1) {
        let at = group * desc.width;
        // SAFETY: the caller's promise; only this worker touches the group.
        unsafe {
            let sum = V::sum_of_squares(args.x.add(at), desc.width);
            let mean = sum / desc.width as f64;
            fault::unless(is_sound(desc, mean), shard, || Faults::of(mean));
            let scale = V::splat((1.0 / (mean + f64::from(desc.eps)).sqrt()) as f32);
            let mut i = 0;
            while i < desc.width {
                let count = (desc.width - i).min(V::LEN);
                let weight = V::load_part(args.weight.add(i), count);
                let value = V::load_part(args.x.add(at + i), count).mul(scale).mul(weight);
                value.store_part(args.out.add(at + i), count);
                i += V::LEN;
            }
        }
    }
}
