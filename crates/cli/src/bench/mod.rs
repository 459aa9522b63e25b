//! `chaski bench`: prompt and generation speed, measured and printed as llama-bench does: random tokens, every combination of
//! the lists given, each test repeated after a run that does not count. Steps are those of a greedy answer: a GPU finds the
//! most likely next token and hands out that alone; on the CPU nobody samples.

mod batched;
mod report;
mod rows;
mod subject;

use std::fmt;
use std::io::Stdout;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use kernels::KvType;
use text::template::Now;

use crate::log::Log;
use crate::open;
use crate::settings::{Bench, Format, Load, Plan, Settings};
use crate::stepper::Stepper;
use report::{Column, Outcome, Report};
use subject::Subject;

/// How often a test is measured unless it is said.
const REPETITIONS: usize = 5;

/// One way to load the model.
#[derive(Clone, Debug)]
pub struct Job {
    pub load: Load,
    pub threads: usize,
    pub batch: usize,
    pub ubatch: usize,
    pub kv_type_k: KvType,
    pub kv_type_v: KvType,
}

/// What is timed: `prompt` tokens at once, then `generate` one by one, behind `depth` tokens of context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    pub prompt: usize,
    pub generate: usize,
    pub depth: usize,
}

/// Measures everything that was asked for.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let choice = &settings.bench;
    check(settings)?;
    let subjects = Subject::all(settings)?;
    if choice.batched.is_asked() {
        return batched::run(settings, &subjects);
    }
    let mut log = Log::open(&settings.output)?;
    let jobs = jobs(choice, &settings.load);
    let mut report = Report::new(std::io::stdout(), settings.output.format, columns(choice, &settings.load));
    for subject in &subjects {
        for (number, job) in jobs.iter().enumerate() {
            let place = format!("{}/{}", number + 1, jobs.len());
            measure(choice, subject, job, &place, &mut report, &mut log)?;
        }
    }
    report.finish()
}

/// What does not go together is refused before any model is looked for.
fn check(settings: &Settings) -> anyhow::Result<()> {
    let choice = &settings.bench;
    if choice.ops && settings.output.format == Format::Csv {
        bail!("--ops: a line of csv has no room for it; give -o md, json or jsonl");
    }
    if choice.batched.is_asked() {
        return batched::check(choice);
    }
    let stray =
        [("-pps", choice.batched.shared), ("-tgs", choice.batched.separate), ("-c", choice.batched.context > 0)];
    if let Some((flag, _)) = stray.iter().find(|(_, given)| *given) {
        bail!("{flag}: says how several sequences are measured; give -npp, -ntg and -npl too");
    }
    Ok(())
}

/// What a shape is answered with where nothing can make it up.
const NO_GPU: &str = "skipped: no GPU, and the weights of a shape are made up on one";

/// All tests with the model loaded in one way.
fn measure(
    choice: &Bench,
    subject: &Subject,
    job: &Job,
    place: &str,
    report: &mut Report<Stdout>,
    log: &mut Log,
) -> anyhow::Result<()> {
    let tests = tests(choice);
    let context = tests.iter().map(|test| test.depth + test.prompt + test.generate).max().unwrap_or(0);
    let load = Load { context: u32::try_from(context)?.max(1), ..job.load() };
    let Some(mut llm) = subject.open(&load, log)? else {
        println!("{NO_GPU}");
        return Ok(());
    };
    let card = subject.card(&llm)?;
    let mut stepper = Stepper::new(&mut llm, job.ubatch)?;
    for test in tests {
        if choice.progress {
            eprintln!("chaski bench: {place}: {test}");
        }
        std::thread::sleep(Duration::from_secs(choice.delay_s));
        let time = utc();
        if choice.warmup {
            warm_up(&mut stepper, &test, job)?;
        }
        stepper.llm().clear_op_counts();
        let samples_ns = (0..choice.repetitions.unwrap_or(REPETITIONS))
            .map(|_| sample(&mut stepper, &test, job))
            .collect::<anyhow::Result<Vec<u64>>>()?;
        open::tell_notices(stepper.llm(), log);
        let gpu_layers = stepper.llm().gpu_layers().0;
        let ops_apart = choice.ops && gpu_layers > 0;
        if ops_apart {
            time_apart(&mut stepper, &test, job)?;
        }
        let ops = if choice.ops { stepper.llm().op_counts() } else { Vec::new() };
        report.add(&Outcome { subject: &card, job, test, time, gpu_layers, samples_ns, ops, ops_apart })?;
    }
    Ok(())
}

/// Every combination of the lists that need the model loaded anew, in llama-bench's order.
fn jobs(choice: &Bench, load: &Load) -> Vec<Job> {
    let (usual_k, usual_v) = load.kv_types();
    let mut jobs = Vec::new();
    for batch in Bench::or_usual(&choice.batches, load.batch) {
        for ubatch in Bench::or_usual(&choice.ubatches, load.ubatch) {
            for kv_type_k in Bench::or_usual(&choice.kv_types_k, usual_k) {
                for kv_type_v in Bench::or_usual(&choice.kv_types_v, usual_v) {
                    for threads in Bench::or_usual(&choice.threads, open::threads(load)) {
                        let ubatch = ubatch.min(batch);
                        jobs.push(Job { load: load.clone(), threads, batch, ubatch, kv_type_k, kv_type_v });
                    }
                }
            }
        }
    }
    jobs
}

/// At each depth: the prompts, the generations, the pairs. Nothing is tested with zero tokens.
fn tests(choice: &Bench) -> Vec<Test> {
    let mut tests = Vec::new();
    for depth in Bench::or_usual(&choice.depths, 0) {
        let prompts = Bench::or_usual(&choice.prompts, 512);
        tests.extend(prompts.iter().map(|&prompt| Test { prompt, generate: 0, depth }));
        let gens = Bench::or_usual(&choice.gens, 128);
        tests.extend(gens.iter().map(|&generate| Test { prompt: 0, generate, depth }));
        tests.extend(choice.pairs.iter().map(|&(prompt, generate)| Test { prompt, generate, depth }));
    }
    tests.retain(|test| test.prompt + test.generate > 0);
    tests
}

/// Columns in which something else than the default stands.
fn columns(choice: &Bench, load: &Load) -> Vec<Column> {
    let usual = Load::default();
    let (usual_k, usual_v) = usual.kv_types();
    let (k, v) = load.kv_types();
    [
        (Column::Batch, Bench::or_usual(&choice.batches, load.batch) != [usual.batch]),
        (Column::Ubatch, Bench::or_usual(&choice.ubatches, load.ubatch) != [usual.ubatch]),
        (Column::TypeK, Bench::or_usual(&choice.kv_types_k, k) != [usual_k]),
        (Column::TypeV, Bench::or_usual(&choice.kv_types_v, v) != [usual_v]),
        (Column::Plan, load.plan != usual.plan),
        (Column::Isa, load.isa.is_some()),
    ]
    .into_iter()
    .filter_map(|(column, shown)| shown.then_some(column))
    .collect()
}

/// Runs a test once, cut short: one prompt of its length, one token of its generation.
fn warm_up(stepper: &mut Stepper<'_>, test: &Test, job: &Job) -> anyhow::Result<()> {
    let short = Test { generate: test.generate.min(1), ..*test };
    sample(stepper, &short, job).map(|_| ())
}

/// Has the GPU time each kernel by itself, in a short form of the test.
fn time_apart(stepper: &mut Stepper<'_>, test: &Test, job: &Job) -> anyhow::Result<()> {
    let short = Test { generate: test.generate.min(8), ..*test };
    stepper.llm().clear_op_counts();
    stepper.llm().time_gpu_ops(true);
    let timed = sample(stepper, &short, job);
    stepper.llm().time_gpu_ops(false);
    timed.map(|_| ())
}

/// Nanoseconds that the test took once.
fn sample(stepper: &mut Stepper<'_>, test: &Test, job: &Job) -> anyhow::Result<u64> {
    // What fills the context belongs to no test.
    stepper.llm().pause_op_counts(true);
    let filled = stepper.rewind_or_refill(test.depth);
    stepper.llm().pause_op_counts(false);
    filled?;
    let prompt = stepper.noise(test.prompt);
    let generated = stepper.noise(test.generate);
    let begin = Instant::now();
    for part in prompt.chunks(job.batch) {
        stepper.eval_last(part)?;
    }
    for token in generated.chunks(1) {
        stepper.eval_last(token)?;
    }
    Ok(u64::try_from(begin.elapsed().as_nanos())?)
}

fn utc() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Now { unix_seconds: since.map_or(0, |since| since.as_secs() as i64), utc_offset_seconds: 0 };
    now.format("%Y-%m-%dT%H:%M:%SZ")
}

impl Job {
    /// The settings to load the model with, but for the context.
    fn load(&self) -> Load {
        Load {
            threads: self.threads,
            batch: self.batch,
            ubatch: self.ubatch,
            kv_type_k: Some(self.kv_type_k),
            kv_type_v: Some(self.kv_type_v),
            ..self.load.clone()
        }
    }

    /// What stands in a column.
    fn cell(&self, column: Column) -> String {
        match column {
            Column::Batch => self.batch.to_string(),
            Column::Ubatch => self.ubatch.to_string(),
            Column::TypeK => self.kv_type_k.name().to_owned(),
            Column::TypeV => self.kv_type_v.name().to_owned(),
            Column::Plan => name_in(Plan::NAMES, self.load.plan),
            Column::Isa => name_in(device::Isa::NAMES, self.load.isa.unwrap_or(device::Isa::Native)),
        }
    }
}

fn name_in<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> String {
    names.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name).to_owned()
}

/// `pp512`, `tg128`, `pp512+tg128`, with ` @ d1024` behind a context.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Test { prompt, generate, depth } = self;
        match (prompt, generate) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, generate) => write!(f, "tg{generate}")?,
            (prompt, generate) => write!(f, "pp{prompt}+tg{generate}")?,
        }
        if *depth > 0 { write!(f, " @ d{depth}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_make_llama_benchs_tests() {
        let choice = Bench {
            prompts: vec![16],
            gens: vec![4, 0],
            pairs: vec![(8, 4)],
            depths: vec![0, 32],
            threads: vec![1, 2],
            ubatches: vec![4096],
            ..Bench::default()
        };
        let names: Vec<String> = tests(&choice).iter().map(Test::to_string).collect();
        assert_eq!(names, ["pp16", "tg4", "pp8+tg4", "pp16 @ d32", "tg4 @ d32", "pp8+tg4 @ d32"]);
        let jobs = jobs(&choice, &Load::default());
        assert_eq!(jobs.iter().map(|job| job.threads).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(jobs[0].ubatch, 2048, "a step is no larger than the batch");
        assert_eq!(columns(&choice, &Load::default()), [Column::Ubatch]);
    }
}
