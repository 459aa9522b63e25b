//! The numerical watch: what happens after a step whose kernels saw NaN, Inf or a scale out of range.
//!
//! The runner redoes such a step on the exact plan, finds out which step of the plan went wrong first, and
//! tells [`Watch`], which counts against the technique or kernel in charge of it and has it switched off
//! after [`WatchOptions::limit`] redone steps. What the exact plan cannot compute either fails with an error
//! that names the tensor. Kernels notice (`kernels::fault`), the runner acts, this module judges.

use std::fmt;
use std::ops::ControlFlow;

use kernels::{Executor, Faults, Finding, OpKind, StepError, StepInputs};
use model::{Plan, StepInfo};

use crate::error::Error;

/// What the watch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// Whether steps are redone at all.
    pub on: bool,
    /// Redone steps after which the technique or kernel in charge of them is switched off.
    pub limit: u32,
    /// Prefill sequences again, as if the cache itself had lost something, whatever its type.
    pub prefill_again: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { on: true, limit: 3, prefill_again: false }
    }
}

/// Who chose what a step of the plan does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InCharge {
    /// A technique.
    Technique(&'static str),
    /// A kernel of the baseline.
    Variant(&'static str),
}

/// Where numbers went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Which step of the runner, from 1.
    pub step: u64,
    /// The op.
    pub op: OpKind,
    /// The node, mostly the name of its weight.
    pub name: String,
    /// What was seen.
    pub faults: Faults,
    /// Whose work it was.
    pub in_charge: InCharge,
}

/// What the watch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A step was redone on the exact plan.
    Redone(Sight),
    /// What was in charge of this step, and of others before, is off for this model.
    Off {
        /// The last of the steps.
        sight: Sight,
        /// How many there were.
        num_redone: u32,
    },
    /// Something is not used, and what takes its place is.
    Fallback {
        /// What.
        what: String,
        /// Why, in whole words.
        why: String,
    },
}

/// Steps so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// All of them.
    pub num_steps: u64,
    /// Those that were redone on the exact plan.
    pub num_redone: u64,
    /// Those that the exact plan could not compute either.
    pub num_failed: u64,
}

/// Most notices that wait for somebody to take them.
const MOST_NOTICES: usize = 64;

/// Counts who went wrong how often.
#[derive(Debug, Default)]
pub struct Watch {
    options: WatchOptions,
    counts: WatchCounts,
    /// Redone steps by who was in charge.
    charges: Vec<(InCharge, u32)>,
    notices: Vec<Notice>,
}

impl Watch {
    /// Over a model that has just been opened.
    pub fn new(options: WatchOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// What it does.
    pub fn options(&self) -> &WatchOptions {
        &self.options
    }

    /// Steps so far.
    pub fn counts(&self) -> WatchCounts {
        self.counts
    }

    /// What there is to tell since this was last asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A step begins. Returns its number.
    pub fn begin(&mut self) -> u64 {
        self.counts.num_steps += 1;
        self.counts.num_steps
    }

    /// Counts a step that is redone, and says who is to be switched off now. References never are: there
    /// is nothing to take their place.
    pub fn redone(&mut self, sight: Sight) -> Option<InCharge> {
        self.counts.num_redone += 1;
        let in_charge = sight.in_charge;
        let index = self.charges.iter().position(|charge| charge.0 == in_charge).unwrap_or_else(|| {
            self.charges.push((in_charge, 0));
            self.charges.len() - 1
        });
        self.charges[index].1 += 1;
        let num_redone = self.charges[index].1;
        let is_last = num_redone == self.options.limit && !in_charge.is_reference();
        self.tell(Notice::Redone(sight.clone()));
        if is_last {
            self.tell(Notice::Off { sight, num_redone });
        }
        is_last.then_some(in_charge)
    }

    /// Counts a step that failed on the exact plan.
    pub fn failed(&mut self) {
        self.counts.num_failed += 1;
    }

    /// Puts in a notice, unless too many wait already.
    pub fn tell(&mut self, notice: Notice) {
        if self.notices.len() < MOST_NOTICES {
            self.notices.push(notice);
        }
    }
}

impl Sight {
    /// What step `index` of a plan did wrong.
    pub fn of(step: u64, info: &StepInfo, faults: Faults) -> Self {
        let in_charge = info.technique.map_or(InCharge::Variant(info.variant), InCharge::Technique);
        Self { step, op: info.op, name: info.name.clone(), faults, in_charge }
    }

    /// The error of a step that the exact plan cannot compute.
    pub fn error(&self) -> Error {
        let hint = match self.op {
            OpKind::KvStore => "keys or values do not fit the cache (try -ctk f32 -ctv f32)",
            _ => "the model file is broken, or its numbers leave the range of f32",
        };
        Error::NotFinite { faults: self.faults, op: self.op.name(), name: self.name.clone(), step: self.step, hint }
    }
}

impl InCharge {
    /// Name of the technique or kernel.
    pub fn id(self) -> &'static str {
        match self {
            InCharge::Technique(id) | InCharge::Variant(id) => id,
        }
    }

    fn is_reference(self) -> bool {
        matches!(self, InCharge::Variant(id) if id.ends_with("/reference"))
    }
}

/// Runs a plan step by step until values are wrong, and says where: more exact than what kernels noticed,
/// for they look at what they read, not at what they write. `change` may tamper with what a step left.
///
/// # Errors
/// As [`Executor::run`].
pub fn locate(
    executor: &mut Executor,
    plan: &Plan,
    inputs: &StepInputs<'_>,
    noticed: Finding,
    change: &mut dyn FnMut(usize, &mut Executor),
) -> Result<Finding, StepError> {
    let mut found = noticed;
    executor.run_each(&plan.program, inputs, &mut |step, executor| {
        change(step, executor);
        let faults = plan.output(step).map_or(Faults::NONE, |output| {
            let len = output.num_rows(inputs.tokens.len(), inputs.output_rows.len()) * output.width;
            let Ok(values) = executor.values(output.slot, len) else { return Faults::NONE };
            if output.is_logits {
                // A token that is ruled out has the logit -Inf.
                return Faults::in_logits(values);
            }
            Faults::among(values)
        });
        if !faults.is_none() {
            found = Finding { step, faults };
        }
        // Later steps only pass on what the one that was noticed had seen.
        if !faults.is_none() || step >= noticed.step { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    plan.program.record.take_finding();
    Ok(found)
}

impl fmt::Display for InCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InCharge::Technique(id) => write!(f, "technique {id}"),
            InCharge::Variant(id) => write!(f, "kernel {id}"),
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} {} at step {}", self.faults, self.op.name(), self.name, self.step)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Redone(sight) => write!(f, "{sight} ({}): redone on the exact plan", sight.in_charge),
            Notice::Off { sight, num_redone } => {
                let steps = if *num_redone == 1 { "step" } else { "steps" };
                write!(f, "{} is off for this model: {num_redone} {steps} redone, last {sight}", sight.in_charge)
            }
            Notice::Fallback { what, why } => write!(f, "{what} is not used: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(step: u64, in_charge: InCharge) -> Sight {
        Sight { step, op: OpKind::Matmul, name: "blk.3.attn_q.weight".into(), faults: Faults::NAN, in_charge }
    }

    #[test]
    fn who_is_in_charge_too_often_is_switched_off_once() {
        let mut watch = Watch::new(WatchOptions { limit: 2, ..WatchOptions::default() });
        let (kernel, technique) = (InCharge::Variant("matmul/q8/avx512"), InCharge::Technique("toy"));
        assert_eq!(watch.redone(sight(1, kernel)), None);
        assert_eq!(watch.redone(sight(2, technique)), None);
        assert_eq!(watch.redone(sight(5, kernel)), Some(kernel));
        assert_eq!(watch.redone(sight(6, kernel)), None);
        assert_eq!(watch.redone(sight(7, technique)), Some(technique));
        assert_eq!(watch.counts().num_redone, 5);
        let lines: Vec<String> = watch.take_notices().iter().map(Notice::to_string).collect();
        assert_eq!(lines.len(), 7);
        let off = "kernel matmul/q8/avx512 is off for this model: 2 steps redone, last NaN in matmul blk.3.attn_q.weight at step 5";
        assert_eq!(lines[3], off);
        assert!(watch.take_notices().is_empty());
    }

    #[test]
    fn references_stay() {
        let mut watch = Watch::new(WatchOptions { limit: 1, ..WatchOptions::default() });
        for step in 0..1000 {
            assert_eq!(watch.redone(sight(step, InCharge::Variant("add/f32/reference"))), None);
        }
        assert_eq!(watch.take_notices().len(), MOST_NOTICES);
    }
}
