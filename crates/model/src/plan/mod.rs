//! A graph with every choice made: for one regime of rows, the flat list of steps that the executor
//! walks. Built once per regime when a model is opened; nothing is chosen afterwards.

mod lower;
mod places;
mod segments;

use std::sync::Arc;

use device::Hardware;
use kernels::{
    Exactness, Graphs, KeyFit, KeyFitting, KvLayout, KvType, OpKind, Place, Policy, Program, Record, RowSet, Rows,
    Slot, Transfer,
};

use crate::graph::ValueId;
use crate::weights::Matrix;
use crate::{Error, Graph, Weights};
pub use segments::{Offload, WeightPart};

/// How the keys of each layer are fitted to a cache of codes; without an entry not at all.
pub type KeyFittings = Arc<[Option<KeyFitting>]>;

/// What a plan is made for.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// The machine.
    pub hardware: Hardware,
    /// What may be chosen.
    pub policy: Policy,
    /// The regime.
    pub rows: Rows,
    /// Most rows of a step.
    pub max_rows: usize,
    /// Most rows that yield logits.
    pub max_outputs: usize,
    /// Element type of cached keys.
    pub k: KvType,
    /// Element type of cached values.
    pub v: KvType,
    /// Positions per block of the cache.
    pub block_size: usize,
    /// How keys are fitted to their codes.
    pub key_fittings: KeyFittings,
    /// What the GPU computes; `None` for nothing.
    pub offload: Option<Offload>,
    /// Values that are results too, to be looked at after a step.
    pub kept: Arc<[ValueId]>,
}

/// The matrices of `graph` that gain from being laid out anew on this machine, for plans under `policy`; none when they
/// would take more than three quarters of its memory. What the GPU computes with stays as it is in the file.
pub fn worth_repacking(graph: &Graph, hardware: &Hardware, policy: &Policy, offload: Option<&Offload>) -> Vec<Matrix> {
    places::worth_repacking(graph, hardware, policy, offload)
}

/// Where a plan leaves what it computes, f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Results {
    /// `[num_outputs, vocab_size]`
    pub logits: Slot,
    /// What the logits are made of, `[num_outputs, hidden_size]`: the last layer, normalised.
    pub hidden: Slot,
}

/// A finished plan.
pub struct Plan {
    /// What the executor runs.
    pub program: Program,
    /// One entry per step, for `explain` and comparisons.
    pub info: Vec<StepInfo>,
    /// Where its results appear.
    pub results: Results,
    kept: Vec<(ValueId, Slot)>,
    // The steps hold addresses into all three.
    graph: Arc<Graph>,
    _weights: Arc<Weights>,
    _key_fittings: KeyFittings,
}

/// What one step does and why with this kernel.
#[derive(Clone, Debug)]
pub struct StepInfo {
    /// Name of the node, mostly that of its weight.
    pub name: String,
    /// The op.
    pub op: OpKind,
    /// Its shape and types, readable.
    pub shape: String,
    /// The chosen variant.
    pub variant: &'static str,
    /// What computes it.
    pub place: Place,
    /// The technique that brought it; `None` for the baseline's own.
    pub technique: Option<&'static str>,
    /// How exact it is.
    pub exactness: Exactness,
    /// Why it was chosen.
    pub reason: String,
    /// What would have come next.
    pub runner_up: Option<&'static str>,
    /// The graph value it writes and where, unless it writes the cache or a quantised copy.
    pub output: Option<(ValueId, Slot)>,
}

/// Where a step leaves its values, `[rows, width]` f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepOutput {
    /// The first of them.
    pub slot: Slot,
    /// Which rows.
    pub rows: RowSet,
    /// Values per row.
    pub width: usize,
    /// Whether they are the logits.
    pub is_logits: bool,
}

impl StepOutput {
    /// Its rows in a step of that many tokens and outputs.
    pub fn num_rows(&self, num_tokens: usize, num_outputs: usize) -> usize {
        match self.rows {
            RowSet::Tokens => num_tokens,
            RowSet::Outputs => num_outputs,
        }
    }
}

impl StepInfo {
    /// The layer it belongs to, by its name.
    pub fn layer(&self) -> Option<u32> {
        segments::layer_of(&self.name)
    }
}

impl Plan {
    /// Plans `graph` under `options`.
    ///
    /// # Errors
    /// [`Error::Offload`] when the GPU cannot do what must be done where its cache is.
    pub fn build(graph: &Arc<Graph>, weights: &Arc<Weights>, options: &PlanOptions) -> Result<Self, Error> {
        let places = places::Places::assign(graph, weights, options);
        let mut lowering = lower::Lowering::new(graph, weights, options, &places);
        lowering.run()?;
        let result = |id: ValueId| {
            let value = &graph.values[id.0];
            Transfer { slot: places.slots[id.0], row_bytes: 4 * value.width, rows: value.rows }
        };
        let results: Vec<Transfer> =
            [graph.logits, graph.hidden].iter().chain(&*options.kept).map(|&id| result(id)).collect();
        let (segments, results) = segments::segments(&lowering.touches, &results);
        let record = Record::new(lowering.steps.len());
        let program = Program {
            steps: lowering.steps,
            segments,
            results,
            graphs: Graphs::default(),
            arena_bytes: places.arena_bytes,
            max_rows: options.max_rows,
            max_outputs: options.max_outputs,
            vocab_size: graph.vocab_size,
            logits: Some(places.slots[graph.logits.0]),
            record,
        };
        Ok(Self {
            program,
            info: lowering.info,
            results: Results { logits: places.slots[graph.logits.0], hidden: places.slots[graph.hidden.0] },
            kept: options.kept.iter().map(|id| (*id, places.slots[id.0])).collect(),
            graph: Arc::clone(graph),
            _weights: Arc::clone(weights),
            _key_fittings: Arc::clone(&options.key_fittings),
        })
    }

    /// What step `index` writes, unless that is the cache or a quantised copy.
    pub fn output(&self, index: usize) -> Option<StepOutput> {
        let (id, slot) = self.info.get(index)?.output?;
        let value = &self.graph.values[id.0];
        Some(StepOutput { slot, rows: value.rows, width: value.width, is_logits: id == self.graph.logits })
    }

    /// Where a value of [`PlanOptions::kept`] appears, and how many numbers a row of it has.
    pub fn kept(&self, id: ValueId) -> Option<(Slot, usize)> {
        let (_, slot) = self.kept.iter().find(|(kept, _)| *kept == id)?;
        Some((*slot, self.graph.values[id.0].width))
    }

    /// The weakest step's exactness.
    pub fn exactness(&self) -> Exactness {
        self.info.iter().map(|step| step.exactness).max().unwrap_or(Exactness::Bitwise)
    }
}

impl PlanOptions {
    /// Shape of the cache blocks of `group` of `graph`.
    pub fn kv_layout(&self, graph: &Graph, group: u32) -> KvLayout {
        KvLayout {
            k: self.k,
            v: self.v,
            head_dim_k: graph.hparams.head_dim_k,
            head_dim_v: graph.hparams.head_dim_v,
            num_kv_heads: graph.groups[group as usize].num_kv_heads,
            block_size: self.block_size,
        }
    }

    /// How the keys of a layer are fitted.
    pub fn key_fitting(&self, layer: u32) -> Option<&KeyFitting> {
        self.key_fittings.get(layer as usize)?.as_ref().filter(|_| self.k.is_quantized())
    }

    /// The same, as kernels see it.
    fn key_fit(&self, layer: u32) -> Option<KeyFit> {
        self.key_fitting(layer).map(KeyFitting::key_fit)
    }
}
