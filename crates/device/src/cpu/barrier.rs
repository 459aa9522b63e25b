//! A barrier between dependent steps: spins briefly, then yields, and can be poisoned.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a waiter spins before it yields its core. Measured in time, not in iterations: when
/// workers outnumber free cores, pure spinning costs whole scheduler slices (milliseconds).
const SPIN: Duration = Duration::from_micros(3);

/// Some worker panicked; nobody may wait for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poisoned;

/// A reusable barrier for a fixed number of workers.
#[derive(Debug)]
pub struct Barrier {
    num_workers: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    poisoned: AtomicBool,
}

impl Barrier {
    /// A barrier for `num_workers` workers.
    pub fn new(num_workers: usize) -> Self {
        Self {
            num_workers,
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Waits until every worker has come.
    ///
    /// # Errors
    /// [`Poisoned`] once any worker called [`Barrier::poison`].
    pub fn wait(&self) -> Result<(), Poisoned> {
        if self.num_workers == 1 {
            return self.state();
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.num_workers {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
            return self.state();
        }
        spin_until(|| self.generation.load(Ordering::Acquire) != generation || self.poisoned.load(Ordering::Acquire));
        self.state()
    }

    /// Frees all present and future waiters with an error.
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Makes the barrier usable again. Only while no worker is inside.
    pub fn reset(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.poisoned.store(false, Ordering::Release);
    }

    fn state(&self) -> Result<(), Poisoned> {
        if self.poisoned.load(Ordering::Acquire) { Err(Poisoned) } else { Ok(()) }
    }
}

/// Spins for [`SPIN`], then yields, until `done`.
fn spin_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if done() {
                return;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            break;
        }
    }
    while !done() {
        std::thread::yield_now();
    }
}
