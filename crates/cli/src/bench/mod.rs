//! `chaski bench`: prompt and generation speed, measured and printed as llama-bench does: random tokens, no sampling,
//! every combination of the lists given, each test repeated after a run that does not count.

mod report;

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use text::template::Now;

use crate::log::Log;
use crate::model_file::ModelFile;
use crate::settings::{Bench, Format, Load, Plan, Settings};
use crate::stepper::Stepper;
use crate::{ceilings, open, source};
use report::{Column, Outcome, Report, Subject};

/// One way to load the model.
#[derive(Clone, Debug)]
pub struct Job {
    pub load: Load,
    pub threads: usize,
    pub batch: usize,
    pub ubatch: usize,
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
    let path = source::resolve(&settings.model)?;
    let file = ModelFile::open(&path)?;
    let subject = Subject {
        model_filename: path.display().to_string(),
        model_type: file.summary(),
        model_size: file.weight_bytes(),
        model_n_params: file.num_parameters(),
        cpu: device::Hardware::probe().cpu_name,
    };
    drop(file);
    if choice.ops && settings.output.format == Format::Csv {
        bail!("--ops: a line of csv has no room for it; give -o md, json or jsonl");
    }
    let ceilings = ceilings::stored(&device::Hardware::probe());
    let mut log = Log::open(&settings.output)?;
    let jobs = jobs(choice, &settings.load);
    let tests = tests(choice);
    let mut report = Report::new(std::io::stdout(), settings.output.format, columns(choice, &settings.load));
    let context = tests.iter().map(|test| test.depth + test.prompt + test.generate).max().unwrap_or(0);
    for (number, job) in jobs.iter().enumerate() {
        let load = Load {
            threads: job.threads,
            batch: job.batch,
            ubatch: job.ubatch,
            context: u32::try_from(context)?.max(1),
            ..job.load.clone()
        };
        let mut llm = open::llm_at(&path, &load, &mut log)?;
        let mut stepper = Stepper::new(&mut llm, job.ubatch)?;
        for test in &tests {
            if choice.progress {
                eprintln!("chaski bench: {}/{}: {test}", number + 1, jobs.len());
            }
            std::thread::sleep(Duration::from_secs(choice.delay_s));
            let time = utc();
            if choice.warmup {
                warm_up(&mut stepper, test, job)?;
            }
            stepper.llm().clear_op_counts();
            let samples_ns = (0..choice.repetitions)
                .map(|_| sample(&mut stepper, test, job))
                .collect::<anyhow::Result<Vec<u64>>>()?;
            let ops = if choice.ops { stepper.llm().op_counts() } else { Vec::new() };
            report.add(&Outcome { subject: &subject, job, test: *test, time, samples_ns, ops, ceilings })?;
        }
    }
    report.finish()
}

/// Every combination of the lists that need the model loaded anew, in llama-bench's order.
fn jobs(choice: &Bench, load: &Load) -> Vec<Job> {
    let threads = if choice.threads.is_empty() { vec![open::threads(load)] } else { choice.threads.clone() };
    let mut jobs = Vec::new();
    for &batch in &choice.batches {
        for &ubatch in &choice.ubatches {
            for &threads in &threads {
                jobs.push(Job { load: load.clone(), threads, batch, ubatch: ubatch.min(batch) });
            }
        }
    }
    jobs
}

/// At each depth: the prompts, the generations, the pairs. Nothing is tested with zero tokens.
fn tests(choice: &Bench) -> Vec<Test> {
    let mut tests = Vec::new();
    for &depth in &choice.depths {
        tests.extend(choice.prompts.iter().map(|&prompt| Test { prompt, generate: 0, depth }));
        tests.extend(choice.gens.iter().map(|&generate| Test { prompt: 0, generate, depth }));
        tests.extend(choice.pairs.iter().map(|&(prompt, generate)| Test { prompt, generate, depth }));
    }
    tests.retain(|test| test.prompt + test.generate > 0);
    tests
}

/// Columns in which something else than the default stands.
fn columns(choice: &Bench, load: &Load) -> Vec<Column> {
    let usual = (Bench::default(), Load::default());
    [
        (Column::Batch, choice.batches != usual.0.batches),
        (Column::Ubatch, choice.ubatches != usual.0.ubatches),
        (Column::TypeK, load.kv_types().0 != usual.1.kv_types().0),
        (Column::TypeV, load.kv_types().1 != usual.1.kv_types().1),
        (Column::Plan, load.plan != usual.1.plan),
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
    /// What stands in a column.
    fn cell(&self, column: Column) -> String {
        match column {
            Column::Batch => self.batch.to_string(),
            Column::Ubatch => self.ubatch.to_string(),
            Column::TypeK => self.load.kv_types().0.name().to_owned(),
            Column::TypeV => self.load.kv_types().1.name().to_owned(),
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
