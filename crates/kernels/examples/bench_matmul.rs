//! Times the variants of `matmul` in the forms that weights have:
//! `cargo run --release -p kernels --example bench_matmul -- [filter] [threads] [columns]`.
//!
//! Weights of 64 MiB come from memory, weights of 384 KiB from the caches: for few rows the first show how near a
//! kernel is to what memory delivers (GB/s of weights), the second what it could do; for many rows GOPS count,
//! two per product. The filter is a list of words, comma between them, which must all occur in a line.

use std::time::Instant;

use device::{Buffer, Feature, Hardware, Pool};
use gguf::DType;
use kernels::ops::Matmul;
use kernels::ops::matmul::{Desc, Input, Slots};
use kernels::packed::{Form, Packing};
use kernels::{Frame, Op, Record, RowSet, Rows, Run, Slot, Step, Weight, walk};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Bytes of weights: far beyond the caches, and well inside them.
const SIZES: [(&str, usize); 2] = [("memory", 64 << 20), ("cache", 384 << 10)];
const NUM_ROWS: [usize; 6] = [1, 4, 8, 16, 64, 512];
/// Columns unless given; a multiple of every block, as what is given should be.
const COLUMNS: usize = 1536;

fn main() -> Outcome {
    let mut args = std::env::args().skip(1);
    let filter = args.next().unwrap_or_default();
    let threads: usize = args.next().map_or(Ok(0), |text| text.parse())?;
    let k: usize = args.next().map_or(Ok(COLUMNS), |text| text.parse())?;
    let hardware = Hardware::probe();
    let mut pool = Pool::new(if threads == 0 { hardware.num_cores } else { threads })?;
    println!("{hardware}; {} workers", pool.num_workers());
    let is_float = |dtype: &DType| matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    for dtype in DType::all().filter(|dtype| is_float(dtype) || dtype.is_quantized() && dtype.row_bytes(k).is_some()) {
        let input = if dtype.is_quantized() { Input::Q8 } else { Input::F32 };
        for form in [Form::Rows, Form::Packed] {
            let packing = Packing::of(dtype);
            if form == Form::Packed && packing.is_none() {
                continue;
            }
            let row_bytes = dtype.row_bytes(k).unwrap_or_default();
            for (size, bytes) in SIZES {
                let n = (bytes / row_bytes).next_multiple_of(32);
                for num_rows in NUM_ROWS.into_iter().filter(|&rows| rows < 64 || size == "cache") {
                    let rows = Rows::of(num_rows);
                    let desc = Desc { weight: dtype, form, input, n, k, row_bytes, bias: false, rows };
                    let label = format!("{dtype} {} {size} rows {num_rows}", form.name());
                    time(&mut pool, &hardware, &filter, &label, desc, num_rows)?;
                }
            }
        }
    }
    Ok(())
}

/// Prints a line for every variant that takes the problem and passes the filter.
fn time(pool: &mut Pool, hardware: &Hardware, filter: &str, label: &str, desc: Desc, num_rows: usize) -> Outcome {
    let has = |needs: &[Feature]| needs.iter().all(|&feature| hardware.has(feature));
    for variant in Matmul::VARIANTS.iter().filter(|v| (v.accepts)(&desc) && has(v.needs) && v.id.contains("avx")) {
        let line = format!("{label} {}", variant.id);
        if !filter.split(',').all(|word| line.contains(word)) {
            continue;
        }
        let weights = Buffer::zeroed(desc.weight_bytes(), "weights")?;
        let x_row_bytes = desc.input.codes().map_or(4 * desc.k, |codes| codes.row_bytes(desc.k));
        let x_bytes = num_rows * x_row_bytes;
        let arena = Buffer::zeroed(x_bytes + num_rows * desc.n * 4, "activations")?;
        // Whatever is read as a float is a small normal number.
        fill(&weights);
        fill(&arena);
        let slots = Slots {
            weight: Weight(weights.as_ptr()),
            bias: Weight(weights.as_ptr()),
            x: Slot(0),
            out: Slot(x_bytes),
            rows: RowSet::Tokens,
        };
        let step = Step::<Matmul> { desc, slots, variant };
        let steps: Vec<Box<dyn Run>> = vec![Box::new(step)];
        let frame = Frame::over(arena.as_ptr(), num_rows);
        let start = Instant::now();
        let mut seconds = f64::INFINITY;
        while start.elapsed().as_millis() < 200 {
            let start = Instant::now();
            // SAFETY: the frame describes the buffers above, which have the sizes that the description needs.
            unsafe { walk(pool, &steps, &frame, &Record::default())? };
            seconds = seconds.min(start.elapsed().as_secs_f64());
        }
        let (bytes, ops) = (desc.weight_bytes() as f64, 2.0 * (num_rows * desc.n * desc.k) as f64);
        println!(
            "{line:64} {:9.1} us {:7.1} GB/s {:7.1} GOPS",
            seconds * 1e6,
            bytes / seconds * 1e-9,
            ops / seconds * 1e-9
        );
    }
    Ok(())
}

fn fill(buffer: &Buffer) {
    // SAFETY: the buffer is ours.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr(), buffer.len()) };
    bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = 0x10 + (i.wrapping_mul(2_654_435_761) >> 9) as u8 % 0x20);
}
