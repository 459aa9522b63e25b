//! The chain against llama.cpp's samplers on the same rows. `golden.txt` says how to read it.
//!
//! llama.cpp sorts without a rule for ties: where it leaves only some of the tokens that share a logit, their number
//! and logit are compared, of all others the ids too.

use crate::{Lcg, survivors};
use engine::sampler::Breaker;
use std::collections::HashMap;

fn row(kind: &str, len: usize, seed: u32) -> Vec<f32> {
    let mut lcg = Lcg(seed);
    let mut logits: Vec<f32> = (0..len)
        .map(|_| {
            let v = f64::from(lcg.bits() % 1024);
            match kind {
                "peaky" => (v * v * v / 2f64.powi(30) * 20.0 - 6.0) as f32,
                "flat" => (v / 256.0 - 2.0) as f32,
                "equal" => 1.5,
                "onehot" => -30.0,
                _ => panic!("row {kind}"),
            }
        })
        .collect();
    if kind == "onehot" {
        logits[len / 2] = 10.0;
    }
    logits
}

fn numbers(text: &str, separator: char) -> Vec<u32> {
    text.split(separator).map(|word| word.parse().expect("a token")).collect()
}

fn float(hex: &str) -> f32 {
    f32::from_bits(u32::from_str_radix(hex, 16).expect("hex"))
}

/// Within the rounding of f32: llama.cpp sums probabilities in f32, we do not.
fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 4e-6 * a.abs().max(b.abs()).max(1.0)
}

/// Compares what is left of `row` with an `is` or `keeps` line; the reason when it differs.
fn compare(row: &[f32], got: &[(u32, f32)], kind: &str, want: &str) -> Result<(), String> {
    let (mut there, mut kept) = (HashMap::new(), HashMap::new());
    row.iter().for_each(|logit| *there.entry(logit.to_bits()).or_insert(0) += 1);
    got.iter().for_each(|&(id, _)| *kept.entry(row[id as usize].to_bits()).or_insert(0) += 1);
    let whole = |id: u32| {
        let bits = row[id as usize].to_bits();
        there[&bits] == kept[&bits]
    };
    let mut sorted: Vec<f32> = got.iter().map(|&(_, logit)| logit).collect();
    sorted.sort_by(f32::total_cmp);
    if kind == "keeps" {
        let words: Vec<&str> = want.split(' ').collect();
        let sum: u32 = got.iter().map(|&(id, _)| id).filter(|&id| whole(id)).sum();
        let [lowest, median, highest] = [0, sorted.len() / 2, sorted.len() - 1].map(|nth| sorted[nth]);
        let same = got.len() == words[0].parse::<usize>().expect("count")
            && sum == words[1].parse::<u32>().expect("sum")
            && close(lowest, float(words[2]))
            && close(median, float(words[3]))
            && close(highest, float(words[4]));
        return if same { Ok(()) } else { Err(format!("{} {sum} {lowest} {median} {highest}", got.len())) };
    }
    let want: Vec<(&str, f32)> =
        want.split(' ').filter_map(|pair| pair.split_once(':')).map(|(id, bits)| (id, float(bits))).collect();
    let mut wanted: Vec<f32> = want.iter().map(|&(_, logit)| logit).collect();
    wanted.sort_by(f32::total_cmp);
    let certain: Vec<(u32, f32)> = got.iter().copied().filter(|&(id, _)| whole(id)).collect();
    let wanted_certain =
        want.iter().filter(|(id, _)| *id != "?").map(|(id, logit)| (id.parse::<u32>().unwrap(), logit));
    let same = sorted.len() == wanted.len()
        && sorted.iter().zip(&wanted).all(|(&a, &b)| close(a, b))
        && certain.len() == wanted_certain.clone().count()
        && certain.iter().zip(wanted_certain).all(|(a, b)| a.0 == b.0 && close(a.1, *b.1));
    if same { Ok(()) } else { Err(format!("{got:?}")) }
}

#[test]
fn leaves_what_llama_cpp_leaves() {
    let (mut logits, mut text, mut history, mut breakers) = (Vec::new(), "", Vec::new(), Vec::new());
    let (mut cases, mut failures) = (0, Vec::new());
    for line in include_str!("golden.txt").lines().filter(|line| !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').expect("word and rest");
        match word {
            "row" => {
                let words: Vec<&str> = rest.split(' ').collect();
                logits = row(words[0], words[1].parse().expect("length"), words[2].parse().expect("seed"));
                (history, breakers) = (Vec::new(), Vec::new());
            }
            "params" => text = rest,
            "history" => history = numbers(rest, ' '),
            "breakers" => {
                let breaker = |tokens: Vec<u32>| Breaker { head: tokens[0], tail: tokens[1..].to_vec() };
                breakers = rest.split(' ').map(|tokens| breaker(numbers(tokens, ','))).collect();
            }
            kind => {
                cases += 1;
                if let Err(got) = compare(&logits, &survivors(text, &logits, &history, &breakers), kind, rest) {
                    failures.push(format!(
                        "{text} on {} logits after {history:?} {breakers:?}\n want {rest}\n got  {got}",
                        logits.len()
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {cases}:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(cases, 489, "every case of the file has been read");
}
