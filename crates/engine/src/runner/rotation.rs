//! Keys that move in the cache are rotated to their new positions.

use kernels::ops::rope::{self, Pairing};
use kernels::ops::rope_table;
use model::Graph;

/// A further rotation of the keys of one layer.
pub(super) struct Rotation {
    /// One row of a rope table.
    table: Vec<f32>,
    desc: rope::Desc,
}

impl Rotation {
    /// By `shift` positions; rotations compose, and the magnitude is in the key already.
    pub(super) fn of(graph: &Graph, layer: u32, shift: i32) -> Option<Self> {
        let (inv_freq, pairing): (_, Pairing) = graph.key_rotation(layer)?;
        let rotary_dim = 2 * inv_freq.len();
        let mut table = vec![0f32; rotary_dim];
        let desc = rope_table::Desc { rotary_dim, magnitude: 1.0 };
        rope_table::reference::rope_table(&desc, shift.unsigned_abs(), inv_freq, &mut table);
        if shift < 0 {
            table[inv_freq.len()..].iter_mut().for_each(|sine| *sine = -*sine);
        }
        let desc = rope::Desc { head_dim: graph.hparams.head_dim_k, num_heads: 1, rotary_dim, pairing };
        Some(Self { table, desc })
    }

    /// Rotates one key.
    pub(super) fn apply(&self, key: &mut [f32]) {
        rope::reference::rope(&self.desc, &self.table, key);
    }
}
