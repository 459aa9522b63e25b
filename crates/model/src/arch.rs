//! The language architectures are described in. A description is a constant; files in `archs/` show
//! only where they differ from [`Arch::LLAMA`]. Numbers come from the file ([`crate::Hparams`]); biases,
//! fused projections and tied embeddings from which tensors the file has.

pub use kernels::ops::glu::Activation;
pub use kernels::ops::rope::Pairing;

/// One architecture.
#[derive(Clone, Copy, Debug)]
pub struct Arch {
    /// `general.architecture` in the file.
    pub name: &'static str,
    /// The layers: layer i is `cycle[i % cycle.len()]`.
    pub cycle: &'static [Block],
    /// Factor on the embeddings.
    pub embed_scale: EmbedScale,
    /// Soft-capping of the final logits where the file does not say; 0 for none.
    pub final_softcap: f32,
}

/// One layer.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The attention half.
    pub attention: Grouped,
    /// The feed-forward half.
    pub feed_forward: Gated,
    /// Whether each half's output is normalised before it is added back (Gemma 2 and 3).
    pub post_norms: bool,
}

/// Attention whose query heads share KV heads in groups (arXiv 2305.13245).
#[derive(Clone, Copy, Debug)]
pub struct Grouped {
    /// Which values of a head are rotated together.
    pub pairing: Pairing,
    /// Normalisation of every query and key head before RoPE.
    pub qk_norm: bool,
    /// How far back a query sees.
    pub reach: Reach,
    /// Factor on the scores.
    pub query_scale: QueryScale,
    /// Soft-capping of the scores where the file does not say; 0 for none.
    pub softcap: f32,
}

/// How far back a query sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// To the beginning.
    Full,
    /// As far as `attention.sliding_window` says.
    Window {
        /// Window where the file does not say; 0 for full reach.
        default: u32,
        /// RoPE base of these layers where the file does not say; `None` for that of the model.
        rope_base: Option<f32>,
    },
}

/// Factor on the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QueryScale {
    /// `1 / sqrt(head_dim)`.
    HeadDim,
    /// The same, but `1 / sqrt(hidden_size / num_heads)` in the one size that has this many layers.
    HiddenPerHeadAt {
        /// Layers of that size.
        num_layers: u32,
    },
}

/// Factor on the embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbedScale {
    /// None.
    One,
    /// `sqrt(hidden_size)`.
    SqrtHidden,
}

/// Gated feed-forward (arXiv 2002.05202).
#[derive(Clone, Copy, Debug)]
pub struct Gated {
    /// On the gate.
    pub activation: Activation,
}

impl Arch {
    /// Llama (arXiv 2302.13971), the base of most others.
    pub const LLAMA: Self =
        Self { name: "llama", cycle: &[Block::LLAMA], embed_scale: EmbedScale::One, final_softcap: 0.0 };

    /// The description of layer `index`.
    pub fn block(&self, index: u32) -> &'static Block {
        &self.cycle[index as usize % self.cycle.len()]
    }
}

impl Block {
    /// A layer of Llama.
    pub const LLAMA: Self =
        Self { attention: Grouped::LLAMA, feed_forward: Gated { activation: Activation::Silu }, post_norms: false };
}

impl Grouped {
    /// Attention of Llama.
    pub const LLAMA: Self = Self {
        pairing: Pairing::Adjacent,
        qk_norm: false,
        reach: Reach::Full,
        query_scale: QueryScale::HeadDim,
        softcap: 0.0,
    };
    /// The same with GPT-NeoX's pairing, which most newer files have.
    pub const NEOX: Self = Self { pairing: Pairing::Halves, ..Self::LLAMA };
}
