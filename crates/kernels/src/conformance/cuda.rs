//! The suite over the variants for CUDA devices, against the same references on the CPU. Each case runs twice: other
//! bits the second time are a race.

use device::Pool;
use device::cuda::{CudaError, Queue};

use super::{Case, Conform, Random, Values, Verdict, weight};
use crate::cuda::{DeviceWeights, Launcher, best_token, compile_shared, look_over, tile};
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
        Feature::Wgmma => queue.has_wgmma(),
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

/// Finds the best tokens of rows of logits on the device: with equal ones the first, none where a row has what is no logit
/// or rules all out.
pub fn check_best(queue: &Queue, seed: u64) -> Verdict {
    let mut verdict = Verdict { id: "best tokens", missing: None, num_cases: 0, worst: 0.0, failures: Vec::new() };
    let mut random = Random::new(seed);
    for num_tokens in [1, 31, 1024, 1025, 5000] {
        let mut rows: Vec<Vec<f32>> = (0..4).map(|_| random.values(Values::Normal, num_tokens)).collect();
        // Few different values, zeros of both signs, everything below zero, nothing left.
        rows.push(random.values(Values::Normal, num_tokens).iter().map(|x| x.round().min(1.0)).collect());
        rows.push((0..num_tokens).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 }).collect());
        rows.push(random.values(Values::Normal, num_tokens).iter().map(|x| -1.0 - x.abs()).collect());
        rows.push(vec![f32::NEG_INFINITY; num_tokens]);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            let mut row = random.values(Values::Normal, num_tokens);
            row[random.below(num_tokens)] = bad;
            rows.push(row);
        }
        let expected: Vec<Option<u32>> = rows.iter().map(|row| first_of_largest(row)).collect();
        verdict.num_cases += rows.len();
        match best_tokens(queue, &rows.concat(), [rows.len(), num_tokens]) {
            Ok(found) if found == expected => {}
            Ok(found) => verdict.failures.push(format!("of {num_tokens}: {found:?}, not {expected:?}")),
            Err(error) => verdict.failures.push(format!("of {num_tokens}: {error}")),
        }
    }
    verdict
}

fn first_of_largest(row: &[f32]) -> Option<u32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sound = row.iter().all(|logit| *logit < f32::INFINITY) && largest > f32::NEG_INFINITY;
    row.iter().position(|logit| *logit == largest).filter(|_| sound).map(|token| token as u32)
}

fn best_tokens(queue: &Queue, logits: &[f32], shape: [usize; 2]) -> Result<Vec<Option<u32>>, CudaError> {
    queue.enter()?;
    let mut words = vec![u64::MAX; shape[0]];
    let [from, to] = [size_of_val(logits), size_of_val(&words[..])].map(|bytes| queue.memory(bytes, "best tokens"));
    let (from, to, weights) = (from?, to?, DeviceWeights::default());
    // SAFETY: both are as large as what is copied; they last until the queue has been waited for.
    unsafe {
        queue.upload(bytemuck::cast_slice(logits), from.as_ptr())?;
        queue.upload(bytemuck::cast_slice(&words), to.as_ptr())?;
        look_over(&Launcher { queue, weights: &weights }, from.as_ptr().cast(), shape, to.as_ptr().cast())?;
        queue.download(to.as_ptr(), bytemuck::cast_slice_mut(&mut words))?;
    }
    queue.synchronize()?;
    Ok(words.into_iter().map(best_token).collect())
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
