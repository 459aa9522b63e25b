//! The door to an engine that runs on a thread of its own: requests in, event streams out.

use crate::engine::{Engine, StepRunner};
use crate::error::Error;
use crate::request::Request;
use crate::stream::{EventSink, EventStream, event_stream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Submits requests, from any thread. The engine ends when the last handle is gone and its work is done.
#[derive(Clone)]
pub struct Handle {
    inbox: Sender<Submission>,
}

/// A request on its way to the engine.
pub(crate) struct Submission {
    pub(crate) request: Request,
    pub(crate) sink: Box<dyn EventSink>,
}

impl Handle {
    /// Submits a request. What is wrong with it comes as an event.
    pub fn submit(&self, request: Request) -> Result<EventStream, Error> {
        let (sink, stream) = event_stream();
        self.submit_to(request, sink)?;
        Ok(stream)
    }

    /// Submits a request whose events go to `sink`.
    pub fn submit_to(&self, request: Request, sink: Box<dyn EventSink>) -> Result<(), Error> {
        self.inbox.send(Submission { request, sink }).map_err(|_| Error::Stopped)
    }
}

/// Gives the engine a thread of its own. Joining it gives the engine back.
pub fn spawn<R: StepRunner + Send + 'static>(engine: Engine<R>) -> std::io::Result<(Handle, JoinHandle<Engine<R>>)> {
    let (sender, inbox) = channel();
    let thread = std::thread::Builder::new().name("engine".into()).spawn(move || serve(engine, &inbox))?;
    Ok((Handle { inbox: sender }, thread))
}

/// Steps while there is work, sleeps while there is none.
fn serve<R: StepRunner>(mut engine: Engine<R>, inbox: &Receiver<Submission>) -> Engine<R> {
    loop {
        if engine.is_idle() {
            match inbox.recv() {
                Ok(submission) => engine.accept(submission),
                Err(_) => return engine,
            }
        }
        inbox.try_iter().for_each(|submission| engine.accept(submission));
        engine.step();
    }
}
