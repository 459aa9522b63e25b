//! How much memory a model will take: the engine's own books, made without taking it. Used by `inspect` and `ab`.

use std::path::PathBuf;

use anyhow::Context;
use device::Mapping;
use engine::cache::CacheLimits;
use engine::runner::Runner;
use model::{Graph, Hparams, Weights};

use crate::settings::Load;

/// What one sequence of `context` tokens takes.
pub struct Kv {
    pub context: u32,
    /// Bytes of the cache, at its full length.
    pub bytes: u64,
}

/// The context that the model in these files was trained on, or stretched to by the flags.
pub fn trained_context(paths: &[PathBuf], load: &Load) -> anyhow::Result<usize> {
    let files = paths.iter().map(|path| Mapping::open(path)).collect::<Result<Vec<_>, _>>()?;
    let name = || paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let weights = Weights::new(files).with_context(name)?;
    Ok(Hparams::read(&weights.gguf().metadata, &load.rope).with_context(name)?.context_length as usize)
}

/// The cache of the model in these files at the context that `load` asks for. Models that cannot be run have none.
pub fn kv_cache(paths: &[PathBuf], load: &Load) -> anyhow::Result<Kv> {
    let files = paths.iter().map(|path| Mapping::open(path)).collect::<Result<Vec<_>, _>>()?;
    let weights = Weights::new(files)?;
    let hparams = Hparams::read(&weights.gguf().metadata, &load.rope)?;
    let context = if load.context == 0 { hparams.context_length } else { load.context };
    let graph = Graph::build(&hparams, &weights, context)?;
    let rows = load.ubatch.min(load.batch).clamp(1, context.max(1) as usize);
    let (k, v) = load.kv_types();
    let cache = Runner::cache(&graph, k, v, CacheLimits::full(context, 1, rows as u32))?;
    Ok(Kv { context, bytes: cache.bytes() })
}
