//! The plain truth of `attention`.

use device::Shard;

use super::{Args, Desc, faults_of};
use crate::fault;
use crate::rows::{row, row_mut};

/// One query head over the keys and values it may see, oldest first: two passes, sums in f64.
///
/// `q [head_dim_k]`, `keys [n, head_dim_k]`, `values [n, head_dim_v]`, `out [head_dim_v]`. Returns the sum of
/// the weights, of which the largest is 1.
pub fn attend(desc: &Desc, q: &[f32], keys: &[f32], values: &[f32], out: &mut [f32]) -> f64 {
    let mut scores: Vec<f64> = keys
        .chunks_exact(q.len())
        .map(|key| {
            let dot: f64 = q.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
            let score = dot * f64::from(desc.scale);
            let cap = f64::from(desc.softcap);
            if cap > 0.0 { cap * (score / cap).tanh() } else { score }
        })
        .collect();
    let max = scores.iter().fold(f64::NEG_INFINITY, |max, &score| max.max(score));
    scores.iter_mut().for_each(|score| *score = (*score - max).exp());
    let total: f64 = scores.iter().sum();
    for (i, out) in out.iter_mut().enumerate() {
        let column = values.iter().skip(i).step_by(desc.layout.head_dim_v);
        let sum: f64 = scores.iter().zip(column).map(|(&p, &v)| p * f64::from(v)).sum();
        *out = (sum / total) as f32;
    }
    total
}

/// First key that a query at `position` may see.
pub fn first_visible(desc: &Desc, position: usize) -> usize {
    if desc.window == 0 { 0 } else { (position + 1).saturating_sub(desc.window as usize) }
}

/// All rows and heads; workers take (row, head) pairs and decode the keys they need.
///
/// # Safety
/// `args` must be bound to live memory of the described shape, with all keys and values stored.
pub unsafe fn attention(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let layout = &desc.layout;
    let (dim_k, dim_v) = (layout.head_dim_k, layout.head_dim_v);
    let queries_per_kv = desc.num_heads / layout.num_kv_heads;
    let (mut keys, mut values, mut mean) = (Vec::new(), Vec::new(), vec![0f32; dim_k]);
    for index in 0..args.kv.num_views {
        // SAFETY: the caller's promise; each (row, head) has an output of its own.
        unsafe {
            let view = &*args.kv.views.add(index);
            for pair in shard.range(view.num_rows as usize * desc.num_heads, 1) {
                let (i, head) = (pair / desc.num_heads, pair % desc.num_heads);
                let kv_head = (head / queries_per_kv) as u32;
                let position = view.cached(desc.layer, kv_head, layout.num_kv_heads as u32) as usize + i;
                let visible = first_visible(desc, position)..position + 1;
                keys.resize(visible.len() * dim_k, 0.0);
                values.resize(visible.len() * dim_v, 0.0);
                for (n, key) in visible.enumerate() {
                    let block = view.physical(desc.layer, kv_head, (key / layout.block_size) as u32);
                    let slot = key % layout.block_size;
                    let storage = args.kv.storage;
                    let found = &mut keys[n * dim_k..][..dim_k];
                    layout.keys().decode(storage.add(layout.keys_at(block)), slot, found);
                    if let Some(fit) = &args.fit {
                        fit.restore(kv_head as usize, key, found, &mut mean);
                    }
                    let value = &mut values[n * dim_v..][..dim_v];
                    layout.values().decode(storage.add(layout.values_at(block)), slot, value);
                }
                let query = (view.first_row as usize + i) * desc.num_heads + head;
                let total = attend(desc, row(args.q, query, dim_k), &keys, &values, row_mut(args.out, query, dim_v));
                let faults = faults_of(total);
                fault::unless(faults.is_none(), shard, || faults);
            }
        }
    }
}
