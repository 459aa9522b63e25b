//! Gemma 3 (arXiv 2503.19786): five local layers for each global one, normalised heads, no soft-capping.

use crate::arch::{Activation, Arch, Block, EmbedScale, Gated, Grouped, QueryScale, Reach};

const GLOBAL: Block = Block {
    attention: Grouped { qk_norm: true, query_scale: QueryScale::HiddenPerHeadAt { num_layers: 62 }, ..Grouped::NEOX },
    feed_forward: Gated { activation: Activation::GeluTanh },
    post_norms: true,
};
const LOCAL: Block = Block {
    attention: Grouped { reach: Reach::Window { default: 0, rope_base: Some(10_000.0) }, ..GLOBAL.attention },
    ..GLOBAL
};

/// Five local layers, then a global one.
pub const GEMMA3: Arch = Arch {
    name: "gemma3",
    cycle: &[LOCAL, LOCAL, LOCAL, LOCAL, LOCAL, GLOBAL],
    embed_scale: EmbedScale::SqrtHidden,
    final_softcap: 0.0,
};
