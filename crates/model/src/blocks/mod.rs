//! The parts models are made of, each built once: embedding, layer, attention, feed-forward, logits.

mod gated;
mod grouped;

use kernels::RowSet;

use crate::Error;
use crate::graph::{Builder, NodeOp, ValueId};
use crate::weights::Matrix;

/// The embedding table; its rows are the vocabulary.
pub(crate) fn embedding(builder: &mut Builder<'_>) -> Result<(Matrix, usize), Error> {
    let name = "token_embd.weight";
    let tensor = builder.weights.gguf().tensor(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
    let vocab_size = tensor.shape.get(1).copied().unwrap_or(0) as usize;
    Ok((builder.weights.matrix(name, vocab_size, builder.hparams.hidden_size)?, vocab_size))
}

/// One layer: `x += attention(norm(x)); x += feed_forward(norm(x))`.
pub(crate) fn layer(builder: &mut Builder<'_>, layer: u32, x: ValueId) -> Result<ValueId, Error> {
    let block = builder.hparams.arch.block(layer);
    let prefix = format!("blk.{layer}");
    let normed = builder.norm(&format!("{prefix}.attn_norm"), x)?;
    let mut attended = grouped::attention(builder, &block.attention, layer, normed)?;
    let mut x = x;
    if layer as usize + 1 == builder.hparams.layers.len() {
        // Nothing after the last attention looks at other rows: only those that yield logits go on.
        (x, attended) = (outputs_only(builder, x), outputs_only(builder, attended));
    }
    let projected = builder.linear(&format!("{prefix}.attn_output"), attended, builder.hparams.hidden_size)?;
    add_back(builder, block.post_norms, &format!("{prefix}.post_attention_norm"), x, projected)?;
    let normed = builder.norm(&format!("{prefix}.ffn_norm"), x)?;
    let fed = gated::feed_forward(builder, &block.feed_forward, layer, normed)?;
    add_back(builder, block.post_norms, &format!("{prefix}.post_ffw_norm"), x, fed)?;
    Ok(x)
}

/// Final norm, output projection (the embedding table where the file has none) and soft-capping: what the
/// projection reads, and the logits.
pub(crate) fn logits(builder: &mut Builder<'_>, x: ValueId, table: &Matrix) -> Result<(ValueId, ValueId), Error> {
    let normed = builder.norm("output_norm", x)?;
    let logits = if builder.weights.has("output.weight") {
        builder.linear("output", normed, table.rows)?
    } else {
        builder.project("token_embd", normed, *table, None)
    };
    let cap = builder.hparams.final_softcap;
    if cap > 0.0 {
        builder.push("logits", NodeOp::Softcap { x: logits, cap });
    }
    Ok((normed, logits))
}

/// `x += y`, with `y` normalised first where the architecture says so.
fn add_back(builder: &mut Builder<'_>, post_norm: bool, norm: &str, x: ValueId, y: ValueId) -> Result<(), Error> {
    if post_norm {
        builder.norm_into(norm, y, 1, y)?;
    }
    let name = format!("{}.residual", builder.values[y.0].name);
    builder.push(name, NodeOp::Add { x, y });
    Ok(())
}

/// The rows of `x` that yield logits; values made from now on have only those.
fn outputs_only(builder: &mut Builder<'_>, x: ValueId) -> ValueId {
    builder.rows = RowSet::Outputs;
    let (name, width) = (format!("{}.outputs", builder.values[x.0].name), builder.values[x.0].width);
    let out = builder.value(name.clone(), width);
    builder.push(name, NodeOp::Gather { x, out });
    out
}
