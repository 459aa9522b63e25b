//! The ids llama.cpp gives, for synthetic vocabularies under every pre-tokenizer name, for a
//! synthetic SentencePiece vocabulary, and for SmolLM2 where its file is at hand.

use crate::synthetic;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use text::{Detokenize, Encode, Tokenizer};

fn golden(text: &str) -> Json {
    serde_json::from_str(text).expect("a golden file")
}

fn strs<'j>(json: &'j Json, key: &str) -> Vec<&'j str> {
    json[key].as_array().expect(key).iter().map(|item| item.as_str().expect(key)).collect()
}

fn ids(line: &str) -> Vec<u32> {
    line.split_whitespace().map(|id| id.parse().expect("an id")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("hex"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("hex")).collect()
}

#[test]
fn every_pre_tokenizer_name() {
    let golden = golden(include_str!("../data/pretokenizers.json"));
    let (units, texts) = (strs(&golden, "units"), strs(&golden, "texts"));
    let (adds_bos, cleans) = (strs(&golden, "adds_bos"), strs(&golden, "cleans_spaces"));
    let mut seen = BTreeSet::from([""]);
    for row in golden["rows"].as_array().expect("rows") {
        for name in strs(row, "names") {
            seen.insert(name);
            let metadata = match name {
                "whitespace" => synthetic::plain("whitespace", name, &units, " "),
                "gemma4" | "granite-embed-multi-311m" | "sarvam-moe" => synthetic::plain("gpt2", name, &units, "▁"),
                _ => synthetic::byte_level(name, &units),
            };
            let tokenizer = Tokenizer::from_metadata(&metadata).expect(name);
            for (text, expected) in texts.iter().zip(strs(row, "ids")) {
                assert_eq!(tokenizer.encode(text, Encode::TEXT), ids(expected), "{name}: {text:?}");
            }
            assert_eq!(tokenizer.vocab().add_bos(), adds_bos.contains(&name), "{name}");
            let spaced = tokenizer.encode("a !", Encode::TEXT);
            let back = tokenizer.detokenize(&spaced, Detokenize::default()).expect("known ids");
            assert_eq!(back == b"a!", cleans.contains(&name), "{name}: {back:?}");
        }
    }
    assert_eq!(seen, text::pre_tokenizers().collect(), "names without golden ids, or unknown ones");
}

fn check_cases(tokenizer: &Tokenizer, cases: &Json) {
    for case in cases.as_array().expect("cases") {
        let text = bytes(case["text"].as_str().expect("text"));
        let flag = |key: &str| case[key].as_bool().expect("a flag");
        let how = Encode { add_special: flag("special"), parse_special: flag("parse") };
        let encoded = tokenizer.encode(&text, how);
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(encoded, ids(case["ids"].as_str().expect("ids")), "{shown:?} {how:?}");
        let how = Detokenize { remove_special: flag("special"), unparse_special: flag("parse") };
        let back = tokenizer.detokenize(&encoded, how).expect("known ids");
        assert_eq!(back, bytes(case["back"].as_str().expect("back")), "{shown:?} {how:?}");
    }
}

#[test]
fn sentencepiece() {
    let golden = golden(include_str!("../data/sentencepiece.json"));
    let units = strs(&golden, "units");
    for (name, cases) in [("synthetic", &golden["plain"]), ("Phi-3 synthetic", &golden["phi3"])] {
        let metadata = synthetic::sentencepiece(name, &units);
        let tokenizer = Tokenizer::from_metadata(&metadata).expect("a tokenizer");
        check_cases(&tokenizer, cases);
    }
}

/// Needs the model that `chaski pull smollm2` leaves in the cache.
#[test]
fn smollm2() {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let path = std::path::Path::new(&home).join(".cache/chaski/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let Ok(file) = std::fs::read(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let metadata = gguf::Gguf::parse(&file).expect("a GGUF file").metadata;
    let tokenizer = Tokenizer::from_metadata(&metadata).expect("a tokenizer");
    check_cases(&tokenizer, &golden(include_str!("../data/smollm2.json"))["cases"]);
    let special = tokenizer.vocab().special();
    assert_eq!((special.bos, special.eos, special.eot, special.nl), (Some(1), Some(2), Some(2), Some(198)));
    assert_eq!(tokenizer.vocab().eog().collect::<Vec<_>>(), [0, 2, 4]);
}
