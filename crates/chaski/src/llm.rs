//! A model, opened and ready. Wiring only: what is done is done below.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use device::{Mapping, Pool};
use engine::batch::{Batch, BlockCopy, SeqId};
use engine::cache::KvCache;
use engine::engine::{Engine, StepRunner};
use engine::observer::OpCount;
use engine::runner::{Look, Runner, RunnerOptions};
use engine::sampler::{Params, Sampler, VocabInfo};
use engine::scheduler::Rules;
use engine::technique::{ActiveForm, Resolved};
use engine::watch::{Notice, WatchCounts};
use gguf::DType;
use kernels::{DeviceWeights, Rows};
use model::plan::{KeyFittings, worth_repacking};
use model::{Graph, Hparams, WeightMemory, Weights};
use text::Tokenizer;

use crate::calibration;
use crate::explain::ExplainRow;
use crate::gpu::{Gpu, divide};
use crate::{Error, GpuLayers, Options, Shape, capacity};

/// An opened model.
pub struct Llm {
    engine: Engine<Runner>,
    weights: Arc<Weights>,
    tokenizer: Arc<Tokenizer>,
    chat_template: Option<String>,
    context: u32,
    kv_token_bytes: u64,
    techniques: Vec<Resolved>,
    copies: Vec<BlockCopy>,
}

impl Llm {
    /// Opens the model in `path`; for one part of a split set, the whole set beside it.
    ///
    /// # Errors
    /// Names the file and what is wrong with it, or what the machine refuses.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_watched(path, options, &mut |_, _| {})
    }

    /// The same; while weights are laid out anew, `progress` is told the bytes done and the bytes in all.
    ///
    /// # Errors
    /// As [`Llm::open`].
    pub fn open_watched(path: &Path, options: &Options, progress: &mut dyn FnMut(usize, usize)) -> Result<Self, Error> {
        Self::open_on(path, options, None, progress)
    }

    /// The same with a GPU, which takes as many layers as `options` say. Where that is as many as fit, a GPU that fails
    /// takes none, and a notice says why.
    ///
    /// # Errors
    /// As [`Llm::open`], or when the GPU fails, or has no room for what it is to take.
    pub fn open_on(
        path: &Path,
        options: &Options,
        gpu: Option<Gpu>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let named = |cause| Error::Model { path: path.display().to_string(), cause };
        let files = model_files(path).iter().map(|part| Mapping::open(part)).collect::<Result<Vec<_>, _>>();
        let files = files.map_err(|error| match error {
            error @ device::Error::File { .. } => Error::File(error),
            error => named(error.into()),
        })?;
        files.iter().for_each(Mapping::prefetch);
        let may_do_without = gpu.is_some() && options.gpu_layers == GpuLayers::Fit;
        match Self::of(&path.display().to_string(), Weights::new(files).map_err(named)?, options, gpu, progress) {
            Err(error) if may_do_without && error.is_of_gpu() => {
                let mut llm = Self::open_on(path, options, None, progress)?;
                let notice = Notice::Fallback { what: "the GPU".to_owned(), why: error.to_string() };
                llm.engine.runner_mut().tell(notice);
                Ok(llm)
            }
            opened => opened,
        }
    }

    /// A model of this shape on a GPU, with weights that it makes up, most of them of the type `mix` (one of
    /// [`MIXES`](crate::MIXES)). All of it is on the GPU, for there is nothing on the host to compute with.
    ///
    /// # Errors
    /// When the GPU has no room for it.
    pub fn open_shape(shape: &Shape, mix: DType, options: &Options, gpu: Gpu) -> Result<Self, Error> {
        let file = shape.file(mix)?;
        let named = |cause| Error::Model { path: shape.name.to_owned(), cause };
        let weights = Weights::hollow(file).map_err(named)?;
        let options = Options { gpu_layers: GpuLayers::Count(u32::MAX), ..options.clone() };
        Self::of(shape.name, weights, &options, Some(gpu), &mut |_, _| {})
    }

    /// The model of these weights; `name` is for messages.
    fn of(
        name: &str,
        mut weights: Weights,
        options: &Options,
        gpu: Option<Gpu>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let named = |cause| Error::Model { path: name.to_owned(), cause };
        let techniques = options.resolve_with(gpu.as_ref()).map_err(Error::Technique)?;
        let metadata = &weights.gguf().metadata;
        let hparams = Hparams::read(metadata, &options.rope).map_err(named)?;
        let tokenizer =
            Tokenizer::from_metadata(metadata).map_err(|cause| Error::Text { path: name.to_owned(), cause })?;
        let context = if options.context == 0 { hparams.context_length } else { options.context };
        let graph = Graph::build(&hparams, &weights, context).map_err(named)?;
        let chat_template = metadata.opt_str("tokenizer.chat_template").ok().flatten().map(str::to_owned);
        let tokens = tokenizer.vocab().len();
        if tokens > graph.vocab_size {
            return Err(Error::Vocabulary { path: name.to_owned(), tokens, rows: graph.vocab_size });
        }
        let (k, v) = options.kv_types(&techniques);
        let groups = Runner::groups(&graph, k, v)?;
        let kv_token_bytes = groups.iter().map(|group| group.run_bytes() / u64::from(group.block_size)).sum();
        let limits = capacity::limits(options, hparams.context_length, &groups)?;
        let form = options.gpu_form(&techniques);
        let has_gpu = gpu.is_some();
        let taken = gpu.map(|gpu| gpu.take(options, &graph, &weights, &groups, &limits, form)).transpose()?.flatten();
        let no_room = has_gpu && taken.is_none() && options.gpu_layers == GpuLayers::Fit;
        let (queue, offload) = taken.unzip();
        let graph = divide(graph, offload.as_ref());
        let groups = Runner::groups(&graph, k, v)?;
        let mut cache = KvCache::new(groups, limits)?;
        if options.cache_prompts {
            cache.share_prefixes()?;
        }
        let mut runner_options = RunnerOptions {
            hardware: options.hardware(),
            policy: options.policy(&techniques),
            num_threads: options.threads,
            max_rows: limits.step_tokens as usize,
            k,
            v,
            key_fittings: KeyFittings::default(),
            offload,
            kept: Arc::default(),
            one_plan: options.batch_invariant,
            watch: options.watch,
            inject: options.inject.clone(),
        };
        if options.repack {
            let matrices = worth_repacking(
                &graph,
                &runner_options.hardware,
                &runner_options.policy,
                runner_options.offload.as_ref(),
            );
            let mut pool = Pool::new(options.threads).map_err(|error| named(error.into()))?;
            weights.repack(&matrices, &mut pool, progress).map_err(named)?;
        }
        let weights = Arc::new(weights);
        let gpu = queue.map(|queue| (queue, DeviceWeights::default()));
        let (key_fittings, gpu) =
            calibration::key_fittings(&graph, &weights, &tokenizer, &runner_options, limits.context, gpu)?;
        runner_options.key_fittings = key_fittings;
        let mut runner = Runner::with_gpu(&graph, &weights, &cache, &runner_options, gpu).map_err(named)?;
        if no_room {
            let why = "it has no room for a single layer".to_owned();
            runner.tell(Notice::Fallback { what: "the GPU".to_owned(), why });
        }
        let rules = Rules { max_waiting: options.max_waiting, ..Rules::of(&limits) };
        let rules = if options.batch_invariant { rules.with_fixed_chunks() } else { rules };
        runner.check_injections()?;
        Ok(Self {
            engine: Engine::with_rules(runner, cache, rules),
            tokenizer: Arc::new(tokenizer),
            weights,
            chat_template,
            context: limits.context,
            kv_token_bytes,
            techniques,
            copies: Vec::new(),
        })
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The chat template in the file.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> &gguf::Metadata {
        &self.weights.gguf().metadata
    }

    /// Everything that the file says of itself.
    pub fn file(&self) -> &gguf::Gguf {
        self.weights.gguf()
    }

    /// Tokens of context that one sequence may have.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// Bytes of the KV cache, and of one token in it.
    pub fn kv_bytes(&self) -> (u64, u64) {
        (self.engine.runner().kv_bytes() as u64, self.kv_token_bytes)
    }

    /// Pairs of channels that keys are stored without the mean of, of how many in the layers where that was looked at; none
    /// where the cache keeps floats.
    pub fn fitted_pairs(&self) -> (usize, usize) {
        self.engine.runner().fitted_pairs()
    }

    /// Entries in a row of logits.
    pub fn vocab_size(&self) -> usize {
        self.engine.runner().vocab_size()
    }

    /// The step loop, for requests.
    pub fn engine(&mut self) -> &mut Engine<Runner> {
        &mut self.engine
    }

    /// Every technique with what became of it, in the catalogue's order.
    pub fn techniques(&self) -> &[Resolved] {
        &self.techniques
    }

    /// The forms of sampler chains that techniques offer which are on.
    pub fn sampler_forms(&self) -> Vec<ActiveForm> {
        self.techniques.iter().flat_map(Resolved::active_forms).collect()
    }

    /// A sampler for one request; where a technique that is on can do its whole chain, in that form.
    ///
    /// # Errors
    /// When the parameters contradict each other or the vocabulary.
    pub fn sampler(&self, params: &Params, vocab: &VocabInfo, random_seed: u64) -> Result<Sampler, Error> {
        let forms = self.sampler_forms();
        Sampler::with_forms(params, vocab, random_seed, &forms).map_err(|error| Error::Engine(error.into()))
    }

    /// The step loop, for who gives it a thread of its own.
    pub fn into_engine(self) -> Engine<Runner> {
        self.engine
    }

    /// Every step of the plans with the reason for its kernel, one regime after the other.
    pub fn explain(&self) -> Vec<ExplainRow> {
        let steps = |rows: Rows| self.engine.runner().plan(rows).iter().map(move |step| ExplainRow::of(rows, step));
        Rows::ALL.into_iter().flat_map(steps).collect()
    }

    /// How the weights are held: what was laid out anew and what is read where the files are mapped.
    pub fn weight_memory(&self) -> WeightMemory {
        self.weights.memory()
    }

    /// Layers on the GPU of how many there are, the output as one of them.
    pub fn gpu_layers(&self) -> (u32, u32) {
        let runner = self.engine.runner();
        let all = runner.graph().hparams.layers.len() as u32 + 1;
        (runner.offload().map_or(0, |offload| (all - offload.first_layer).min(all)), all)
    }

    /// The GPU's name, where there is one for the model.
    pub fn gpu_name(&self) -> Option<&str> {
        self.engine.runner().offload().map(|offload| &offload.hardware.cpu_name[..])
    }

    /// Bytes of weights on the GPU.
    pub fn gpu_weight_bytes(&self) -> usize {
        self.engine.runner().gpu_weight_bytes()
    }

    /// What the watch over numbers has told since this was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.engine.take_notices()
    }

    /// Steps so far, and how many of them were redone because numbers went wrong.
    pub fn watch_counts(&self) -> WatchCounts {
        self.engine.runner().watch_counts()
    }

    /// What each kernel has done since the model was opened, or since [`Llm::clear_op_counts`].
    pub fn op_counts(&self) -> Vec<OpCount> {
        self.engine.runner().op_counts()
    }

    /// Starts counting anew.
    pub fn clear_op_counts(&mut self) {
        self.engine.runner_mut().clear_op_counts();
    }

    /// Stops or goes on counting, for steps that belong to no measurement.
    pub fn pause_op_counts(&mut self, paused: bool) {
        self.engine.runner_mut().pause_op_counts(paused);
    }

    /// Has the GPU time each kernel by itself, for [`Llm::op_counts`]; runs are slower meanwhile.
    pub fn time_gpu_ops(&mut self, on: bool) {
        self.engine.runner_mut().time_gpu_steps(on);
    }

    /// Computes one batch without any scheduling: its sequences are created where they are new, their
    /// tokens stay in the cache. Returns `[output_rows, vocab_size]` logits.
    ///
    /// # Errors
    /// When the cache has no room or a kernel failed.
    pub fn step(&mut self, batch: &Batch) -> Result<&[f32], Error> {
        self.reserve(batch)?;
        let (runner, cache) = self.engine.parts_mut();
        let logits = runner.step(batch, cache)?;
        for span in &batch.spans {
            cache.commit(span.seq, span.num_rows)?;
        }
        Ok(logits.values)
    }

    /// The same, step by step of the plan: `look` sees what each of them left, and may put something else in its place.
    ///
    /// # Errors
    /// As [`Llm::step`].
    pub fn trace(&mut self, batch: &Batch, look: Look<'_>) -> Result<(), Error> {
        self.reserve(batch)?;
        let (runner, cache) = self.engine.parts_mut();
        runner.trace(batch, cache, look)?;
        for span in &batch.spans {
            cache.commit(span.seq, span.num_rows)?;
        }
        Ok(())
    }

    /// Makes room in the cache for a batch.
    fn reserve(&mut self, batch: &Batch) -> Result<(), Error> {
        let (runner, cache) = self.engine.parts_mut();
        for span in &batch.spans {
            if cache.len(span.seq).is_err() {
                cache.create(span.seq)?;
            }
            self.copies.clear();
            cache.reserve(span.seq, span.num_rows, &mut self.copies)?;
            runner.apply_all(&self.copies)?;
        }
        Ok(())
    }

    /// Keeps the first `len` tokens of a sequence, which is created if it is new.
    ///
    /// # Errors
    /// When the sequence is shorter, or its sliding windows no longer reach back that far.
    pub fn truncate(&mut self, seq: SeqId, len: u32) -> Result<(), Error> {
        let (_, cache) = self.engine.parts_mut();
        if cache.len(seq).is_err() {
            cache.create(seq)?;
        }
        Ok(cache.truncate(seq, len)?)
    }

    /// Lets `dst` begin with the first `len` tokens of `src`, which it shares with it; what it held is dropped.
    ///
    /// # Errors
    /// When `src` is shorter.
    pub fn share(&mut self, src: SeqId, dst: SeqId, len: u32) -> Result<(), Error> {
        self.truncate(dst, 0)?;
        let (_, cache) = self.engine.parts_mut();
        Ok(cache.seq_copy(src, dst, len)?)
    }
}

/// All files of the set that `path` belongs to; `path` alone where it is no part of a split model.
pub fn model_files(path: &Path) -> Vec<PathBuf> {
    match path.to_str().and_then(gguf::split_parts) {
        Some((prefix, _, count)) => (0..count).map(|no| gguf::split_path(prefix, no, count).into()).collect(),
        None => vec![path.to_owned()],
    }
}
