//! What walks of a plan leave behind: the time of each step, and the first step that saw something wrong.
//! Always on; worker 0 reads a clock after each barrier and adds to a place of its own, which costs some
//! ten nanoseconds per step.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use device::{Shard, clock};

use crate::fault::{Faults, Finding};

/// Times of the steps of one plan, summed up over its runs, and the fault of the last run. Written during a walk, read between walks.
#[derive(Debug, Default)]
pub struct Record {
    paused: AtomicBool,
    /// By step.
    ticks: Vec<AtomicU64>,
    /// Time of all runs, which gives the ticks their length.
    wall_ns: AtomicU64,
    /// First step that saw a fault, from 1, above the bits of what it saw; 0 for none.
    fault: AtomicU64,
}

impl Record {
    /// For a plan of `num_steps` steps. The default has no steps and records nothing.
    pub fn new(num_steps: usize) -> Self {
        let ticks = std::iter::repeat_with(AtomicU64::default).take(num_steps).collect();
        Self { ticks, ..Self::default() }
    }

    /// Stops or starts counting: for whoever measures what counting costs.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Forgets all times.
    pub fn clear(&self) {
        self.ticks.iter().for_each(|ticks| ticks.store(0, Ordering::Relaxed));
        self.wall_ns.store(0, Ordering::Relaxed);
    }

    /// Microseconds spent in each step so far, waiting for the slowest worker included.
    pub fn step_us(&self) -> Vec<f64> {
        let ticks: Vec<f64> = self.ticks.iter().map(|ticks| ticks.load(Ordering::Relaxed) as f64).collect();
        let total: f64 = ticks.iter().sum();
        let us_per_tick = if total > 0.0 { self.wall_ns.load(Ordering::Relaxed) as f64 / 1e3 / total } else { 0.0 };
        ticks.iter().map(|ticks| ticks * us_per_tick).collect()
    }

    /// The first fault since this was last asked.
    pub fn take_finding(&self) -> Option<Finding> {
        let word = self.fault.swap(0, Ordering::Relaxed);
        let step = (word >> u32::BITS).checked_sub(1)?;
        Some(Finding { step: step as usize, faults: Faults::from_bits(word as u32) })
    }

    /// Keeps what the GPU noticed, unless an earlier step was noted.
    pub(crate) fn found(&self, finding: Finding) {
        self.keep(finding.step, finding.faults.bits());
    }

    /// Keeps what a worker noticed in step `index`, unless an earlier step was noted.
    #[inline(always)]
    pub(crate) fn note(&self, index: usize, shard: &Shard<'_>) {
        let bits = shard.take_raised();
        if bits != 0 {
            self.keep(index, bits);
        }
    }

    #[cold]
    fn keep(&self, index: usize, bits: u32) {
        let step = (index as u64 + 1) << u32::BITS;
        let merge = |word: u64| match word {
            0 => Some(step | u64::from(bits)),
            word if word >> u32::BITS == step >> u32::BITS => Some(word | u64::from(bits)),
            _ => None,
        };
        // An earlier finding stays: what follows it is its consequence.
        let _ = self.fault.fetch_update(Ordering::Relaxed, Ordering::Relaxed, merge);
    }

    /// Adds the time of one run.
    pub(crate) fn add_run(&self, time: Duration) {
        if !self.paused.load(Ordering::Relaxed) {
            add(&self.wall_ns, time.as_nanos() as u64);
        }
    }

    /// Adds what the GPU's clock told of steps that were timed one by one.
    pub(crate) fn add_steps(&self, times_us: &[(usize, f64)]) {
        if self.paused.load(Ordering::Relaxed) {
            return;
        }
        for &(step, us) in times_us {
            let ns = (1e3 * us.max(0.0)) as u64;
            self.ticks.get(step).into_iter().chain([&self.wall_ns]).for_each(|sum| add(sum, ns));
        }
    }

    /// The clock of one worker on one walk; only worker 0 has one that runs.
    pub(crate) fn stopwatch(&self, shard: &Shard<'_>) -> Stopwatch<'_> {
        let runs = shard.index == 0 && !self.paused.load(Ordering::Relaxed) && !self.ticks.is_empty();
        if runs { Stopwatch { ticks: &self.ticks, last: clock::ticks() } } else { Stopwatch { ticks: &[], last: 0 } }
    }
}

/// Stamps the end of each step.
pub(crate) struct Stopwatch<'a> {
    ticks: &'a [AtomicU64],
    last: u64,
}

impl Stopwatch<'_> {
    /// Step `index` has ended.
    #[inline(always)]
    pub(crate) fn lap(&mut self, index: usize) {
        if let Some(ticks) = self.ticks.get(index) {
            let now = clock::ticks();
            add(ticks, now.wrapping_sub(self.last));
            self.last = now;
        }
    }
}

/// Adds without a locked instruction: there is one writer.
fn add(sum: &AtomicU64, more: u64) {
    sum.store(sum.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::Pool;

    #[test]
    fn the_first_step_that_saw_something_is_kept_with_all_it_saw() {
        let (mut pool, record) = (Pool::new(2).unwrap(), Record::new(3));
        let walk = |shard: &Shard<'_>| {
            for step in 0..3 {
                if step >= 1 {
                    let seen = if shard.index == 0 { Faults::NAN } else { Faults::INF };
                    shard.raise(seen.bits() | if step == 2 { Faults::SCALE.bits() } else { 0 });
                }
                record.note(step, shard);
                shard.barrier();
            }
        };
        pool.run(&walk).unwrap();
        let faults = if pool.num_workers() == 2 { Faults::NAN.and(Faults::INF) } else { Faults::NAN };
        assert_eq!(record.take_finding(), Some(Finding { step: 1, faults }));
        assert_eq!(record.take_finding(), None);
    }

    #[test]
    fn times_add_up_to_the_time_of_the_runs() {
        let (mut pool, record) = (Pool::new(2).unwrap(), Record::new(2));
        let mut walk = || {
            let begin = std::time::Instant::now();
            let work = |shard: &Shard<'_>| {
                let mut watch = record.stopwatch(shard);
                for (step, ms) in [1, 5].into_iter().enumerate() {
                    std::thread::sleep(Duration::from_millis(ms));
                    shard.barrier();
                    watch.lap(step);
                }
            };
            pool.run(&work).unwrap();
            record.add_run(begin.elapsed());
        };
        walk();
        walk();
        let us = record.step_us();
        assert!(us.iter().all(|&us| us > 0.0), "{us:?}");
        assert!((us[0] + us[1] - record.wall_ns.load(Ordering::Relaxed) as f64 / 1e3).abs() < 1.0, "{us:?}");
        record.pause(true);
        walk();
        assert_eq!(record.step_us(), us);
        record.clear();
        assert_eq!(record.step_us(), [0.0, 0.0]);
    }
}
