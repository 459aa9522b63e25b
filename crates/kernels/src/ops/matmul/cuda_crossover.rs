//! Up to how many rows of activations `cuda_wide` makes halves of the weights anew for every 256 of them, rather than once
//! in memory for cuBLASLt: measured with a model's largest matrix when one is first opened on a device for steps of as many
//! rows (`-ub`), and kept.

use device::cuda::{CudaError, Figure, Queue};

use super::{Args, Matmul, cuda_many, cuda_wide};
use crate::cuda::Launcher;
use crate::launch::{Frame, RowSet, Step};
use crate::op::Op;

const ROWS: Figure = Figure { name: "most-rows-of-wgmma", source: &cuda_many::SOURCE };
/// Where it was not measured. On one H200 it is.
const USUAL_ROWS: usize = 2048;
/// Up to here it always pays.
const LEAST_ROWS: usize = 512;
/// Rows that are tried, as far as plans have them.
const TRIED: [usize; 3] = [1024, 2048, 4096];
/// Times that each is measured.
const ROUNDS: usize = 5;

/// Most rows for which it pays to make halves of the weights anew.
pub(super) fn most_rows(queue: &Queue) -> usize {
    queue.figure(&ROWS).unwrap_or(USUAL_ROWS)
}

/// What there is to say of the choice within a step's kernel.
pub(crate) fn note(step: &Step<Matmul>, queue: &Queue) -> Option<String> {
    let measured = queue.figure(&ROWS).filter(|_| step.variant.id == cuda_wide::WIDE.id)?;
    Some(format!("cuBLASLt beyond {measured} rows, measured"))
}

/// Measures with the largest of `steps`, unless that was done before, on this device by these kernels.
///
/// # Safety
/// As for a variant's launch over this arena, which has room for `max_rows`; what the steps write is overwritten.
pub(crate) unsafe fn measure<'a>(
    steps: impl Iterator<Item = &'a Step<Matmul>>,
    arena: *mut u8,
    max_rows: usize,
    launcher: &Launcher<'_>,
) -> Result<(), CudaError> {
    let queue = launcher.queue;
    let wide = steps.filter(|step| step.variant.id == cuda_wide::WIDE.id && step.slots.rows == RowSet::Tokens);
    let Some(step) = wide.max_by_key(|step| step.desc.n * step.desc.k) else { return Ok(()) };
    let known = queue.gpu().is_none() || queue.blas().is_err() || queue.figure(&ROWS).is_some();
    if known {
        return Ok(());
    }
    let mut most = LEAST_ROWS;
    for num_rows in TRIED {
        if num_rows > max_rows {
            // For plans with more rows it is still to be found.
            return Ok(());
        }
        let args: Args = Matmul::bind(&step.desc, &step.slots, &Frame::over(arena, num_rows));
        // SAFETY: the caller's promise.
        let anew = least_us(queue, || unsafe { cuda_wide::multiply(&[(&step.desc, &args)], launcher) })?;
        // SAFETY: as above.
        let once = least_us(queue, || unsafe { cuda_wide::multiply_halves(&step.desc, &args, launcher) })?;
        if once < anew {
            break;
        }
        most = num_rows;
    }
    queue.keep_figure(&ROWS, most);
    Ok(())
}

/// The shortest of some runs: the device may have other things to do.
fn least_us(queue: &Queue, work: impl Fn() -> Result<(), CudaError>) -> Result<f64, CudaError> {
    work()?;
    (0..ROUNDS).try_fold(f64::INFINITY, |least, _| {
        let begin = queue.mark()?;
        work()?;
        let end = queue.mark()?;
        queue.synchronize()?;
        Ok(least.min(end.us_since(&begin)?))
    })
}
