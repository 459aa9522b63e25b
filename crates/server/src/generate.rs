//! Answers as they come: submits a job to the engine and hands what happens to the wire form of the route, whole
//! or streamed. When the client goes away the response is dropped, its channel closes, and the engine ends the
//! answers before its next step.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::request::Request;
use engine::sequence::FinishReason;
use engine::stream::{Event, EventSink, Timings, TokenScore, Usage};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::app::{App, unix_seconds};
use crate::convert::options::Options;
use crate::convert::request::Job;
use crate::convert::settings::settings;
use crate::error::{ApiError, Form, Kind, json_response};
use crate::slots::Work;
use crate::sse::{self, Silence};

/// A request on its way: what was asked, and how it is named in answers.
pub struct Ask {
    pub app: Arc<App>,
    pub job: Job,
    /// Id in answers, as `chatcmpl-…`.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
}

impl Ask {
    pub fn new(app: &Arc<App>, job: Job) -> Self {
        Ask { id: app.fresh_id("chatcmpl"), created: unix_seconds(), app: app.clone(), job }
    }

    pub fn options(&self) -> &Options {
        &self.job.options
    }
}

/// One answer, as far as it has come.
#[derive(Default)]
pub struct Answer {
    /// Its place among all answers: by prompt, then by choice.
    pub index: usize,
    /// Which prompt it answers.
    pub prompt: usize,
    pub text: String,
    pub tokens: Vec<u32>,
    pub scores: Vec<TokenScore>,
    pub prompt_scores: Vec<TokenScore>,
    /// The vector of the prompt.
    pub embedding: Vec<f32>,
    /// Tokens of the prompt that are computed, and that were found in the cache.
    pub num_computed: u32,
    pub num_cached: u32,
    /// When it was submitted, when its first token came.
    pub submitted: Option<Instant>,
    pub first_token: Option<Instant>,
    pub end: Option<End>,
    /// What has come since the last part was sent.
    fresh: Part,
}

/// How an answer ended.
#[derive(Clone, Copy)]
pub struct End {
    pub reason: FinishReason,
    pub usage: Usage,
    pub timings: Timings,
}

/// What is new of an answer.
#[derive(Default)]
pub struct Part {
    pub text: String,
    pub tokens: Vec<u32>,
    pub scores: Vec<TokenScore>,
    /// The prompt has come further.
    pub progress: bool,
}

/// Makes the JSON of one API of answers.
pub trait Wire: Send + Sync + 'static {
    /// In whose form errors are told.
    const FORM: Form;
    /// Whether `[DONE]` ends a stream.
    const DONE: bool;

    /// Chunks for a part of an answer.
    fn part(&mut self, ask: &Ask, answer: &Answer, part: Part) -> Vec<Value>;

    /// Chunks for the end of an answer.
    fn ended(&mut self, ask: &Ask, answer: &Answer) -> Vec<Value>;

    /// Chunks for the end of them all.
    fn all_ended(&mut self, _ask: &Ask, _answers: &[Answer]) -> Vec<Value> {
        Vec::new()
    }

    /// All answers as one value.
    fn whole(&mut self, ask: &Ask, answers: &[Answer]) -> Value;
}

/// Runs what would block a connection's thread: parsing, templates, tokenizing.
pub async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Arc<App>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let shared = app.clone();
    tokio::task::spawn_blocking(move || work(&shared)).await.unwrap_or_else(|_| {
        app.metrics.num_panics.fetch_add(1, Relaxed);
        Err(ApiError::new(Kind::Server, "the request made the server fail; it is a bug worth reporting"))
    })
}

/// Answers a job in a wire form.
pub async fn respond<W: Wire>(ask: Ask, requests: Vec<Request>, mut wire: W) -> Result<Response, ApiError> {
    let mut answers = Answers::submit(ask, requests)?;
    if !answers.ask.options().stream {
        while let Some(event) = answers.next().await {
            event?;
        }
        return Ok(json_response(StatusCode::OK, &wire.whole(&answers.ask, &answers.all)));
    }
    let silence = Silence::new(ping(&answers.ask));
    let mut streamer = Streamer { silence, answers, wire, ready: VecDeque::new(), over: false };
    // An error that comes first is told with its status, as OpenAI does; later ones are frames of the stream.
    match streamer.silence.bound(streamer.answers.next()).await {
        Some(Some(event)) => streamer.take(event?),
        Some(None) => {}
        None => streamer.ready.push_back(sse::PING),
    }
    let body = Body::from_stream(stream::unfold(streamer, |mut streamer| async move {
        Some((Ok::<Bytes, Infallible>(streamer.frame().await?), streamer))
    }));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((StatusCode::OK, headers, body).into_response())
}

/// All answers of a job, for routes that do not stream.
pub async fn collect(ask: Ask, requests: Vec<Request>) -> Result<Vec<Answer>, ApiError> {
    let mut answers = Answers::submit(ask, requests)?;
    while let Some(event) = answers.next().await {
        event?;
    }
    Ok(answers.all)
}

/// How long the stream may be silent.
fn ping(ask: &Ask) -> Duration {
    const FOR_EVER: Duration = Duration::from_secs(1 << 32);
    let asked = match ask.options().sse_ping_s {
        None => ask.app.config.sse_ping,
        Some(seconds) => u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs),
    };
    asked.unwrap_or(FOR_EVER).min(FOR_EVER)
}

/// The answers to one HTTP request.
struct Answers {
    ask: Ask,
    events: UnboundedReceiver<(usize, Event)>,
    all: Vec<Answer>,
    num_open: usize,
}

impl Answers {
    fn submit(ask: Ask, requests: Vec<Request>) -> Result<Self, ApiError> {
        let (sender, events) = unbounded_channel();
        let choices = ask.options().num_choices.max(1) as usize;
        let params = settings(ask.options(), true);
        let mut all = Vec::with_capacity(requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            let sink = Sink::new(&ask, index, &request, params.clone(), sender.clone());
            ask.app.engine.submit_to(request, Box::new(sink))?;
            all.push(Answer { index, prompt: index / choices, submitted: Some(Instant::now()), ..Answer::default() });
        }
        Ok(Answers { num_open: all.len(), ask, events, all })
    }

    /// Takes the next event; tells whose it was. `None` when all answers have ended.
    async fn next(&mut self) -> Option<Result<usize, ApiError>> {
        if self.num_open == 0 {
            return None;
        }
        let Some((index, event)) = self.events.recv().await else {
            self.num_open = 0;
            return Some(Err(engine::Error::Stopped.into()));
        };
        let answer = &mut self.all[index];
        match event {
            Event::Prompt { num_computed, num_cached, scores } => {
                (answer.num_computed, answer.num_cached) = (num_computed, num_cached);
                answer.prompt_scores.extend(scores);
                answer.fresh.progress = true;
            }
            Event::Embedding(vector) => answer.embedding = vector,
            Event::Token { token, piece, score } => {
                answer.first_token.get_or_insert_with(Instant::now);
                answer.text.push_str(&piece);
                answer.tokens.push(token);
                answer.fresh.text.push_str(&piece);
                answer.fresh.tokens.push(token);
                if let Some(score) = score {
                    answer.scores.push((*score).clone());
                    answer.fresh.scores.push(*score);
                }
            }
            Event::Finished { reason: FinishReason::Aborted | FinishReason::Failed, .. } => {
                return Some(Err(ApiError::new(Kind::Unavailable, "the answer was given up by the server")));
            }
            Event::Finished { reason, usage, timings } => {
                answer.end = Some(End { reason, usage, timings });
                self.num_open -= 1;
            }
            Event::Failed(error) => return Some(Err(error.into())),
        }
        Some(Ok(index))
    }
}

/// The frames of a streamed answer.
struct Streamer<W> {
    answers: Answers,
    wire: W,
    silence: Silence,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl<W: Wire> Streamer<W> {
    /// The next frame; `None` at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over {
                return None;
            }
            match self.silence.bound(self.answers.next()).await {
                None => return Some(sse::PING),
                Some(Some(Ok(index))) => self.take(index),
                Some(Some(Err(error))) => {
                    self.over = true;
                    return Some(sse::data(&json!({"error": error.object(W::FORM)})));
                }
                Some(None) => {
                    let last = self.wire.all_ended(&self.answers.ask, &self.answers.all);
                    self.ready.extend(last.iter().map(sse::data));
                    self.ready.extend(W::DONE.then_some(sse::DONE));
                    self.over = true;
                }
            }
        }
    }

    /// Makes frames of what is new of an answer. Tokens without text wait for it.
    fn take(&mut self, index: usize) {
        let ask = &self.answers.ask;
        let answer = &mut self.answers.all[index];
        let has_ended = answer.end.is_some();
        let fresh = &answer.fresh;
        let tells_progress = fresh.progress && ask.options().return_progress;
        if !fresh.text.is_empty() || tells_progress || (has_ended && !fresh.tokens.is_empty()) {
            let part = std::mem::take(&mut answer.fresh);
            self.ready.extend(self.wire.part(ask, answer, part).iter().map(sse::data));
        }
        if has_ended {
            self.ready.extend(self.wire.ended(ask, answer).iter().map(sse::data));
        }
    }
}

/// The engine's end of one answer: counts what it sees and passes it on. An answer that is told as a whole is passed on
/// at its end: to wake its connection for each token would take the engine's workers off their cores.
struct Sink {
    index: usize,
    events: UnboundedSender<(usize, Event)>,
    /// What has not been passed on; of streams, nothing.
    held: Vec<Event>,
    streams: bool,
    app: Arc<App>,
    work: Arc<Work>,
    slot: Option<usize>,
}

impl Sink {
    fn new(ask: &Ask, index: usize, request: &Request, params: Value, events: UnboundedSender<(usize, Event)>) -> Self {
        let work = Arc::new(Work {
            task: ask.app.next_task(),
            params,
            num_prompt: request.prompt.len() as u32,
            max_tokens: request.max_new_tokens.map_or(-1, i64::from),
            num_computed: 0.into(),
            num_cached: 0.into(),
            num_generated: 0.into(),
        });
        let slot = ask.app.slots.take(&work);
        let (held, streams) = (Vec::new(), ask.options().stream);
        Sink { index, events, held, streams, app: ask.app.clone(), work, slot }
    }

    fn count(&self, event: &Event) {
        let metrics = &self.app.metrics;
        match event {
            Event::Prompt { num_computed, num_cached, .. } => {
                self.work.num_computed.store(*num_computed, Relaxed);
                self.work.num_cached.store(*num_cached, Relaxed);
            }
            Event::Embedding(_) => {}
            Event::Token { .. } => {
                self.work.num_computed.store(self.work.num_prompt, Relaxed);
                self.work.num_generated.fetch_add(1, Relaxed);
            }
            Event::Finished { reason: FinishReason::Aborted, usage, timings } => metrics.cancelled(usage, timings),
            Event::Finished { usage, timings, .. } => metrics.finished(usage, timings),
            Event::Failed(_) => metrics.failed(),
        }
    }
}

impl EventSink for Sink {
    fn send(&mut self, event: Event) {
        if self.slot.is_none() {
            self.slot = self.app.slots.take(&self.work);
        }
        self.count(&event);
        let is_last = matches!(event, Event::Finished { .. } | Event::Failed(_));
        self.held.push(event);
        if self.streams || is_last {
            for event in self.held.drain(..) {
                // A client that is gone has closed the channel; the engine sees it by `is_gone`.
                let _ = self.events.send((self.index, event));
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.events.is_closed()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.app.slots.give_back(slot);
        }
    }
}
