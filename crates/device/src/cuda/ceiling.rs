//! How fast a GPU can read its memory and multiply halves at most. Called by `chaski devices --measure`.

use super::{CudaError, Grid, Kernel, Queue, Source};

/// What a GPU reaches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuCeilings {
    /// Reading its memory, in 10^9 bytes per second.
    pub read_gbps: f64,
    /// Products of halves by cuBLASLt, summed in f32, in 10^9 operations per second; 0 where there is no cuBLASLt.
    pub f16_gflops: f64,
}

const SOURCE: Source = Source { name: "ceiling", parts: &[include_str!("ceiling.cu")] };

/// Many times what the caches hold.
const BYTES: usize = 4 << 30;
/// Rows and columns of the matrices.
const SIDE: usize = 8192;
const ROUNDS: usize = 9;

#[repr(C)]
#[derive(Clone, Copy)]
struct Args {
    from: *const u8,
    out: *mut u8,
    count: u64,
}

impl GpuCeilings {
    /// Measures for less than a second. The device should have nothing else to do.
    ///
    /// # Errors
    /// When it has no room, or a kernel does not compile.
    pub fn measure(queue: &Queue) -> Result<Self, CudaError> {
        queue.enter()?;
        let memory = queue.memory(BYTES, "the measurement of memory")?;
        // What is multiplied is no zeros: those would cost less power, and so run faster. 0x2e2e is 0.097 as a half.
        // SAFETY: it is as large.
        unsafe { queue.fill(memory.as_ptr(), 0x2e, BYTES) }?;
        let args = Args { from: memory.as_ptr(), out: memory.as_ptr(), count: BYTES as u64 / 16 };
        let kernel = Kernel { source: &SOURCE, entry: "read", constants: &[] };
        let grid = Grid::row(queue.num_sms() * 16, 256);
        // SAFETY: the struct is that of the source; the memory is as large as it says.
        let read_us = median_us(queue, || unsafe { queue.launch(&kernel, grid, &args) })?;
        let part = |number: usize| memory.as_ptr().wrapping_add(number * 4 * SIDE * SIDE);
        let shape = [SIDE, SIDE, SIDE, SIDE];
        let product_us = match queue.blas() {
            Err(_) => f64::INFINITY,
            // SAFETY: three matrices of at most 256 MiB each lie in the memory.
            Ok(()) => median_us(queue, || unsafe {
                queue.product_f16(shape, part(0).cast(), part(1).cast(), part(2).cast())
            })?,
        };
        let operations = 2.0 * (SIDE as f64).powi(3);
        Ok(Self { read_gbps: BYTES as f64 / 1e3 / read_us, f16_gflops: operations / 1e3 / product_us })
    }
}

fn median_us(queue: &Queue, work: impl Fn() -> Result<(), CudaError>) -> Result<f64, CudaError> {
    let mut times = [0.0; ROUNDS];
    work()?;
    for time in &mut times {
        let begin = queue.mark()?;
        work()?;
        let end = queue.mark()?;
        queue.synchronize()?;
        *time = end.us_since(&begin)?;
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}
