//! What a mask costs: `cargo run --release -p text --example masks -- MODEL`.
//!
//! Walks a text of each grammar token by token and times the mask at each place, several times over. The first walk
//! finds what later ones have at hand, so it is told apart.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use text::grammar::{Constraint, Grammars};
use text::{Encode, Tokenizer};

/// Walks of each text.
const WALKS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: masks MODEL")?;
    let model = gguf::Gguf::parse(&std::fs::read(path)?)?;
    let tokenizer = Arc::new(Tokenizer::from_metadata(&model.metadata)?);
    let begin = Instant::now();
    let grammars = Grammars::new(tokenizer.clone())?;
    println!("{} tokens, tree made in {} ms", tokenizer.vocab().len(), begin.elapsed().as_millis());
    println!(
        "{:12} {:>8} {:>6}   first walk: {:>7} {:>7} {:>7}   later: {:>7} {:>7} {:>7}   µs",
        "grammar", "compiled", "tokens", "median", "p99", "worst", "median", "p99", "worst"
    );
    for (name, constraint, text) in cases() {
        let begin = Instant::now();
        let fresh = grammars.compile(&constraint)?;
        let compiled_us = begin.elapsed().as_micros();
        let tokens = tokenizer.encode(&text, Encode::TEXT);
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for walk in 0..WALKS {
            // The copy of a matcher begins with the same memory as every request's.
            let mut matcher = fresh.clone();
            for &token in &tokens {
                let begin = Instant::now();
                matcher.allowed()?;
                let took = begin.elapsed().as_secs_f64() * 1e6;
                if walk == 0 {
                    first.push(took)
                } else {
                    later.push(took)
                }
                matcher.accept(token)?;
            }
        }
        println!(
            "{name:12} {compiled_us:8} {:6}               {}          {}",
            tokens.len(),
            spread(first),
            spread(later)
        );
    }
    Ok(())
}

fn spread(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    format!("{:7.1} {:7.1} {:7.1}", at(0.5), at(0.99), at(1.0))
}

fn cases() -> Vec<(&'static str, Constraint, String)> {
    let item = |at: usize| json!({"name": format!("Item number {at}: \"blue\" paint"), "price": at as f64 * 1.5, "tags": ["a b", "longer tag"], "inStock": at.is_multiple_of(2)});
    let list = Value::Array((0..12).map(item).collect());
    let schema = json!({"type": "array", "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string"}, "price": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}}, "inStock": {"type": "boolean"},
        },
        "required": ["name", "price", "tags", "inStock"], "additionalProperties": false,
    }});
    let json_gbnf = concat!("root ::= value\n", include_str!("../src/grammar/samples/json.gbnf"));
    let sums = include_str!("../src/grammar/samples/sums.gbnf");
    let lines = "- a first thing to do\n- another thing, which is longer\n- the last\n".repeat(6);
    vec![
        ("schema", Constraint::Schema(schema), list.to_string()),
        ("json object", Constraint::Schema(json!({})), json!({"items": list}).to_string()),
        ("json.gbnf", Constraint::Grammar(json_gbnf.into()), list.to_string()),
        ("sums.gbnf", Constraint::Grammar(sums.into()), "x1 + (2*y_long - 3) = z\n(a+b)*(a-b) = c\n".repeat(6)),
        ("list.gbnf", Constraint::Grammar("root ::= (\"- \" [^\\n]+ \"\\n\")+".into()), lines),
        (
            "regex",
            Constraint::Regex(r"(\d{4}-\d{2}-\d{2}( \d{2}:\d{2})?\n)+".into()),
            "2024-02-29 12:30\n1999-12-31\n".repeat(8),
        ),
    ]
}
