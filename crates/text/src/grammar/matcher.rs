//! A constraint at work on one text.

use llguidance::ParserFactory;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::SimpleVob;

use super::Problem;

/// How far a text has come in its grammar.
pub struct Matcher {
    inner: llguidance::Matcher,
    allowed: SimpleVob,
}

impl Clone for Matcher {
    /// A copy that goes its own way, caches and all, so that copies can be used on several threads at once.
    fn clone(&self) -> Self {
        Matcher { inner: self.inner.deep_clone(), allowed: self.allowed.clone() }
    }
}

impl Matcher {
    pub(super) fn new(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<Self, Problem> {
        let inner = llguidance::Matcher::new(factory.create_parser(grammar));
        let mut matcher = Matcher { inner, allowed: SimpleVob::default() };
        matcher.allowed()?;
        Ok(matcher)
    }

    /// The tokens that may come next: token `t` is bit `t % 32` of word `t / 32`; those behind the last word may not.
    /// Once the text is whole these are the tokens that end an answer, besides those that go on with it.
    pub fn allowed(&mut self) -> Result<&[u32], Problem> {
        self.allowed = self.inner.compute_mask_or_eos().map_err(Problem::new)?;
        Ok(self.allowed.as_slice())
    }

    /// Takes a token that was allowed.
    pub fn accept(&mut self, token: u32) -> Result<(), Problem> {
        self.inner.consume_token(token).map_err(Problem::new)
    }

    /// Takes back the last `n` tokens.
    pub fn rollback(&mut self, n: usize) -> Result<(), Problem> {
        self.inner.rollback(n).map_err(Problem::new)
    }

    /// Whether the text could end here.
    pub fn is_whole(&mut self) -> Result<bool, Problem> {
        self.inner.is_accepting().map_err(Problem::new)
    }
}
