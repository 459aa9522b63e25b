//! The suite over the variants for CUDA devices, against the same references on the CPU. Each case runs twice: other
//! bits the second time are a race.

use device::Pool;
use device::cuda::{CudaError, Queue};

use super::{Case, Conform, Random, Verdict, weight};
use crate::cuda::{compile_shared, tile};
use crate::op::Op;
use crate::tiles::Tiling;
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
        // Keys are fitted to their codes on the CPU alone: no plan with a GPU asks it of its cache.
        if case.fitting.is_some() {
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

/// Lays random matrices of every type out in tiles on the device; the bytes must be those of the CPU.
pub fn check_tiles(queue: &Queue, seed: u64) -> Verdict {
    let mut verdict = Verdict { id: "tiles", missing: None, num_cases: 0, worst: 0.0, failures: Vec::new() };
    let mut random = Random::new(seed);
    for tiling in Tiling::all() {
        for (n, k) in [(16, 256), (37, 1280), (5, 96), (33, 576)].into_iter().filter(|&(_, k)| tiling.fits(k)) {
            let (rows, _) = weight::random(tiling.dtype(), n, k, &mut random);
            let expected = tiling.pack(&rows, n, k);
            verdict.num_cases += 1;
            match tiles(queue, tiling, &rows, n, k) {
                Ok(found) if found == expected => {}
                Ok(_) => verdict.failures.push(format!("{} {n} x {k}: other bytes", tiling.dtype())),
                Err(error) => verdict.failures.push(format!("{} {n} x {k}: {error}", tiling.dtype())),
            }
        }
    }
    verdict
}

/// Compiles what no case of an op launches: kernels that ops share, those that do several steps at once, and products of
/// weights in tiles for the widths that models have. Nothing runs.
pub fn check_shared(queue: &Queue) -> Verdict {
    let failures: Vec<String> = compile_shared(queue).iter().map(CudaError::to_string).collect();
    Verdict { id: "shared", missing: None, num_cases: 1, worst: 0.0, failures }
}

fn tiles(queue: &Queue, tiling: Tiling, rows: &[u8], n: usize, k: usize) -> Result<Vec<u8>, CudaError> {
    queue.enter()?;
    let mut found = vec![0xff; tiling.bytes(n, k)];
    let (from, to) = (queue.memory(rows.len(), "rows")?, queue.memory(found.len(), "tiles")?);
    // SAFETY: both are as large as what is copied; they last until the queue has been waited for.
    unsafe {
        queue.upload(rows, from.as_ptr())?;
        queue.upload(&found, to.as_ptr())?;
        tile(queue, tiling, from.as_ptr(), to.as_ptr(), n, k)?;
        queue.download(to.as_ptr(), &mut found)?;
    }
    queue.synchronize()?;
    Ok(found)
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
