//! Counters of the server and their Prometheus form: one table, [`METRICS`], from which `GET /metrics` and the
//! page of the documentation are made. `llamacpp:*` are llama-server's names, `chaski:*` are our own.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use engine::observer::{Observer, StepReport};
use engine::stream::{Timings, Usage};

/// What is counted. Written from the engine's thread and the handlers, read by `GET /metrics`.
#[derive(Default, Debug)]
pub struct Metrics {
    prompt: Tally,
    predicted: Tally,
    num_cached: AtomicU64,
    num_steps: AtomicU64,
    num_step_sequences: AtomicU64,
    num_step_rows: AtomicU64,
    schedule_us: AtomicU64,
    run_us: AtomicU64,
    sample_us: AtomicU64,
    num_preempted: AtomicU64,
    num_failed_steps: AtomicU64,
    most_tokens: AtomicU64,
    running: AtomicU64,
    waiting: AtomicU64,
    kv_used_bytes: AtomicU64,
    kv_bytes: AtomicU64,
    queue_us: AtomicU64,
    first_token_us: AtomicU64,
    num_finished: AtomicU64,
    num_cancelled: AtomicU64,
    num_failed: AtomicU64,
    /// HTTP requests that were answered with an error of the client's.
    pub(crate) num_refused: AtomicU64,
    /// Handlers that panicked.
    pub(crate) num_panics: AtomicU64,
    engine_gone: AtomicBool,
}

/// Tokens and the time they took: in all, and since the last look.
#[derive(Default, Debug)]
struct Tally {
    count: AtomicU64,
    time_us: AtomicU64,
    recent_count: AtomicU64,
    recent_us: AtomicU64,
}

impl Tally {
    fn add(&self, count: u64, time_us: u64) {
        for (sum, value) in [(&self.count, count), (&self.time_us, time_us)] {
            sum.fetch_add(value, Relaxed);
        }
        self.recent_count.fetch_add(count, Relaxed);
        self.recent_us.fetch_add(time_us, Relaxed);
    }

    /// Tokens per second since this was last asked.
    fn recent_rate(&self) -> f64 {
        let (count, us) = (self.recent_count.swap(0, Relaxed), self.recent_us.swap(0, Relaxed));
        if us == 0 { 0.0 } else { count as f64 * 1e6 / us as f64 }
    }
}

/// A line of the table.
pub struct Metric {
    /// Name, with its prefix.
    pub name: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    read: fn(&Metrics) -> f64,
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Metrics) -> f64) -> Metric {
    Metric { name, help, is_counter: true, read }
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Metrics) -> f64) -> Metric {
    Metric { name, help, is_counter: false, read }
}

/// Everything that is told, in the order of the page.
pub const METRICS: &[Metric] = &[
    counter("llamacpp:prompt_tokens_total", "Number of prompt tokens processed, excluding cached tokens", |m| {
        load(&m.prompt.count)
    }),
    counter("llamacpp:prompt_tokens_cached_total", "Number of prompt tokens reused from the cache", |m| {
        load(&m.num_cached)
    }),
    counter("llamacpp:prompt_seconds_total", "Total time spent processing prompts", |m| seconds(&m.prompt.time_us)),
    counter("llamacpp:tokens_predicted_total", "Number of generation tokens processed", |m| load(&m.predicted.count)),
    counter("llamacpp:tokens_predicted_seconds_total", "Total time spent generating tokens", |m| {
        seconds(&m.predicted.time_us)
    }),
    counter("llamacpp:n_decode_total", "Total number of steps", |m| load(&m.num_steps)),
    counter("llamacpp:n_tokens_max", "Largest observed sequence length (prompt + generation)", |m| {
        load(&m.most_tokens)
    }),
    counter(
        "llamacpp:spec_decode_num_draft_tokens_total",
        "Speculative: tokens drafted (none, there is no drafting)",
        |_| 0.0,
    ),
    counter("llamacpp:spec_decode_num_accepted_tokens_total", "Speculative: drafted tokens accepted", |_| 0.0),
    counter("llamacpp:spec_decode_num_drafts_total", "Speculative: verification steps", |_| 0.0),
    gauge("llamacpp:prompt_tokens_seconds", "Average prompt throughput in tokens/s since the last scrape", |m| {
        m.prompt.recent_rate()
    }),
    gauge(
        "llamacpp:predicted_tokens_seconds",
        "Average generation throughput in tokens/s since the last scrape",
        |m| m.predicted.recent_rate(),
    ),
    gauge("llamacpp:requests_processing", "Number of requests processing", |m| load(&m.running)),
    gauge("llamacpp:requests_deferred", "Number of requests deferred", |m| load(&m.waiting)),
    gauge("llamacpp:n_busy_slots_per_decode", "Average number of sequences per step", |m| {
        load(&m.num_step_sequences) / load(&m.num_steps).max(1.0)
    }),
    counter("chaski:answers_finished_total", "Answers that came to their end", |m| load(&m.num_finished)),
    counter("chaski:answers_cancelled_total", "Answers whose client went away", |m| load(&m.num_cancelled)),
    counter("chaski:answers_failed_total", "Answers that ended in an error", |m| load(&m.num_failed)),
    counter("chaski:queue_seconds_total", "Time answers waited for their first step", |m| seconds(&m.queue_us)),
    counter("chaski:first_token_seconds_total", "Time from submission to the first token, summed over answers", |m| {
        seconds(&m.first_token_us)
    }),
    counter("chaski:step_rows_total", "Rows computed in all steps", |m| load(&m.num_step_rows)),
    counter("chaski:step_schedule_seconds_total", "Time spent putting steps together", |m| seconds(&m.schedule_us)),
    counter("chaski:step_run_seconds_total", "Time spent computing steps", |m| seconds(&m.run_us)),
    counter("chaski:step_sample_seconds_total", "Time spent sampling, detokenizing and sending, between steps", |m| {
        seconds(&m.sample_us)
    }),
    counter("chaski:preemptions_total", "Sequences that lost their place in the cache and were computed anew", |m| {
        load(&m.num_preempted)
    }),
    counter("chaski:steps_failed_total", "Steps that ended in an error", |m| load(&m.num_failed_steps)),
    gauge("chaski:kv_used_bytes", "Bytes of cache blocks that sequences hold", |m| load(&m.kv_used_bytes)),
    gauge("chaski:kv_bytes", "Bytes of all cache blocks", |m| load(&m.kv_bytes)),
    counter("chaski:requests_refused_total", "HTTP requests refused with a 4xx status", |m| load(&m.num_refused)),
    counter("chaski:panics_total", "Handlers that panicked", |m| load(&m.num_panics)),
];

fn load(count: &AtomicU64) -> f64 {
    count.load(Relaxed) as f64
}

fn seconds(time_us: &AtomicU64) -> f64 {
    load(time_us) / 1e6
}

impl Metrics {
    /// The page, in Prometheus' text form.
    pub fn page(&self) -> String {
        let mut page = String::with_capacity(4096);
        for metric in METRICS {
            let kind = if metric.is_counter { "counter" } else { "gauge" };
            let (name, help, value) = (metric.name, metric.help, (metric.read)(self));
            // Writing to a string cannot fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
        page
    }

    /// An answer has come to its end.
    pub(crate) fn finished(&self, usage: &Usage, timings: &Timings) {
        self.num_finished.fetch_add(1, Relaxed);
        self.tally(usage, timings);
        self.first_token_us.fetch_add(timings.queue_us + timings.prompt_us, Relaxed);
    }

    /// An answer has ended because its client went away.
    pub(crate) fn cancelled(&self, usage: &Usage, timings: &Timings) {
        self.num_cancelled.fetch_add(1, Relaxed);
        self.tally(usage, timings);
    }

    /// An answer has ended in an error.
    pub(crate) fn failed(&self) {
        self.num_failed.fetch_add(1, Relaxed);
    }

    /// Whether the engine still works.
    pub(crate) fn engine_lives(&self) -> bool {
        !self.engine_gone.load(Relaxed)
    }

    fn tally(&self, usage: &Usage, timings: &Timings) {
        self.prompt.add((usage.num_prompt - usage.num_cached.min(usage.num_prompt)).into(), timings.prompt_us);
        self.predicted.add(usage.num_generated.into(), timings.generation_us);
        self.num_cached.fetch_add(usage.num_cached.into(), Relaxed);
        self.queue_us.fetch_add(timings.queue_us, Relaxed);
        self.most_tokens.fetch_max(u64::from(usage.num_prompt) + u64::from(usage.num_generated), Relaxed);
    }
}

/// Listens to the engine; when it goes, so has the engine.
pub(crate) struct Watch(pub(crate) std::sync::Arc<Metrics>);

impl Observer for Watch {
    fn step(&mut self, report: &StepReport) {
        let metrics = &self.0;
        metrics.num_steps.fetch_add(1, Relaxed);
        metrics.num_step_sequences.fetch_add(report.num_sequences.into(), Relaxed);
        metrics.num_step_rows.fetch_add(report.num_rows.into(), Relaxed);
        metrics.schedule_us.fetch_add(report.schedule_us, Relaxed);
        metrics.run_us.fetch_add(report.run_us, Relaxed);
        metrics.sample_us.fetch_add(report.sample_us, Relaxed);
        metrics.num_preempted.fetch_add(report.num_preempted.into(), Relaxed);
        metrics.num_failed_steps.fetch_add(report.failed.into(), Relaxed);
        metrics.kv_used_bytes.store(report.kv_used_bytes, Relaxed);
        metrics.kv_bytes.store(report.kv_bytes, Relaxed);
        metrics.running.store(report.num_running.into(), Relaxed);
        metrics.waiting.store(report.num_waiting.into(), Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.engine_gone.store(true, Relaxed);
    }
}

/// The table as a page of the documentation.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\nWhat `GET /metrics` tells (`chaski serve --metrics`). The table is in `crates/server/src/metrics.rs`.\n\n\
         | name | kind | what it is |\n|---|---|---|\n",
    );
    for metric in METRICS {
        let kind = if metric.is_counter { "counter" } else { "gauge" };
        page += &format!("| `{}` | {kind} | {} |\n", metric.name, metric.help);
    }
    page
}
