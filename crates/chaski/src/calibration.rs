//! How keys are to be fitted to a cache of codes (`kernels::kv::fit`): a short text goes through the model, over a cache of
//! floats, and each layer's keys and queries are looked at. Called when a model is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::batch::{Batch, Outputs, SeqId};
use engine::cache::{CacheLimits, KvCache};
use engine::runner::{Runner, RunnerOptions};
use kernels::{Angles, KeyFitting, KeySamples, KvType, OpKind, Place};
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

/// How the keys of each layer are fitted, for positions below `context`; nothing where the cache keeps floats.
///
/// # Errors
/// When there is no memory for it, or the model cannot compute the text.
pub(crate) fn key_fittings(
    graph: &Arc<Graph>,
    weights: &Arc<Weights>,
    tokenizer: &Tokenizer,
    options: &RunnerOptions,
    context: u32,
) -> Result<KeyFittings, Error> {
    if !options.k.is_quantized() || graph.groups.iter().any(|group| group.place != Place::Cpu) {
        return Ok(KeyFittings::default());
    }
    let mut tokens = tokenizer.encode(TEXT, Encode { add_special: true, parse_special: false });
    tokens.truncate(NUM_TOKENS.min(context as usize));
    if tokens.is_empty() {
        return Ok(KeyFittings::default());
    }
    let seen = Seen::of(graph, weights, &tokens, options)?;
    let mut angles: Vec<Arc<Angles>> = Vec::new();
    let layers = 0..graph.hparams.layers.len() as u32;
    let fitting = |layer: u32| -> Option<KeyFitting> {
        let (inv_freq, pairing) = graph.key_rotation(layer)?;
        let known = angles.iter().find(|angles| angles.inv_freq() == &inv_freq[..]).cloned();
        let angles = known.unwrap_or_else(|| {
            angles.push(Arc::new(Angles::new(inv_freq, context as usize)));
            Arc::clone(&angles[angles.len() - 1])
        });
        let (keys, queries) = (seen.0.get(&graph.keys(layer)?.0)?, seen.0.get(&graph.queries(layer)?.0)?);
        let head_dim = graph.hparams.head_dim_k;
        KeySamples { keys, queries, num_tokens: tokens.len(), head_dim, pairing }.fitting(&angles, spared(options.k))
    };
    Ok(layers.map(fitting).collect())
}

/// What RoPE left in a step, by the number of the value.
struct Seen(BTreeMap<usize, Vec<f32>>);

impl Seen {
    fn of(graph: &Arc<Graph>, weights: &Arc<Weights>, tokens: &[u32], options: &RunnerOptions) -> Result<Self, Error> {
        let (k, v, max_rows) = (KvType::F32, KvType::F32, tokens.len());
        let options = RunnerOptions { k, v, max_rows, inject: Vec::new(), ..options.clone() };
        let len = tokens.len() as u32;
        let mut cache = KvCache::new(Runner::groups(graph, k, v)?, CacheLimits::full(len, 1, len))?;
        let named = |cause| Error::Model { path: "calibration".to_owned(), cause };
        let mut runner = Runner::new(graph, weights, &cache, &options).map_err(named)?;
        let mut batch = Batch::default();
        batch.push(SeqId(0), tokens, 0, Outputs::Last);
        cache.create(SeqId(0))?;
        cache.reserve(SeqId(0), len, &mut Vec::new())?;
        let mut seen = BTreeMap::new();
        runner.trace(&batch, &cache, &mut |step, values| {
            if let (OpKind::Rope, Some((value, _))) = (step.op, step.output) {
                seen.insert(value.0, values.to_vec());
            }
        })?;
        Ok(Seen(seen))
    }
}
