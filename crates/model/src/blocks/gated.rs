//! Gated feed-forward, with gate and up projection apart or fused in `ffn_up` (gate first).

use crate::Error;
use crate::arch::Gated;
use crate::graph::{Builder, NodeOp, ValueId};

/// `down(act(gate(x)) * up(x))`.
pub(super) fn feed_forward(builder: &mut Builder<'_>, desc: &Gated, layer: u32, x: ValueId) -> Result<ValueId, Error> {
    let width = builder.hparams.layers[layer as usize].intermediate_size;
    let name = |part: &str| format!("blk.{layer}.{part}");
    let (gate, up) = if builder.weights.has(&name("ffn_gate.weight")) {
        (builder.linear(&name("ffn_gate"), x, width)?, builder.linear(&name("ffn_up"), x, width)?)
    } else {
        let fused = builder.weights.matrix(&name("ffn_up.weight"), 2 * width, builder.hparams.hidden_size)?;
        let gate = builder.project(&name("ffn_up[gate]"), x, fused.part(0, width), None);
        (gate, builder.project(&name("ffn_up[up]"), x, fused.part(width, width), None))
    };
    builder.push(name("ffn_act"), NodeOp::Glu { gate, up, activation: desc.activation, out: gate });
    builder.linear(&name("ffn_down"), gate, builder.hparams.hidden_size)
}
