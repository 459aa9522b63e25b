//! f32 activations times weights of any type, many rows, with AVX2: 16 weight rows at a time become a panel of f32 that is
//! turned, `[columns, 16]`, and stays in the first cache while six activation rows after the other pass. A value of an
//! activation is multiplied with 16 weights, so no sum has to be added up across lanes, and twelve of them hide each
//! other's latency.

#![allow(clippy::needless_range_loop)] // register tiles are indexed in step with addresses

use std::arch::x86_64::*;

use device::Shard;
use gguf::DType;

use super::{Args, Desc};
use crate::rows::{row, row_mut};
use crate::scratch::{Carve, with_scratch};
use crate::weights::decode_row;

/// Floats of a register.
const LANES: usize = 8;
/// Weight rows of a panel: two registers of them.
const PANEL: usize = 2 * LANES;
/// Activation rows of a register tile: 12 of 16 registers are sums.
const TILE_ROWS: usize = 6;
/// Columns that are multiplied at a time: 16 KiB of a panel, whole blocks of every type.
const PIECE: usize = 256;
/// Floats from row to row of weights that are yet to be turned: not a power of two, so that they fall on different lines.
const STRIDE: usize = PIECE + 16;

/// Where a worker makes its panels.
struct Panel {
    /// `[PANEL, STRIDE]`, rows as they are.
    rows: *mut f32,
    /// `[PIECE, PANEL]`.
    columns: *mut f32,
}

/// The kernel. Tiles are panels, cut into runs of activation rows where there are few.
///
/// # Safety
/// AVX2, FMA and F16C; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn matmul(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_panels = desc.n.div_ceil(PANEL);
    let cuts = (4 * shard.count).div_ceil(num_panels).min(args.num_rows.div_ceil(4 * TILE_ROWS)).max(1);
    let rows_per_cut = args.num_rows.div_ceil(cuts).next_multiple_of(TILE_ROWS);
    let carve = |base| {
        let mut carve = Carve::new(base);
        (Panel { rows: carve.take(PANEL * STRIDE), columns: carve.take(PIECE * PANEL) }, carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).1, |scratch| {
        let panel = carve(scratch).0;
        for tile in shard.tiles(num_panels * cuts) {
            let (first, cut) = (tile / cuts * PANEL, tile % cuts);
            let rows = cut * rows_per_cut..args.num_rows.min((cut + 1) * rows_per_cut);
            for column in (0..desc.k).step_by(PIECE).filter(|_| !rows.is_empty()) {
                let columns = PIECE.min(desc.k - column);
                // SAFETY: the caller's promise; each output belongs to one worker.
                unsafe {
                    widen(desc, args, first, column, columns, &panel);
                    turn(columns, &panel);
                    let mut at = rows.start;
                    while at < rows.end {
                        at += match rows.end - at {
                            TILE_ROWS.. => multiply::<TILE_ROWS>(desc, args, first, at, column, columns, &panel),
                            3.. => multiply::<3>(desc, args, first, at, column, columns, &panel),
                            2 => multiply::<2>(desc, args, first, at, column, columns, &panel),
                            _ => multiply::<1>(desc, args, first, at, column, columns, &panel),
                        };
                    }
                }
            }
        }
    });
}

/// Makes a piece of up to 16 weight rows from `first` on f32; zeros in place of those that the matrix lacks, and up to a
/// whole register.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen(desc: &Desc, args: &Args, first: usize, column: usize, columns: usize, panel: &Panel) {
    let bytes_of = |columns: usize| columns / desc.weight.block_len() * desc.weight.block_bytes();
    for r in 0..PANEL {
        // SAFETY: the caller's promise.
        unsafe {
            let out = row_mut(panel.rows.add(r * STRIDE), 0, columns.next_multiple_of(LANES));
            if first + r >= desc.n {
                out.fill(0.0);
                continue;
            }
            let from = args.weight.add((first + r) * desc.row_bytes + bytes_of(column));
            // Rows lie far apart: nobody else asks for the next piece in time.
            for line in (0..bytes_of(PIECE)).step_by(64) {
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(bytes_of(PIECE) + line).cast());
            }
            let whole = match desc.weight {
                DType::F16 => columns / LANES * LANES,
                _ => 0,
            };
            for i in (0..whole).step_by(LANES) {
                let halves = _mm_loadu_si128(from.add(2 * i).cast());
                _mm256_storeu_ps(out.as_mut_ptr().add(i), _mm256_cvtph_ps(halves));
            }
            let rest = row(from.add(bytes_of(whole)), 0, bytes_of(columns - whole));
            decode_row(desc.weight, rest, &mut out[whole..columns]);
            out[columns..].fill(0.0);
        }
    }
}

/// Turns a piece: eight by eight values at a time.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn turn(columns: usize, panel: &Panel) {
    for half in 0..2 {
        for column in (0..columns).step_by(LANES) {
            // SAFETY: the caller's promise: rows are whole registers long, and panels as many columns.
            unsafe {
                let from = panel.rows.add(half * LANES * STRIDE + column);
                let turned = turned(std::array::from_fn(|r| _mm256_loadu_ps(from.add(r * STRIDE))));
                let to = panel.columns.add(column * PANEL + half * LANES);
                for c in 0..LANES {
                    _mm256_store_ps(to.add(c * PANEL), turned[c]);
                }
            }
        }
    }
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn turned(r: [__m256; LANES]) -> [__m256; LANES] {
    // Pairs, fours, then halves of registers change places.
    let pairs: [__m256; LANES] = std::array::from_fn(|i| {
        let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
        if i % 2 == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
    });
    let fours: [__m256; LANES] = std::array::from_fn(|i| {
        let (a, b) = (pairs[i / 4 * 4 + i % 4 / 2], pairs[i / 4 * 4 + i % 4 / 2 + 2]);
        if i % 2 == 0 { _mm256_shuffle_ps::<0b01_00_01_00>(a, b) } else { _mm256_shuffle_ps::<0b11_10_11_10>(a, b) }
    });
    std::array::from_fn(|i| {
        let (a, b) = (fours[i % 4], fours[i % 4 + 4]);
        if i < 4 { _mm256_permute2f128_ps::<0x20>(a, b) } else { _mm256_permute2f128_ps::<0x31>(a, b) }
    })
}

/// A panel times T activation rows from `start` on, added to what earlier pieces left. Returns T.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<const T: usize>(
    desc: &Desc,
    args: &Args,
    first: usize,
    start: usize,
    column: usize,
    columns: usize,
    panel: &Panel,
) -> usize {
    // SAFETY: the caller's promise; the ragged edge of `n` is left out.
    unsafe {
        let x = args.x.cast::<f32>().add(start * desc.k + column);
        let mut sums = [[_mm256_setzero_ps(); 2]; T];
        for i in 0..columns {
            let weights = [0, LANES].map(|half| _mm256_load_ps(panel.columns.add(i * PANEL + half)));
            for t in 0..T {
                let value = _mm256_broadcast_ss(&*x.add(t * desc.k + i));
                sums[t] = [0, 1].map(|half| _mm256_fmadd_ps(value, weights[half], sums[t][half]));
            }
        }
        let inside = (desc.n - first).min(PANEL);
        for t in 0..T {
            let out = args.out.add((start + t) * desc.n + first);
            if inside == PANEL {
                for half in 0..2 {
                    let before = match column {
                        0 if desc.bias => _mm256_loadu_ps(args.bias.add(first + half * LANES)),
                        0 => _mm256_setzero_ps(),
                        _ => _mm256_loadu_ps(out.add(half * LANES)),
                    };
                    _mm256_storeu_ps(out.add(half * LANES), _mm256_add_ps(sums[t][half], before));
                }
                continue;
            }
            let mut lanes = [0f32; PANEL];
            _mm256_storeu_ps(lanes.as_mut_ptr(), sums[t][0]);
            _mm256_storeu_ps(lanes.as_mut_ptr().add(LANES), sums[t][1]);
            for (n, (out, sum)) in row_mut(out, 0, inside).iter_mut().zip(lanes).enumerate() {
                let before = match column {
                    0 if desc.bias => *args.bias.add(first + n),
                    0 => 0.0,
                    _ => *out,
                };
                *out = sum + before;
            }
        }
        T
    }
}
