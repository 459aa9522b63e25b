//! A grammar of `text` as the constraint of a request.

use crate::request::Constrain;
use crate::sampler::TokenSet;
use text::grammar::Matcher;

impl Constrain for Matcher {
    fn allowed(&mut self, tokens: &mut TokenSet) -> Result<(), String> {
        tokens.assign(Matcher::allowed(self).map_err(|problem| problem.to_string())?);
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        Matcher::accept(self, token).map_err(|problem| problem.to_string())
    }
}
