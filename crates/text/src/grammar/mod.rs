//! Constrained decoding: which tokens an answer may go on with, so that it becomes a text of a grammar.
//!
//! ```text
//! let grammars = Grammars::new(tokenizer)?;                 // once per model: a tree of all its tokens
//! let mut matcher = grammars.compile(&Constraint::Regex("[0-9]+".into()))?;
//! matcher.allowed()?;                                       // a bit for each token
//! matcher.accept(token)?;                                   // … and `rollback(n)` undoes n of these
//! ```
//!
//! The work is done by `llguidance`; what is here turns llama.cpp's notations into its own and bounds what a hostile
//! grammar can cost. Used by the engine, behind a trait, and by whoever makes requests.

mod gbnf;
mod matcher;
mod schema;
mod tokens;

use std::fmt::Display;
use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{InferenceCapabilities, TokEnv};
use serde_json::Value;

pub use matcher::Matcher;

use crate::Tokenizer;

/// Before these words a grammar is in Lark, as in llama.cpp.
const LARK: &str = "%llguidance";
/// Bytes of a grammar, a schema or a pattern; a longer one is refused.
const MOST_BYTES: usize = 256 << 10;
/// Compiling goes down as deep as grammars nest, so it has a stack of its own. It is only taken as far as it is used.
const STACK_BYTES: usize = 512 << 20;

/// What a text must look like.
#[derive(Clone, PartialEq, Debug)]
pub enum Constraint {
    /// A grammar in GBNF; in Lark where it begins with `%llguidance`.
    Grammar(String),
    /// JSON that a schema describes.
    Schema(Value),
    /// A regular expression that all of the text matches.
    Regex(String),
}

/// What is wrong with a constraint, in words for whoever wrote it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    /// Long messages quote the grammar; their first line says enough.
    const MOST_CHARS: usize = 400;

    fn new(message: impl Display) -> Self {
        let message = message.to_string();
        let message = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read").to_owned();
        match message.char_indices().nth(Self::MOST_CHARS) {
            Some((end, _)) => Problem(format!("{}…", &message[..end])),
            None => Problem(message),
        }
    }
}

/// Compiles constraints for the tokens of one model.
pub struct Grammars {
    factory: Arc<ParserFactory>,
    tokenizer: Arc<Tokenizer>,
}

impl Grammars {
    /// For a model's tokens. Takes a moment: a tree of all of them is made.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Self, Problem> {
        let env: TokEnv = Arc::new(tokens::Tokens::new(tokenizer.vocab(), &tokenizer));
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices).map_err(Problem::new)?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Grammars { factory: Arc::new(factory), tokenizer })
    }

    /// What a text under the constraint may begin with, and so on. Says what is wrong with the constraint, also where
    /// finding its first tokens takes too much.
    pub fn compile(&self, constraint: &Constraint) -> Result<Matcher, Problem> {
        let grammar = self.translate(constraint)?;
        let factory = self.factory.clone();
        let compile = move || Matcher::new(&factory, grammar);
        let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn(compile).map_err(Problem::new)?;
        thread.join().unwrap_or_else(|_| Err(Problem::new("it cannot be compiled")))
    }

    fn translate(&self, constraint: &Constraint) -> Result<TopLevelGrammar, Problem> {
        let bounded = |bytes: usize| match bytes {
            0..=MOST_BYTES => Ok(()),
            _ => Err(Problem::new(format!("{bytes} bytes, at most {MOST_BYTES} are accepted"))),
        };
        match constraint {
            Constraint::Grammar(source) => {
                bounded(source.len())?;
                let lark = match source.trim_start().starts_with(LARK) {
                    true => source.clone(),
                    false => gbnf::to_lark(source, &|text| self.tokenizer.vocab().id_of(text.as_bytes()))?,
                };
                Ok(TopLevelGrammar::from_lark(lark))
            }
            Constraint::Schema(schema) => {
                bounded(schema.to_string().len())?;
                Ok(TopLevelGrammar::from_json_schema(schema::adapted(schema)?))
            }
            Constraint::Regex(pattern) => {
                bounded(pattern.len())?;
                Ok(TopLevelGrammar::from_regex(pattern))
            }
        }
    }
}

#[cfg(test)]
mod tests;
