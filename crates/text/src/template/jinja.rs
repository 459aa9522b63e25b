//! A small Jinja engine for chat templates, which come from strangers with a model file.
//!
//! It exists because fuel alone does not bound a general engine: there, two lists of twice the same list, nested sixty
//! times, compare for years, and a namespace that holds itself overflows the stack when printed. Here a value
//! knows what it weighs, every step and byte is paid from a budget in proportion to the conversation, and nothing nests
//! deeper than the stack holds. It knows what `transformers` lets templates use; what it does not know is an error.

mod ast;
mod calls;
mod expressions;
mod filters;
mod lexer;
mod machine;
mod methods;
mod operators;
mod parser;
mod print;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::{Now, TemplateError};
use machine::Machine;
use value::Value;

/// The largest known template has 17 KB.
const MAX_SOURCE_BYTES: usize = 1 << 20;
/// What every rendering may spend: one unit is one step or 128 bytes. Real templates need a few thousand …
pub(super) const BASE_BUDGET: u64 = 2_000_000;
/// … and while we try out what a template can read, it gets less.
pub(super) const PROBE_BUDGET: u64 = 100_000;
/// What it may spend more for every byte of the conversation.
const BUDGET_PER_BYTE: u64 = 2;
/// The most of both: seconds, and two gigabytes for somebody who sends a conversation of megabytes.
const MAX_BUDGET: u64 = 16_000_000;

/// A parsed template.
pub(super) struct Program {
    source: String,
    statements: Vec<ast::Statement>,
}

/// Why a template stops.
#[derive(Debug)]
enum Fault {
    /// The template refuses the conversation.
    Raised(String),
    /// Too much of something.
    Limit(String),
    /// A mistake in the template, or something we do not know.
    Wrong(String),
}

impl Fault {
    fn wrong(message: impl Into<String>) -> Self {
        Self::Wrong(message.into())
    }
}

impl Program {
    pub(super) fn new(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            let message = format!("its source has {} bytes, at most {MAX_SOURCE_BYTES} are read", source.len());
            return Err(TemplateError::Limit(message));
        }
        let failed = |(line, fault)| match fault {
            Fault::Limit(message) => TemplateError::Limit(format!("{message} (line {line})")),
            Fault::Raised(message) | Fault::Wrong(message) => TemplateError::Syntax { line, message },
        };
        let tokens = lexer::tokens(&source.replace("\r\n", "\n").replace('\r', "\n")).map_err(failed)?;
        let statements = parser::parse(&tokens).map_err(failed)?;
        Ok(Self { source: source.into(), statements })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Renders with these variables; `base_budget` is one of the constants below.
    pub(super) fn render(
        &self,
        variables: Map<String, Json>,
        now: Option<Now>,
        base_budget: u64,
    ) -> Result<String, TemplateError> {
        let failed = |line, fault| match fault {
            Fault::Raised(message) => TemplateError::Refused(message),
            Fault::Limit(message) => TemplateError::Limit(format!("{message} (line {line})")),
            Fault::Wrong(message) => TemplateError::Render { line, message },
        };
        let mut scope = HashMap::with_capacity(variables.len());
        let mut weight = 0u64;
        for (name, json) in variables {
            let value = Value::from_json(json).map_err(|fault| failed(0, fault))?;
            weight = weight.saturating_add(value.size().weight);
            scope.insert(name.into(), value);
        }
        let budget = base_budget.saturating_add(weight.saturating_mul(BUDGET_PER_BYTE)).min(MAX_BUDGET);
        let mut machine = Machine::new(scope, budget, now);
        machine.run(&self.statements).map_err(|fault| failed(machine.line, fault))
    }
}
