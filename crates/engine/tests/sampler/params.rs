//! Parameters: llama.cpp's names and defaults, ranges, messages; and the errors of building and sampling.

use crate::{params, sample, sampler};
use engine::sampler::{
    Candidates, Error, Kind, PARAMS, ParamValue, Params, STAGES, Sampler, VocabInfo, breaker_texts, logprobs,
};
use std::collections::HashSet;

fn error(field: &str, value: &str) -> String {
    Params::default().parse(field, value).expect_err(value).to_string()
}

fn stages(text: &str) -> Vec<&'static str> {
    sampler(text, 10, &[], &[]).stages().collect()
}

#[test]
fn fields_and_flags_are_unique_and_every_default_is_in_range() {
    let (mut fields, mut flags) = (HashSet::new(), HashSet::new());
    for spec in PARAMS {
        assert!(fields.insert(spec.field), "field {} twice", spec.field);
        spec.flags.iter().for_each(|flag| assert!(flags.insert(*flag), "flag {flag} twice"));
        assert!(spec.flags.iter().all(|flag| flag.starts_with('-')));
        assert!(!spec.help.is_empty() && !spec.group.is_empty() && !spec.range().is_empty());
        if spec.kind != Kind::StageLetters {
            Params::default().set(spec.field, &spec.default()).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    assert_eq!(PARAMS.len(), STAGES.iter().map(|stage| stage.params.len()).sum::<usize>());
    let letters: HashSet<char> = STAGES.iter().filter_map(|stage| stage.letter).collect();
    assert_eq!(letters.len(), 10);
}

/// The values of llama.cpp's `common_params_sampling`.
#[test]
fn defaults_are_llama_cpps() {
    let expected = "samplers=penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature sampler_seq= min_keep=0 \
        logit_bias= ignore_eos= repeat_last_n=64 repeat_penalty=1.00 presence_penalty=0.00 frequency_penalty=0.00 \
        dry_multiplier=0.00 dry_base=1.75 dry_allowed_length=2 dry_penalty_last_n=64 top_n_sigma=-1.00 top_k=40 \
        typical_p=1.00 top_p=0.95 min_p=0.05 xtc_probability=0.00 xtc_threshold=0.10 temperature=0.80 \
        dynatemp_range=0.00 dynatemp_exponent=1.00 adaptive_target=-1.00 adaptive_decay=0.90 mirostat=0 \
        mirostat_tau=5.00 mirostat_eta=0.10 seed=-1";
    let got: Vec<String> = PARAMS
        .iter()
        .filter(|spec| spec.field != "dry_sequence_breakers")
        .map(|spec| format!("{}={}", spec.field, spec.default_text()))
        .collect();
    assert_eq!(got.join(" "), expected);
    assert_eq!(breaker_texts(&params("dry_multiplier=1")), ["\n", ":", "\"", "*"]);
    assert_eq!(breaker_texts(&Params::default()), [""; 0], "DRY is off");
    assert_eq!(stages(""), ["top_k", "top_p", "min_p", "temperature", "draw"]);
}

#[test]
fn out_of_range_names_field_flag_and_range() {
    assert_eq!(error("top_p", "1.5"), "top_p (--top-p): 1.5 is out of range, allowed: a finite number from 0 to 1");
    assert_eq!(
        error("dry_base", "0.5"),
        "dry_base (--dry-base): 0.5 is out of range, allowed: a finite number, at least 1"
    );
    assert_eq!(
        error("repeat_penalty", "0"),
        "repeat_penalty (--repeat-penalty): 0 is out of range, allowed: a finite number greater than 0"
    );
    assert_eq!(error("mirostat", "3"), "mirostat (--mirostat): 3 is out of range, allowed: a whole number from 0 to 2");
    assert_eq!(error("min_keep", "-1"), "min_keep: -1 is out of range, allowed: a whole number, at least 0");
    for spec in PARAMS {
        match spec.kind {
            Kind::Int { min, max, .. } => {
                for (number, good) in [(min, true), (max, true), (min - 1, false), (max + 1, false)] {
                    assert_eq!(
                        Params::default().set(spec.field, &ParamValue::Int(number)).is_ok(),
                        good,
                        "{}={number}",
                        spec.field
                    );
                }
            }
            Kind::Float { min, max, .. } => {
                for bad in ["nan", "inf", "-inf", "1e39", "-1e39"] {
                    assert!(error(spec.field, bad).contains("is out of range"), "{}={bad}", spec.field);
                }
                for good in [min, max] {
                    Params::default().set(spec.field, &ParamValue::Float(good.into())).unwrap();
                }
            }
            _ => {}
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    assert_eq!(error("top_k", "many"), "top_k (--top-k): expected a whole number, got `many`");
    for (field, text) in [
        ("top_k", "1.5"),
        ("temperature", ""),
        ("logit_bias", "12"),
        ("logit_bias", "+5"),
        ("logit_bias", "1*2"),
        ("ignore_eos", "perhaps"),
    ] {
        assert!(error(field, text).contains(&format!("got `{text}`")), "{field}={text}");
    }
    assert_eq!(error("tok_p", "1"), "unknown sampling parameter `tok_p`");
    let mut params = Params::default();
    assert!(params.set("top_k", &ParamValue::Bool(true)).is_err());
    assert!(params.set("top_k", &ParamValue::Float(2.5)).is_err());
    assert!(params.set("logit_bias", &ParamValue::Biases(vec![(1, f32::NAN)])).is_err());
    assert!(params.set("logit_bias", &ParamValue::Biases(vec![(1, f32::INFINITY)])).is_err());
    assert_eq!(params, Params::default(), "a refused value leaves no trace");
    params.set("top_k", &ParamValue::Float(7.0)).unwrap();
    assert!(params.is_set("top_k") && !params.is_set("top_p"));
}

#[test]
fn the_order_is_taken_by_name_alias_or_letter() {
    let on = "typical_p=0.5 top_n_sigma=1 xtc_probability=1 repeat_penalty=2 dry_multiplier=1";
    let names = ["min_p", "top_k", "typ_p", "temperature", "xtc", "draw"];
    assert_eq!(stages(&format!("samplers=min_p;top_k;typ_p;temperature;xtc {on}")), names);
    assert_eq!(stages(&format!("samplers=MIN-P;topk;typ;temp;xtc {on}")), names);
    assert_eq!(stages(&format!("sampler_seq=mkytx {on}")), names);
    assert_eq!(stages("samplers=nucleus;nucleus"), ["top_p", "top_p", "draw"]);
    assert_eq!(
        stages(&format!("sampler_seq=edskypmxt {on}")),
        ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "draw"]
    );
    assert_eq!(stages("samplers=;"), ["draw"]);
    assert_eq!(stages("mirostat=1 logit_bias=3+1"), ["logit_bias", "temperature", "mirostat"]);
    assert_eq!(stages("samplers=adaptive-p;top_k adaptive_target=0.5"), ["top_k", "adaptive_p"]);

    let message = error("samplers", "top_k;infill");
    assert!(
        message.starts_with("samplers (--samplers): no sampler is called `infill`; there are: penalties (e), dry (d)"),
        "{message}"
    );
    let message = error("sampler_seq", "kz");
    assert!(message.contains("--sampling-seq") && message.contains("`z`"), "{message}");
}

#[test]
fn repeating_flags_add_up_and_fields_replace() {
    let biases = |params: &Params| params.value(PARAMS.iter().find(|spec| spec.field == "logit_bias").unwrap());
    let mut given = params("logit_bias=5+1.5 logit_bias=5-0.5 logit_bias=7-inf");
    assert_eq!(biases(&given), ParamValue::Biases(vec![(5, 1.5), (5, -0.5), (7, f32::NEG_INFINITY)]));
    given.set("logit_bias", &ParamValue::Biases(vec![(1, 2.0)])).unwrap();
    assert_eq!(biases(&given), ParamValue::Biases(vec![(1, 2.0)]));

    let breakers = |text: &str| breaker_texts(&params(&format!("dry_multiplier=1 {text}")));
    assert_eq!(breakers("dry_sequence_breakers=a dry_sequence_breakers=b"), ["a", "b"]);
    assert_eq!(breakers("dry_sequence_breakers=none"), [""; 0]);
    assert_eq!(breakers("dry_sequence_breakers=a dry_sequence_breakers=none dry_sequence_breakers=b"), ["b"]);
}

#[test]
fn ignore_eos_and_suppressed_tokens_are_never_sampled() {
    let mut row = vec![0.0; 6];
    (row[1], row[4], row[5]) = (50.0, 40.0, 30.0);
    let vocab = VocabInfo { num_tokens: 6, end_of_generation: &[1], suppressed: &[4], breakers: &[] };
    for (text, token) in [("ignore_eos=true", 5), ("", 1), ("ignore_eos=true logit_bias=5-inf logit_bias=2+9.5", 2)] {
        let mut chain = Sampler::new(&params(text), &vocab, 0).unwrap();
        assert_eq!(chain.sample(&mut Candidates::new(6), &row).unwrap().token, token, "{text}");
    }
}

#[test]
fn bad_rows_and_empty_choices_are_errors() {
    for (bad, at) in [(f32::NAN, 3), (f32::INFINITY, 9)] {
        let mut row = vec![0.0; 10];
        row[at] = bad;
        match sample("", &row) {
            Err(Error::BadLogit { token, value }) => {
                assert_eq!(token, at as u32);
                assert_eq!(value.to_bits(), bad.to_bits());
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
    let nothing = Error::NothingLeft { num_tokens: 3 };
    let samplers = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
    let all_on =
        format!("samplers={samplers} typical_p=0.5 top_n_sigma=1 xtc_probability=1 repeat_penalty=2 dynatemp_range=1");
    for text in ["", "temperature=0", "mirostat=1", "mirostat=2", "samplers=adaptive_p adaptive_target=0.3", &all_on] {
        assert_eq!(sample(text, &[f32::NEG_INFINITY; 3]), Err(nothing.clone()), "{text}");
        let banned = format!("{text} logit_bias=0-inf logit_bias=1-inf logit_bias=2-inf");
        assert_eq!(sample(&banned, &[1.0, 2.0, 3.0]), Err(nothing.clone()), "{banned}");
    }
    assert_eq!(sample("", &[]), Err(Error::NothingLeft { num_tokens: 0 }));
    let short = sampler("", 5, &[], &[]).sample(&mut Candidates::new(5), &[0.0; 4]);
    assert_eq!(short, Err(Error::RowLength { len: 4, num_tokens: 5 }));
    let small = sampler("", 5, &[], &[]).sample(&mut Candidates::new(4), &[0.0; 5]);
    assert_eq!(small, Err(Error::RowLength { len: 5, num_tokens: 4 }));
    let vocab = VocabInfo { num_tokens: 5, ..VocabInfo::default() };
    assert_eq!(
        Sampler::new(&params("logit_bias=5+1"), &vocab, 0).unwrap_err().to_string(),
        "logit_bias: token 5 is outside the vocabulary of 5 tokens"
    );
}

#[test]
fn the_largest_values_allowed_do_no_harm() {
    let row: Vec<f32> = (0..50).map(|token| token as f32 - 25.0).collect();
    for spec in PARAMS {
        let extremes = match spec.kind {
            Kind::Int { min, max, .. } => [ParamValue::Int(min), ParamValue::Int(max)],
            Kind::Float { min, max, .. } => [ParamValue::Float(min.into()), ParamValue::Float(max.into())],
            _ => continue,
        };
        for value in extremes {
            for base in [
                "dry_multiplier=1 repeat_penalty=1.1 xtc_probability=1 dynatemp_range=0.1",
                "mirostat=1",
                "mirostat=2",
                "samplers=adaptive_p adaptive_target=0.5",
            ] {
                let mut params = params(base);
                params.set(spec.field, &value).unwrap();
                let vocab = VocabInfo { num_tokens: 50, ..VocabInfo::default() };
                let mut chain = Sampler::new(&params, &vocab, 1).unwrap();
                let mut candidates = Candidates::new(50);
                for _ in 0..20 {
                    // A token or an error, never a panic or a hang.
                    let token = chain.sample(&mut candidates, &row).map_or(3, |sampled| sampled.token);
                    chain.accept(token);
                }
            }
        }
    }
}

#[test]
fn logprobs_are_those_of_the_whole_softmax() {
    let row = [1.0f32, 3.0, f32::NEG_INFINITY, 2.0, 3.0];
    let total: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
    let want = |logit: f32| (f64::from(logit).exp() / total).ln() as f32;
    let (mut candidates, mut top) = (Candidates::new(5), Vec::new());
    let got = logprobs(&mut candidates, &row, 0, 3, &mut top).unwrap();
    assert!((got - want(1.0)).abs() < 1e-6);
    assert_eq!(top.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [1, 4, 3]);
    assert!(top.iter().all(|&(token, logprob)| (logprob - want(row[token as usize])).abs() < 1e-6), "{top:?}");
    assert_eq!(logprobs(&mut candidates, &row, 2, 0, &mut top).unwrap(), f32::NEG_INFINITY);
    assert!(top.is_empty());
    assert!(matches!(logprobs(&mut candidates, &row, 5, 0, &mut top), Err(Error::TokenOutOfVocab { token: 5, .. })));
}

/// Greedy chains may be done where the logits are: nothing in them may ever drop the most likely token or make it less so.
#[test]
fn chains_that_only_pick_the_best_say_so() {
    for text in ["temperature=0", "temperature=-1 top_k=3 top_p=0.2 min_p=0.9", "temperature=0 samplers=temperature"] {
        assert!(sampler(text, 10, &[], &[]).is_greedy(), "{text}");
    }
    for text in [
        "",
        "temperature=1",
        "top_k=1",
        "temperature=0 dynatemp_range=0.5",
        "temperature=0 repeat_penalty=1.1",
        "temperature=0 typical_p=0.5",
        "temperature=0 xtc_probability=0.5",
        "temperature=0 mirostat=2",
        "temperature=0 logit_bias=3+1",
        "temperature=0 samplers=top_k",
    ] {
        assert!(!sampler(text, 10, &[], &[]).is_greedy(), "{text}");
    }
}
