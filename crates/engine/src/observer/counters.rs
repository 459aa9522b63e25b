//! Where the time of steps goes: what each kernel of the plans took, moved and computed.
//!
//! While steps run, only sums are kept: worker 0 stamps the time (`kernels::Record`), the runner adds up
//! what its batches asked for ([`Tally`]). Rates are worked out when somebody asks ([`count`]).

use kernels::{Cost, OpKind, Rows, Unit, Work};
use model::{Graph, Plan};

use crate::batch::Batch;

/// What one kernel did in the steps of one regime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpCount {
    /// How many rows the steps had.
    pub regime: Rows,
    /// The op.
    pub op: OpKind,
    /// The kernel.
    pub variant: &'static str,
    /// The technique in charge; none for baseline kernels.
    pub technique: Option<&'static str>,
    /// Steps that were run, whatever they consist of.
    pub num_steps: u64,
    /// Calls of the kernel in them.
    pub num_calls: u64,
    /// Rows computed, summed over calls.
    pub num_tokens: u64,
    /// Time, waiting for the slowest worker included.
    pub time_us: f64,
    /// Bytes read and written.
    pub bytes: u64,
    /// Multiplications, additions and function values.
    pub ops: u64,
    /// What computes them.
    pub unit: Unit,
}

/// What the batches of one plan asked for.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    work: Work,
}

impl Tally {
    /// For a model's KV groups.
    pub fn new(graph: &Graph) -> Self {
        let reach = vec![Default::default(); graph.groups.len()];
        Self { work: Work { reach, ..Work::default() } }
    }

    /// Adds a batch that was computed.
    pub fn add(&mut self, batch: &Batch, graph: &Graph) {
        self.work.runs += 1;
        self.work.rows += batch.num_rows() as u64;
        self.work.outputs += batch.output_rows.len() as u64;
        for (reach, group) in self.work.reach.iter_mut().zip(&graph.groups) {
            batch.spans.iter().for_each(|span| reach.add(span.context, span.num_rows, group.window));
        }
    }

    /// Forgets all batches.
    pub fn clear(&mut self) {
        self.work.reach.fill(Default::default());
        self.work = Work { reach: std::mem::take(&mut self.work.reach), ..Work::default() };
    }
}

/// One entry for each op, kernel and technique of a plan, in the order of their first step; nothing for a
/// plan that has not run.
pub fn count(regime: Rows, plan: &Plan, tally: &Tally) -> Vec<OpCount> {
    let mut counts: Vec<OpCount> = Vec::new();
    let work = &tally.work;
    if work.runs == 0 {
        return counts;
    }
    let times = plan.program.record.step_us();
    for ((info, step), time_us) in plan.info.iter().zip(&plan.program.steps).zip(times) {
        let cost: Cost = step.cost();
        let key = (info.op, info.variant, info.technique, cost.unit);
        let known = counts.iter().position(|count| (count.op, count.variant, count.technique, count.unit) == key);
        let index = known.unwrap_or(counts.len());
        if known.is_none() {
            counts.push(OpCount {
                regime,
                op: info.op,
                variant: info.variant,
                technique: info.technique,
                num_steps: work.runs,
                num_calls: 0,
                num_tokens: 0,
                time_us: 0.0,
                bytes: 0,
                ops: 0,
                unit: cost.unit,
            });
        }
        let count = &mut counts[index];
        count.num_calls += work.runs;
        count.num_tokens += cost.num_rows(work);
        count.time_us += time_us;
        count.bytes += cost.bytes(work);
        count.ops += cost.ops(work);
    }
    counts
}
