//! Grouped-query attention, with q, k and v apart or fused in `attn_qkv`.

use std::sync::Arc;

use kernels::Place;

use crate::Error;
use crate::arch::Grouped;
use crate::graph::{Builder, KvGroup, NodeOp, ValueId};
use crate::weights::Vector;

/// Everything from the normalised input up to, but not including, the output projection.
pub(super) fn attention(builder: &mut Builder<'_>, desc: &Grouped, layer: u32, x: ValueId) -> Result<ValueId, Error> {
    let (heads, kv_heads) = {
        let numbers = &builder.hparams.layers[layer as usize];
        (numbers.num_heads, numbers.num_kv_heads)
    };
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (q, k, v) = project(builder, layer, x, heads, kv_heads)?;
    if desc.qk_norm {
        builder.norm_into(&name("attn_q_norm"), q, heads, q)?;
        builder.norm_into(&name("attn_k_norm"), k, kv_heads, k)?;
    }
    let table = rope_table(builder, layer)?;
    builder.push(name("rope_q"), NodeOp::Rope { x: q, table, num_heads: heads, pairing: desc.pairing });
    builder.push(name("rope_k"), NodeOp::Rope { x: k, table, num_heads: kv_heads, pairing: desc.pairing });
    join_group(builder, layer);
    builder.push(name("kv_store"), NodeOp::KvStore { k, v, layer });
    let out = builder.value(name("attention"), heads * builder.hparams.head_dim_v);
    builder.push(name("attention"), NodeOp::Attention { q, layer, out });
    Ok(out)
}

/// Queries, keys and values.
fn project(
    builder: &mut Builder<'_>,
    layer: u32,
    x: ValueId,
    heads: usize,
    kv_heads: usize,
) -> Result<(ValueId, ValueId, ValueId), Error> {
    let (dim_k, dim_v) = (builder.hparams.head_dim_k, builder.hparams.head_dim_v);
    let (q, k, v) = (heads * dim_k, kv_heads * dim_k, kv_heads * dim_v);
    let name = |part: &str| format!("blk.{layer}.{part}");
    let fused = name("attn_qkv.weight");
    if !builder.weights.has(&fused) {
        let q = builder.linear(&name("attn_q"), x, q)?;
        return Ok((q, builder.linear(&name("attn_k"), x, k)?, builder.linear(&name("attn_v"), x, v)?));
    }
    let weight = builder.weights.matrix(&fused, q + k + v, builder.hparams.hidden_size)?;
    let bias = builder.weights.opt_vector(&name("attn_qkv.bias"), q + k + v)?;
    let mut part = |what: &str, first: usize, rows: usize| {
        let bias = bias.as_ref().map(|bias| Vector::from(&bias[first..first + rows]));
        builder.project(&name(&format!("attn_qkv[{what}]")), x, weight.part(first, rows), bias)
    };
    Ok((part("q", 0, q), part("k", q, k), part("v", q + k, v)))
}

/// The table of this layer's frequencies, made once for all layers that share them.
fn rope_table(builder: &mut Builder<'_>, layer: u32) -> Result<ValueId, Error> {
    let numbers = builder.hparams.layers[layer as usize];
    let rotary_dim = builder.hparams.rotary_dim;
    let long = builder.context > numbers.rope_scaling.original_context;
    let mut factors = builder.weights.opt_vector("rope_freqs.weight", rotary_dim / 2)?;
    if factors.is_none() {
        let name = if long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        factors = builder.weights.opt_vector(name, rotary_dim / 2)?;
    }
    let scaling = numbers.rope_scaling;
    let inv_freq: Vector = scaling.inverse_frequencies(numbers.rope_base, rotary_dim, factors.as_deref()).into();
    let known = |(other, magnitude, _): &&(Vector, f32, ValueId)| *other == inv_freq && *magnitude == scaling.magnitude;
    if let Some((.., table)) = builder.rope_tables.iter().find(known) {
        return Ok(*table);
    }
    let name = format!("rope_table.{}", builder.rope_tables.len());
    let out = builder.value(name.clone(), rotary_dim);
    let (magnitude, frequencies) = (scaling.magnitude, Arc::clone(&inv_freq));
    builder.push(name, NodeOp::RopeTable { inv_freq, magnitude, out });
    builder.rope_tables.push((frequencies, magnitude, out));
    Ok(out)
}

/// Puts the layer into the KV group of its like.
fn join_group(builder: &mut Builder<'_>, layer: u32) {
    let numbers = &builder.hparams.layers[layer as usize];
    let (num_kv_heads, window) = (numbers.num_kv_heads, numbers.window);
    match builder.groups.iter_mut().find(|group| group.num_kv_heads == num_kv_heads && group.window == window) {
        Some(group) => group.layers.push(layer),
        None => builder.groups.push(KvGroup { layers: vec![layer], num_kv_heads, window, place: Place::Cpu }),
    }
}
