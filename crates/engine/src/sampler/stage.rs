//! What a stage of the sampler chain is: the trait, the registry row, and what each of them is given.

use super::{Candidates, Error, ParamSpec, Params, philox};

/// One step of the chain. `apply` depends only on the accepted tokens and the candidates and changes nothing that a
/// later call could see; whatever a stage learns from a token it learns in `accept`, and can take back.
pub trait Stage: std::fmt::Debug + Send {
    /// Narrows or reweighs the candidates, or (the last stage) selects one.
    fn apply(&mut self, candidates: &mut Candidates, step: &Step);

    /// What it does, as data.
    fn effect(&self) -> Effect {
        Effect::Other
    }

    /// Makes its changes to single logits; stages whose effect is [`Effect::Edit`] have it, and `apply` is no more.
    fn edit(&mut self, _logits: &mut dyn Editable, _step: &Step) {}

    /// Learns that `token` now stands at `position`.
    fn accept(&mut self, _token: u32, _position: usize) {}

    /// Forgets all tokens at `position` and after.
    fn rollback(&mut self, _position: usize) {}

    /// Makes room to accept this many further tokens without allocating.
    fn reserve(&mut self, _num_tokens: usize) {}

    /// A copy that goes its own way.
    fn boxed_clone(&self) -> Box<dyn Stage>;
}

/// What a stage does, as data: enough for a technique to do the same in another way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Changes the logits of a few tokens, one by one: [`Stage::edit`].
    Edit,
    /// Keeps the k best; of equal ones those with the lower ids.
    TopK(usize),
    /// Keeps the best up to the first at which their share of the mass is at least p and their number `min_keep`.
    TopP {
        /// Share of the mass.
        p: f64,
        /// Least number to keep.
        min_keep: usize,
    },
    /// Keeps those with logits of at least `max + log_p`, or the `min_keep` best where these are fewer.
    MinP {
        /// ln of the share of the best one's probability; 0 or less.
        log_p: f32,
        /// Least number to keep.
        min_keep: usize,
    },
    /// Divides every logit; 0 or less keeps the best candidate alone.
    Temperature(f32),
    /// Draws a token from all that are left.
    Draw,
    /// Something that only the stage itself can do.
    Other,
}

/// The chain as a technique's form sees it in one step.
pub struct ChainStep<'a> {
    pub(super) stages: &'a mut [(&'static str, Box<dyn Stage>)],
    pub(super) step: Step<'a>,
}

impl ChainStep<'_> {
    /// Has the n-th stage make its changes to single logits.
    pub fn edit(&mut self, nth: usize, logits: &mut dyn Editable) {
        if let Some((_, stage)) = self.stages.get_mut(nth) {
            stage.edit(logits, &self.step);
        }
    }

    /// The random bits of this step's draw.
    pub fn draw_bits(&self) -> u64 {
        self.step.bits(super::draw::STREAM)
    }
}

/// Logits of which a stage changes some: the candidate list, or a row that a technique reads in place.
pub trait Editable {
    /// Applies a function to the logit of one token, if it is in the running.
    fn change(&mut self, token: u32, change: &dyn Fn(f32) -> f32);
}

impl Clone for Box<dyn Stage> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}

/// A stage as data: how it is called, what can be set, how it is made.
#[derive(Debug)]
pub struct StageSpec {
    /// Name in `--samplers`.
    pub name: &'static str,
    /// Letter in `--sampler-seq`; `None` when the stage has a fixed place in the chain.
    pub letter: Option<char>,
    /// Further names in `--samplers`, besides `top-k` and `topk` for `top_k`.
    pub aliases: &'static [&'static str],
    /// What can be set.
    pub params: &'static [&'static ParamSpec],
    /// Makes the stage; `None` when its parameters switch it off.
    pub build: fn(&Setup) -> Built,
}

/// A stage, or nothing where its parameters switch it off.
pub type Built = Result<Option<Box<dyn Stage>>, Error>;

/// What a stage is made from.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The request's parameters.
    pub params: &'a Params,
    /// Facts about the vocabulary.
    pub vocab: &'a VocabInfo<'a>,
    /// Candidates that a filter must leave at least.
    pub min_keep: usize,
}

/// What the sampler must know of the vocabulary.
#[derive(Debug, Clone, Copy, Default)]
pub struct VocabInfo<'a> {
    /// Number of tokens, the length of a row of logits.
    pub num_tokens: usize,
    /// Tokens that end a generation: `ignore_eos` excludes them.
    pub end_of_generation: &'a [u32],
    /// Tokens that the model's file says must never be sampled.
    pub suppressed: &'a [u32],
    /// DRY's sequence breakers as tokens, from [`super::breakers`].
    pub breakers: &'a [super::Breaker],
}

/// What a stage sees of the sequence.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// All tokens accepted so far, prompt included; the next one gets position `history.len()`.
    pub history: &'a [u32],
    /// The request's seed.
    pub seed: u64,
}

impl<'a> Step<'a> {
    /// The last `n` tokens, or all when there are fewer.
    pub(super) fn last(&self, n: usize) -> &'a [u32] {
        &self.history[self.history.len().saturating_sub(n)..]
    }

    /// 64 random bits of this step.
    pub(super) fn bits(&self, stream: u32) -> u64 {
        philox::bits(self.seed, self.history.len() as u64, stream)
    }

    /// A random number in 0..1 of this step.
    pub(super) fn uniform(&self, stream: u32) -> f32 {
        (self.bits(stream) >> 40) as f32 / (1u32 << 24) as f32
    }
}
