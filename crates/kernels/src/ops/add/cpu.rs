//! `add`, written once for all instruction sets.

use device::Shard;

use super::{Args, Desc};
use crate::simd::Lanes;

/// Workers take stretches of values.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`.
#[inline(always)]
pub unsafe fn add<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let share = shard.range(args.num_rows * desc.width, 16);
    let mut i = share.start;
    while i < share.end {
        let count = (share.end - i).min(V::LEN);
        // SAFETY: the caller's promise; shares do not overlap.
        unsafe {
            let sum = V::load_part(args.x.add(i), count).add(V::load_part(args.y.add(i), count));
            sum.store_part(args.x.add(i), count);
        }
        i += V::LEN;
    }
}
