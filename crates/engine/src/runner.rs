//! Runs batches: turns a [`Batch`] and the cache's block tables into kernel inputs, picks the plan for
//! its number of rows and hands back logits. Public, synchronous and free of scheduling: the engine is
//! one client, `perplexity` and `bench` are others.

mod gpu;
mod redo;
mod rotation;
mod tables;
mod trace;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use device::cuda::{CudaError, Queue};
use device::{Hardware, Pool};
use kernels::{
    CacheSlot, DeviceSide, DeviceWeights, Executor, KeyFitting, KvLayout, KvType, Off, Place, Policy, Rows, StepInputs,
    TurnKey, Unfit,
};
use model::graph::ValueId;
use model::plan::{KeyFittings, Offload};
use model::{Graph, Plan, PlanOptions, Results, StepInfo, Weights};

use crate::batch::{Batch, BlockCopy};
use crate::cache::{CacheLimits, KvCache, KvGroup};
use crate::engine::{Logits, StepRunner};
use crate::error::Error;
use crate::inject::{IN_THIS_BUILD, Inject, Injected, slow_down};
use crate::observer::{OpCount, Tally, count};
use crate::watch::{Notice, Watch, WatchCounts, WatchOptions};
use rotation::Rotation;
use tables::BlockTables;
pub use trace::Look;

/// Positions per block of the cache on the CPU.
const BLOCK_SIZE: usize = 16;

/// What a runner is made for.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// The machine, capped as the user wishes.
    pub hardware: Hardware,
    /// What kernels may be chosen.
    pub policy: Policy,
    /// Worker threads.
    pub num_threads: usize,
    /// Most rows of a step.
    pub max_rows: usize,
    /// Element type of cached keys.
    pub k: KvType,
    /// Element type of cached values.
    pub v: KvType,
    /// How keys are fitted to their codes.
    pub key_fittings: KeyFittings,
    /// What the GPU computes; its layers are those that the graph's groups say.
    pub offload: Option<Offload>,
    /// Values that can be looked at after a step ([`Runner::kept`]).
    pub kept: Arc<[ValueId]>,
    /// Plans every step with the kernels for many rows, so that a row's bits do not depend on how many
    /// there are.
    pub one_plan: bool,
    /// What happens when numbers go wrong.
    pub watch: WatchOptions,
    /// Faults put in on purpose; without debug assertions they are ignored.
    pub inject: Vec<Inject>,
}

/// A model on this machine: plans, activations, workers and the storage of the KV cache.
pub struct Runner {
    graph: Arc<Graph>,
    weights: Arc<Weights>,
    options: RunnerOptions,
    executor: Executor,
    /// By regime, in the order of [`Rows::ALL`].
    plans: Vec<Plan>,
    /// By regime: what the plans were asked for.
    tallies: Vec<Tally>,
    counting: bool,
    tables: BlockTables,
    watch: Watch,
    /// By regime: the plans that steps are redone on, built when first needed.
    exact: [Option<Plan>; 3],
    /// Kernels that do not compile on the GPU.
    broken: Vec<Off>,
}

impl Runner {
    /// Plans the model and allocates storage for `cache`, which [`Runner::cache`] made.
    ///
    /// # Errors
    /// When memory or threads are refused.
    pub fn new(
        graph: &Arc<Graph>,
        weights: &Arc<Weights>,
        cache: &KvCache,
        options: &RunnerOptions,
    ) -> Result<Self, model::Error> {
        Self::with_gpu(graph, weights, cache, options, None)
    }

    /// The same with a GPU for what `options.offload` gives it; weights and cache of its layers go there, but for those
    /// weights that it has already ([`Runner::into_gpu`]).
    ///
    /// # Errors
    /// As [`Runner::new`], or when the GPU has no room.
    pub fn with_gpu(
        graph: &Arc<Graph>,
        weights: &Arc<Weights>,
        cache: &KvCache,
        options: &RunnerOptions,
        gpu: Option<(Queue, DeviceWeights)>,
    ) -> Result<Self, model::Error> {
        let plans = plan_all(graph, weights, options)?;
        let arena_bytes = plans.iter().map(|plan| plan.program.arena_bytes).max().unwrap_or(0);
        let mut executor = Executor::new(Pool::new(options.num_threads)?, arena_bytes)?;
        if let (Some(gpu), Some(offload)) = (gpu, &options.offload) {
            let side = gpu::side(graph, weights, options, offload, gpu, arena_bytes).map_err(device::Error::from)?;
            executor.attach(side);
        }
        for (index, group) in graph.groups.iter().enumerate() {
            let layout = plan_options(options, Rows::One).kv_layout(graph, index as u32);
            let (num_layers, num_blocks) = (group.layers.len(), cache.num_blocks(index) as usize);
            match group.place {
                Place::Cpu => executor.add_group(layout, num_layers, num_blocks)?,
                Place::Cuda => executor.add_gpu_group(layout, num_layers, num_blocks)?,
            }
        }
        let tables = BlockTables::new(graph.groups.len());
        let tallies = vec![Tally::new(graph); plans.len()];
        let mut runner = Self {
            graph: Arc::clone(graph),
            weights: Arc::clone(weights),
            options: options.clone(),
            executor,
            plans,
            tallies,
            counting: true,
            tables,
            watch: Watch::new(options.watch),
            exact: [None, None, None],
            broken: Vec::new(),
        };
        runner.rehearse()?;
        Ok(runner)
    }

    /// Has the GPU measure what choices within kernels depend on, once for a device; the steps concerned say so.
    fn measure(&mut self) -> Result<(), model::Error> {
        let Some(side) = self.executor.gpu_mut() else { return Ok(()) };
        for plan in &mut self.plans {
            side.measure(&plan.program).map_err(device::Error::from)?;
            for (step, info) in plan.program.steps.iter().zip(&mut plan.info) {
                info.reason.extend(side.note(step.as_ref()).map(|note| format!("; {note}")));
            }
        }
        Ok(())
    }

    /// Has the GPU compile the kernels of all plans. A kernel that does not compile is off, and others take its place.
    fn rehearse(&mut self) -> Result<(), model::Error> {
        while let Some(side) = self.executor.gpu_mut() {
            let unfit = |plan: &Plan| Some((side.rehearse(&plan.program).err()?, plan.info.clone()));
            let Some((Unfit { step, error }, info)) = self.plans.iter().find_map(unfit) else { break };
            let id = info.get(step).map_or("", |info| info.variant);
            let why = error.to_string();
            if !matches!(error, CudaError::Compile { .. }) || self.broken.iter().any(|off| off.id == id) {
                return Err(device::Error::from(error).into());
            }
            let off = Off { id, why: "does not compile".to_owned() };
            self.options.policy.off.push(off.clone());
            self.broken.push(off);
            // Where no other kernel takes its place the reason is that it does not compile.
            let plans = plan_all(&self.graph, &self.weights, &self.options);
            self.plans = plans.map_err(|_| device::Error::from(error))?;
            let arena_bytes = self.plans.iter().map(|plan| plan.program.arena_bytes).max().unwrap_or(0);
            self.executor.reserve(arena_bytes)?;
            self.watch.tell(Notice::Fallback { what: id.to_owned(), why });
        }
        self.measure()?;
        if let Some(why) = self.executor.gpu().and_then(DeviceSide::apart) {
            let (what, why) = ("what does several steps at once".to_owned(), why.to_string());
            self.watch.tell(Notice::Fallback { what, why });
        }
        Ok(())
    }

    /// The GPU's queue and the weights that are there, for another runner.
    pub fn into_gpu(self) -> Option<(Queue, DeviceWeights)> {
        self.executor.into_gpu().map(DeviceSide::into_parts)
    }

    /// What the last step, of so many rows, left of a value that `options.kept` names.
    ///
    /// # Errors
    /// When it is none of those.
    pub fn kept(&self, value: ValueId, num_rows: usize) -> Result<&[f32], Error> {
        let kept = self.plans[Rows::of(num_rows) as usize].kept(value);
        let (slot, width) = kept.ok_or_else(|| Error::Step(format!("value {} is not kept", value.0)))?;
        self.executor.values(slot, num_rows * width).map_err(failed)
    }

    /// Puts in a notice of the caller's.
    pub fn tell(&mut self, notice: Notice) {
        self.watch.tell(notice);
    }

    /// An empty cache for the model.
    ///
    /// # Errors
    /// [`Error::CacheLayout`] when the limits make no sense.
    pub fn cache(graph: &Graph, k: KvType, v: KvType, limits: CacheLimits) -> Result<KvCache, Error> {
        KvCache::new(Runner::groups(graph, k, v)?, limits)
    }

    /// The groups of the model's cache.
    ///
    /// # Errors
    /// [`Error::CacheLayout`] when keys and values of these types do not go together.
    pub fn groups(graph: &Graph, k: KvType, v: KvType) -> Result<Vec<KvGroup>, Error> {
        let (dim_k, dim_v) = (graph.hparams.head_dim_k, graph.hparams.head_dim_v);
        let layout = KvLayout { k, v, head_dim_k: dim_k, head_dim_v: dim_v, num_kv_heads: 1, block_size: BLOCK_SIZE };
        layout.check().map_err(Error::CacheLayout)?;
        let group = |group: &model::graph::KvGroup| KvGroup {
            layers: group.layers.clone(),
            num_kv_heads: group.num_kv_heads as u32,
            head_dim_k: dim_k as u32,
            head_dim_v: dim_v as u32,
            k_bytes: k.bytes(dim_k) as u32,
            v_bytes: v.bytes(dim_v) as u32,
            window: (group.window > 0).then_some(group.window),
            block_size: BLOCK_SIZE as u32,
        };
        Ok(graph.groups.iter().map(group).collect())
    }

    /// The model's graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The steps of the plan for `rows`.
    pub fn plan(&self, rows: Rows) -> &[StepInfo] {
        &self.plans[rows as usize].info
    }

    /// What each kernel has done so far, regime by regime.
    pub fn op_counts(&self) -> Vec<OpCount> {
        let plans = Rows::ALL.iter().zip(&self.plans).zip(&self.tallies);
        plans.flat_map(|((&rows, plan), tally)| count(rows, plan, tally)).collect()
    }

    /// Starts counting anew.
    pub fn clear_op_counts(&mut self) {
        self.tallies.iter_mut().for_each(Tally::clear);
        self.plans.iter().for_each(|plan| plan.program.record.clear());
    }

    /// Stops or goes on counting: for steps that belong to no measurement, and to measure what counting costs.
    pub fn pause_op_counts(&mut self, paused: bool) {
        self.counting = !paused;
        self.plans.iter().for_each(|plan| plan.program.record.pause(paused));
    }

    /// Has the GPU time each step of a plan by itself, which makes runs slower; what the CPU computes is not timed then.
    pub fn time_gpu_steps(&mut self, on: bool) {
        if let Some(side) = self.executor.gpu_mut() {
            side.time_steps(on);
        }
    }

    /// Worker threads in use.
    pub fn num_workers(&self) -> usize {
        self.executor.num_workers()
    }

    /// What the GPU computes.
    pub fn offload(&self) -> Option<&Offload> {
        self.options.offload.as_ref()
    }

    /// How keys are fitted to their codes: pairs of channels that are stored without their mean, of how many in the layers
    /// that are fitted; none where the cache keeps floats.
    pub fn fitted_pairs(&self) -> (usize, usize) {
        let fittings = self.options.key_fittings.iter().flatten().map(KeyFitting::num_pairs);
        fittings.fold((0, 0), |sum, (with_mean, pairs)| (sum.0 + with_mean, sum.1 + pairs))
    }

    /// Bytes of weights on the GPU.
    pub fn gpu_weight_bytes(&self) -> usize {
        self.executor.gpu().map_or(0, DeviceSide::weight_bytes)
    }

    /// Bytes of the KV cache.
    pub fn kv_bytes(&self) -> usize {
        self.executor.kv_bytes()
    }

    /// Makes moves in the cache, in order.
    ///
    /// # Errors
    /// When one is not inside the cache.
    pub fn apply_all(&mut self, copies: &[BlockCopy]) -> Result<(), Error> {
        copies.iter().try_for_each(|copy| self.apply(copy))
    }

    /// Moves cached tokens as `copy` says; moved keys are rotated to their new positions.
    fn apply(&mut self, copy: &BlockCopy) -> Result<(), Error> {
        let group = copy.group as usize;
        let from = CacheSlot { block: copy.src, offset: copy.src_offset };
        let to = CacheSlot { block: copy.dst, offset: copy.dst_offset };
        let layers = &self.graph.groups[group].layers;
        let rotations: Vec<Option<Rotation>> = match copy.shift {
            0 => Vec::new(),
            shift => layers.iter().map(|&layer| Rotation::of(&self.graph, layer, shift)).collect(),
        };
        let mut turn = |layer: usize, key: &mut [f32]| {
            if let Some(Some(rotation)) = rotations.get(layer) {
                rotation.apply(key);
            }
        };
        let turn: Option<TurnKey<'_>> = if copy.shift == 0 { None } else { Some(&mut turn) };
        self.executor.move_tokens(group, from, to, copy.num_tokens, turn).map_err(failed)
    }

    /// Steps so far, and how many of them were redone.
    pub fn watch_counts(&self) -> WatchCounts {
        self.watch.counts()
    }

    /// Whether every fault that is to be put in has its place in some plan.
    ///
    /// # Errors
    /// Names the one that has not.
    pub fn check_injections(&self) -> Result<(), Error> {
        let misplaced = self.options.inject.iter().find(|inject| !self.plans.iter().any(|plan| inject.fits(plan)));
        misplaced.map_or(Ok(()), |inject| Err(Error::Inject(inject.to_string())))
    }

    /// Computes the rows of a batch whose tables are bound. Says where the results are.
    fn compute(&mut self, batch: &Batch, regime: usize) -> Result<Results, Error> {
        let number = self.watch.begin();
        let begin = (IN_THIS_BUILD && !self.options.inject.is_empty()).then(Instant::now);
        if batch.exact {
            return self.compute_exactly(batch, regime, number);
        }
        let (plan, inputs) = (&self.plans[regime], self.tables.inputs(batch));
        let inputs = StepInputs { best_only: batch.greedy, ..inputs };
        // Only plans that came later than the arena find it too small.
        self.executor.reserve(plan.program.arena_bytes).map_err(refused)?;
        let mut faults = Injected::of(&self.options.inject, number, plan, &inputs);
        match faults.is_empty() {
            true => self.executor.run(&plan.program, &inputs),
            false => self.executor.run_each(&plan.program, &inputs, &mut |step, executor| {
                faults.strike(step, executor);
                ControlFlow::Continue(())
            }),
        }
        .map_err(failed)?;
        if let Some(begin) = begin {
            slow_down(&self.options.inject, number, begin);
        }
        if self.counting {
            self.tallies[regime].add(batch, &self.graph);
        }
        match plan.program.record.take_finding() {
            Some(finding) if self.watch.options().on => self.redo(batch, regime, number, finding),
            _ => Ok(plan.results),
        }
    }
}

/// What to plan for steps of some number of rows.
fn plan_options(options: &RunnerOptions, rows: Rows) -> PlanOptions {
    let max_rows = match rows {
        Rows::One => 1,
        Rows::Few => 7,
        Rows::Many => options.max_rows,
    };
    PlanOptions {
        hardware: options.hardware.clone(),
        policy: options.policy.clone(),
        rows: if options.one_plan { Rows::Many } else { rows },
        max_rows,
        max_outputs: max_rows,
        k: options.k,
        v: options.v,
        block_size: BLOCK_SIZE,
        key_fittings: Arc::clone(&options.key_fittings),
        offload: options.offload.clone(),
        kept: Arc::clone(&options.kept),
    }
}

/// A plan for each regime.
fn plan_all(graph: &Arc<Graph>, weights: &Arc<Weights>, options: &RunnerOptions) -> Result<Vec<Plan>, model::Error> {
    Rows::ALL.iter().map(|&rows| Plan::build(graph, weights, &plan_options(options, rows))).collect()
}

impl StepRunner for Runner {
    fn step(&mut self, batch: &Batch, cache: &KvCache) -> Result<Logits<'_>, Error> {
        self.apply_all(&batch.copies)?;
        let vocab_size = self.graph.vocab_size;
        if batch.is_empty() {
            return Ok(Logits { values: &[], vocab_size, hidden: &[], best: &[] });
        }
        self.tables.bind(batch, cache)?;
        let found = self.compute(batch, Rows::of(batch.num_rows()) as usize)?;
        if let best @ [_, ..] = self.executor.best() {
            return Ok(Logits { values: &[], vocab_size, hidden: &[], best });
        }
        let (num_rows, hidden_size) = (batch.output_rows.len(), self.graph.hparams.hidden_size);
        let values = self.executor.values(found.logits, num_rows * vocab_size).map_err(failed)?;
        let hidden = self.executor.values(found.hidden, num_rows * hidden_size).map_err(failed)?;
        Ok(Logits { values, vocab_size, hidden, best: &[] })
    }

    fn vocab_size(&self) -> usize {
        self.graph.vocab_size
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        self.watch.take_notices()
    }
}

fn failed(error: kernels::StepError) -> Error {
    Error::Step(error.to_string())
}

fn refused(error: device::Error) -> Error {
    Error::Step(error.to_string())
}

fn replanned(error: model::Error) -> Error {
    Error::Step(error.to_string())
}
