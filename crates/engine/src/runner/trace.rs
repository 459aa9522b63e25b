//! A batch step by step, every step's output shown: how two plans are held against each other. Called by
//! `chaski::Llm::trace`.

use std::ops::ControlFlow;

use kernels::Rows;
use model::StepInfo;

use super::{Runner, failed, refused};
use crate::batch::Batch;
use crate::cache::KvCache;
use crate::error::Error;

/// Sees what a step left, and may put something else in its place.
pub type Look<'a> = &'a mut dyn FnMut(&StepInfo, &mut [f32]);

impl Runner {
    /// Computes a batch and shows what every step left that writes values.
    ///
    /// # Errors
    /// As a step's.
    pub fn trace(&mut self, batch: &Batch, cache: &KvCache, look: Look<'_>) -> Result<(), Error> {
        self.apply_all(&batch.copies)?;
        self.tables.bind(batch, cache)?;
        let plan = &self.plans[Rows::of(batch.num_rows()) as usize];
        let inputs = self.tables.inputs(batch);
        self.executor.reserve(plan.program.arena_bytes).map_err(refused)?;
        let (num_tokens, num_outputs) = (inputs.tokens.len(), inputs.output_rows.len());
        let mut after = |index: usize, executor: &mut kernels::Executor| {
            let Some((info, output)) = plan.info.get(index).zip(plan.output(index)) else {
                return ControlFlow::Continue(());
            };
            let len = output.num_rows(num_tokens, num_outputs) * output.width;
            if let Ok(values) = executor.values_mut(output.slot, len) {
                look(info, values);
            }
            ControlFlow::Continue(())
        };
        self.executor.run_each(&plan.program, &inputs, &mut after).map_err(failed)?;
        plan.program.record.take_finding();
        Ok(())
    }
}
