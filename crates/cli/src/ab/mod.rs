//! `chaski ab`: compares two configurations of one model and says whether the second pays. Speed in turns, memory with each
//! alone, quality of both against the exact plan; the verdict is `evidence::judge`'s.

mod bed;
mod haystack;
mod layout;
mod peak;
mod progress;
mod store;

use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use device::Hardware;
use engine::technique::{Resolved, State};
use engine::watch::Notice;
use evidence::judge::judge;
use evidence::measure::{Comparison, Which};
use evidence::quality::{Chunking, Fidelity, TEXT, fidelity};
use evidence::report::{Machine, Memory, Needle, Report, Side, Speed, Standing, Text, page, table};
use text::Encode;
use text::template::Now;

use crate::flags::{Usage, side};
use crate::log::Log;
use crate::settings::{Format, Load, Plan, Settings};
use crate::stepper::Stepper;
use crate::{memory, open, source};
use bed::{Bed, Ground};
use layout::Layout;
use progress::Progress;
use store::{Earlier, Key};

/// What b is unless it is said.
const STABLE: &str = "--technique all=auto";
/// Turns that an interval of 95 % needs.
const LEAST_TURNS: usize = 6;
/// Seconds that quick tests are measured for before it is the next one's turn: many short turns have a surer median than few
/// long ones. What does not decide gets a tenth.
const SLICE_S: f64 = 0.5;
/// llama-perplexity's context.
const CONTEXT: usize = 512;

/// A configuration on its way through the measurements.
struct Party {
    name: &'static str,
    settings: Settings,
    side: Side,
}

/// Measures, judges, keeps and shows.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut log = Log::open(&settings.output)?;
    let mut a = Party::of("a", "--a", settings, settings.ab.a.as_deref().unwrap_or(""))?;
    let mut b = Party::of("b", "--b", settings, settings.ab.b.as_deref().unwrap_or(STABLE))?;
    if settings.ab.b.is_none() && !b.side.techniques.iter().any(|standing| standing.state == State::On.name()) {
        bail!("no stable technique can be on here, so there is nothing to compare; say with --b what b is");
    }
    if let Some(html) = &settings.ab.html {
        let folder = html.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) || html.is_dir() {
            bail!("--html {}: cannot be written there", html.display());
        }
    }
    let path = source::resolve(&settings.model)?;
    let layout = Layout::of(&settings.ab, memory::trained_context(&chaski::model_files(&path), &settings.load)?)?;
    let model = store::model(&path)?;
    let mut progress = Progress::new();
    let outcome = measure(settings, &path, layout, [&mut a, &mut b], &mut progress, &mut log);
    progress.clear();
    let measured = outcome?;

    let hardware = Hardware::probe();
    let features: Vec<&str> = hardware.features.iter().map(|feature| feature.name()).collect();
    let machine = Machine { cpu: hardware.cpu_name, cores: hardware.num_cores, features: features.join(" ") };
    let judgement =
        judge(&settings.ab.limits, &measured.speed, [&a.side, &b.side], measured.kld_excess, &measured.needles);
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        time: utc(),
        model,
        machine,
        limits: settings.ab.limits,
        judgement,
        a: a.side,
        b: b.side,
        speed: measured.speed,
        text: measured.text,
        kld_excess: measured.kld_excess,
        needles: measured.needles,
    };
    show(settings, &report)?;
    keep(settings, &report, &mut log);
    Ok(())
}

/// What was found out about both together.
struct Measured {
    speed: Vec<Speed>,
    kld_excess: Option<evidence::quality::Estimate>,
    needles: Vec<Needle>,
    text: Text,
}

fn measure(
    settings: &Settings,
    path: &Path,
    layout: Layout,
    [a, b]: [&mut Party; 2],
    progress: &mut Progress,
    log: &mut Log,
) -> anyhow::Result<Measured> {
    let time_s = settings.ab.time_s;
    let mut ground = Ground { path, layout, haystack: None };
    let before = peak::now();
    // Alone in memory, one after the other; the first of them comes back for the turns.
    let begin = Instant::now();
    progress.phase("b: loading, reading the contexts", 10.0, 60.0 + time_s);
    let bed = b.open_alone(&mut ground, before, progress, log)?;
    drop(bed);
    let open_s = begin.elapsed().as_secs_f64();
    progress.phase("a: loading, reading the contexts", open_s, 9.0 * open_s + time_s);
    let mut bed_a = a.open_alone(&mut ground, before, progress, log)?;
    progress.phase("b: loading, reading the contexts", open_s, 8.0 * open_s + time_s);
    let mut bed_b = b.open(&mut ground, progress, log)?;

    progress.phase("speed, in turns of a b b a", time_s, 8.0 * open_s);
    let speed = time(&ground.layout, time_s, [&mut bed_a, &mut bed_b], progress)
        .or_else(|(which, error)| if which == Which::B { b.fail(&error) } else { Err(error.context("--a")) })?;

    let exact = Settings { load: exact_load(&settings.load), ..settings.clone() };
    progress.phase("the exact plan: loading, reading the contexts", 3.0 * open_s, 4.0 * open_s);
    let mut bed_exact = open_filled(&mut ground, &exact, progress, log)?;
    progress.phase("needles", 0.5 * open_s, 4.0 * open_s);
    let needles = match b.side.failure {
        None => needles(&ground.layout, [&mut bed_exact, &mut bed_a, &mut bed_b])?,
        Some(_) => Vec::new(),
    };
    progress.phase("quality, against the exact plan", 4.0 * open_s, 0.0);
    let chunks = settings.perplexity.chunks;
    let (told, text) = quality([&mut bed_exact, &mut bed_a, &mut bed_b], chunks, progress)?;
    a.side.quality = Some(told.a.context("--a")?);
    match told.b {
        Ok(quality) => b.side.quality = Some(quality),
        Err(error) => b.side.failure = b.side.failure.take().or(Some(error.to_string())),
    }
    for (party, bed) in [(a, &mut bed_a), (b, &mut bed_b)] {
        party.take_notices(bed);
    }
    Ok(Measured { speed, kld_excess: told.kld_excess, needles, text })
}

impl Party {
    /// Reads the flags; `flag` is where they stood.
    fn of(name: &'static str, flag: &str, shared: &Settings, flags: &str) -> anyhow::Result<Party> {
        let settings = side::onto(flags, shared).map_err(|Usage(problem)| anyhow!("{flag}: {problem}"))?;
        let resolved = open::options(&settings.load)
            .and_then(|options| Ok(options.resolve().map_err(chaski::Error::Technique)?))
            .map_err(|problem| if flags.is_empty() { problem } else { anyhow!("{flag}: {problem}") })?;
        let techniques = resolved.iter().map(standing).collect();
        Ok(Party { name, settings, side: Side { flags: flags.into(), techniques, ..Side::default() } })
    }

    fn open(&self, ground: &mut Ground<'_>, progress: &mut Progress, log: &mut Log) -> anyhow::Result<Bed> {
        open_filled(ground, &self.settings, progress, log).with_context(|| format!("--{}", self.name))
    }

    /// Opens it with nothing else in memory but what was there `before`, does everything once, and takes down what that took.
    fn open_alone(
        &mut self,
        ground: &mut Ground<'_>,
        before: Option<u64>,
        progress: &mut Progress,
        log: &mut Log,
    ) -> anyhow::Result<Bed> {
        let counted = peak::reset();
        let mut bed = self.open(ground, progress, log)?;
        for test in &ground.layout.tests {
            // What fails here fails again where it is told.
            let _ = bed.measure(test.kind);
        }
        let weights = bed.llm.weight_memory();
        let groups = bed.llm.engine().cache().groups();
        let token = |group: &engine::cache::KvGroup| {
            group.layers.len() as u64 * u64::from(group.num_kv_heads) * u64::from(group.k_bytes + group.v_bytes)
        };
        self.side.memory = Memory {
            weights_bytes: (weights.repacked_bytes + weights.mapped_bytes) as u64,
            kv_token_bytes: groups.map(token).sum(),
            peak_bytes: peak::bytes().zip(before).filter(|_| counted).map(|(peak, before)| peak.saturating_sub(before)),
        };
        Ok(bed)
    }

    /// What is wrong with b is a result; there are no speeds then.
    fn fail(&mut self, error: &anyhow::Error) -> anyhow::Result<Vec<Speed>> {
        self.side.failure = Some(format!("{error:#}"));
        Ok(Vec::new())
    }

    /// What the watch over numbers saw.
    fn take_notices(&mut self, bed: &mut Bed) {
        let off = bed.llm.take_notices().into_iter().filter(|notice| matches!(notice, Notice::Off { .. }));
        self.side.notices.extend(off.map(|notice| notice.to_string()));
        let counts = bed.llm.watch_counts();
        if counts.num_redone > 0 {
            let (redone, steps) = (counts.num_redone, counts.num_steps);
            self.side.notices.push(format!("{redone} of {steps} steps redone on the exact plan"));
        }
    }
}

fn open_filled(
    ground: &mut Ground<'_>,
    settings: &Settings,
    progress: &mut Progress,
    log: &mut Log,
) -> anyhow::Result<Bed> {
    let deepest = ground.layout.deepest().max(1) as f64;
    Bed::open(ground, settings, log, &mut |done| progress.show(done as f64 / deepest))
}

/// What judges both: no technique, nothing rounded, the model as both sides share it.
fn exact_load(shared: &Load) -> Load {
    Load {
        plan: Plan::Exact,
        kv_type_k: None,
        kv_type_v: None,
        techniques: Vec::new(),
        inject: Vec::new(),
        batch_invariant: false,
        ..shared.clone()
    }
}

/// Times every test, round after round until the time is over. Says who failed.
fn time(
    layout: &Layout,
    time_s: f64,
    [a, b]: [&mut Bed; 2],
    progress: &mut Progress,
) -> Result<Vec<Speed>, (Which, anyhow::Error)> {
    let mut measured = vec![Comparison::default(); layout.tests.len()];
    let mut together = Vec::new();
    let begin = Instant::now();
    while together.len() < LEAST_TURNS || begin.elapsed().as_secs_f64() < time_s {
        let (mut log_ratios, mut deciding) = (0.0, 0.0);
        for (number, (test, measured)) in layout.tests.iter().zip(&mut measured).enumerate() {
            let (slice, mut turns) = (Instant::now(), Comparison::default());
            let slice_s = SLICE_S.min(0.01 * time_s) * if test.decides() { 1.0 } else { 0.1 };
            while turns.num_turns() == 0 || slice.elapsed().as_secs_f64() < slice_s {
                turns.turn(|which| {
                    let bed = if which == Which::A { &mut *a } else { &mut *b };
                    bed.measure(test.kind).map_err(|error| (which, error))
                })?;
            }
            if test.decides() {
                log_ratios += (turns.a.iter().sum::<f64>() / turns.b.iter().sum::<f64>()).ln();
                deciding += 1.0;
            }
            measured.a.append(&mut turns.a);
            measured.b.append(&mut turns.b);
            let rounds = together.len() as f64 + (number + 1) as f64 / layout.tests.len() as f64;
            progress.show((rounds / LEAST_TURNS as f64).min(begin.elapsed().as_secs_f64() / time_s.max(1e-3)));
        }
        together.push(f64::exp(log_ratios / deciding));
    }
    let named = layout.tests.iter().zip(measured);
    let speed = named.filter_map(|(test, m)| Speed::of(&test.name, test.tokens, test.is_rate(), test.decides(), m));
    Ok(speed.chain(Speed::together(&together)).collect())
}

/// Asks all three for every fact, in each context that holds it.
fn needles(layout: &Layout, [exact, a, b]: [&mut Bed; 3]) -> anyhow::Result<Vec<Needle>> {
    let haystack = exact.haystack.clone();
    let mut needles = Vec::new();
    for (home, &depth) in layout.depths.iter().enumerate() {
        for hidden in haystack.needles_within(depth) {
            needles.push(Needle {
                position: hidden.position,
                depth,
                exact: exact.knows(home, hidden)?,
                a: a.knows(home, hidden)?,
                b: b.knows(home, hidden)?,
            });
        }
    }
    Ok(needles)
}

/// Scores the text with all three.
fn quality(
    [exact, a, b]: [&mut Bed; 3],
    most_chunks: usize,
    progress: &mut Progress,
) -> anyhow::Result<(Fidelity, Text)> {
    let tokenizer = exact.llm.tokenizer().clone();
    let tokens = tokenizer.encode(TEXT, Encode { add_special: true, parse_special: false });
    let context = CONTEXT.min(exact.llm.context() as usize);
    let filled = tokens.len() / context;
    let chunks = if most_chunks > 0 { most_chunks.min(filled) } else { filled };
    let bos = tokenizer.vocab().special().bos.filter(|_| tokenizer.vocab().add_bos());
    let chunking = Chunking { context, max_chunks: Some(chunks), bos };
    for bed in [&mut *exact, &mut *a, &mut *b] {
        bed.clear()?;
    }
    let mut done = 0;
    let mut exact = Stepper::new(&mut exact.llm, exact.ubatch)?;
    let mut a = Stepper::new(&mut a.llm, a.ubatch)?;
    let mut b = Stepper::new(&mut b.llm, b.ubatch)?;
    let told = fidelity(&mut exact, &mut a, &mut b, &tokens, &chunking, &mut |_| {
        done += 1;
        progress.show(done as f64 / (3 * chunks) as f64);
    })?;
    Ok((told, Text { source: "a story that comes with chaski, its own".into(), chunks, context }))
}

fn show(settings: &Settings, report: &Report) -> anyhow::Result<()> {
    if let Some(html) = &settings.ab.html {
        store::write_whole(html, page(report)).context("--html")?;
    }
    let text = match settings.output.format {
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
        _ => table(report),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Keeps the report. That it cannot be kept is no reason to fail: it has been shown.
fn keep(settings: &Settings, report: &Report, log: &mut Log) {
    let Some(root) = source::cache_root() else { return };
    let Report { model, machine, version, a, b, .. } = report;
    let shared = (&settings.load, &settings.sampling, settings.ab.prompt, settings.ab.generate);
    let lists = (&settings.ab.depths, &settings.ab.parallel, settings.perplexity.chunks);
    let key = Key {
        model: model.sha256.clone(),
        cpu: machine.cpu.clone(),
        cores: machine.cores,
        features: machine.features.clone(),
        version: version.clone(),
        catalogue: store::catalogue_checksum(chaski::Options::default().catalogue),
        shared: format!("{shared:?} {lists:?}"),
        a: a.flags.clone(),
        b: b.flags.clone(),
    };
    match store::keep(&root, &key, report) {
        Ok((path, earlier)) => {
            match earlier {
                Earlier::Nothing => {}
                Earlier::Verdicts(verdicts) => {
                    let list: Vec<String> =
                        verdicts.iter().map(|(time, verdict)| format!("{verdict} ({time})")).collect();
                    log.info(format_args!("before: {}", list.join(", ")));
                }
                Earlier::Damaged(path) => {
                    log.warning(format_args!("{}: no result that can be read; it was replaced", path.display()));
                }
            }
            log.info(format_args!("kept in {}", path.display()));
        }
        Err(error) => log.warning(format_args!("the result is not kept: {error:#}")),
    }
}

fn standing(resolved: &Resolved) -> Standing {
    Standing { id: resolved.technique.id.into(), state: resolved.state.name().into(), reason: resolved.reason.clone() }
}

fn utc() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Now { unix_seconds: since.map_or(0, |since| since.as_secs() as i64), utc_offset_seconds: 0 };
    now.format("%Y-%m-%d %H:%M")
}
