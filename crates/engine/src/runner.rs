//! Runs batches: turns a [`Batch`] and the cache's block tables into kernel inputs, picks the plan for
//! its number of rows and hands back logits. Public, synchronous and free of scheduling: the engine is
//! one client, `perplexity` and `bench` are others.

use std::sync::Arc;

use device::{Hardware, Pool};
use kernels::ops::rope::{self, Pairing};
use kernels::ops::rope_table;
use kernels::{CacheSlot, Executor, KvType, Policy, Rows, SequenceView, StepInputs, TurnKey};
use model::{Graph, Plan, PlanOptions, StepInfo, Weights};

use crate::batch::{Batch, BlockCopy};
use crate::cache::{CacheLimits, KvCache, KvGroup};
use crate::engine::{Logits, StepRunner};
use crate::error::Error;
use crate::observer::{OpCount, Tally, count};

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
    /// Plans every step with the kernels for many rows, so that a row's bits do not depend on how many
    /// there are.
    pub one_plan: bool,
}

/// A model on this machine: plans, activations, workers and the storage of the KV cache.
pub struct Runner {
    graph: Arc<Graph>,
    executor: Executor,
    /// By regime, in the order of [`Rows::ALL`].
    plans: Vec<Plan>,
    /// By regime: what the plans were asked for.
    tallies: Vec<Tally>,
    counting: bool,
    tables: Vec<u32>,
    views: Vec<Vec<SequenceView>>,
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
        let plan_options = |rows: Rows| {
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
            }
        };
        let plans: Vec<Plan> =
            Rows::ALL.iter().map(|&rows| Plan::build(graph, weights, &plan_options(rows))).collect::<Result<_, _>>()?;
        let arena_bytes = plans.iter().map(|plan| plan.program.arena_bytes).max().unwrap_or(0);
        let mut executor = Executor::new(Pool::new(options.num_threads)?, arena_bytes)?;
        for (index, group) in graph.groups.iter().enumerate() {
            let layout = plan_options(Rows::One).kv_layout(graph, index as u32);
            executor.add_group(layout, group.layers.len(), cache.num_blocks(index) as usize)?;
        }
        let views = vec![Vec::new(); graph.groups.len()];
        let tallies = vec![Tally::new(graph); plans.len()];
        Ok(Self { graph: Arc::clone(graph), executor, plans, tallies, counting: true, tables: Vec::new(), views })
    }

    /// An empty cache for the model.
    ///
    /// # Errors
    /// [`Error::CacheLayout`] when the limits make no sense.
    pub fn cache(graph: &Graph, k: KvType, v: KvType, limits: CacheLimits) -> Result<KvCache, Error> {
        KvCache::new(Runner::groups(graph, k, v), limits)
    }

    /// The groups of the model's cache.
    pub fn groups(graph: &Graph, k: KvType, v: KvType) -> Vec<KvGroup> {
        let (dim_k, dim_v) = (graph.hparams.head_dim_k, graph.hparams.head_dim_v);
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
        graph.groups.iter().map(group).collect()
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

    /// Worker threads in use.
    pub fn num_workers(&self) -> usize {
        self.executor.num_workers()
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

    /// Gathers the block tables of the batch's sequences.
    fn bind(&mut self, batch: &Batch, cache: &KvCache) -> Result<(), Error> {
        self.tables.clear();
        for (group, views) in self.views.iter_mut().enumerate() {
            views.clear();
            for span in &batch.spans {
                let view = cache.view(span.seq, group)?;
                let held = view.table.get(view.first_logical as usize..).unwrap_or(&[]);
                views.push(SequenceView {
                    table_start: self.tables.len(),
                    table_len: held.len(),
                    first_logical: view.first_logical,
                    context: span.context,
                    first_row: span.first_row,
                    num_rows: span.num_rows,
                });
                self.tables.extend_from_slice(held);
            }
        }
        Ok(())
    }
}

impl StepRunner for Runner {
    fn step(&mut self, batch: &Batch, cache: &KvCache) -> Result<Logits<'_>, Error> {
        self.apply_all(&batch.copies)?;
        let vocab_size = self.graph.vocab_size;
        if batch.is_empty() {
            return Ok(Logits { values: &[], vocab_size });
        }
        self.bind(batch, cache)?;
        let regime = Rows::of(batch.num_rows()) as usize;
        let plan = &self.plans[regime];
        let inputs = StepInputs {
            tokens: &batch.tokens,
            positions: &batch.positions,
            output_rows: &batch.output_rows,
            tables: &self.tables,
            views: &self.views,
        };
        self.executor.run(&plan.program, &inputs).map_err(failed)?;
        if self.counting {
            self.tallies[regime].add(batch, &self.graph);
        }
        let values = self.executor.values(plan.logits, batch.output_rows.len() * vocab_size).map_err(failed)?;
        Ok(Logits { values, vocab_size })
    }

    fn vocab_size(&self) -> usize {
        self.graph.vocab_size
    }
}

fn failed(error: kernels::StepError) -> Error {
    Error::Step(error.to_string())
}

/// A further rotation of the keys of one layer.
struct Rotation {
    /// One row of a rope table.
    table: Vec<f32>,
    desc: rope::Desc,
}

impl Rotation {
    /// By `shift` positions; rotations compose, and the magnitude is in the key already.
    fn of(graph: &Graph, layer: u32, shift: i32) -> Option<Self> {
        let (inv_freq, pairing): (_, Pairing) = graph.key_rotation(layer)?;
        let rotary_dim = 2 * inv_freq.len();
        let mut table = vec![0f32; rotary_dim];
        let desc = rope_table::Desc { rotary_dim, magnitude: 1.0 };
        rope_table::reference::rope_table(&desc, shift.unsigned_abs(), inv_freq, &mut table);
        if shift < 0 {
            table[inv_freq.len()..].iter_mut().for_each(|sine| *sine = -*sine);
        }
        let desc = rope::Desc { head_dim: graph.hparams.head_dim_k, num_heads: 1, rotary_dim, pairing };
        Some(Self { table, desc })
    }

    fn apply(&self, key: &mut [f32]) {
        rope::reference::rope(&self.desc, &self.table, key);
    }
}
