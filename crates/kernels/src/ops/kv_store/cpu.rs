//! `kv_store`, written once for all instruction sets.

use device::Shard;

use super::{Args, Desc, faults, fitted};
use crate::fault;
use crate::kv::{KvHalf, KvType, MAX_ROTATED};
use crate::rows::row;
use crate::simd::Lanes;

/// Workers take (row, head) pairs.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`.
#[inline(always)]
pub unsafe fn kv_store<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let layout = &desc.layout;
    let heads = layout.num_kv_heads;
    let mut place = [0f32; MAX_ROTATED];
    let mut index = 0;
    while index < args.kv.num_views {
        // SAFETY: the caller's promise; each (row, head) goes to a slot of its own.
        unsafe {
            let view = &*args.kv.views.add(index);
            for pair in shard.range(view.num_rows as usize * heads, 1) {
                let (i, head) = (pair / heads, pair % heads);
                let source = (view.first_row as usize + i) * heads + head;
                let position = view.cached(desc.layer, head as u32, heads as u32) as usize + i;
                let (logical, slot) = (position / layout.block_size, position % layout.block_size);
                let block = view.physical(desc.layer, head as u32, logical as u32);
                let (k, v) = (row(args.k, source, layout.head_dim_k), row(args.v, source, layout.head_dim_v));
                let k = fitted(args, head, position, k, &mut place);
                encode::<V>(layout.keys(), args.kv.storage.add(layout.keys_at(block)), slot, k);
                encode::<V>(layout.values(), args.kv.storage.add(layout.values_at(block)), slot, v);
                // Where even the sum of sizes fits the type, each value does; else each is looked at.
                let well = size::<V>(k) <= layout.k.largest() && size::<V>(v) <= layout.v.largest();
                fault::unless(well, shard, || faults(layout.k, k).and(faults(layout.v, v)));
            }
        }
        index += 1;
    }
}

/// Sum of the sizes of all values.
#[inline(always)]
unsafe fn size<V: Lanes>(values: &[f32]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = V::splat(0.0);
        let mut i = 0;
        while i < values.len() {
            sum = sum.add(V::load_part(values.as_ptr().add(i), (values.len() - i).min(V::LEN)).abs());
            i += V::LEN;
        }
        sum.sum()
    }
}

/// [`KvHalf::encode`], with vectors for half precision; what else it does the compiler turns into vectors.
#[inline(always)]
unsafe fn encode<V: Lanes>(half: KvHalf, at: *mut u8, slot: usize, values: &[f32]) {
    // SAFETY: the caller's promise.
    unsafe {
        if half.kv_type != KvType::F16 {
            half.encode(at, slot, values);
            return;
        }
        let row = at.add(half.row_at(slot)).cast::<u16>();
        let whole = values.len() / V::LEN * V::LEN;
        let mut i = 0;
        while i < whole {
            V::load(values.as_ptr().add(i)).store_f16(row.add(i));
            i += V::LEN;
        }
        while i < values.len() {
            *row.add(i) = half::f16::from_f32(values[i]).to_bits();
            i += 1;
        }
    }
}
