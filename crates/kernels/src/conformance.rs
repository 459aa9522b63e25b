//! One suite for all variants of all ops: each runs on every problem it accepts, random and nasty
//! ones, must be as close to its op's reference as it declares, and must give the same bits whatever
//! the number of workers.
//!
//! A variant enters by standing in its op's list, or in what a technique provides. Called by the tests of
//! this crate, and by those of `techniques` over the whole catalogue ([`check_extra`]).

mod attention;
mod cache;
mod case;
mod cuda;
mod lone;
mod matmul;
mod positional;
mod random;
mod rowwise;
mod weight;

use device::{Hardware, Pool, PoolError};

pub use cuda::{check_best, check_cuda, check_shared, check_tiles};
pub use lone::{attend_with, captured};

pub use case::{Arena, Bounds, Case, Output, Place};
pub use random::{Random, Values};
#[cfg(test)]
pub(crate) use weight::random as random_weights;

use crate::op::Op;
use crate::table::OPS;
use crate::variant::{AnyVariant, Variant};

/// An op whose variants can be checked.
pub trait Conform: Op {
    /// Hands over problems with their data, one after another.
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>));
}

/// What the suite found out about one variant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The variant.
    pub id: &'static str,
    /// The feature that this machine lacks; the variant did not run then.
    pub missing: Option<device::Feature>,
    /// Problems that it ran.
    pub num_cases: usize,
    /// The largest error found, as a part of what the variant's exactness allows.
    pub worst: f64,
    /// What was wrong.
    pub failures: Vec<String>,
}

impl Verdict {
    /// Whether the variant ran and nothing was wrong.
    pub fn passed(&self) -> bool {
        self.missing.is_none() && self.num_cases > 0 && self.failures.is_empty()
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.missing {
            Some(feature) => write!(f, "{:32} skipped: needs {}", self.id, feature.name()),
            None if self.passed() => {
                write!(
                    f,
                    "{:32} passed {} cases, {:.1} % of the allowed error",
                    self.id,
                    self.num_cases,
                    100.0 * self.worst
                )
            }
            None if self.num_cases == 0 => write!(f, "{:32} FAILED: accepts none of the cases", self.id),
            None => {
                write!(f, "{:32} FAILED in {} places:\n  {}", self.id, self.failures.len(), self.failures.join("\n  "))
            }
        }
    }
}

/// Runs every variant of a list, on pools of one and of several workers. The list is an op's
/// `VARIANTS` or one that ends, like it, with the reference.
///
/// # Errors
/// [`PoolError`] when a kernel panicked.
pub fn check<O: Conform>(
    hardware: &Hardware,
    pools: &mut [Pool],
    variants: &[&'static Variant<O>],
    seed: u64,
) -> Result<Vec<Verdict>, PoolError> {
    let Some((&reference, _)) = variants.split_last() else { return Ok(Vec::new()) };
    let verdict = |variant: &&'static Variant<O>| Verdict {
        id: variant.id,
        missing: variant.needs.iter().copied().find(|&feature| !hardware.has(feature)),
        num_cases: 0,
        worst: 0.0,
        failures: Vec::new(),
    };
    let mut verdicts: Vec<Verdict> = variants.iter().map(verdict).collect();
    let mut twins = vec![None; variants.len()];
    let mut outcome = Ok(());
    O::cases(&mut Random::new(seed), &mut |case| {
        if outcome.is_ok() {
            outcome = check_case(&case, reference, variants, pools, &mut verdicts, &mut twins);
        }
    });
    outcome.map(|()| verdicts)
}

/// Runs variants of any ops, as a technique brings them, each against its op's reference.
///
/// # Errors
/// [`PoolError`] when a kernel panicked.
pub fn check_extra(
    hardware: &Hardware,
    pools: &mut [Pool],
    extra: &[&'static dyn AnyVariant],
    seed: u64,
) -> Result<Vec<Verdict>, PoolError> {
    let mut verdicts = Vec::with_capacity(extra.len());
    for op in OPS {
        verdicts.extend((op.conform)(hardware, pools, extra, seed)?);
    }
    Ok(verdicts)
}

/// One problem, all variants. `twins` keeps the results of the problem before.
fn check_case<O: Conform>(
    case: &Case<O>,
    reference: &'static Variant<O>,
    variants: &[&'static Variant<O>],
    pools: &mut [Pool],
    verdicts: &mut [Verdict],
    twins: &mut [Option<case::Memory>],
) -> Result<(), PoolError> {
    let Some(pool) = pools.first_mut() else { return Ok(()) };
    let expected = case.run(reference, pool)?;
    for ((variant, verdict), twin) in variants.iter().zip(verdicts).zip(twins) {
        if verdict.missing.is_some() || !(variant.accepts)(&case.desc) {
            continue;
        }
        verdict.num_cases += 1;
        let (mut problems, mut first) = (Vec::new(), None);
        for pool in pools.iter_mut() {
            let found = case.run(variant, pool)?;
            let (worst, wrong) = case.compare(variant.exactness, &expected, &found);
            verdict.worst = verdict.worst.max(worst);
            problems.extend(wrong.map(|wrong| format!("{wrong} ({} workers)", pool.num_workers())));
            if let Some(other) = first.as_ref() {
                problems.extend(case.same_outputs(other, &found).map(|wrong| format!("{wrong} with other workers")));
            }
            if let Some(twin) = twin.as_ref().filter(|_| case.same_as_before) {
                problems.extend(case.same_outputs(twin, &found).map(|wrong| format!("{wrong} than before")));
            }
            first.get_or_insert(found);
        }
        *twin = first;
        verdict.failures.extend(problems.iter().map(|problem| format!("{}: {problem}", case.label)));
    }
    Ok(())
}
