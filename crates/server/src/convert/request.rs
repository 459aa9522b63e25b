//! Prompt and options as requests of the engine: one for every choice of every prompt.

use std::sync::Arc;

use engine::request::{Constrain, Detokenize, Report, Request, WhenFull};
use engine::sampler::Sampler;
use engine::{SamplerVocab, TokenText};
use text::StopStrings;
use text::grammar::Matcher;

use super::limited_text::LimitedText;
use super::options::Options;
use crate::app::App;
use crate::error::{ApiError, context_exceeded};

/// What is to be answered: prompts, and what is asked of each.
pub struct Job {
    /// Token ids of each prompt.
    pub prompts: Vec<Vec<u32>>,
    /// What is asked of each.
    pub options: Options,
}

impl Job {
    /// Checks that it can be answered at all.
    pub fn check(self, app: &App) -> Result<Job, ApiError> {
        let context = app.model.context;
        for prompt in &self.prompts {
            if prompt.is_empty() {
                return Err(engine::Error::EmptyPrompt.into());
            }
            if prompt.len() >= context as usize {
                return Err(context_exceeded(prompt.len(), context));
            }
        }
        let answers = self.prompts.len().saturating_mul(self.options.num_choices as usize);
        if answers > app.config.limits.answers {
            let most = app.config.limits.answers;
            return Err(ApiError::field("n", format!("{answers} answers in all, at most {most} are accepted")));
        }
        Ok(self)
    }

    /// The requests, by prompt, then by choice. A given seed counts up from choice to choice, as in llama-server.
    pub fn requests(&self, app: &App) -> Result<Vec<Request>, ApiError> {
        let fresh = app.fresh();
        let sampler = self.sampler(app, fresh)?;
        let matcher = self.matcher(app)?;
        let is_seeded = sampler.seed() != fresh;
        let mut requests = Vec::new();
        for prompt in &self.prompts {
            for choice in 0..u64::from(self.options.num_choices) {
                let seed = if is_seeded { sampler.seed() + choice } else { app.fresh() };
                let constraint = matcher.clone().map(|matcher| Box::new(matcher) as Box<dyn Constrain>);
                requests.push(self.request(app, prompt, sampler.clone().with_seed(seed), constraint));
            }
        }
        Ok(requests)
    }

    /// The constraint, with the tokens that may come first.
    fn matcher(&self, app: &App) -> Result<Option<Matcher>, ApiError> {
        let Some(asked) = &self.options.constraint else { return Ok(None) };
        let compiled = app.grammars().and_then(|grammars| grammars.compile(&asked.constraint));
        compiled.map(Some).map_err(|problem| ApiError::field(asked.name, problem))
    }

    fn request(&self, app: &App, prompt: &[u32], sampler: Sampler, constraint: Option<Box<dyn Constrain>>) -> Request {
        let options = &self.options;
        let defaults = &app.config.defaults;
        let tokenizer = &app.model.tokenizer;
        let keep = match options.keep {
            // As in llama.cpp, the begin marker always stays.
            Some(keep) => keep.saturating_add(tokenizer.vocab().add_bos().into()),
            None => prompt.len() as u32,
        };
        let text = TokenText::new(tokenizer.clone(), defaults.special, StopStrings::new(options.stop.iter().cloned()));
        let detokenizer: Box<dyn Detokenize> = match (options.min_indent, options.most_ms) {
            (0, None) => Box::new(text),
            (min_indent, most_ms) => Box::new(LimitedText::new(text, min_indent, most_ms)),
        };
        Request {
            prompt: prompt.to_vec(),
            sampler,
            detokenizer,
            constraint,
            stop_tokens: tokenizer.vocab().eog().collect::<Arc<[u32]>>(),
            max_new_tokens: options.max_tokens,
            when_full: if defaults.context_shift { WhenFull::Shift { keep } } else { WhenFull::Stop },
            cache_prompt: options.cache_prompt,
            report: Report {
                progress: options.return_progress,
                prompt_scores: options.prompt_scores,
                scores: options.scores,
                embedding: options.embedding,
            },
        }
    }

    fn sampler(&self, app: &App, random_seed: u64) -> Result<Sampler, ApiError> {
        let params = &self.options.sampling;
        let vocab = SamplerVocab::new(&app.model.tokenizer, app.model.vocab_size, params);
        Ok(Sampler::with_forms(params, &vocab.info(), random_seed, &app.model.sampler_forms)
            .map_err(engine::Error::from)?)
    }
}
