//! The plans as rows to print, for `chaski explain`. Made by [`crate::Llm::explain`].

use kernels::Rows;
use model::StepInfo;

/// One step of a plan, for `chaski explain`.
#[derive(Clone, Debug)]
pub struct ExplainRow {
    /// The regime: `decode` (1 row), `few` (2 to 7) or `prefill` (8 and more).
    pub regime: &'static str,
    /// The node, mostly the name of its weight.
    pub name: String,
    /// The op.
    pub op: &'static str,
    /// Shape and types.
    pub shape: String,
    /// The chosen variant.
    pub variant: &'static str,
    /// The technique that brought it; `None` for the baseline's own.
    pub technique: Option<&'static str>,
    /// How exact it is.
    pub exactness: String,
    /// Why it was chosen.
    pub reason: String,
    /// What would have come next.
    pub runner_up: Option<&'static str>,
}

impl ExplainRow {
    pub(crate) fn of(rows: Rows, step: &StepInfo) -> Self {
        Self {
            regime: rows.name(),
            name: step.name.clone(),
            op: step.op.name(),
            shape: step.shape.clone(),
            variant: step.variant,
            technique: step.technique,
            exactness: step.exactness.to_string(),
            reason: step.reason.clone(),
            runner_up: step.runner_up,
        }
    }
}
