//! The plain truth of `kv_store`.

use device::Shard;

use super::{Args, Desc, faults, fitted};
use crate::fault;
use crate::kv::MAX_ROTATED;
use crate::rows::row;

/// Stores every row of every sequence; workers take (row, head) pairs.
///
/// # Safety
/// `args` must be bound to live memory of the described shape, and the views must have blocks for
/// all rows of this step.
pub unsafe fn kv_store(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let layout = &desc.layout;
    let heads = layout.num_kv_heads;
    let mut place = [0f32; MAX_ROTATED];
    for index in 0..args.kv.num_views {
        // SAFETY: the caller's promise; each (row, head) goes to a slot of its own.
        unsafe {
            let view = &*args.kv.views.add(index);
            for pair in shard.range(view.num_rows as usize * heads, 1) {
                let (i, head) = (pair / heads, pair % heads);
                let source = (view.first_row as usize + i) * heads + head;
                let position = view.cached(desc.layer, head as u32, heads as u32) as usize + i;
                let logical = (position / layout.block_size) as u32;
                let block = view.physical(desc.layer, head as u32, logical);
                let slot = position % layout.block_size;
                let (k, v) = (row(args.k, source, layout.head_dim_k), row(args.v, source, layout.head_dim_v));
                let k = fitted(args, head, position, k, &mut place);
                layout.keys().encode(args.kv.storage.add(layout.keys_at(block)), slot, k);
                layout.values().encode(args.kv.storage.add(layout.values_at(block)), slot, v);
                let faults = faults(layout.k, k).and(faults(layout.v, v));
                fault::unless(faults.is_none(), shard, || faults);
            }
        }
    }
}
