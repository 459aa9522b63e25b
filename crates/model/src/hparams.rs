//! The numbers of one model, read from its metadata and completed by its architecture.

use gguf::Metadata;

use crate::arch::{Arch, EmbedScale, QueryScale, Reach};
use crate::rope::{Overrides, Scaling};
use crate::{Error, archs};

/// Most layers, heads and so on that a sane file has; keeps sizes derived from them within `usize`.
const MAX: u32 = 1 << 20;

/// The numbers of one model.
#[derive(Clone, Debug)]
pub struct Hparams {
    /// The architecture.
    pub arch: &'static Arch,
    /// Values per token between layers.
    pub hidden_size: usize,
    /// Values per key.
    pub head_dim_k: usize,
    /// Values per value vector.
    pub head_dim_v: usize,
    /// Leading values of a head that RoPE rotates.
    pub rotary_dim: usize,
    /// Added to mean squares.
    pub norm_eps: f32,
    /// Context the model was trained for.
    pub context_length: u32,
    /// Factor on the embeddings.
    pub embed_scale: f32,
    /// Bound on final logits; 0 for none.
    pub final_softcap: f32,
    /// What differs from layer to layer.
    pub layers: Vec<Layer>,
}

/// The numbers of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Query heads.
    pub num_heads: usize,
    /// KV heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of the feed-forward half.
    pub intermediate_size: usize,
    /// Keys a query sees; 0 for all.
    pub window: u32,
    /// Factor on the scores.
    pub query_scale: f32,
    /// Bound on scores; 0 for none.
    pub softcap: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Their scaling.
    pub rope_scaling: Scaling,
}

impl Hparams {
    /// Reads the numbers of the file's architecture; `overrides` are the user's `--rope-*` flags.
    ///
    /// # Errors
    /// Names the key that is missing, of the wrong type or out of range, or the feature not supported.
    pub fn read(metadata: &Metadata, overrides: &Overrides) -> Result<Self, Error> {
        let name = metadata.str("general.architecture")?;
        let arch = archs::find(name).ok_or_else(|| Error::Architecture { name: name.to_owned() })?;
        let reader = Reader { metadata, arch };
        if reader.opt_u32("expert_count")?.unwrap_or(0) > 0 {
            return Err(Error::Feature { arch: arch.name, feature: "a mixture of experts".to_owned() });
        }
        let num_layers = reader.count("block_count")?;
        let hidden_size = reader.count("embedding_length")?;
        let heads = reader.each("attention.head_count", num_layers, None)?;
        let kv_heads = reader.each("attention.head_count_kv", num_layers, Some(&heads))?;
        let intermediate = reader.each("feed_forward_length", num_layers, None)?;
        let head_dim = hidden_size / heads[0];
        let head_dim_k = reader.opt_count("attention.key_length")?.unwrap_or(head_dim);
        let head_dim_v = reader.opt_count("attention.value_length")?.unwrap_or(head_dim);
        let rotary_dim = reader.opt_count("rope.dimension_count")?.unwrap_or(head_dim_k);
        if rotary_dim > head_dim_k || rotary_dim % 2 != 0 {
            return Err(reader.wrong("rope.dimension_count", rotary_dim, "even and at most the key length"));
        }
        let context_length = reader.u32("context_length")?;
        let scaling = Scaling::read(metadata, arch.name, context_length, overrides)?;
        let rope_base = overrides
            .freq_base
            .map_or_else(|| reader.opt_f32("rope.freq_base"), |base| Ok(Some(base)))?
            .unwrap_or(10_000.0);
        if !(rope_base.is_finite() && rope_base > 0.0) {
            return Err(reader.wrong("rope.freq_base", rope_base, "a positive number"));
        }
        let windows = reader.windows(num_layers)?;
        let softcap = reader.opt_f32("attn_logit_softcapping")?;
        let mut layers = Vec::with_capacity(num_layers as usize);
        for i in 0..num_layers as usize {
            let attention = arch.block(i as u32).attention;
            if heads[i] % kv_heads[i] != 0 {
                return Err(reader.wrong("attention.head_count_kv", kv_heads[i], "a divisor of attention.head_count"));
            }
            let per_head = match attention.query_scale {
                QueryScale::HiddenPerHeadAt { num_layers: at } if at == num_layers => hidden_size / heads[i],
                _ => head_dim_k,
            };
            let local_base = match attention.reach {
                Reach::Window { rope_base, .. } if windows[i] > 0 => {
                    reader.opt_f32("rope.freq_base_swa")?.or(rope_base)
                }
                _ => None,
            };
            layers.push(Layer {
                num_heads: heads[i] as usize,
                num_kv_heads: kv_heads[i] as usize,
                intermediate_size: intermediate[i] as usize,
                window: windows[i],
                query_scale: 1.0 / (per_head as f32).sqrt(),
                softcap: if attention.softcap > 0.0 { softcap.unwrap_or(attention.softcap) } else { 0.0 },
                rope_base: local_base.unwrap_or(rope_base),
                // Layers with a base of their own were trained without the model's scaling.
                rope_scaling: if local_base.is_some() { Scaling::NONE } else { scaling },
            });
        }
        Ok(Self {
            arch,
            hidden_size: hidden_size as usize,
            head_dim_k: head_dim_k as usize,
            head_dim_v: head_dim_v as usize,
            rotary_dim: rotary_dim as usize,
            norm_eps: reader.f32("attention.layer_norm_rms_epsilon")?,
            context_length,
            embed_scale: match arch.embed_scale {
                EmbedScale::One => 1.0,
                EmbedScale::SqrtHidden => (hidden_size as f32).sqrt(),
            },
            final_softcap: reader.opt_f32("final_logit_softcapping")?.unwrap_or(arch.final_softcap),
            layers,
        })
    }
}

/// Metadata with the architecture's prefix.
struct Reader<'a> {
    metadata: &'a Metadata,
    arch: &'static Arch,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch.name)
    }

    fn u32(&self, name: &str) -> Result<u32, Error> {
        Ok(self.metadata.u32(&self.key(name))?)
    }

    fn opt_u32(&self, name: &str) -> Result<Option<u32>, Error> {
        Ok(self.metadata.opt_u32(&self.key(name))?)
    }

    fn f32(&self, name: &str) -> Result<f32, Error> {
        Ok(self.metadata.f32(&self.key(name))?)
    }

    fn opt_f32(&self, name: &str) -> Result<Option<f32>, Error> {
        Ok(self.metadata.opt_f32(&self.key(name))?)
    }

    /// A number of things: at least one, at most [`MAX`].
    fn count(&self, name: &str) -> Result<u32, Error> {
        self.sane(name, self.u32(name)?)
    }

    fn opt_count(&self, name: &str) -> Result<Option<u32>, Error> {
        self.opt_u32(name)?.map(|value| self.sane(name, value)).transpose()
    }

    /// One count per layer, given once for all or as an array.
    fn each(&self, name: &str, num_layers: u32, default: Option<&[u32]>) -> Result<Vec<u32>, Error> {
        let found = self.metadata.opt_u32_each(&self.key(name), num_layers as usize)?;
        let values = match (found, default) {
            (Some(values), _) => values,
            (None, Some(default)) => default.to_vec(),
            (None, None) => vec![self.u32(name)?; num_layers as usize], // reports the missing key
        };
        values.iter().try_for_each(|&value| self.sane(name, value).map(|_| ()))?;
        Ok(values)
    }

    /// The window of every layer, 0 for none. The file may say which layers have one, as a list or as a
    /// period of which the last layer has none; else the architecture does.
    fn windows(&self, num_layers: u32) -> Result<Vec<u32>, Error> {
        let cycle = |i: u32| self.arch.block(i).attention.reach;
        let Some(default) = (0..num_layers).find_map(|i| match cycle(i) {
            Reach::Window { default, .. } => Some(default),
            Reach::Full => None,
        }) else {
            return Ok(vec![0; num_layers as usize]);
        };
        let window = self.opt_u32("attention.sliding_window")?.unwrap_or(default);
        let key = self.key("attention.sliding_window_pattern");
        let listed = match self.metadata.get(&key) {
            Some(gguf::Value::Array(_)) => self.metadata.bools(&key)?.map(<[bool]>::to_vec),
            _ => None,
        };
        if let Some(listed) = &listed
            && listed.len() < num_layers as usize
        {
            return Err(self.wrong("attention.sliding_window_pattern", listed.len(), "one entry per layer"));
        }
        let period = if listed.is_none() { self.metadata.opt_u32(&key)? } else { None };
        let local = |i: u32| match (&listed, period) {
            (Some(listed), _) => listed[i as usize],
            (None, Some(period)) => period == 0 || i % period < period - 1,
            (None, None) => cycle(i) != Reach::Full,
        };
        Ok((0..num_layers).map(|i| if local(i) { window } else { 0 }).collect())
    }

    fn sane(&self, name: &str, value: u32) -> Result<u32, Error> {
        if (1..=MAX).contains(&value) { Ok(value) } else { Err(self.wrong(name, value, "between 1 and 1048576")) }
    }

    fn wrong(&self, name: &str, value: impl ToString, expected: &'static str) -> Error {
        Error::Metadata { key: self.key(name), value: value.to_string(), expected }
    }
}
