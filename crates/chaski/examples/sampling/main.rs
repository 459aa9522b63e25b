//! Time per token of three samplers on the same rows in the same loop: llama.cpp's chain (its library), Chaski's own,
//! and Chaski's begun by `flash_sampling`. Then whole answers of the model with the technique and without it.
//! Prints JSON; `cargo xtask bench sampling` calls it.
//!
//! `cargo run --release -p chaski --example sampling -- libllama.so MODEL.gguf [rounds] [answers]`

mod libllama;
mod rows;

use std::error::Error;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chaski::{Llm, Options};
use engine::observer::{Observer, StepReport};
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Candidates, Params, Sampler, VocabInfo};
use engine::stream::Event;
use engine::technique::{Mode, Resolved, Switch};
use evidence::measure::Summary;
use libllama::{Chain, Stage};
use serde_json::{Value as Json, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is sampled how, for both sides.
struct Setting {
    name: &'static str,
    fields: &'static [(&'static str, &'static str)],
    stages: &'static [Stage],
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "default: top-k 40, top-p 0.95, min-p 0.05, temperature 0.8",
        fields: &[],
        stages: &[Stage::TopK(40), Stage::TopP(0.95), Stage::MinP(0.05), Stage::Temperature(0.8)],
    },
    Setting {
        name: "top-p 0.95 alone, temperature 1.2",
        fields: &[("samplers", "top_p;temperature"), ("temperature", "1.2")],
        stages: &[Stage::TopP(0.95), Stage::Temperature(1.2)],
    },
    Setting {
        name: "min-p 0.05 alone, temperature 0.8",
        fields: &[("samplers", "min_p;temperature")],
        stages: &[Stage::MinP(0.05), Stage::Temperature(0.8)],
    },
    Setting {
        name: "no filter, temperature 0.8",
        fields: &[("samplers", "temperature")],
        stages: &[Stage::Temperature(0.8)],
    },
];

/// A vocabulary that is not the model's.
const OTHER_VOCABULARY: usize = 128_256;

/// Tokens of an answer. Short ones are told in turn, so that both sides meet the same moods of the machine.
const ANSWER: u32 = 32;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (library, model) = match &args[..] {
        [library, model, ..] => (Path::new(library), Path::new(model)),
        _ => return Err("sampling libllama.so MODEL.gguf [rounds] [answers]".into()),
    };
    let number = |nth: usize, default| args.get(nth).map_or(Ok(default), |text| text.parse::<usize>());
    let (rounds, answers) = (number(2, 300)?, number(3, 24)?);
    let on = Switch { id: "flash_sampling".into(), mode: Mode::On, knobs: Vec::new() };
    let options = Options { context: 1024, techniques: vec![on], ..Options::default() };
    let mut llm = Llm::open(model, &options)?;
    let captured = rows::captured(&mut llm)?;
    let others = captured.iter().zip(1..).map(|(row, seed)| rows::of_length(row, OTHER_VOCABULARY, seed));
    let others: Vec<Vec<f32>> = others.collect();
    let mut results = Vec::new();
    for rows in [&others, &captured] {
        for setting in SETTINGS {
            results.push(sampling(&llm, library, rows, setting, rounds)?);
        }
    }
    let mut generation = Vec::new();
    for setting in &SETTINGS[..2] {
        generation.push(generate(&mut llm, setting, answers)?);
    }
    println!("{}", json!({ "rows": results, "generation": generation }));
    Ok(())
}

fn params(setting: &Setting) -> Outcome<Params> {
    let mut params = Params::default();
    params.parse("seed", "1")?;
    for (field, value) in setting.fields {
        params.parse(field, value)?;
    }
    Ok(params)
}

/// The chain without and with the technique.
fn samplers(llm: &Llm, setting: &Setting, num_tokens: usize) -> Outcome<[Sampler; 2]> {
    let (params, vocab) = (params(setting)?, VocabInfo { num_tokens, ..VocabInfo::default() });
    let forms: Vec<_> = llm.techniques().iter().flat_map(Resolved::active_forms).collect();
    let flash = Sampler::with_forms(&params, &vocab, 1, &forms)?;
    if flash.technique().is_none() {
        return Err(format!("{}: the technique refuses: {:?}", setting.name, flash.refusals()).into());
    }
    Ok([Sampler::new(&params, &vocab, 1)?, flash])
}

/// One setting on rows of one length. In every round each side samples the same row, and another one goes first.
fn sampling(llm: &Llm, library: &Path, rows: &[Vec<f32>], setting: &Setting, rounds: usize) -> Outcome<Json> {
    let num_tokens = rows[0].len();
    let [mut chain, mut flash] = samplers(llm, setting, num_tokens)?;
    let mut theirs = Chain::new(library, setting.stages, 1)?;
    let mut candidates = Candidates::new(num_tokens);
    let mut times_us = [const { Vec::new() }; 3];
    let mut left = Vec::new();
    for round in 0..rounds + 10 {
        let row = black_box(&rows[round % rows.len()]);
        let mut tokens = [None; 3];
        for turn in 0..3 {
            let side = (round + turn) % 3;
            let begin = Instant::now();
            tokens[side] = match side {
                0 => theirs.sample(row),
                1 => Some(chain.sample(&mut candidates, row)?.token),
                _ => Some(flash.sample(&mut candidates, row)?.token),
            };
            let time_us = begin.elapsed().as_secs_f64() * 1e6;
            if round >= 10 {
                times_us[side].push(time_us); // the first rounds warm up
            }
            if side == 1 {
                left.push(candidates.len() as f64);
            }
        }
        let (Some(token), Some(other)) = (tokens[1], tokens[2]) else { return Err("nothing was sampled".into()) };
        if tokens[0].is_none() || token != other {
            return Err(format!("{}: tokens {tokens:?} in round {round}", setting.name).into());
        }
        chain.accept(token);
        flash.accept(token);
    }
    let [theirs, chain, flash] = times_us;
    let ratio = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
    Ok(json!({
        "vocabulary": num_tokens,
        "setting": setting.name,
        "left": median(left),
        "llama_us": median(theirs.clone()),
        "chain_us": median(chain.clone()),
        "flash_us": median(flash.clone()),
        "llama_over_flash": ratio(&theirs, &flash),
        "chain_over_flash": ratio(&chain, &flash),
    }))
}

/// Keeps the times of decoding steps: all of it, and the sampler's.
#[derive(Clone, Default)]
struct Decoding(Arc<Mutex<Vec<(f64, f64)>>>);

impl Observer for Decoding {
    fn step(&mut self, report: &StepReport) {
        if report.num_prompt_rows == 0 && report.num_sampled == 1 {
            let sample_us = report.sample_us as f64;
            let step_us = (report.schedule_us + report.run_us) as f64 + sample_us;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push((step_us, sample_us));
        }
    }
}

/// Answers to the same prompt in turn without and with the technique; the tokens are the same, so the work is too.
fn generate(llm: &mut Llm, setting: &Setting, answers: usize) -> Outcome<Json> {
    let samplers = samplers(llm, setting, llm.vocab_size())?;
    let prompt = llm.tokenizer().encode("Write a long story about a lighthouse.", text::Encode::TEXT);
    let decoding = Decoding::default();
    llm.engine().set_observer(Some(Box::new(decoding.clone())));
    let mut times_us: [Vec<(f64, f64)>; 2] = [const { Vec::new() }; 2]; // of the same tokens at the same places
    let mut told = [const { Vec::new() }; 2];
    for answer in 0..answers + 1 {
        for turn in 0..2 {
            let side = (answer + turn) % 2;
            let (mut tokens, mut failure) = (Vec::new(), None);
            decoding.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let request = Request {
                prompt: prompt.clone(),
                sampler: samplers[side].clone(),
                detokenizer: Box::new(NoText),
                constraint: None,
                stop_tokens: Arc::new([]),
                max_new_tokens: Some(ANSWER),
                when_full: WhenFull::Stop,
                cache_prompt: true,
                report: Report::default(),
            };
            llm.engine().answer(request, |event| {
                match event {
                    Event::Token { token, .. } => tokens.push(token),
                    Event::Failed(error) => failure = Some(error),
                    Event::Prompt { .. } | Event::Embedding(_) | Event::Finished { .. } => {}
                }
                ControlFlow::Continue(())
            })?;
            failure.map_or(Ok(()), Err)?;
            let steps = decoding.0.lock().unwrap_or_else(PoisonError::into_inner);
            if answer > 0 {
                times_us[side].extend_from_slice(&steps); // the first answers warm up
            }
            told[side] = tokens;
        }
        if told[0] != told[1] || times_us[0].len() != times_us[1].len() {
            return Err(format!("{}: answers differ", setting.name).into());
        }
    }
    llm.engine().set_observer(None);
    let saved: Vec<f64> = times_us[0].iter().zip(&times_us[1]).map(|(off, on)| off.0 - on.0).collect();
    let saved = Summary::of(&saved).ok_or("no step was observed")?;
    let [off, on] = times_us.map(|times_us| {
        let (step_us, sample_us): (Vec<f64>, Vec<f64>) = times_us.into_iter().unzip();
        json!({ "step_us": median(step_us), "sample_us": median(sample_us) })
    });
    Ok(json!({
        "setting": setting.name,
        "tokens": ANSWER,
        "answers": answers,
        "off": off,
        "on": on,
        "saved_us": saved.median,
        "saved_between_us": [saved.low, saved.high],
    }))
}

fn median(samples: Vec<f64>) -> f64 {
    Summary::of(&samples).map_or(f64::NAN, |summary| summary.median)
}
