//! Many rows of activations times float weights of 16 bits, both in bfloat16 with sums in f32: `vdpbf16ps` does twice
//! the products of an f32 multiply-add. BF16 weights lose nothing, F16 weights three bits; activations keep eight.
//!
//! The instruction adds the products of two neighbours to each lane. A panel of weights is transposed so that a lane
//! is a weight row and a step two columns; 32 rows times twelve rows of activations make 24 sums of 32 registers.

#![allow(clippy::needless_range_loop)] // register tiles are indexed in step with addresses

use std::arch::x86_64::*;
use std::mem::transmute;

use device::{Feature, Shard};
use gguf::DType;

use super::transpose_avx512::transpose_16x16;
use super::{Args, Desc, Input, Matmul};
use crate::op::Rows;
use crate::packed::Form;
use crate::scratch::{Carve, with_scratch};
use crate::variant::{Exactness, Launch, Variant};

/// Half a unit of eight bits, once for the activations and once for weights of F16.
const EXACTNESS: Exactness = Exactness::Rounded { rel_ppb: 2 * 3_950_000 };

/// F16 and BF16 weights in the file, f32 activations.
pub const VARIANT: Variant<Matmul> = Variant {
    id: "matmul/bf16/avx512bf16",
    needs: &[Feature::Avx512Bf16],
    exactness: EXACTNESS,
    accepts: |desc| {
        (desc.input, desc.form, desc.rows) == (Input::F32, Form::Rows, Rows::Many)
            && matches!(desc.weight, DType::F16 | DType::BF16)
    },
    launch: Launch::Cpu(gemm),
};

/// Weight rows of a register tile: two registers of 16 lanes.
const TILE_WEIGHTS: usize = 32;
/// Activation rows of a register tile.
const TILE_ROWS: usize = 12;
/// Most weight rows of a panel, which share one narrowing of the activations.
const PANEL_WEIGHTS: usize = 128;
/// Columns that are multiplied at a time: 24 KiB of activations stay in the first cache, 256 KiB of weights in the second.
const PIECE: usize = 1024;
/// Bytes from row to row before transposition: no power of two, so that sixteen rows fall on different lines of the cache.
const STRIDE: usize = 2 * PIECE + 64;

/// Scratch of a worker.
struct Panel {
    /// `[weights / 32, PIECE / 2, 32]` pairs of neighbours.
    pairs: *mut u8,
    /// 16 rows of bfloat16, [`STRIDE`] bytes apart.
    rows: *mut u8,
    /// `[TILE_ROWS, PIECE]` bfloat16 activations.
    x: *mut u8,
}

/// The kernel. Tiles are (panel, range of activation rows), the latter cut only when there are few panels.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn gemm(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let panel_rows = (desc.n / (4 * shard.count)).next_multiple_of(TILE_WEIGHTS).clamp(TILE_WEIGHTS, PANEL_WEIGHTS);
    let num_panels = desc.n.div_ceil(panel_rows);
    let cuts = (4 * shard.count).div_ceil(num_panels).min(args.num_rows.div_ceil(4 * TILE_ROWS)).max(1);
    let rows_per_cut = args.num_rows.div_ceil(cuts).next_multiple_of(TILE_ROWS);
    let carve = |base| {
        let mut carve = Carve::new(base);
        let pairs = carve.take(panel_rows * PIECE * 2);
        (Panel { pairs, rows: carve.take(16 * STRIDE), x: carve.take(TILE_ROWS * PIECE * 2) }, carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).1, |scratch| {
        let (panel, _) = carve(scratch);
        for tile in shard.tiles(num_panels * cuts) {
            let first = tile / cuts * panel_rows;
            let weights = first..desc.n.min(first + panel_rows);
            let rows = tile % cuts * rows_per_cut..args.num_rows.min((tile % cuts + 1) * rows_per_cut);
            for column in (0..desc.k).step_by(PIECE) {
                let columns = PIECE.min(desc.k - column);
                // SAFETY: the caller's promise; the panel was carved for these shapes.
                unsafe {
                    for (n, band) in weights.clone().step_by(16).enumerate() {
                        fill(desc, args, band, column, columns, n, &panel);
                    }
                    for start in rows.clone().step_by(TILE_ROWS) {
                        let count = TILE_ROWS.min(rows.end - start);
                        for t in 0..count {
                            let x = args.x.cast::<f32>().add((start + t) * desc.k + column);
                            narrow::<f32>(x, columns, panel.x.add(t * PIECE * 2));
                        }
                        for (n, first) in weights.clone().step_by(TILE_WEIGHTS).enumerate() {
                            let pairs = panel.pairs.add(n * TILE_WEIGHTS * PIECE * 2);
                            multiply(desc, args, first, (start, count), (column, columns), pairs, panel.x);
                        }
                    }
                }
            }
        }
    });
}

/// Writes band `n` of a panel: 16 weight rows from `first` on, zeros for those that are missing.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn fill(desc: &Desc, args: &Args, first: usize, column: usize, columns: usize, n: usize, panel: &Panel) {
    // SAFETY: the caller's promise.
    unsafe {
        for r in 0..16 {
            let to = panel.rows.add(r * STRIDE);
            let from = args.weight.wrapping_add((first + r) * desc.row_bytes + 2 * column);
            match desc.weight {
                _ if first + r >= desc.n => {
                    std::slice::from_raw_parts_mut(to, 2 * columns.next_multiple_of(32)).fill(0)
                }
                DType::F16 => narrow::<F16>(from.cast(), columns, to),
                _ => narrow::<BF16>(from.cast(), columns, to),
            }
        }
        let to = panel.pairs.add(n / 2 * TILE_WEIGHTS * PIECE * 2 + n % 2 * 64);
        for k in (0..columns).step_by(32) {
            transpose_16x16(panel.rows.add(2 * k), STRIDE, 0, to.add(k / 2 * 128), 128);
        }
    }
}

/// Bits of half precision.
#[repr(transparent)]
struct F16(u16);
/// Bits of bfloat16.
#[repr(transparent)]
struct BF16(u16);

/// Values that can be narrowed, 32 at a time, those that `mask` leaves out to zeros.
trait Narrow: Sized {
    /// # Safety
    /// AVX-512 with BF16; the values must be readable.
    unsafe fn narrow(at: *const Self, mask: u32) -> __m512i;
}

impl Narrow for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn narrow(at: *const Self, mask: u32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask as u16, at);
            let high = _mm512_maskz_loadu_ps((mask >> 16) as u16, at.wrapping_add(16));
            transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
}

impl Narrow for F16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn narrow(at: *const Self, mask: u32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let halves = _mm512_maskz_loadu_epi16(mask, at.cast());
            let low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
            let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves));
            transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }
}

impl Narrow for BF16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn narrow(at: *const Self, mask: u32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_epi16(mask, at.cast()) }
    }
}

/// `columns` values to bfloat16, zeros up to a multiple of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn narrow<N: Narrow>(from: *const N, columns: usize, to: *mut u8) {
    for i in (0..columns).step_by(32) {
        let mask = if columns - i >= 32 { u32::MAX } else { (1 << (columns - i)) - 1 };
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_si512(to.add(2 * i).cast(), N::narrow(from.add(i), mask)) };
    }
}

/// Chooses the tile for `rows` = (first, number).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn multiply(
    desc: &Desc,
    args: &Args,
    first: usize,
    rows: (usize, usize),
    columns: (usize, usize),
    pairs: *const u8,
    x: *const u8,
) {
    macro_rules! dispatch {
        ($($t:literal)*) => {
            // SAFETY: the caller's promise.
            unsafe { match rows.1 {
                $($t => tile::<$t>(desc, args, first, rows.0, columns, pairs, x),)*
                _ => unreachable!("tiles have 1 to {TILE_ROWS} rows"),
            } }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// 32 weight rows times T activation rows over `columns` = (first, number); later pieces add to earlier ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn tile<const T: usize>(
    desc: &Desc,
    args: &Args,
    first: usize,
    start: usize,
    (column, columns): (usize, usize),
    pairs: *const u8,
    x: *const u8,
) {
    // SAFETY: the caller's promise; the ragged edge of `n` is masked.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; T];
        for step in 0..columns.div_ceil(2) {
            let at = pairs.add(step * 128);
            let weights = [bf16(_mm512_load_si512(at.cast())), bf16(_mm512_load_si512(at.add(64).cast()))];
            for t in 0..T {
                let pair = bf16(_mm512_set1_epi32(*x.add(t * PIECE * 2 + 4 * step).cast::<i32>()));
                sums[t][0] = _mm512_dpbf16_ps(sums[t][0], weights[0], pair);
                sums[t][1] = _mm512_dpbf16_ps(sums[t][1], weights[1], pair);
            }
        }
        for half in 0..2 {
            let n = first + 16 * half;
            let inside = desc.n.saturating_sub(n).min(16);
            let mask = ((1u32 << inside) - 1) as u16;
            for t in 0..T {
                let out = args.out.wrapping_add((start + t) * desc.n + n);
                let before = match (column, desc.bias) {
                    (0, false) => _mm512_setzero_ps(),
                    (0, true) => _mm512_maskz_loadu_ps(mask, args.bias.wrapping_add(n)),
                    _ => _mm512_maskz_loadu_ps(mask, out),
                };
                _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(before, sums[t][half]));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits.
    unsafe { transmute::<__m512i, __m512bh>(x) }
}
