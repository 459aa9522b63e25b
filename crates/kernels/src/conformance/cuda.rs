//! The suite over the variants for CUDA devices, against the same references on the CPU. Each case runs twice: other
//! bits the second time are a race.

use device::Pool;
use device::cuda::Queue;

use super::{Case, Conform, Random, Verdict};
use crate::op::Op;
use crate::variant::{Place, Variant};
use device::Feature;

/// Runs the device variants of `O` on every `stride`th problem. On a queue without a device their kernels are compiled
/// for it, and nothing else is checked.
pub fn check_cuda<O: Conform>(queue: &Queue, pool: &mut Pool, seed: u64, stride: usize) -> Vec<Verdict> {
    let variants: Vec<&'static Variant<O>> =
        O::VARIANTS.iter().copied().filter(|variant| variant.place() == Place::Cuda).collect();
    let reference = O::VARIANTS[O::VARIANTS.len() - 1];
    let has = |feature| match feature {
        Feature::CublasLt => queue.blas().is_ok(),
        Feature::TensorCores => !queue.is_emulated(),
        _ => true,
    };
    let verdict = |variant: &&'static Variant<O>| Verdict {
        id: variant.id,
        missing: variant.needs.iter().copied().find(|&feature| !has(feature)),
        num_cases: 0,
        worst: 0.0,
        failures: Vec::new(),
    };
    let mut verdicts: Vec<Verdict> = variants.iter().map(verdict).collect();
    let mut number = 0;
    O::cases(&mut Random::new(seed), &mut |case| {
        number += 1;
        if number % stride.max(1) != 0 {
            return;
        }
        let able = |(variant, verdict): &(&&'static Variant<O>, &mut Verdict)| {
            verdict.missing.is_none() && (variant.accepts)(&case.desc)
        };
        for (variant, verdict) in variants.iter().zip(&mut verdicts).filter(able) {
            verdict.num_cases += 1;
            if let Err(problem) = check_case(&case, variant, reference, queue, pool, &mut verdict.worst) {
                verdict.failures.push(format!("{}: {problem}", case.label));
            }
        }
    });
    verdicts
}

fn check_case<O: Op>(
    case: &Case<O>,
    variant: &'static Variant<O>,
    reference: &'static Variant<O>,
    queue: &Queue,
    pool: &mut Pool,
    worst: &mut f64,
) -> Result<(), String> {
    let run = || case.run_cuda(variant, queue).map_err(|error| error.to_string());
    let (Some(found), Some(again)) = (run()?, run()?) else { return Ok(()) };
    let expected = case.run(reference, pool).map_err(|error| error.to_string())?;
    let (error, wrong) = case.compare(variant.exactness, &expected, &found);
    *worst = worst.max(error);
    wrong
        .or_else(|| case.same_outputs(&found, &again).map(|wrong| format!("{wrong} the second time")))
        .map_or(Ok(()), Err)
}
