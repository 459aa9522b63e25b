//! The way back to the client: events, from the engine's thread to whichever reads them. [`EventStream`] is
//! a channel between threads; who waits for events otherwise brings an [`EventSink`] of its own.

use crate::error::Error;
use crate::sequence::FinishReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What happens to a request.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A part of the prompt was computed. Only for those who asked for it ([`crate::request::Report`]).
    Prompt {
        /// Tokens of the prompt that are in the cache now.
        num_computed: u32,
        /// Those of them that were found there.
        num_cached: u32,
        /// Scores of the prompt's next tokens, in order; the first token of the prompt has none.
        scores: Vec<TokenScore>,
    },
    /// The vector of the prompt, which is computed. Only for those who asked for it.
    Embedding(Vec<f32>),
    /// A token was generated: one such event for each, the end-of-generation token included.
    Token {
        /// The token.
        token: u32,
        /// The text that has become certain with it, possibly none.
        piece: String,
        /// How probable it was, if that was asked for.
        score: Option<Box<TokenScore>>,
    },
    /// The answer has ended; nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Tokens.
        usage: Usage,
        /// Times.
        timings: Timings,
    },
    /// The request has failed; nothing follows.
    Failed(Error),
}

/// How probable a token was at its place: a log-probability, or a probability after sampling where that was
/// asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// Its score.
    pub score: f32,
    /// The likeliest tokens at that place with theirs, likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Where the engine sends the events of one request, on its own thread: be quick.
pub trait EventSink: Send {
    /// Takes an event.
    fn send(&mut self, event: Event);

    /// Whether nobody wants them any more: the request is then ended before the next step.
    fn is_gone(&self) -> bool;
}

/// Tokens of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub num_prompt: u32,
    /// Those of them that were found in the cache.
    pub num_cached: u32,
    /// Tokens generated.
    pub num_generated: u32,
}

/// Times of a request, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timings {
    /// From its submission to its first step.
    pub queue_us: u64,
    /// From its first step to its first token.
    pub prompt_us: u64,
    /// From its first token to its end.
    pub generation_us: u64,
}

/// The client's end: an iterator over events that ends with the answer. Dropping it cancels the request.
pub struct EventStream {
    events: Receiver<Event>,
    cancelled: Arc<AtomicBool>,
}

/// The engine's end.
struct ChannelSink {
    events: Sender<Event>,
    cancelled: Arc<AtomicBool>,
}

/// Both ends.
pub(crate) fn event_stream() -> (Box<dyn EventSink>, EventStream) {
    let (sender, receiver) = channel();
    let cancelled = Arc::new(AtomicBool::new(false));
    (
        Box::new(ChannelSink { events: sender, cancelled: cancelled.clone() }),
        EventStream { events: receiver, cancelled },
    )
}

impl EventStream {
    /// The next event if there is one already. [`Iterator::next`] waits for it, so it must be called on
    /// another thread than the engine's.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Asks the engine to end the answer before its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Iterator for EventStream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.events.recv().ok()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl EventSink for ChannelSink {
    fn send(&mut self, event: Event) {
        // A client that is gone has cancelled.
        let _ = self.events.send(event);
    }

    fn is_gone(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
