//! How much memory a model will take, from its metadata alone. Used by `inspect`; the engine's own books are exact.

use gguf::{Gguf, Metadata};

use crate::settings::Load;

/// The estimate, with what it was made for.
pub struct Estimate {
    /// Bytes of all tensors.
    pub weights: u64,
    /// Tokens the cache has room for.
    pub context: u64,
    /// Bytes of the KV cache; 0 where the metadata does not tell its shape.
    pub kv: u64,
    pub kv_type_k: &'static str,
    pub kv_type_v: &'static str,
}

/// Adds up tensors, and the cache of one sequence at the context that `load` asks for.
pub fn estimate(gguf: &Gguf, load: &Load) -> anyhow::Result<Estimate> {
    let trained = Keys::new(&gguf.metadata)?.int("context_length")?.unwrap_or(0);
    let context = if load.context == 0 { trained } else { load.context.into() };
    Ok(Estimate {
        weights: gguf.tensors.iter().map(|tensor| tensor.bytes as u64).sum(),
        context,
        kv: kv_bytes(&gguf.metadata, load, context)?,
        kv_type_k: load.kv_types().0.name(),
        kv_type_v: load.kv_types().1.name(),
    })
}

/// `context` keys and values for every KV head of every layer. Layers with a sliding window keep less than this says.
fn kv_bytes(metadata: &Metadata, load: &Load, context: u64) -> anyhow::Result<u64> {
    let keys = Keys::new(metadata)?;
    let (Some(layers), Some(heads), Some(hidden)) =
        (keys.int("block_count")?, keys.int("attention.head_count")?, keys.int("embedding_length")?)
    else {
        return Ok(0);
    };
    // A file may claim any count; more layers than this are not believed.
    if heads == 0 || layers > 1 << 16 {
        return Ok(0);
    }
    let kv_heads: u64 = match metadata.opt_u32_each(&keys.name("attention.head_count_kv"), layers as usize)? {
        Some(each) => each.into_iter().map(u64::from).sum(),
        None => layers * heads,
    };
    let k_len = keys.int("attention.key_length")?.unwrap_or(hidden / heads);
    let v_len = keys.int("attention.value_length")?.unwrap_or(hidden / heads);
    let (k, v) = load.kv_types();
    let per_head = k.bytes(k_len as usize) as u64 + v.bytes(v_len as usize) as u64;
    Ok(kv_heads.saturating_mul(per_head).saturating_mul(context))
}

/// The keys of the file's architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn new(metadata: &'a Metadata) -> anyhow::Result<Keys<'a>> {
        Ok(Keys { metadata, architecture: metadata.opt_str("general.architecture")?.unwrap_or("") })
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A count; arrays (one per layer) give nothing.
    fn int(&self, key: &str) -> anyhow::Result<Option<u64>> {
        let name = self.name(key);
        match self.metadata.get(&name) {
            Some(gguf::Value::Array(_)) => Ok(None),
            _ => Ok(self.metadata.opt_u32(&name)?.map(u64::from)),
        }
    }
}
