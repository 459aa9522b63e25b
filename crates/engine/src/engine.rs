//! The step loop: schedule, run, sample, send. One thread owns it; nothing here is locked.
//!
//! Driven by [`crate::handle::spawn`] on a thread of its own, or step by step by whoever holds it: the
//! CLI's one-shot run calls [`Engine::answer`] on its own thread.

use crate::batch::Batch;
use crate::cache::KvCache;
use crate::error::Error;
use crate::handle::Submission;
use crate::masks::{Masks, Restraint};
use crate::observer::{Observer, StepReport};
use crate::reply::Reply;
use crate::request::Request;
use crate::sampler::Candidates;
use crate::scheduler::{Rules, Scheduler, Ticket};
use crate::sequence::{FinishReason, Sequence};
use crate::stream::{Event, EventSink, EventStream, event_stream};
use crate::watch::Notice;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// Notices kept while nobody observes.
const MOST_NOTICES: usize = 64;

/// What computes a step: the runner, or a model made up for a test.
pub trait StepRunner {
    /// Makes the batch's copies, in order, then computes its rows and returns the logits of its
    /// `output_rows`, one row each, or, where the batch is greedy, their best tokens. The cache has blocks reserved for all rows.
    fn step(&mut self, batch: &Batch, cache: &KvCache) -> Result<Logits<'_>, Error>;

    /// Entries in a row of logits.
    fn vocab_size(&self) -> usize;

    /// What its watch over numbers has to tell since this was last asked.
    fn take_notices(&mut self) -> Vec<Notice> {
        Vec::new()
    }
}

/// Logits of a step, `[output_rows, vocab_size]`.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    /// The rows, one after the other.
    pub values: &'a [f32],
    /// Entries in a row.
    pub vocab_size: usize,
    /// What the logits are made of, `[output_rows, hidden_size]`: the last layer, normalised. Empty where a
    /// runner does not tell.
    pub hidden: &'a [f32],
    /// The most likely token of each output row, the first of equal ones, where the batch asks for no more; the other
    /// fields are empty then.
    pub best: &'a [u32],
}

/// What a step tells of the token that comes next.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// The logits, `[vocab_size]`.
    Logits(&'a [f32]),
    /// The most likely token.
    Best(u32),
}

impl<'a> Logits<'a> {
    /// The logits of the n-th output row; empty if there is no such row.
    pub fn row(&self, index: usize) -> &'a [f32] {
        self.values.chunks_exact(self.vocab_size.max(1)).nth(index).unwrap_or(&[])
    }

    /// What there is to know of the token after the n-th output row.
    pub fn next(&self, index: usize) -> Row<'a> {
        self.best.get(index).map_or_else(|| Row::Logits(self.row(index)), |&token| Row::Best(token))
    }

    /// What the n-th output row is made of.
    pub fn hidden_row(&self, index: usize) -> &[f32] {
        let num_rows = self.values.len() / self.vocab_size.max(1);
        self.hidden.chunks_exact((self.hidden.len() / num_rows.max(1)).max(1)).nth(index).unwrap_or(&[])
    }
}

/// Sequences, cache and runner under one roof.
pub struct Engine<R> {
    runner: R,
    batch: Batch,
    desk: Desk,
    observer: Option<Box<dyn Observer>>,
    num_steps: u64,
    /// What the watch over numbers told while nobody observed.
    notices: Vec<Notice>,
}

/// Who has asked for what, and how far it is.
struct Desk {
    cache: KvCache,
    scheduler: Scheduler,
    candidates: Candidates,
    masks: Masks,
    /// By ticket.
    replies: Vec<Option<Reply>>,
    started: Instant,
}

impl<R: StepRunner> Engine<R> {
    /// An engine that keeps to the limits of its cache.
    pub fn new(runner: R, cache: KvCache) -> Self {
        let rules = Rules::of(cache.limits());
        Engine::with_rules(runner, cache, rules)
    }

    /// An engine with rules of its own, within the limits of its cache.
    pub fn with_rules(runner: R, cache: KvCache, rules: Rules) -> Self {
        let limits = *cache.limits();
        let desk = Desk {
            cache,
            scheduler: Scheduler::new(rules),
            candidates: Candidates::new(runner.vocab_size()),
            masks: Masks::default(),
            replies: Vec::new(),
            started: Instant::now(),
        };
        let batch = Batch::with_capacity(limits.step_tokens.min(1 << 16) as usize, limits.num_sequences as usize);
        Engine { runner, batch, desk, observer: None, num_steps: 0, notices: Vec::new() }
    }

    /// Who is told of every step.
    pub fn set_observer(&mut self, observer: Option<Box<dyn Observer>>) {
        self.observer = observer;
    }

    /// What the watch over numbers has told since this was last asked, while nobody observed.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        notices.extend(self.runner.take_notices());
        notices
    }

    /// The cache.
    pub fn cache(&self) -> &KvCache {
        &self.desk.cache
    }

    /// What the scheduler keeps to.
    pub fn rules(&self) -> &Rules {
        self.desk.scheduler.rules()
    }

    /// The runner.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// Runner and cache, for steps without scheduling (`perplexity`, `bench`). The caller keeps its hands
    /// off sequences it did not create.
    pub fn parts_mut(&mut self) -> (&mut R, &mut KvCache) {
        (&mut self.runner, &mut self.desk.cache)
    }

    /// The runner, for work beside the requests. Between two steps it may be used as one likes, except
    /// with blocks that the cache holds.
    pub fn runner_mut(&mut self) -> &mut R {
        &mut self.runner
    }

    /// Takes a request in.
    pub fn submit(&mut self, request: Request) -> Result<EventStream, Error> {
        let (sink, stream) = event_stream();
        self.desk.add(request, sink).map_err(|(error, _)| error)?;
        Ok(stream)
    }

    /// Answers one request on the calling thread, along with whatever else is under way. `on_event` may
    /// break off; the request is then ended as aborted.
    pub fn answer(
        &mut self,
        request: Request,
        mut on_event: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut stream = self.submit(request)?;
        loop {
            self.step();
            while let Some(event) = stream.try_next() {
                let is_last = !matches!(event, Event::Token { .. } | Event::Prompt { .. } | Event::Embedding(_));
                let flow = on_event(event);
                if is_last {
                    return Ok(());
                }
                if flow.is_break() {
                    stream.cancel();
                }
            }
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.desk.scheduler.is_idle()
    }

    /// Steps until there is nothing left to do.
    pub fn run_until_idle(&mut self) {
        while !self.is_idle() {
            self.step();
        }
    }

    /// One step. A runner that fails or panics takes the sequences of the step with it, nothing else.
    pub fn step(&mut self) {
        let begin = self.desk.now_us();
        self.desk.drop_cancelled();
        self.desk.sample_held();
        self.desk.scheduler.schedule(&mut self.desk.cache, &mut self.batch);
        if self.batch.is_empty() {
            self.desk.await_mask();
        }
        let scheduled = self.desk.now_us();
        self.desk.note_first_steps(scheduled);
        let mut report = StepReport {
            num_rows: self.batch.num_rows() as u32,
            num_sequences: self.batch.spans.len() as u32,
            num_prompt_rows: self.desk.scheduler.num_prompt_rows(&self.batch),
            num_cached: self.desk.scheduler.num_cached(),
            num_preempted: self.desk.scheduler.num_preempted(),
            num_copies: self.batch.copies.len() as u32,
            schedule_us: scheduled - begin,
            ..StepReport::default()
        };
        if !self.batch.is_empty() {
            self.num_steps += 1;
            self.batch.greedy = self.desk.is_greedy();
            self.run(&mut report);
        }
        report.num_finished = self.desk.settle();
        report.step = self.num_steps;
        report.num_running = self.desk.scheduler.running().len() as u32;
        report.num_waiting = self.desk.scheduler.num_waiting() as u32;
        (report.kv_used_bytes, report.kv_bytes) = (self.desk.cache.used_bytes(), self.desk.cache.bytes());
        let notices = self.runner.take_notices();
        report.redone = notices.iter().any(|notice| matches!(notice, Notice::Redone(_)));
        report.sample_us = (self.desk.now_us() - scheduled).saturating_sub(report.run_us);
        if let Some(observer) = &mut self.observer
            && (report.num_rows > 0 || report.num_finished > 0)
        {
            observer.step(&report);
            notices.iter().for_each(|notice| observer.notice(notice));
        } else if self.notices.len() < MOST_NOTICES {
            self.notices.extend(notices);
        }
    }

    /// Takes in what came through a handle.
    pub(crate) fn accept(&mut self, submission: Submission) {
        if let Err((error, mut sink)) = self.desk.add(submission.request, submission.sink) {
            sink.send(Event::Failed(error));
        }
    }

    /// Computes the batch and hands out its tokens.
    fn run(&mut self, report: &mut StepReport) {
        let begin = Instant::now();
        let (runner, batch, desk) = (&mut self.runner, &self.batch, &mut self.desk);
        let outcome = contain(|| runner.step(batch, &desk.cache));
        report.run_us = begin.elapsed().as_micros() as u64;
        let computed = outcome.and_then(|logits| {
            desk.scheduler.commit(&mut desk.cache, batch)?;
            Ok(logits)
        });
        match computed {
            Ok(logits) => {
                report.num_sampled = desk.scheduler.outputs().iter().filter(|output| output.samples).count() as u32;
                desk.hand_out(logits);
            }
            // The sequences stay; the next steps compute them anew.
            Err(Error::PrefillAgain(_)) if desk.scheduler.compute_again(&mut desk.cache).is_ok() => {}
            Err(error) => {
                report.failed = true;
                desk.fail(&error);
            }
        }
    }
}

impl Desk {
    /// Whether nobody in the step wants more than the most likely token of a row.
    fn is_greedy(&self) -> bool {
        let reply = |ticket: Ticket| self.replies[ticket.0 as usize].as_ref();
        self.scheduler.outputs().iter().all(|output| reply(output.ticket).is_none_or(Reply::is_greedy))
    }

    /// Scores prompts, and gives each sequence whose tokens are all computed its next one.
    fn hand_out(&mut self, logits: Logits<'_>) {
        let now_us = self.now_us();
        for index in 0..self.scheduler.outputs().len() {
            let output = self.scheduler.outputs()[index];
            let ticket = output.ticket;
            let Some(reply) = &mut self.replies[ticket.0 as usize] else { continue };
            let (scheduler, candidates) = (&mut self.scheduler, &mut self.candidates);
            let outcome = contain(|| {
                reply.score_prompt(logits, &output, scheduler.sequence(ticket), candidates)?;
                reply.pool(logits, &output, scheduler.sequence(ticket));
                if !output.samples {
                    return Ok(None);
                }
                reply.first_token_us.get_or_insert(now_us);
                reply.tell_progress(scheduler.sequence(ticket));
                let row = logits.next((output.first_row + output.num_rows - 1) as usize);
                reply.next_token(row, ticket, scheduler, candidates, &mut self.masks)
            });
            self.conclude(ticket, outcome);
        }
        for &ticket in self.scheduler.in_step() {
            if let Some(reply) = &mut self.replies[ticket.0 as usize]
                && reply.first_token_us.is_none()
            {
                reply.tell_progress(self.scheduler.sequence(ticket));
            }
        }
    }

    /// Samples the tokens whose masks were late.
    fn sample_held(&mut self) {
        for index in 0..self.replies.len() {
            let ticket = Ticket(index as u32);
            let Some(reply) = self.replies[index].as_mut().filter(|reply| reply.is_held()) else { continue };
            // A sequence that has lost its place in the meantime is computed anew and gets logits again.
            if self.scheduler.sequence(ticket).num_pending() > 0 {
                reply.held.clear();
                continue;
            }
            if !reply.restraint.as_mut().is_some_and(Restraint::is_ready) {
                continue;
            }
            let logits = std::mem::take(&mut reply.held);
            let (scheduler, candidates) = (&mut self.scheduler, &mut self.candidates);
            let outcome =
                contain(|| reply.next_token(Row::Logits(&logits), ticket, scheduler, candidates, &mut self.masks));
            self.conclude(ticket, outcome);
        }
    }

    /// Waits for a mask, where there is nothing else to do.
    fn await_mask(&mut self) {
        let mut held = self.replies.iter_mut().flatten().filter(|reply| reply.is_held());
        if let Some(restraint) = held.next().and_then(|reply| reply.restraint.as_mut()) {
            restraint.wait();
        }
    }

    /// What becomes of a sequence after its turn.
    fn conclude(&mut self, ticket: Ticket, outcome: Result<Option<FinishReason>, Error>) {
        match outcome {
            Ok(None) => {}
            Ok(Some(reason)) => self.scheduler.finish(ticket, reason, &mut self.cache),
            Err(error) => {
                if let Some(reply) = &mut self.replies[ticket.0 as usize] {
                    reply.error = Some(error);
                }
                self.scheduler.finish(ticket, FinishReason::Failed, &mut self.cache);
            }
        }
    }

    /// Ends the sequences of a step that could not be computed.
    fn fail(&mut self, error: &Error) {
        for index in 0..self.scheduler.in_step().len() {
            let ticket = self.scheduler.in_step()[index];
            if let Some(reply) = &mut self.replies[ticket.0 as usize] {
                reply.error = Some(error.clone());
            }
            self.scheduler.finish(ticket, FinishReason::Failed, &mut self.cache);
        }
    }

    fn add(&mut self, request: Request, sink: Box<dyn EventSink>) -> Result<(), (Error, Box<dyn EventSink>)> {
        let Request { prompt, mut sampler, detokenizer, stop_tokens, max_new_tokens, when_full, .. } = request;
        let Request { cache_prompt, report, constraint, .. } = request;
        sampler.reserve(prompt.len() + max_new_tokens.unwrap_or(u32::MAX).min(self.cache.limits().context) as usize);
        sampler.accept_all(&prompt);
        if report.scores.is_some_and(|scores| scores.after_sampling) {
            sampler.list_candidates();
        }
        let sequence = Sequence::new(prompt, stop_tokens, max_new_tokens, when_full)
            .with_prompt(cache_prompt, report.prompt_scores.is_some() || report.embedding.is_some());
        let ticket = match self.scheduler.add(sequence) {
            Ok(ticket) => ticket.0 as usize,
            Err(error) => return Err((error, sink)),
        };
        if ticket >= self.replies.len() {
            self.replies.resize_with(ticket + 1, || None);
        }
        let restraint = constraint.map(|constraint| self.masks.begin(constraint));
        self.replies[ticket] = Some(Reply::new(sampler, restraint, detokenizer, sink, report, self.now_us()));
        Ok(())
    }

    fn drop_cancelled(&mut self) {
        for (index, reply) in self.replies.iter().enumerate() {
            if reply.as_ref().is_some_and(|reply| reply.sink.is_gone()) {
                self.scheduler.finish(Ticket(index as u32), FinishReason::Aborted, &mut self.cache);
            }
        }
    }

    fn note_first_steps(&mut self, now_us: u64) {
        for &ticket in self.scheduler.in_step() {
            if let Some(reply) = &mut self.replies[ticket.0 as usize] {
                reply.first_step_us.get_or_insert(now_us);
            }
        }
    }

    /// Tells the clients of those that have ended, and how many they are.
    fn settle(&mut self) -> u32 {
        let now_us = self.now_us();
        let mut num_finished = 0;
        while let Some((ticket, sequence)) = self.scheduler.pop_finished() {
            if let Some(reply) = self.replies[ticket.0 as usize].take() {
                reply.end(&sequence, now_us);
            }
            num_finished += 1;
        }
        num_finished
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}

/// Makes an error of a panic.
fn contain<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Error::Step(text.unwrap_or("a panic without a message").into()))
    })
}
