//! Vocabularies small enough to build in a test, in which almost any two pieces of text merge, so
//! that a word cut in the wrong place gives other ids. Used by the tests that compare with golden
//! ids; the same vocabularies were given to llama.cpp to take them.

use gguf::{Array, Metadata, StringArray, Value};
use std::collections::HashSet;

/// Tokens and what goes with them, while a vocabulary is put together.
#[derive(Default)]
pub struct Parts {
    tokens: Vec<String>,
    seen: HashSet<String>,
    merges: Vec<String>,
}

impl Parts {
    fn token(&mut self, text: &str) -> bool {
        let new = self.seen.insert(text.to_string());
        if new {
            self.tokens.push(text.to_string());
        }
        new
    }

    fn tokens(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            self.token(&text);
        }
    }

    fn merge(&mut self, left: &str, right: &str) {
        self.merges.push(format!("{left} {right}"));
        self.token(&format!("{left}{right}"));
    }
}

/// A byte-level vocabulary: all bytes, then `units` in ones, twos and threes.
pub fn byte_level(pre: &str, units: &[&str]) -> Metadata {
    let spell = |text: &str| text.bytes().map(char_of).collect::<String>();
    let mut parts = Parts::default();
    parts.tokens((0..=255).map(|byte| char_of(byte).to_string()));
    for unit in units {
        let mut whole = String::new();
        for byte in unit.bytes().map(|byte| char_of(byte).to_string()) {
            if !whole.is_empty() {
                parts.merge(&whole, &byte);
            }
            whole += &byte;
        }
    }
    let units: Vec<String> = units.iter().map(|unit| spell(unit)).collect();
    combine(&mut parts, &units);
    let kinds = vec![1; parts.tokens.len()];
    metadata("gpt2", pre, parts, kinds)
}

/// A vocabulary of plain characters, with `space` as the spelling of a space.
pub fn plain(model: &str, pre: &str, units: &[&str], space: &str) -> Metadata {
    let units: Vec<String> = units.iter().map(|unit| unit.replace(' ', space)).collect();
    let mut parts = Parts::default();
    parts.tokens((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    parts.tokens((33..127u8).map(|byte| char::from(byte).to_string()));
    parts.tokens(units.iter().filter(|unit| !unit.is_ascii() || [" ", "\n"].contains(&unit.as_str())).cloned());
    let units: Vec<String> = units.into_iter().filter(|unit| ![" ", "\n"].contains(&unit.as_str())).collect();
    combine(&mut parts, &units);
    let kinds = (0..parts.tokens.len()).map(|id| if id < 256 { 6 } else { 1 }).collect();
    metadata(model, pre, parts, kinds)
}

fn combine(parts: &mut Parts, units: &[String]) {
    let pairs: Vec<String> = units.iter().flat_map(|x| units.iter().map(move |y| format!("{x}{y}"))).collect();
    for x in units {
        units.iter().for_each(|y| parts.merge(x, y));
    }
    for pair in &pairs {
        units.iter().for_each(|unit| parts.merge(pair, unit));
    }
}

fn metadata(model: &str, pre: &str, parts: Parts, kinds: Vec<i32>) -> Metadata {
    let mut metadata = Metadata::default();
    set(&mut metadata, "tokenizer.ggml.model", Value::String(model.into()));
    set(&mut metadata, "tokenizer.ggml.pre", Value::String(pre.into()));
    set(&mut metadata, "tokenizer.ggml.tokens", strings(&parts.tokens));
    set(&mut metadata, "tokenizer.ggml.merges", strings(&parts.merges));
    set(&mut metadata, "tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    set(&mut metadata, "tokenizer.ggml.bos_token_id", Value::U32(0));
    set(&mut metadata, "tokenizer.ggml.eos_token_id", Value::U32(0));
    metadata
}

/// A SentencePiece vocabulary: `units` in ones, twos and threes, with made-up scores of which many
/// are equal, and tokens of every kind.
pub fn sentencepiece(name: &str, units: &[&str]) -> Metadata {
    let mut parts = Parts::default();
    parts.tokens(["<unk>", "<s>", "</s>"].map(String::from));
    parts.tokens((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, 3, 3];
    kinds.resize(259, 6);
    let mut scores = vec![0.0f32; 259];
    let mut state = 1u64;
    let mut add = |text: &str, kind: i32| {
        state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff;
        if parts.token(text) {
            kinds.push(kind);
            scores.push(-(((state >> 16) % 50) as f32));
        } else if kind != 1 {
            let id = parts.tokens.iter().position(|token| token == text);
            kinds[id.expect("the token was seen")] = kind;
        }
    };
    units.iter().for_each(|unit| add(unit, 1));
    for x in units {
        units.iter().for_each(|y| add(&format!("{x}{y}"), 1));
    }
    for x in units {
        for y in units {
            units.iter().for_each(|z| add(&format!("{x}{y}{z}"), 1));
        }
    }
    let special = [("<a>", 4), ("<a><b>", 4), ("<b>", 3), ("\n\n", 4), ("\n\n\n", 4), ("<|end|>", 3)];
    special.iter().chain(&[("<|endoftext|>", 3)]).for_each(|(text, kind)| add(text, *kind));
    let mut metadata = Metadata::default();
    set(&mut metadata, "general.name", Value::String(name.into()));
    set(&mut metadata, "tokenizer.ggml.model", Value::String(b"llama".to_vec()));
    set(&mut metadata, "tokenizer.ggml.tokens", strings(&parts.tokens));
    set(&mut metadata, "tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    set(&mut metadata, "tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata
}

/// An array of strings as a value.
pub fn strings<S: AsRef<[u8]>>(all: &[S]) -> Value {
    let mut array = StringArray::default();
    all.iter().for_each(|text| array.push(text.as_ref()));
    Value::Array(Array::String(array))
}

/// Enters a key that is not there yet.
pub fn set(metadata: &mut Metadata, key: &str, value: Value) {
    metadata.insert(key.into(), value).expect("a new key");
}

/// The same metadata with one key changed, added, or (with `None`) taken out.
pub fn with(metadata: &Metadata, key: &str, value: Option<Value>) -> Metadata {
    let mut changed = Metadata::default();
    for (old, kept) in metadata.iter().filter(|(old, _)| *old != key) {
        set(&mut changed, old, kept.clone());
    }
    if let Some(value) = value {
        set(&mut changed, key, value);
    }
    changed
}

/// The byte-level alphabet: printable Latin-1 for itself, the others from U+0100 on.
fn char_of(byte: u8) -> char {
    let own = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if own(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&byte| !own(byte)).count() as u32;
    char::from_u32(256 + before).expect("a code point below U+0200")
}
