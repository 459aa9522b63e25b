//! DRY, "don't repeat yourself": lowers the logit of every token that would continue a repetition of the text's end,
//! by multiplier · base ^ (length − allowed length). Sequence breakers end a repetition. Source: the method's
//! description at github.com/oobabooga/text-generation-webui/pull/5677.

use super::stage::{Built, Editable, Effect, Setup, Stage, StageSpec, Step};
use super::{Candidates, Kind, ParamSpec, Params};

pub(super) const STAGE: StageSpec = StageSpec {
    name: "dry",
    letter: Some('d'),
    aliases: &[],
    params: &[&MULTIPLIER, &BASE, &ALLOWED_LENGTH, &PENALTY_LAST_N, &SEQUENCE_BREAKERS],
    build,
};

const MULTIPLIER: ParamSpec = ParamSpec {
    field: "dry_multiplier",
    flags: &["--dry-multiplier"],
    kind: Kind::Float { min: f32::MIN, max: f32::MAX, default: 0.0 },
    help: "DRY: penalty of a token that continues a repetition, multiplier * base ^ (length - allowed length) (0.0 = disabled)",
    group: "DRY",
};

const BASE: ParamSpec = ParamSpec {
    field: "dry_base",
    flags: &["--dry-base"],
    kind: Kind::Float { min: 1.0, max: f32::MAX, default: 1.75 },
    help: "DRY: base of the penalty",
    group: "DRY",
};

const ALLOWED_LENGTH: ParamSpec = ParamSpec {
    field: "dry_allowed_length",
    flags: &["--dry-allowed-length"],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 2 },
    help: "DRY: repetitions up to this length go free",
    group: "DRY",
};

const PENALTY_LAST_N: ParamSpec = ParamSpec {
    field: "dry_penalty_last_n",
    flags: &["--dry-penalty-last-n"],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 64 },
    help: "DRY: last n tokens to search for repetitions (0 = disabled)",
    group: "DRY",
};

const SEQUENCE_BREAKERS: ParamSpec = ParamSpec {
    field: "dry_sequence_breakers",
    flags: &["--dry-sequence-breaker"],
    kind: Kind::Texts { default: &["\n", ":", "\"", "*"] },
    help: "DRY: text that ends a repetition; may be repeated, replaces the defaults, `none` for no breakers",
    group: "DRY",
};

/// A token sequence that ends a repetition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breaker {
    /// Token in which the breaker's text begins (anywhere in the token).
    pub head: u32,
    /// Tokens that must follow; empty when the head holds the whole text.
    pub tail: Vec<u32>,
}

/// Bytes of a breaker's text and tokens of a tail that count, as in llama.cpp.
const MAX_BREAKER_BYTES: usize = 40;
const MAX_TAIL_TOKENS: usize = 20;

/// The texts to make breakers of; none when DRY is off.
pub fn breaker_texts(params: &Params) -> Vec<String> {
    if is_on(params) { params.texts(&SEQUENCE_BREAKERS) } else { Vec::new() }
}

/// Finds every token in which one of the texts lies or begins. `piece` appends the bytes of a token (special ones
/// too); `encode` turns the rest of a text that reaches beyond a token into tokens. Walks the vocabulary: once per
/// model and list of texts.
pub fn breakers(
    texts: &[String],
    num_tokens: usize,
    mut piece: impl FnMut(u32, &mut Vec<u8>),
    mut encode: impl FnMut(&[u8]) -> Vec<u32>,
) -> Vec<Breaker> {
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    for head in 0..num_tokens as u32 {
        bytes.clear();
        piece(head, &mut bytes);
        for text in texts.iter().map(|text| &text.as_bytes()[..text.len().min(MAX_BREAKER_BYTES)]) {
            if text.is_empty() {
                continue;
            }
            if bytes.windows(text.len()).any(|window| window == text) {
                found.push(Breaker { head, tail: Vec::new() });
                continue;
            }
            for start in (bytes.len() + 1).saturating_sub(text.len())..bytes.len() {
                if let Some(rest) = text.strip_prefix(&bytes[start..]) {
                    let mut tail = encode(rest);
                    tail.truncate(MAX_TAIL_TOKENS);
                    found.push(Breaker { head, tail });
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn is_on(params: &Params) -> bool {
    params.float(&MULTIPLIER) != 0.0 && params.int(&PENALTY_LAST_N) > 0
}

fn build(setup: &Setup) -> Built {
    let params = setup.params;
    let mut breakers = setup.vocab.breakers.to_vec();
    breakers.sort();
    Ok(is_on(params).then(|| {
        Box::new(Dry {
            multiplier: params.float(&MULTIPLIER),
            base: params.float(&BASE),
            allowed: params.int(&ALLOWED_LENGTH) as usize,
            last_n: params.int(&PENALTY_LAST_N) as usize,
            breakers,
            matched: Vec::new(),
            repeats: Vec::new(),
        }) as _
    }))
}

#[derive(Debug, Clone)]
struct Dry {
    multiplier: f32,
    base: f32,
    allowed: usize,
    last_n: usize,
    breakers: Vec<Breaker>,     // sorted, so that one head's breakers lie together
    matched: Vec<usize>,        // scratch of `match_lengths`
    repeats: Vec<(u32, usize)>, // scratch: (token that would continue a repetition, its length so far)
}

impl Stage for Dry {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        self.edit(candidates, step);
    }

    fn effect(&self) -> Effect {
        Effect::Edit
    }

    fn edit(&mut self, logits: &mut dyn Editable, step: &Step) {
        let window = step.last(self.last_n);
        let limit = self.unbroken(window);
        if window.len() <= self.allowed || limit < self.allowed {
            return;
        }
        match_lengths(window, &mut self.matched);
        self.repeats.clear();
        for (distance, &length) in self.matched.iter().enumerate().skip(1) {
            let length = length.min(limit);
            if length >= self.allowed {
                self.repeats.push((window[window.len() - distance], length));
            }
        }
        self.repeats.sort_unstable();
        for same in self.repeats.chunk_by(|a, b| a.0 == b.0) {
            let (token, longest) = same[same.len() - 1];
            if !self.of_head(token).iter().any(|breaker| breaker.tail.is_empty()) {
                let penalty = self.penalty(longest);
                logits.change(token, &|logit| logit - penalty);
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

impl Dry {
    /// Number of tokens at the end of the window after its last breaker.
    fn unbroken(&self, window: &[u32]) -> usize {
        for (start, &head) in window.iter().enumerate().rev() {
            let after = &window[start + 1..];
            let fits = |breaker: &&Breaker| after.starts_with(&breaker.tail);
            if let Some(tail) = self.of_head(head).iter().filter(fits).map(|breaker| breaker.tail.len()).max() {
                return after.len() - tail;
            }
        }
        window.len()
    }

    fn of_head(&self, head: u32) -> &[Breaker] {
        let start = self.breakers.partition_point(|breaker| breaker.head < head);
        let count = self.breakers[start..].partition_point(|breaker| breaker.head == head);
        &self.breakers[start..start + count]
    }

    fn penalty(&self, length: usize) -> f32 {
        let mut exponent = length - self.allowed;
        if self.base > 1.000_001 {
            exponent = exponent.min((f32::MAX.ln() / self.base.ln()) as usize); // the power stays below f32::MAX
        }
        (f64::from(self.multiplier) * f64::from(self.base).powf(exponent as f64)) as f32
    }
}

/// For every distance d ≥ 1, how many tokens before `tokens[len − d]` equal those at the end of `tokens`: the
/// Z-function of the reversed sequence, in linear time. `lengths[0]` is 0.
fn match_lengths(tokens: &[u32], lengths: &mut Vec<usize>) {
    let len = tokens.len();
    let back = |i: usize| tokens[len - 1 - i]; // reversed
    lengths.clear();
    lengths.resize(len, 0);
    let (mut left, mut right) = (0, 0); // back(left..right) is known to equal back(0..right − left)
    for d in 1..len {
        let mut length = if d < right { lengths[d - left].min(right - d) } else { 0 };
        while d + length < len && back(length) == back(d + length) {
            length += 1;
        }
        if d + length > right {
            (left, right) = (d, d + length);
        }
        lengths[d] = length;
    }
}
