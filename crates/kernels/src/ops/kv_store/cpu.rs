//! `kv_store`, written once for all instruction sets.

use device::Shard;

use super::{Args, Desc, faults};
use crate::fault;
use crate::kv::KvType;
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
                let (key_at, value_at) = (layout.key_at(block, slot), layout.value_at(block, slot));
                let (k, v) = (row(args.k, source, layout.head_dim_k), row(args.v, source, layout.head_dim_v));
                encode::<V>(layout.k, k, args.kv.storage.add(key_at));
                encode::<V>(layout.v, v, args.kv.storage.add(value_at));
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

/// [`KvType::encode`], with vectors for half precision.
#[inline(always)]
unsafe fn encode<V: Lanes>(kv_type: KvType, values: &[f32], at: *mut u8) {
    let whole = if kv_type == KvType::F16 { values.len() / V::LEN * V::LEN } else { 0 };
    // SAFETY: the caller's promise.
    unsafe {
        let mut i = 0;
        while i < whole {
            V::load(values.as_ptr().add(i)).store_f16(at.cast::<u16>().add(i));
            i += V::LEN;
        }
        kv_type.encode(&values[whole..], at.add(kv_type.bytes(whole)));
    }
}
