//! Which tokens a constrained answer may go on with, found out on a thread of its own while the next step is computed.
//! A mask that is late holds up its own sequence alone: the engine keeps the row of logits and samples when it is there.

use crate::error::Error;
use crate::request::Constrain;
use crate::sampler::TokenSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// The thread; it begins with the first constrained request and ends with the engine.
#[derive(Default)]
pub(crate) struct Masks {
    jobs: Option<Sender<Box<Job>>>,
}

/// The constraint of one answer.
pub(crate) struct Restraint {
    /// The constraint with its mask; `None` while the thread has it.
    here: Option<Box<Job>>,
    back: Receiver<Box<Job>>,
}

/// A constraint on its way between the two threads.
struct Job {
    constraint: Box<dyn Constrain>,
    /// What it has to take first.
    accept: Option<u32>,
    allowed: TokenSet,
    problem: Option<String>,
    home: SyncSender<Box<Job>>,
}

impl Masks {
    /// Takes a constraint in and has its first mask made.
    pub fn begin(&mut self, constraint: Box<dyn Constrain>) -> Restraint {
        let (home, back) = sync_channel(1);
        let (allowed, accept, problem) = (TokenSet::default(), None, None);
        let mut restraint = Restraint { here: None, back };
        self.send(Box::new(Job { constraint, accept, allowed, problem, home }), &mut restraint);
        restraint
    }

    /// Tells the constraint of the token that was taken, and has the next mask made.
    pub fn accept(&mut self, restraint: &mut Restraint, token: u32) {
        if let Some(mut job) = restraint.here.take() {
            job.accept = Some(token);
            self.send(job, restraint);
        }
    }

    fn send(&mut self, job: Box<Job>, restraint: &mut Restraint) {
        let jobs = match &self.jobs {
            Some(jobs) => jobs,
            None => self.jobs.insert(spawn()),
        };
        if let Err(refused) = jobs.send(job) {
            // No thread is to be had.
            let mut job = refused.0;
            job.run();
            restraint.here = Some(job);
        }
    }
}

impl Restraint {
    /// Whether the mask is there.
    pub fn is_ready(&mut self) -> bool {
        if self.here.is_none() {
            self.here = self.back.try_recv().ok();
        }
        self.here.is_some()
    }

    /// Waits for the mask.
    pub fn wait(&mut self) {
        if self.here.is_none() {
            self.here = self.back.recv().ok();
        }
    }

    /// The tokens that may come next; `None` while that is not known yet.
    pub fn allowed(&mut self) -> Option<Result<&TokenSet, Error>> {
        self.is_ready();
        self.here.as_ref().map(|job| match &job.problem {
            None => Ok(&job.allowed),
            Some(problem) => Err(Error::Constraint(problem.clone())),
        })
    }
}

impl Job {
    fn run(&mut self) {
        let Job { constraint, accept, allowed, .. } = self;
        let work = AssertUnwindSafe(|| {
            accept.take().map_or(Ok(()), |token| constraint.accept(token))?;
            constraint.allowed(allowed)
        });
        self.problem = catch_unwind(work).unwrap_or_else(|_| Err("the grammar's parser failed".into())).err();
    }
}

/// A thread that makes masks, one after the other.
fn spawn() -> Sender<Box<Job>> {
    let (jobs, inbox) = channel::<Box<Job>>();
    // Where it cannot be had, the inbox is gone and so masks are made in place.
    let _ = std::thread::Builder::new().name("masks".into()).spawn(move || {
        for mut job in inbox {
            job.run();
            let home = job.home.clone();
            // Nobody waits for the mask of an answer that was given up.
            let _ = home.send(job);
        }
    });
    jobs
}
