//! `chaski bench -npp N -ntg N -npl N`: several sequences at once, measured and printed as llama-batched-bench does. All
//! prompts are computed first, then every step generates a token for each sequence. The tokens are random ones, and steps are
//! those of greedy answers: a GPU hands out the most likely next tokens and no logits. Called by `bench`.

use std::fmt;
use std::time::Instant;

use anyhow::bail;
use chaski::{Llm, OpCount};
use engine::batch::{Batch, Outputs, SeqId};
use serde_json::{Map, Value as Json, json};

use super::rows::Rows;
use super::subject::Subject;
use super::{Job, NO_GPU, jobs};
use crate::log::Log;
use crate::op_table;
use crate::settings::{Batched, Bench, Load, Settings};
use crate::stepper::Noise;

/// Most positions that a block of the cache holds: a sequence may leave as many unused.
const BLOCK: usize = 64;

/// Tokens that run before the clock starts.
const WARM_UP: usize = 16;

/// What is timed: prompts of `prompt` tokens for `parallel` sequences, then `generate` tokens for each.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Test {
    prompt: usize,
    generate: usize,
    parallel: usize,
}

/// How long both parts took.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    prompt_s: f64,
    generate_s: f64,
}

/// Measures every combination of the lists; [`check`] has passed them.
pub fn run(settings: &Settings, subjects: &[Subject]) -> anyhow::Result<()> {
    let choice = &settings.bench;
    let (batched, tests) = (&choice.batched, tests(&choice.batched)?);
    let jobs = jobs(choice, &settings.load);
    let ([job], [subject]) = (&jobs[..], subjects) else {
        bail!("-npl measures one model loaded in one way; give one value for each of -m, -b, -ub, -ctk, -ctv and -t");
    };
    let most = tests.iter().map(|test| test.positions(batched)).max().unwrap_or(1);
    let slack = tests.iter().map(|test| test.parallel * BLOCK).max().unwrap_or(0);
    let load = Load {
        context: u32::try_from(most.max(WARM_UP) + slack)?,
        num_sequences: tests.iter().map(|test| test.parallel).max().unwrap_or(1),
        ..job.load()
    };
    let Some(mut llm) = subject.open(&load, &mut Log::open(&settings.output)?)? else {
        println!("{NO_GPU}");
        return Ok(());
    };
    let (gpu_layers, ceilings) = (llm.gpu_layers().0, subject.card(&llm)?.ceilings);
    let mut sequences =
        Sequences { llm: &mut llm, batch: Batch::default(), ubatch: job.ubatch, noise: Noise::default() };
    if choice.warmup {
        sequences.prefill(WARM_UP, 1)?;
    }
    let mut rows = Rows::new(std::io::stdout(), settings.output.format);
    let mut tables = String::new();
    for test in tests {
        if choice.progress {
            eprintln!("chaski bench: {} sequences", test.parallel);
        }
        let outcome = sequences.measure(&test, batched)?;
        let mut fields = outcome.fields(&test, batched, job, most, gpu_layers);
        if choice.ops {
            let ops = sequences.ops(&test, batched, gpu_layers > 0)?;
            let lines = op_table::lines(&ops, ceilings.as_ref());
            let whole = if gpu_layers > 0 {
                op_table::whole_step(&ops, outcome.step_us(&test, batched, job.ubatch))
            } else {
                String::new()
            };
            tables += &format!("\n{test}\n{}\n{whole}", lines.join("\n"));
            fields.insert("ops".into(), op_table::json(&ops, ceilings.as_ref()));
        }
        rows.add(HEAD, &outcome.line(&test, batched), &fields)?;
    }
    rows.finish(&tables)
}

/// What is not meant for several sequences is refused, not ignored.
pub fn check(choice: &Bench) -> anyhow::Result<()> {
    let other = [
        ("-p", !choice.prompts.is_empty()),
        ("-n", !choice.gens.is_empty()),
        ("-pg", !choice.pairs.is_empty()),
        ("-d", !choice.depths.is_empty()),
        ("-r", choice.repetitions.is_some()),
        ("--delay", choice.delay_s > 0),
    ];
    if let Some((flag, _)) = other.iter().find(|(_, given)| *given) {
        bail!("{flag}: belongs to the bench of one sequence; leave it out, or leave out -npp, -ntg and -npl");
    }
    let Batched { prompts, gens, parallel, .. } = &choice.batched;
    for (flag, list) in [("-npp", prompts), ("-ntg", gens), ("-npl", parallel)] {
        if list.is_empty() {
            bail!("{flag} is missing: -npp, -ntg and -npl go together");
        }
    }
    Ok(())
}

/// Every combination that the context has room for, in llama-batched-bench's order.
fn tests(choice: &Batched) -> anyhow::Result<Vec<Test>> {
    let mut tests = Vec::new();
    for &prompt in &choice.prompts {
        for &generate in &choice.gens {
            tests.extend(choice.parallel.iter().map(|&parallel| Test { prompt, generate, parallel }));
        }
    }
    tests.retain(|test| choice.context == 0 || test.positions(choice) <= choice.context);
    if tests.is_empty() {
        bail!("-c {}: too small for every combination; leave it out, or raise it", choice.context);
    }
    Ok(tests)
}

impl Test {
    /// Tokens in the cache at the end.
    fn positions(&self, choice: &Batched) -> usize {
        self.prompts(choice) * self.prompt + self.parallel * self.generate
    }

    /// Prompts that are computed.
    fn prompts(&self, choice: &Batched) -> usize {
        if choice.shared { 1 } else { self.parallel }
    }
}

/// The sequences of a loaded model.
struct Sequences<'a> {
    llm: &'a mut Llm,
    batch: Batch,
    /// Most rows of a step.
    ubatch: usize,
    noise: Noise,
}

impl Sequences<'_> {
    /// Where the time went in the steps that generated, or in those of the prompts where nothing was. A GPU's kernels are
    /// timed each by itself, in a short form of the test.
    fn ops(&mut self, test: &Test, choice: &Batched, on_gpu: bool) -> anyhow::Result<Vec<OpCount>> {
        if on_gpu {
            self.llm.time_gpu_ops(true);
            let timed = self.measure(&Test { generate: test.generate.min(8), ..*test }, choice);
            self.llm.time_gpu_ops(false);
            timed?;
        }
        Ok(self.llm.op_counts())
    }

    /// Counts what the kernels do in the part that matters: generation, where there is some.
    fn measure(&mut self, test: &Test, choice: &Batched) -> anyhow::Result<Outcome> {
        // All of them, as an earlier test may have had more.
        for seq in 0..choice.parallel.iter().max().copied().unwrap_or(1) {
            self.llm.truncate(id(seq), 0)?;
        }
        self.llm.clear_op_counts();
        self.llm.pause_op_counts(test.generate > 0);
        let begin = Instant::now();
        self.prefill(test.prompt, test.prompts(choice))?;
        let prompt_s = begin.elapsed().as_secs_f64();
        self.llm.pause_op_counts(false);
        for seq in test.prompts(choice)..test.parallel {
            self.llm.share(id(0), id(seq), u32::try_from(test.prompt)?)?;
        }
        let begin = Instant::now();
        if choice.separate {
            for seq in 0..test.parallel {
                for position in test.prompt..test.prompt + test.generate {
                    self.decode(seq..seq + 1, position)?;
                }
            }
        } else {
            for position in test.prompt..test.prompt + test.generate {
                self.decode(0..test.parallel, position)?;
            }
        }
        Ok(Outcome { prompt_s, generate_s: begin.elapsed().as_secs_f64() })
    }

    /// Computes a prompt for each of the first `num` sequences; a step holds the end of one and the beginning of the next.
    fn prefill(&mut self, prompt: usize, num: usize) -> anyhow::Result<()> {
        for seq in 0..num {
            let mut done = 0;
            while done < prompt {
                let end = prompt.min(done + self.ubatch - self.batch.num_rows());
                let outputs = if end == prompt { Outputs::Last } else { Outputs::None };
                self.push(seq, done, end - done, outputs);
                self.step_if(self.batch.num_rows() == self.ubatch)?;
                done = end;
            }
        }
        self.step_if(true)
    }

    /// Generates a token for each of these sequences, which all end before `position`.
    fn decode(&mut self, sequences: std::ops::Range<usize>, position: usize) -> anyhow::Result<()> {
        for seq in sequences {
            self.push(seq, position, 1, Outputs::Last);
            self.step_if(self.batch.num_rows() == self.ubatch)?;
        }
        self.step_if(true)
    }

    fn push(&mut self, seq: usize, position: usize, count: usize, outputs: Outputs) {
        let vocab_size = self.llm.vocab_size();
        let tokens: Vec<u32> = (0..count).map(|_| self.noise.token(vocab_size)).collect();
        self.batch.push(id(seq), &tokens, position as u32, outputs);
    }

    /// Computes what was pushed when `ready`.
    fn step_if(&mut self, ready: bool) -> anyhow::Result<()> {
        if ready && !self.batch.is_empty() {
            self.batch.greedy = true;
            self.llm.step(&self.batch)?;
            self.batch.clear();
        }
        Ok(())
    }
}

const HEAD: &str = "\
|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|";

impl Outcome {
    /// Microseconds of a step that generates, or, where none does, of one of the prompts.
    fn step_us(&self, test: &Test, choice: &Batched, ubatch: usize) -> f64 {
        let rows = if choice.separate { 1 } else { test.parallel };
        let (seconds, steps) = match test.generate {
            0 => (self.prompt_s, (test.prompts(choice) * test.prompt).div_ceil(ubatch)),
            generate => (self.generate_s, generate * (test.parallel / rows) * rows.div_ceil(ubatch)),
        };
        1e6 * seconds / steps as f64
    }

    /// Tokens per second: of the prompts, generated, and of both.
    fn speeds(&self, test: &Test, choice: &Batched) -> [f64; 3] {
        let prompt = (test.prompts(choice) * test.prompt) as f64;
        let generated = (test.parallel * test.generate) as f64;
        let rate = |tokens: f64, seconds: f64| if tokens > 0.0 { tokens / seconds } else { 0.0 };
        let all = rate(prompt + generated, self.prompt_s + self.generate_s);
        [rate(prompt, self.prompt_s), rate(generated, self.generate_s), all]
    }

    fn line(&self, test: &Test, choice: &Batched) -> String {
        let Outcome { prompt_s, generate_s } = self;
        let [prompt, generated, all] = self.speeds(test, choice);
        let positions = test.positions(choice);
        format!(
            "|{:6} | {:6} | {:4} | {positions:6} | {prompt_s:8.3} | {prompt:8.2} | {generate_s:8.3} | {generated:8.2} | {:8.3} | {all:8.2} |",
            test.prompt,
            test.generate,
            test.parallel,
            prompt_s + generate_s,
        )
    }

    /// llama-batched-bench's fields, without those of what does not exist here.
    fn fields(&self, test: &Test, choice: &Batched, job: &Job, most: usize, gpu_layers: u32) -> Map<String, Json> {
        let [speed_pp, speed_tg, speed] = self.speeds(test, choice);
        let fields = json!({
            "n_kv_max": most,
            "n_batch": job.batch,
            "n_ubatch": job.ubatch,
            "is_pp_shared": i32::from(choice.shared),
            "is_tg_separate": i32::from(choice.separate),
            "n_gpu_layers": gpu_layers,
            "n_threads": job.threads,
            "n_threads_batch": job.threads,
            "pp": test.prompt,
            "tg": test.generate,
            "pl": test.parallel,
            "n_kv": test.positions(choice),
            "t_pp": self.prompt_s,
            "speed_pp": speed_pp,
            "t_tg": self.generate_s,
            "speed_tg": speed_tg,
            "t": self.prompt_s + self.generate_s,
            "speed": speed,
        });
        if let Json::Object(fields) = fields { fields } else { Map::new() }
    }
}

/// `pp128+tg64 x 8`
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pp{}+tg{} x {}", self.prompt, self.generate, self.parallel)
    }
}

fn id(seq: usize) -> SeqId {
    SeqId(seq as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_that_need_more_than_the_context_are_left_out() {
        let choice =
            Batched { prompts: vec![16, 64], gens: vec![4], parallel: vec![1, 8], context: 160, ..Batched::default() };
        let found: Vec<(usize, usize)> =
            tests(&choice).unwrap().iter().map(|test| (test.prompt, test.parallel)).collect();
        assert_eq!(found, [(16, 1), (16, 8), (64, 1)]);
        let shared = Batched { shared: true, ..choice.clone() };
        assert_eq!(tests(&shared).unwrap().len(), 4, "one prompt for all needs less");
        assert!(tests(&Batched { context: 3, ..choice }).is_err());
    }

    #[test]
    fn speeds_count_what_was_computed() {
        let test = Test { prompt: 100, generate: 10, parallel: 4 };
        let outcome = Outcome { prompt_s: 2.0, generate_s: 0.5 };
        assert_eq!(outcome.speeds(&test, &Batched::default()), [200.0, 80.0, 176.0]);
        assert_eq!(outcome.speeds(&test, &Batched { shared: true, ..Batched::default() }), [50.0, 80.0, 56.0]);
        let line = outcome.line(&test, &Batched::default());
        assert_eq!(
            line,
            "|   100 |     10 |    4 |    440 |    2.000 |   200.00 |    0.500 |    80.00 |    2.500 |   176.00 |"
        );
        assert_eq!(HEAD.lines().next().map(str::len), Some(line.len()));
    }
}
