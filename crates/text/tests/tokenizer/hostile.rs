//! Broken vocabularies get an error that names what is broken; broken or monstrous texts get ids.

use crate::synthetic::{self, set, strings, with};
use gguf::{Array, Metadata, Value};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use text::{Detokenize, Encode, Tokenizer};

const UNITS: [&str; 6] = ["a", "b", " ", "é", "1", "\n"];

static BPE: LazyLock<Tokenizer> = LazyLock::new(|| build(&synthetic::byte_level("smollm", &UNITS)));
/// Without the space in front, which after special tokens stays in the text.
static SPM: LazyLock<Tokenizer> = LazyLock::new(|| {
    let metadata = synthetic::sentencepiece("x", &["▁", "a", "é", "<", ">"]);
    build(&with(&metadata, "tokenizer.ggml.add_space_prefix", Some(Value::Bool(false))))
});

fn build(metadata: &Metadata) -> Tokenizer {
    Tokenizer::from_metadata(metadata).expect("a tokenizer")
}

fn error(metadata: &Metadata) -> String {
    Tokenizer::from_metadata(metadata).expect_err("an error").to_string()
}

#[test]
fn broken_metadata_is_named() {
    let good = synthetic::byte_level("smollm", &UNITS);
    build(&good);
    let text = |text: &str| Some(Value::String(text.into()));
    let i32s = |len: usize| Some(Value::Array(Array::I32(vec![1; len])));
    let cases = [
        ("tokenizer.ggml.model", None, "tokenizer.ggml.model is missing"),
        ("tokenizer.ggml.tokens", None, "tokenizer.ggml.tokens is missing"),
        ("tokenizer.ggml.merges", None, "tokenizer.ggml.merges is missing"),
        ("tokenizer.ggml.model", text("bert"), "`bert` is not supported"),
        ("tokenizer.ggml.model", text("t5"), "`t5` is not supported"),
        ("tokenizer.ggml.model", text("rwkv"), "`rwkv` is not supported"),
        ("tokenizer.ggml.model", Some(Value::U32(1)), "tokenizer.ggml.model"),
        ("tokenizer.ggml.pre", text("qwen9"), "unknown pre-tokenizer `qwen9`"),
        ("tokenizer.ggml.tokens", Some(strings::<&str>(&[])), "tokenizer.ggml.tokens: 0 elements"),
        ("tokenizer.ggml.tokens", Some(strings(&["a", "b", "a"])), "tokens 0 and 2 are both `a`"),
        ("tokenizer.ggml.tokens", Some(strings(&["x y", "b", "x y"])), "tokens 0 and 2 are both `x y`"),
        ("tokenizer.ggml.tokens", i32s(3), "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.scores", Some(Value::Array(Array::F32(vec![0.0; 3]))), "tokenizer.ggml.scores: 3 elements"),
        ("tokenizer.ggml.token_type", i32s(2), "tokenizer.ggml.token_type: 2 elements"),
        ("tokenizer.ggml.eos_token_id", Some(Value::U32(100_000)), "eos_token_id: token id 100000 is out of range"),
        ("tokenizer.ggml.add_bos_token", text("yes"), "tokenizer.ggml.add_bos_token"),
    ];
    for (key, value, expected) in cases {
        let message = error(&with(&good, key, value));
        assert!(message.contains(expected), "{key}: {message}");
    }
    assert!(error(&Metadata::default()).contains("tokenizer.ggml.model is missing"));
}

#[test]
fn odd_but_loadable() {
    // No kinds, no scores, empty and undecodable tokens, merges of every broken form.
    let mut metadata = Metadata::default();
    set(&mut metadata, "tokenizer.ggml.model", Value::String(b"gpt2".to_vec()));
    set(&mut metadata, "tokenizer.ggml.tokens", strings(&[&b"a"[..], b"", b"\xff", b"b", b"b c", b"ab"]));
    let merges = [&b""[..], b" ", b"a", b"a ", b" b", b"a b", b"a b", b"b a", b"\xff b", b"a  b"];
    set(&mut metadata, "tokenizer.ggml.merges", strings(&merges));
    set(&mut metadata, "tokenizer.ggml.padding_token_id", Value::U32(u32::MAX));
    let tokenizer = build(&metadata);
    assert_eq!(tokenizer.encode("ab", Encode::TEXT), [5]);
    // "ba" is merged though no token is spelled so, and comes out as its letters.
    assert_eq!(tokenizer.encode("ba", Encode::TEXT), [3, 0]);
    // What has no token at all is left out, as llama.cpp does.
    assert_eq!(tokenizer.encode("a?b", Encode::TEXT), [0, 3]);
    assert_eq!(tokenizer.piece(1, false).as_ref(), b"[EMPTY_1]");
    assert_eq!(tokenizer.piece(99, true).as_ref(), b"");
    assert_eq!(tokenizer.vocab().special().pad, None);
    let error = tokenizer.detokenize(&[0, 6], Detokenize::default()).expect_err("an error");
    assert_eq!(error.to_string(), "token id 6 is out of range, the vocabulary has 6 tokens");
}

#[test]
fn a_million_times_the_same() {
    let start = Instant::now();
    for unit in ["a", " ", "\n", "é", "\u{3000}", "1", "'", "<|endoftext|>", "\n\n\n ", "a\n"] {
        let text = unit.repeat(1_000_000 / unit.len());
        for tokenizer in [&*BPE, &*SPM] {
            assert!(!tokenizer.encode(&text, Encode::PROMPT).is_empty());
        }
    }
    // What would take the square of the length takes minutes; this takes seconds even unoptimised.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn long_runs_in_every_pre_tokenizer() {
    let start = Instant::now();
    for name in text::pre_tokenizers() {
        let tokenizer = build(&match name {
            "gemma4" | "granite-embed-multi-311m" | "sarvam-moe" => synthetic::plain("gpt2", name, &["a"], "▁"),
            "whitespace" => synthetic::plain(name, name, &["a"], " "),
            _ => synthetic::byte_level(name, &["a"]),
        });
        for unit in ["a", "A", " ", "\n ", "1", "!", "\u{301}", "<sentinel:1", "IMGIMGA"] {
            let text = unit.repeat(50_000 / unit.len());
            assert!(!tokenizer.encode(text + "!", Encode::TEXT).is_empty(), "{name}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn bytes_survive(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let back = BPE.detokenize(&BPE.encode(&text, Encode::TEXT), Detokenize::default()).expect("known ids");
        if std::str::from_utf8(&text).is_ok() {
            prop_assert_eq!(back, text.clone());
        }
        // SentencePiece keeps every byte, even of broken UTF-8, but a space may come back as `▁`.
        let back = SPM.detokenize(&SPM.encode(&text, Encode::TEXT), Detokenize::default()).expect("known ids");
        let spaced = |text: &[u8]| String::from_utf8_lossy(text).replace('▁', " ");
        prop_assert_eq!(spaced(&back), spaced(&text));
    }

    #[test]
    fn text_survives(text in "[ab é1\n'!a-z一-二]{0,300}") {
        for tokenizer in [&*BPE, &*SPM] {
            let ids = tokenizer.encode(&text, Encode::PROMPT);
            let how = Detokenize { remove_special: true, unparse_special: true };
            let back = tokenizer.detokenize(&ids, how).expect("known ids");
            prop_assert_eq!(String::from_utf8(back).expect("UTF-8"), text.clone());
        }
    }
}
