//! The worker pool. `kernels/launch` hands it one closure per step of the model; every worker runs
//! that closure (SPMD) and meets the others at barriers inside it. Idle workers sleep.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::barrier::Barrier;
use crate::Error;

/// How long a worker without work stays awake, yielding: the gap between two decode steps is
/// shorter than this, a wake-up through the kernel costs more.
const LINGER: Duration = Duration::from_micros(200);

/// The work of one run as all workers see it.
type Body<'a> = dyn Fn(&Shard<'_>) + Sync + 'a;

/// A run ended because a worker panicked.
#[derive(Debug, thiserror::Error)]
#[error("a worker panicked: {0}")]
pub struct PoolError(pub String);

/// A fixed set of workers, the calling thread among them.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// One worker's place in a run, and the means to share work and to wait for the others.
#[derive(Debug)]
pub struct Shard<'a> {
    /// This worker, `0..count`.
    pub index: usize,
    /// How many workers there are.
    pub count: usize,
    barrier: &'a Barrier,
    tickets: &'a [AtomicUsize; 2],
    phase: std::cell::Cell<usize>,
    /// What this worker noticed, see [`Shard::raise`].
    raised: std::cell::Cell<u32>,
}

impl Shard<'_> {
    /// Hands out `0..num_tiles` to the workers, first come first served, each tile once per phase.
    /// A phase ends at [`Shard::barrier`]; at most one hand-out per phase.
    pub fn tiles(&self, num_tiles: usize) -> impl Iterator<Item = usize> + '_ {
        let ticket = &self.tickets[self.phase.get() & 1];
        std::iter::from_fn(move || Some(ticket.fetch_add(1, Ordering::Relaxed)))
            .take_while(move |&tile| tile < num_tiles)
    }

    /// This worker's fixed share of `0..len`, cut at multiples of `granule`.
    pub fn range(&self, len: usize, granule: usize) -> std::ops::Range<usize> {
        let granules = len.div_ceil(granule);
        let start = granules * self.index / self.count * granule;
        let end = granules * (self.index + 1) / self.count * granule;
        start.min(len)..end.min(len)
    }

    /// Notes that this worker has noticed something; the bits mean what the caller wants.
    pub fn raise(&self, bits: u32) {
        self.raised.set(self.raised.get() | bits);
    }

    /// What this worker has noticed since it was last asked.
    #[inline(always)]
    pub fn take_raised(&self) -> u32 {
        self.raised.replace(0)
    }

    /// Waits for all workers and starts the next phase.
    ///
    /// # Panics
    /// When another worker panicked: this worker's part of the run is void too.
    pub fn barrier(&self) {
        let next = self.phase.get() + 1;
        if self.index == 0 {
            // Nobody draws from the next phase's counter before this barrier, nor after the one before it.
            self.tickets[next & 1].store(0, Ordering::Relaxed);
        }
        if self.barrier.wait().is_err() {
            resume_unwind(Box::new(AnotherPanicked));
        }
        self.phase.set(next);
    }
}

/// Payload of the unwinding that frees workers from a poisoned barrier.
struct AnotherPanicked;

impl Pool {
    /// Starts `num_workers - 1` threads; the thread that calls [`Pool::run`] is worker 0.
    /// The count is capped at the processors available: more would only wait for each other.
    ///
    /// # Errors
    /// [`Error::Thread`] when the system refuses a thread.
    pub fn new(num_workers: usize) -> Result<Self, Error> {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let num_workers = num_workers.clamp(1, available);
        let shared = Arc::new(Shared {
            num_workers,
            job: Mutex::new(Job { body: None, stop: false }),
            generation: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            wake: Condvar::new(),
            barrier: Barrier::new(num_workers),
            tickets: Default::default(),
            failure: Mutex::new(None),
        });
        let mut pool = Self { shared, threads: Vec::new() };
        for index in 1..num_workers {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name(format!("chaski-{index}"))
                .spawn(move || shared.serve(index))
                .map_err(|source| Error::Thread { index, source })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Number of workers, the caller included.
    pub fn num_workers(&self) -> usize {
        self.shared.num_workers
    }

    /// Runs `body` on every worker and returns when all are through.
    ///
    /// # Errors
    /// [`PoolError`] with the message of the first panic; the pool stays usable.
    pub fn run(&mut self, body: &Body<'_>) -> Result<(), PoolError> {
        let shared = &*self.shared;
        shared.barrier.reset();
        shared.tickets.iter().for_each(|ticket| ticket.store(0, Ordering::Relaxed));
        shared.running.store(shared.num_workers - 1, Ordering::Release);
        // SAFETY: only the lifetime changes, and no worker keeps the reference beyond this call: it
        // returns after `running` fell to zero, which each worker does as its last act with `body`.
        let body: &'static Body<'static> = unsafe { std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body) };
        shared.announce(|job| job.body = Some(Ref(body)));
        shared.work(0, body);
        let start = Instant::now();
        while shared.running.load(Ordering::Acquire) > 0 {
            if start.elapsed() < Duration::from_micros(3) { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        lock(&shared.job).body = None;
        lock(&shared.failure).take().map_or(Ok(()), |message| Err(PoolError(message)))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.announce(|job| job.stop = true);
        for thread in self.threads.drain(..) {
            // A worker catches its panics, so there is nothing to report here.
            let _ = thread.join();
        }
    }
}

/// A reference that may be kept in the shared job; see the SAFETY note in [`Pool::run`].
#[derive(Clone, Copy)]
struct Ref(&'static Body<'static>);

impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("body")
    }
}

#[derive(Debug)]
struct Job {
    body: Option<Ref>,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    num_workers: usize,
    job: Mutex<Job>,
    /// Counts runs; a worker that sees a new value takes the job.
    generation: AtomicUsize,
    running: AtomicUsize,
    wake: Condvar,
    barrier: Barrier,
    tickets: [AtomicUsize; 2],
    failure: Mutex<Option<String>>,
}

impl Shared {
    /// Changes the job and wakes everyone. The generation grows under the lock: a worker between
    /// looking at it and falling asleep holds that lock, and would otherwise miss the call.
    fn announce(&self, change: impl FnOnce(&mut Job)) {
        let mut job = lock(&self.job);
        change(&mut job);
        self.generation.fetch_add(1, Ordering::Release);
        drop(job);
        self.wake.notify_all();
    }

    /// A worker thread's life: wait for a generation, run it, again.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        while let Some(body) = self.next_job(&mut seen) {
            self.work(index, body);
            self.running.fetch_sub(1, Ordering::Release);
        }
    }

    /// Blocks until there is a run this worker has not seen; `None` when the pool ends.
    fn next_job(&self, seen: &mut usize) -> Option<&'static Body<'static>> {
        let idle = Instant::now();
        while self.generation.load(Ordering::Acquire) == *seen && idle.elapsed() < LINGER {
            std::thread::yield_now();
        }
        let mut job = lock(&self.job);
        loop {
            if job.stop {
                return None;
            }
            let generation = self.generation.load(Ordering::Acquire);
            if let Some(Ref(body)) = job.body.filter(|_| generation != *seen) {
                *seen = generation;
                return Some(body);
            }
            job = self.wake.wait(job).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self, index: usize, body: &Body<'_>) {
        let shard = Shard {
            index,
            count: self.num_workers,
            barrier: &self.barrier,
            tickets: &self.tickets,
            phase: std::cell::Cell::new(0),
            raised: std::cell::Cell::new(0),
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(&shard))) {
            if !payload.is::<AnotherPanicked>() {
                lock(&self.failure).get_or_insert_with(|| message(payload.as_ref()));
            }
            self.barrier.poison();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown cause".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_handed_out_once_in_every_phase() {
        let mut pool = Pool::new(4).unwrap();
        let counts: Vec<_> = (0..3 * 100).map(|_| AtomicUsize::new(0)).collect();
        pool.run(&|shard| {
            for phase in 0..3 {
                for tile in shard.tiles(100) {
                    counts[phase * 100 + tile].fetch_add(1, Ordering::Relaxed);
                }
                shard.barrier();
            }
        })
        .unwrap();
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn steps_after_a_barrier_see_what_was_written_before_it() {
        let mut pool = Pool::new(2).unwrap();
        for _ in 0..200 {
            let total = AtomicUsize::new(0);
            pool.run(&|shard| {
                for phase in 1..50 {
                    total.fetch_add(1, Ordering::Relaxed);
                    shard.barrier();
                    assert!(total.load(Ordering::Relaxed) >= phase * shard.count);
                    shard.barrier();
                }
            })
            .unwrap();
        }
    }

    #[test]
    fn a_panic_frees_the_others_and_names_its_cause() {
        let mut pool = Pool::new(2).unwrap();
        let last = pool.num_workers() - 1;
        let failed = pool.run(&|shard| {
            assert!(shard.index != last, "step 7 failed");
            shard.barrier();
        });
        assert!(failed.unwrap_err().0.contains("step 7 failed"));
        pool.run(&|shard| shard.barrier()).unwrap();
    }

    #[test]
    fn fixed_shares_cover_everything_without_overlap() {
        let mut pool = Pool::new(2).unwrap();
        for (len, granule) in [(0, 8), (1, 8), (17, 8), (100, 16), (64, 64)] {
            let covered: Vec<_> = (0..len).map(|_| AtomicUsize::new(0)).collect();
            pool.run(&|shard| {
                for i in shard.range(len, granule) {
                    covered[i].fetch_add(1, Ordering::Relaxed);
                }
            })
            .unwrap();
            assert!(covered.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }
}
