//! How much memory a model takes, told before it is taken.

use kernels::KvLayout;

use crate::Graph;

/// Bytes of the keys and values of one token in all layers.
pub fn kv_bytes_per_token(graph: &Graph, layout: impl Fn(u32) -> KvLayout) -> usize {
    graph
        .groups
        .iter()
        .enumerate()
        .map(|(index, group)| {
            let layout = layout(index as u32);
            group.layers.len() * group.num_kv_heads * layout.token_bytes()
        })
        .sum()
}
