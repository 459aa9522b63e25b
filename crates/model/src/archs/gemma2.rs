//! Gemma 2 (arXiv 2408.00118): windows in every other layer, soft-capping, norms on both sides.

use crate::arch::{Activation, Arch, Block, EmbedScale, Gated, Grouped, QueryScale, Reach};

const GLOBAL: Block = Block {
    attention: Grouped { softcap: 50.0, query_scale: QueryScale::HiddenPerHeadAt { num_layers: 46 }, ..Grouped::NEOX },
    feed_forward: Gated { activation: Activation::GeluTanh },
    post_norms: true,
};
const LOCAL: Block = Block {
    attention: Grouped { reach: Reach::Window { default: 4096, rope_base: None }, ..GLOBAL.attention },
    ..GLOBAL
};

/// Local and global layers in turn.
pub const GEMMA2: Arch =
    Arch { name: "gemma2", cycle: &[LOCAL, GLOBAL], embed_scale: EmbedScale::SqrtHidden, final_softcap: 30.0 };
