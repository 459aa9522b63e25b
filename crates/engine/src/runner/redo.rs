//! Steps whose numbers went wrong, computed again on the exact plan; and plans without those who did it too
//! often. What is to be done is the judgement of `watch`.

use kernels::{Finding, Off, Policy, Redo, Rows};
use model::{Plan, Results};

use super::{Runner, RunnerOptions, Tally, failed, plan_all, plan_options, refused, replanned};
use crate::batch::Batch;
use crate::error::Error;
use crate::inject::Injected;
use crate::watch::{self, InCharge, Sight};

impl Runner {
    /// Redoes a step whose numbers went wrong.
    pub(super) fn redo(
        &mut self,
        batch: &Batch,
        regime: usize,
        number: u64,
        finding: Finding,
    ) -> Result<Results, Error> {
        let (plan, inputs) = (&self.plans[regime], self.tables.inputs(batch));
        let mut faults = Injected::of(&self.options.inject, number, plan, &inputs);
        let finding = watch::locate(&mut self.executor, plan, &inputs, finding, &mut |step, executor| {
            faults.strike(step, executor);
        })
        .map_err(failed)?;
        let sight = Sight::of(number, &plan.info[finding.step], finding.faults);
        let lossy = [self.options.k, self.options.v].iter().any(|kv_type| kv_type.redo() == Redo::Prefill);
        let again = lossy || self.watch.options().prefill_again;
        let outcome = if again {
            Err(Error::PrefillAgain(sight.to_string()))
        } else {
            self.compute_exactly(batch, regime, number)
        };
        if outcome.is_ok() || again {
            let why = format!("{} in {}", sight.faults, sight.name);
            if let Some(culprit) = self.watch.redone(sight) {
                self.switch_off(culprit, why)?;
            }
        }
        outcome
    }

    /// Computes a batch on the exact plan, over the same cache.
    pub(super) fn compute_exactly(&mut self, batch: &Batch, regime: usize, number: u64) -> Result<Results, Error> {
        let inputs = self.tables.inputs(batch);
        if self.exact[regime].is_none() {
            let options = RunnerOptions {
                policy: Policy { off: self.broken.clone(), ..Policy::exact() },
                ..self.options.clone()
            };
            let plan = Plan::build(&self.graph, &self.weights, &plan_options(&options, Rows::ALL[regime]));
            self.exact[regime] = Some(plan.map_err(replanned)?);
        }
        let Some(plan) = &self.exact[regime] else { return Err(Error::Step("no exact plan".into())) };
        self.executor.reserve(plan.program.arena_bytes).map_err(refused)?;
        self.executor.run(&plan.program, &inputs).map_err(failed)?;
        let Some(finding) = plan.program.record.take_finding() else { return Ok(plan.results) };
        let finding = watch::locate(&mut self.executor, plan, &inputs, finding, &mut |_, _| {}).map_err(failed)?;
        self.watch.failed();
        Err(Sight::of(number, &plan.info[finding.step], finding.faults).error())
    }

    /// Plans anew without a kernel or technique. What was counted so far is forgotten with the old plans.
    fn switch_off(&mut self, culprit: InCharge, why: String) -> Result<(), Error> {
        self.options.policy.off.push(Off { id: culprit.id(), why });
        self.plans = plan_all(&self.graph, &self.weights, &self.options).map_err(replanned)?;
        self.tallies.iter_mut().for_each(Tally::clear);
        self.pause_op_counts(!self.counting);
        Ok(())
    }
}
