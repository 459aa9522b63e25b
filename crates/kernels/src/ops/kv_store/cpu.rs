//! `kv_store`, written once for all instruction sets.

use device::Shard;

use super::{Args, Desc};
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
                encode::<V>(layout.k, row(args.k, source, layout.head_dim_k), args.kv.storage.add(key_at));
                encode::<V>(layout.v, row(args.v, source, layout.head_dim_v), args.kv.storage.add(value_at));
            }
        }
        index += 1;
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
