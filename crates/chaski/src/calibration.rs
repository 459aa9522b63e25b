//! How keys are to be fitted to a cache of codes (`kernels::kv::fit`): a short text goes through the model, over a cache of
//! floats, and each layer's keys and queries are looked at. Called when a model is opened.

use std::sync::Arc;

use device::cuda::Queue;
use engine::batch::{Batch, Outputs, SeqId};
use engine::cache::{CacheLimits, KvCache};
use engine::engine::StepRunner;
use engine::runner::{Runner, RunnerOptions};
use engine::watch::WatchOptions;
use kernels::{Angles, DeviceWeights, KeyFitting, KeySamples, KvType};
use model::graph::ValueId;
use model::plan::KeyFittings;
use model::{Graph, Weights};
use text::{Encode, Tokenizer};

use crate::Error;

/// The text, our own. It is none that quality is judged by.
const TEXT: &str = include_str!("calibration.txt");
/// Most tokens of it that are looked at: means of 64 are as good as those of 256.
const NUM_TOKENS: usize = 128;

/// How much the means that stay in the keys may have of what varies about them. Taking a pair's away costs attention two products
/// in f32 per key, four times those of bytes: of SmolLM2's at 4096 tokens a sixth where all are taken away. Codes of
/// 8 bits have precision to spare for small means, those of 4 bits none.
fn spared(k: KvType) -> f64 {
    if k == KvType::Q4 { 0.0 } else { 0.5 }
}

/// Queue and weights of a GPU.
type OnGpu = Option<(Queue, DeviceWeights)>;

/// How the keys of each layer are fitted, for positions below `context`; nothing where the cache keeps floats. The text is
/// computed where the model will be: a GPU keeps the weights that it needs for it.
///
/// # Errors
/// When there is no memory for it, or the model cannot compute the text.
pub(crate) fn key_fittings(
    graph: &Arc<Graph>,
    weights: &Arc<Weights>,
    tokenizer: &Tokenizer,
    options: &RunnerOptions,
    context: u32,
    gpu: OnGpu,
) -> Result<(KeyFittings, OnGpu), Error> {
    if !options.k.is_quantized() {
        return Ok((KeyFittings::default(), gpu));
    }
    let mut tokens = tokenizer.encode(TEXT, Encode { add_special: true, parse_special: false });
    tokens.truncate(NUM_TOKENS.min(context as usize));
    if tokens.is_empty() {
        return Ok((KeyFittings::default(), gpu));
    }
    let num_tokens = tokens.len();
    let layers = 0..graph.hparams.layers.len() as u32;
    let looked_at = layers.clone().flat_map(|layer| [graph.keys(layer), graph.queries(layer)]).flatten();
    let runner = computed(graph, weights, &tokens, options, looked_at.collect(), gpu)?;
    let mut angles: Vec<Arc<Angles>> = Vec::new();
    let mut fitting = |layer: u32| -> Option<KeyFitting> {
        let (inv_freq, pairing) = graph.key_rotation(layer)?;
        let known = angles.iter().find(|angles| angles.inv_freq() == &inv_freq[..]).cloned();
        let angles = known.unwrap_or_else(|| {
            angles.push(Arc::new(Angles::new(inv_freq, context as usize)));
            Arc::clone(&angles[angles.len() - 1])
        });
        let kept = |value: Option<ValueId>| runner.kept(value?, num_tokens).ok();
        let (keys, queries) = (kept(graph.keys(layer))?, kept(graph.queries(layer))?);
        let head_dim = graph.hparams.head_dim_k;
        KeySamples { keys, queries, num_tokens, head_dim, pairing }.fitting(&angles, spared(options.k))
    };
    let fittings = layers.map(&mut fitting).collect();
    Ok((fittings, runner.into_gpu()))
}

/// A runner that has computed the tokens over a cache of floats, and kept some values.
fn computed(
    graph: &Arc<Graph>,
    weights: &Arc<Weights>,
    tokens: &[u32],
    options: &RunnerOptions,
    kept: Arc<[ValueId]>,
    gpu: OnGpu,
) -> Result<Runner, Error> {
    let (k, v, max_rows, len) = (KvType::F32, KvType::F32, tokens.len(), tokens.len() as u32);
    let watch = WatchOptions { on: false, ..options.watch };
    let options = RunnerOptions { k, v, max_rows, kept, one_plan: true, watch, inject: Vec::new(), ..options.clone() };
    let mut cache = KvCache::new(Runner::groups(graph, k, v)?, CacheLimits::full(len, 1, len))?;
    let named = |cause| Error::Model { path: "calibration".to_owned(), cause };
    let mut runner = Runner::with_gpu(graph, weights, &cache, &options, gpu).map_err(named)?;
    let mut batch = Batch::default();
    batch.push(SeqId(0), tokens, 0, Outputs::Last);
    cache.create(SeqId(0))?;
    cache.reserve(SeqId(0), len, &mut Vec::new())?;
    runner.step(&batch, &cache)?;
    Ok(runner)
}
