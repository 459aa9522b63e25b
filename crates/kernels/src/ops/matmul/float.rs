//! f32 activations times weights as they lie in the file, written once for all instruction sets: the exact plan's
//! products of any type, and everybody's products of float weights.
//!
//! Vectors run along the columns, in both operands, so nothing is transposed: R weight rows times T activation rows
//! share what they load, and four sums at a time are added up across their lanes. While there are few activation rows,
//! weights are read one row after the other, which memory delivers fastest (24 to 41 GB/s where four rows side by side
//! gave 13 to 31), and widened on the way. For many, four rows share a tile; F16, BF16 and quantised weights are made
//! f32 first, a panel of rows at a time. The order of the sums is the same in all, but for few rows with short vectors
//! (which leave many rows to `float_panel_avx2`).

use std::ptr;

use device::Shard;
use gguf::DType;

use super::{Args, Desc, Input};
use crate::packed::Form;
use crate::rows::{row, row_mut};
use crate::simd::Lanes;
use crate::weights::decode_row;

/// Weight rows of a register tile.
const TILE_WEIGHTS: usize = 4;
/// Weight rows that all activations pass at a time.
const PANEL_WEIGHTS: usize = 16;
/// Columns that are multiplied at a time, so that the operands of a tile stay in the first cache. Whole blocks of
/// every type.
const PIECE: usize = 1024;
/// Bytes from row to row of a panel in f32: no power of two, so that its rows fall on different lines of the cache.
const STRIDE: usize = 4 * PIECE + 64;
/// Most weight rows that a worker takes at a time when there are few activation rows.
const RUN: usize = 256;
/// How far ahead of its reading a worker asks for weights, in bytes: beyond the page that the hardware follows,
/// into the second cache.
const AHEAD: usize = 16 << 10;

/// f32 activations with weights of any type, as they lie in the file.
pub fn accepts(desc: &Desc) -> bool {
    desc.input == Input::F32 && desc.form == Form::Rows
}

/// Bytes of scratch: a panel in f32.
pub const SCRATCH_BYTES: usize = PANEL_WEIGHTS * STRIDE;

/// The kernel; T activation rows share a tile. Tiles are runs of panels, or (panel, range of activation rows).
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`, `scratch` hold [`SCRATCH_BYTES`].
#[inline(always)]
pub unsafe fn matmul<V: Lanes, const T: usize>(desc: &Desc, args: &Args, shard: &Shard<'_>, scratch: *mut u8) {
    let few = args.num_rows <= T;
    let panel_rows = if few { 1 } else { PANEL_WEIGHTS };
    let num_panels = desc.n.div_ceil(panel_rows);
    let run = if few { (num_panels / (8 * shard.count)).clamp(1, RUN) } else { 1 };
    let num_runs = num_panels.div_ceil(run);
    let cuts = if few { 1 } else { (4 * shard.count).div_ceil(num_runs).min(args.num_rows.div_ceil(4 * T)) };
    let rows_per_cut = args.num_rows.div_ceil(cuts.max(1)).next_multiple_of(T);
    for tile in shard.tiles(num_runs * cuts) {
        let (first, cut) = (tile / cuts * run, tile % cuts);
        let rows = (cut * rows_per_cut, args.num_rows.min((cut + 1) * rows_per_cut));
        let mut panel = first;
        while panel < num_panels.min(first + run) && rows.0 < rows.1 {
            // SAFETY: the caller's promise; each output belongs to one worker.
            unsafe { panel_times_rows::<V, T>(desc, args, panel * panel_rows, panel_rows, rows, scratch) };
            panel += 1;
        }
    }
}

/// Weight rows `first ..`, at most `count`, times activation rows `rows.0 .. rows.1`.
#[inline(always)]
unsafe fn panel_times_rows<V: Lanes, const T: usize>(
    desc: &Desc,
    args: &Args,
    first: usize,
    count: usize,
    rows: (usize, usize),
    scratch: *mut u8,
) {
    let count = count.min(desc.n - first);
    let direct = rows.1 - rows.0 <= 2 * T;
    let mut column = 0;
    while column < desc.k {
        let columns = PIECE.min(desc.k - column);
        let mut tile = Tile { desc, args, column, columns, weights: ptr::null(), stride: 0, first, count: 0, row: 0 };
        // SAFETY: the caller's promise.
        unsafe {
            let bytes = desc.weight.block_bytes() * column / desc.weight.block_len();
            let in_file = args.weight.add(first * desc.row_bytes + bytes);
            match desc.weight {
                DType::F32 => tile.pass::<V, F32, T>(in_file, desc.row_bytes, count, rows),
                DType::F16 if direct => tile.pass::<V, F16, T>(in_file, desc.row_bytes, count, rows),
                DType::BF16 if direct => tile.pass::<V, BF16, T>(in_file, desc.row_bytes, count, rows),
                _ => {
                    widen::<V>(desc, in_file, count, columns, scratch.cast());
                    tile.pass::<V, F32, T>(scratch, STRIDE, count, rows);
                }
            }
        }
        column += columns;
    }
}

/// Makes a piece of `count` rows f32, [`STRIDE`] bytes apart.
#[inline(always)]
unsafe fn widen<V: Lanes>(desc: &Desc, from: *const u8, count: usize, columns: usize, out: *mut f32) {
    let bytes = columns / desc.weight.block_len() * desc.weight.block_bytes();
    let mut r = 0;
    while r < count {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, out) = (from.add(r * desc.row_bytes), out.byte_add(r * STRIDE));
            match desc.weight {
                DType::F16 => widen_row::<V, F16>(from, columns, out),
                DType::BF16 => widen_row::<V, BF16>(from, columns, out),
                other => decode_row(other, row(from, 0, bytes), row_mut(out, 0, columns)),
            }
        }
        r += 1;
    }
}

#[inline(always)]
unsafe fn widen_row<V: Lanes, E: Element>(from: *const u8, columns: usize, out: *mut f32) {
    let mut i = 0;
    while i < columns {
        let count = (columns - i).min(V::LEN);
        // SAFETY: the caller's promise.
        unsafe { E::load_part::<V>(from.add(i * E::BYTES), count).store_part(out.add(i), count) };
        i += V::LEN;
    }
}

/// Up to four weight rows times some activation rows over one piece of columns.
struct Tile<'a> {
    desc: &'a Desc,
    args: &'a Args,
    column: usize,
    columns: usize,
    /// The piece of the first weight row, and the bytes from row to row.
    weights: *const u8,
    stride: usize,
    /// The first weight row and how many there are; the first activation row.
    first: usize,
    count: usize,
    row: usize,
}

impl Tile<'_> {
    /// All tiles of a panel.
    #[inline(always)]
    unsafe fn pass<V: Lanes, E: Element, const T: usize>(
        &mut self,
        weights: *const u8,
        stride: usize,
        count: usize,
        rows: (usize, usize),
    ) {
        let panel = self.first;
        self.stride = stride;
        self.row = rows.0;
        while self.row < rows.1 {
            let mut r = 0;
            while r < count {
                (self.first, self.count) = (panel + r, TILE_WEIGHTS.min(count - r));
                self.weights = weights.wrapping_add(r * stride);
                // SAFETY: the caller's promise.
                unsafe {
                    match self.count {
                        1 => self.some_rows::<V, E, 1, T>(rows.1),
                        _ => self.some_rows::<V, E, TILE_WEIGHTS, T>(rows.1),
                    }
                }
                r += TILE_WEIGHTS;
            }
            self.row += T;
        }
        self.first = panel;
    }

    /// As many activation rows as are left before `end`, at most T.
    #[inline(always)]
    unsafe fn some_rows<V: Lanes, E: Element, const R: usize, const T: usize>(&self, end: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match end - self.row {
                1 => self.multiply::<V, E, R, 1>(),
                2 if T > 2 => self.multiply::<V, E, R, 2>(),
                3 if T > 3 => self.multiply::<V, E, R, 3>(),
                4 if T > 4 => self.multiply::<V, E, R, 4>(),
                5 if T > 5 => self.multiply::<V, E, R, 5>(),
                _ => self.multiply::<V, E, R, T>(),
            }
        }
    }

    /// Adds to what earlier pieces left in the output. R is 1 or [`TILE_WEIGHTS`].
    #[inline(always)]
    unsafe fn multiply<V: Lanes, E: Element, const R: usize, const T: usize>(&self) {
        let Self { desc, args, column, columns, first, count, .. } = *self;
        // SAFETY: the caller's promise; rows that the last tile lacks are the last one again, and are not stored.
        unsafe {
            let mut weights = [self.weights; R];
            let mut w = 1;
            while w < R {
                weights[w] = self.weights.add(w.min(count - 1) * self.stride);
                w += 1;
            }
            let x = args.x.cast::<f32>().add(self.row * desc.k + column);
            let mut sums = [[V::splat(0.0); TILE_WEIGHTS]; T];
            let mut i = 0;
            // One sum of a short vector would wait for itself longer than for memory.
            while R == 1 && V::LEN < 16 && i + TILE_WEIGHTS * V::LEN <= columns {
                prefetch(weights[0].wrapping_add(i * E::BYTES + AHEAD));
                let mut s = 0;
                while s < TILE_WEIGHTS {
                    let weight = E::load::<V>(weights[0].add(i * E::BYTES));
                    let mut t = 0;
                    while t < T {
                        sums[t][s] = V::load(x.add(t * desc.k + i)).mul_add(weight, sums[t][s]);
                        t += 1;
                    }
                    i += V::LEN;
                    s += 1;
                }
            }
            while i + V::LEN <= columns {
                let mut these = [V::splat(0.0); T];
                let mut t = 0;
                while t < T {
                    these[t] = V::load(x.add(t * desc.k + i));
                    t += 1;
                }
                let mut w = 0;
                while w < R {
                    let at = weights[w].add(i * E::BYTES);
                    if R == 1 {
                        prefetch(at.wrapping_add(AHEAD)); // beside arithmetic for many rows it would only cost
                    }
                    let weight = E::load::<V>(at);
                    let mut t = 0;
                    while t < T {
                        sums[t][w] = these[t].mul_add(weight, sums[t][w]);
                        t += 1;
                    }
                    w += 1;
                }
                i += V::LEN;
            }
            if i < columns {
                let mut w = 0;
                while w < R {
                    let weight = E::load_part::<V>(weights[w].add(i * E::BYTES), columns - i);
                    let mut t = 0;
                    while t < T {
                        let these = V::load_part(x.add(t * desc.k + i), columns - i);
                        sums[t][w] = these.mul_add(weight, sums[t][w]);
                        t += 1;
                    }
                    w += 1;
                }
            }
            let mut t = 0;
            while t < T {
                let mut four = [0f32; TILE_WEIGHTS];
                V::store_sums(sums[t], four.as_mut_ptr());
                if R == 1 && V::LEN < 16 {
                    four[0] = (four[0] + four[1]) + (four[2] + four[3]);
                }
                let out = row_mut(args.out.add((self.row + t) * desc.n + first), 0, count);
                let mut w = 0;
                while w < count {
                    let before = match column {
                        0 if desc.bias => *args.bias.add(first + w),
                        0 => 0.0,
                        _ => out[w],
                    };
                    out[w] = before + four[w];
                    w += 1;
                }
                t += 1;
            }
        }
    }
}

/// Asks for a line of weights, beyond the page that the hardware follows.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; whatever the address, nothing is read.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
}

/// A type of floats.
trait Element {
    const BYTES: usize;

    /// `V::LEN` values as f32.
    ///
    /// # Safety
    /// See [`Lanes`]. So for all functions here.
    unsafe fn load<V: Lanes>(at: *const u8) -> V;

    /// The first `count` values; zeros after them.
    unsafe fn load_part<V: Lanes>(at: *const u8, count: usize) -> V;
}

enum F32 {}

impl Element for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<V: Lanes>(at: *const u8) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(at.cast()) }
    }

    #[inline(always)]
    unsafe fn load_part<V: Lanes>(at: *const u8, count: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_part(at.cast(), count) }
    }
}

/// Types of 16 bits.
macro_rules! short {
    ($name:ident, $load:ident) => {
        enum $name {}

        impl Element for $name {
            const BYTES: usize = 2;

            #[inline(always)]
            unsafe fn load<V: Lanes>(at: *const u8) -> V {
                // SAFETY: the caller's promise.
                unsafe { V::$load(at.cast()) }
            }

            #[inline(always)]
            unsafe fn load_part<V: Lanes>(at: *const u8, count: usize) -> V {
                let mut padded = [0u8; 64];
                // SAFETY: the caller's promise; a vector has 16 values at most.
                unsafe {
                    ptr::copy_nonoverlapping(at, padded.as_mut_ptr(), count * Self::BYTES);
                    V::$load(padded.as_ptr().cast())
                }
            }
        }
    };
}

short!(F16, load_f16);
short!(BF16, load_bf16);
