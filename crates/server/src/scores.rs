//! Probabilities of tokens on the wire: llama-server's lists (also under OpenAI's chat) and OpenAI's older form
//! of `/v1/completions`, which evaluation tools read.

use std::fmt::Write;

use engine::sequence::FinishReason;
use engine::stream::TokenScore;
use serde_json::{Map, Value, json};
use text::{Detokenizer, Encode, Tokenizer};

use crate::convert::options::Options;
use crate::generate::Answer;

/// llama-server's list: `id`, `token`, `bytes`, `logprob` and `top_logprobs` (or `prob` and `top_probs`).
pub fn list(tokenizer: &Tokenizer, scores: &[TokenScore], after_sampling: bool) -> Value {
    let (name, top_name) = if after_sampling { ("prob", "top_probs") } else { ("logprob", "top_logprobs") };
    let shown = |token: u32, score: f32| {
        let bytes = tokenizer.piece(token, true);
        let mut object = Map::new();
        object.insert("id".into(), token.into());
        object.insert("token".into(), whole_characters(&bytes).into());
        object.insert("bytes".into(), json!(bytes));
        object.insert(name.into(), finite(score));
        object
    };
    let row = |score: &TokenScore| {
        let mut object = shown(score.token, score.score);
        // Some stages of a chain leave tokens with no chance among the candidates, others drop them.
        let kept = score.top.iter().filter(|(_, score)| !after_sampling || *score > 0.0);
        let top = kept.map(|&(token, score)| Value::Object(shown(token, score)));
        object.insert(top_name.into(), Value::Array(top.collect()));
        Value::Object(object)
    };
    Value::Array(scores.iter().map(row).collect())
}

/// The scores of an answer's tokens, less those of the stop string that ended it, which is no part of its text.
pub fn kept<'a>(tokenizer: &Tokenizer, options: &Options, answer: &'a Answer) -> &'a [TokenScore] {
    let stop = answer.end.and_then(|end| match end.reason {
        FinishReason::Stop(index) => options.stop.get(index as usize),
        _ => None,
    });
    let cut = stop.map_or(0, |stop| tokenizer.encode(stop, Encode::TEXT).len());
    &answer.scores[..answer.scores.len().saturating_sub(cut)]
}

/// OpenAI's older form, built up token by token: parallel lists, offsets in characters.
pub struct Legacy<'a> {
    tokenizer: &'a Tokenizer,
    tokens: Vec<Value>,
    scores: Vec<Value>,
    top: Vec<Value>,
    offsets: Vec<Value>,
    place: &'a mut Place,
}

/// How far the text is, in characters.
#[derive(Default)]
pub struct Place {
    characters: usize,
    detokenizer: Detokenizer,
}

impl<'a> Legacy<'a> {
    /// Goes on from `place`.
    pub fn new(tokenizer: &'a Tokenizer, place: &'a mut Place) -> Self {
        Legacy { tokenizer, tokens: Vec::new(), scores: Vec::new(), top: Vec::new(), offsets: Vec::new(), place }
    }

    /// A token without a score: the first of a prompt. `hidden`: its text is no part of the answer's.
    pub fn unscored(&mut self, token: u32, hidden: bool) {
        self.token(token, hidden);
        self.scores.push(Value::Null);
        self.top.push(Value::Null);
    }

    /// A token with its score.
    pub fn scored(&mut self, score: &TokenScore) {
        self.token(score.token, false);
        self.scores.push(finite(score.score));
        let mut top = Map::new();
        for &(token, score) in &score.top {
            // Of tokens that are spelled alike the likeliest, which comes first.
            top.entry(spelled(&self.tokenizer.piece(token, true))).or_insert(finite(score));
        }
        self.top.push(Value::Object(top));
    }

    /// The object, with llama-server's list beside it.
    pub fn object(self, content: Value) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.scores,
            "top_logprobs": self.top,
            "text_offset": self.offsets,
            "content": content,
        })
    }

    fn token(&mut self, token: u32, hidden: bool) {
        let bytes = self.tokenizer.piece(token, true);
        self.tokens.push(spelled(&bytes).into());
        self.offsets.push(self.place.characters.into());
        if !hidden {
            self.place.characters += self.place.detokenizer.push_bytes(&bytes).chars().count();
        }
    }
}

/// The text of a token, or its bytes where they are no text.
fn spelled(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
            text
        }),
    }
}

/// The text up to a character that is cut off.
fn whole_characters(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(problem) if problem.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..problem.valid_up_to()]).into_owned()
        }
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// JSON has no infinities: the least number stands for an excluded token, as in llama-server.
fn finite(score: f32) -> Value {
    json!(if score.is_finite() { score } else { f32::MIN })
}
