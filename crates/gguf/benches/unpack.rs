//! How fast rows unpack and decode, per type: `cargo bench -p gguf [name …]`. Single-threaded, on data that stays in cache.

use gguf::{DType, decode, unpack};
use std::time::Instant;

const ELEMENTS: usize = 16 * 1024;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("| type | unpack, G elements/s | unpack, GB/s read | decode, G elements/s |\n|---|---:|---:|---:|");
    for dtype in DType::all() {
        if wanted.is_empty() || wanted.iter().any(|name| DType::from_name(name) == Some(dtype)) {
            report(dtype);
        }
    }
}

fn report(dtype: DType) {
    let count = ELEMENTS / dtype.block_len() * dtype.block_bytes();
    let bytes: Vec<u8> = (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x7b).collect();
    let mut out = vec![0.0; ELEMENTS];
    let decoded = per_second(|| decode(dtype, std::hint::black_box(&bytes), &mut out).is_ok());
    let mut codes = vec![0; ELEMENTS];
    let (mut scales, mut mins) = (vec![0.0; ELEMENTS / dtype.group_len()], vec![0.0; ELEMENTS / dtype.group_len()]);
    let (unpacked, read) = if dtype.is_quantized() {
        let rate = per_second(|| {
            unpack(dtype, std::hint::black_box(&bytes), &mut codes, &mut scales, &mut mins).is_ok()
                && std::hint::black_box(codes[0]) != i8::MIN
        });
        (format!("{:.2}", rate / 1e9), format!("{:.2}", rate / 1e9 * count as f64 / ELEMENTS as f64))
    } else {
        ("-".to_string(), "-".to_string())
    };
    println!("| {dtype} | {unpacked} | {read} | {:.2} |", decoded / 1e9);
}

/// Elements per second: the best of several short runs.
fn per_second(mut run: impl FnMut() -> bool) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..20 {
            assert!(std::hint::black_box(run()));
        }
        best = best.min(start.elapsed().as_secs_f64() / 20.0);
    }
    ELEMENTS as f64 / best
}
