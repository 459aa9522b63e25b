//! One request on its way through the engine, as the scheduler sees it: tokens and how many of them are
//! computed. Sampling state and the way back to the client are kept by the engine.

use crate::batch::SeqId;
use crate::request::WhenFull;
use std::sync::Arc;

/// Where a sequence stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Status {
    /// Has no place in the cache: not yet admitted, or preempted.
    #[default]
    Waiting,
    /// Takes part in the steps.
    Running,
    /// Has ended.
    Finished(FinishReason),
}

/// Why a sequence ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FinishReason {
    /// An end-of-generation token.
    Eos,
    /// A stop string, by its place in the list.
    Stop(u32),
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// The client gave up.
    Aborted,
    /// An error, which the client has been told.
    Failed,
}

/// A sequence of tokens that grows at its end.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    /// The context: prompt, then answer, less what a context shift has discarded.
    pub(crate) tokens: Vec<u32>,
    /// How many of `tokens` are in the cache.
    pub(crate) num_computed: u32,
    pub(crate) status: Status,
    /// Whether what is pending is to be computed on the exact plan.
    pub(crate) exact: bool,
    /// Its place in the cache, while running.
    pub(crate) slot: Option<SeqId>,
    num_prompt: u32,
    num_generated: u32,
    /// Prompt tokens that were found in the cache when first admitted.
    pub(crate) num_cached: Option<u32>,
    stop_tokens: Arc<[u32]>,
    max_new_tokens: u32,
    when_full: WhenFull,
    /// Most tokens of the context.
    context: u32,
    /// Its prompt is to be computed anew whatever the cache holds of it.
    computes_all: bool,
    /// Logits are wanted of every row of its prompt.
    scores_prompt: bool,
}

impl Sequence {
    /// A sequence that begins with `prompt`.
    pub fn new(prompt: Vec<u32>, stop_tokens: Arc<[u32]>, max_new_tokens: Option<u32>, when_full: WhenFull) -> Self {
        let num_prompt = prompt.len() as u32;
        let max_new_tokens = max_new_tokens.unwrap_or(u32::MAX);
        Sequence { tokens: prompt, num_prompt, stop_tokens, max_new_tokens, when_full, ..Sequence::default() }
    }

    /// The same, asking for what the request's `cache_prompt` and `prompt_scores` say.
    pub fn with_prompt(self, cache_prompt: bool, scores_prompt: bool) -> Self {
        Sequence { computes_all: scores_prompt || !cache_prompt, scores_prompt, ..self }
    }

    /// Limits it to a context, and takes all the memory that it will need.
    pub(crate) fn set_context(&mut self, context: u32) {
        self.context = context;
        let room = self.max_new_tokens.min(context.saturating_sub(self.num_prompt));
        self.tokens.reserve_exact(room as usize);
    }

    /// The tokens of its context.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Tokens of the context that are in the cache.
    pub fn num_computed(&self) -> u32 {
        self.num_computed
    }

    /// Tokens that were asked.
    pub fn num_prompt(&self) -> u32 {
        self.num_prompt
    }

    /// Tokens that were answered.
    pub fn num_generated(&self) -> u32 {
        self.num_generated
    }

    /// Tokens still to be computed before the next one can be sampled. 1 while decoding.
    pub fn num_pending(&self) -> u32 {
        self.tokens.len() as u32 - self.num_computed
    }

    /// Whether it may begin with what the cache holds of its tokens.
    pub(crate) fn adopts_prefix(&self) -> bool {
        !self.computes_all
    }

    /// Whether its next rows are of a prompt whose every row is to yield logits.
    pub(crate) fn scores_rows(&self) -> bool {
        self.scores_prompt && self.num_generated == 0
    }

    /// Rows of its next step where chunks end at multiples of `chunk`: up to the next such place of the
    /// prompt, or its end, and one by one behind it.
    pub(crate) fn fixed_rows(&self, chunk: u32) -> u32 {
        let prompt_left = self.num_prompt.saturating_sub(self.num_computed);
        (chunk - self.num_computed % chunk).min(prompt_left).max(1).min(self.num_pending())
    }

    /// Tokens of the prompt's whole chunks.
    pub(crate) fn whole_chunks(&self, chunk: u32) -> usize {
        (self.num_prompt / chunk * chunk).min(self.tokens.len() as u32) as usize
    }

    /// Whether this token would end it.
    pub(crate) fn ends_at(&self, token: u32) -> bool {
        self.stop_tokens.contains(&token)
    }

    /// Whether it wants no token any more.
    pub fn is_complete(&self) -> bool {
        self.num_generated >= self.max_new_tokens
    }

    /// Takes the next token, and says whether that was the last, and why.
    pub(crate) fn append(&mut self, token: u32) -> Option<FinishReason> {
        self.tokens.push(token);
        self.num_generated += 1;
        if self.stop_tokens.contains(&token) {
            Some(FinishReason::Eos)
        } else if self.is_complete() {
            Some(FinishReason::Length)
        } else if self.is_full() && self.discard().is_empty() {
            Some(FinishReason::ContextFull)
        } else {
            None
        }
    }

    /// Whether it has to be shortened before it goes on. The last place of the context is never computed,
    /// as in llama.cpp, so that both stop and shift at the same token.
    pub(crate) fn is_full(&self) -> bool {
        self.tokens.len() as u32 >= self.context
    }

    /// The tokens that a context shift is to discard: half of those computed after the kept ones.
    pub(crate) fn discard(&self) -> std::ops::Range<u32> {
        match self.when_full {
            WhenFull::Stop => 0..0,
            WhenFull::Shift { keep } => {
                let keep = keep.min(self.context.saturating_sub(4));
                keep..keep + (self.tokens.len() as u32 - 1).saturating_sub(keep) / 2
            }
        }
    }
}
