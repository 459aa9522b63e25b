//! f32 activations: the exact plan, and float weights. Sixteen weight rows are decoded into an f32
//! panel, 512 columns at a time, and multiplied with all activation rows.

use std::arch::x86_64::*;

use device::Shard;

use super::transpose_avx512::transpose_16x16;
use super::{Args, Desc, Input};
use crate::packed::Form;
use crate::rows::{row, row_mut};
use crate::scratch::with_scratch;
use crate::weights::decode_row;

/// Weight rows per panel: the lanes of a register.
const PANEL_ROWS: usize = 16;
/// Columns per panel: 32 KiB, the first-level cache.
const PANEL_COLUMNS: usize = 512;
/// Activation rows per register tile.
const TILE_ROWS: usize = 12;

/// Whether pieces of [`PANEL_COLUMNS`] are whole blocks: they are for every type.
pub fn accepts(desc: &Desc) -> bool {
    desc.input == Input::F32 && desc.form == Form::Rows
}

/// The kernel. Tiles are (panel, range of activation rows), the latter cut only when there are few panels.
///
/// # Safety
/// AVX-512; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn gemm(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_panels = desc.n.div_ceil(PANEL_ROWS);
    let cuts = (4 * shard.count).div_ceil(num_panels).min(args.num_rows.div_ceil(4 * TILE_ROWS)).max(1);
    let rows_per_cut = args.num_rows.div_ceil(cuts).next_multiple_of(TILE_ROWS);
    let floats = PANEL_ROWS * PANEL_COLUMNS;
    with_scratch(8 * floats, |scratch| {
        let decoded = scratch.cast::<f32>();
        let panel = decoded.wrapping_add(floats);
        for tile in shard.tiles(num_panels * cuts) {
            let first = tile / cuts * PANEL_ROWS;
            let rows = tile % cuts * rows_per_cut..args.num_rows.min((tile % cuts + 1) * rows_per_cut);
            for column in (0..desc.k).step_by(PANEL_COLUMNS) {
                let columns = PANEL_COLUMNS.min(desc.k - column);
                // SAFETY: the caller's promise; scratch holds two panels.
                unsafe {
                    fill(desc, args, first, column, columns, decoded, panel);
                    for start in rows.clone().step_by(TILE_ROWS) {
                        match rows.end - start {
                            12.. => tile_of::<12>(desc, args, first, start, column, columns, panel),
                            8.. => {
                                tile_of::<8>(desc, args, first, start, column, columns, panel);
                                for r in start + 8..rows.end {
                                    tile_of::<1>(desc, args, first, r, column, columns, panel);
                                }
                            }
                            4.. => {
                                tile_of::<4>(desc, args, first, start, column, columns, panel);
                                for r in start + 4..rows.end {
                                    tile_of::<1>(desc, args, first, r, column, columns, panel);
                                }
                            }
                            _ => (start..rows.end)
                                .for_each(|r| tile_of::<1>(desc, args, first, r, column, columns, panel)),
                        }
                    }
                }
            }
        }
    });
}

/// Decodes `columns` columns of weight rows `first .. first + 16` and turns them into columns.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn fill(
    desc: &Desc,
    args: &Args,
    first: usize,
    column: usize,
    columns: usize,
    decoded: *mut f32,
    panel: *mut f32,
) {
    let blocks = |count: usize| count / desc.weight.block_len() * desc.weight.block_bytes();
    // SAFETY: the caller's promise; columns beyond `columns` hold stale numbers that nobody reads.
    unsafe {
        for r in 0..PANEL_ROWS {
            let out = &mut row_mut(decoded, r, PANEL_COLUMNS)[..columns];
            if first + r < desc.n {
                let packed = row(args.weight, first + r, desc.row_bytes);
                decode_row(desc.weight, &packed[blocks(column)..blocks(column + columns)], out);
            } else {
                out.fill(0.0);
            }
        }
        for k in (0..columns).step_by(16) {
            let to = panel.add(k * PANEL_ROWS).cast();
            transpose_16x16(decoded.add(k).cast(), 4 * PANEL_COLUMNS, 0, to, 4 * PANEL_ROWS);
        }
    }
}

/// 16 weight rows times T activation rows over one piece of columns; later pieces add to earlier ones.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn tile_of<const T: usize>(
    desc: &Desc,
    args: &Args,
    first: usize,
    start: usize,
    column: usize,
    columns: usize,
    panel: *const f32,
) {
    // SAFETY: the caller's promise; the ragged edge of `n` is masked.
    unsafe {
        let x: [*const f32; T] = std::array::from_fn(|t| args.x.cast::<f32>().add((start + t) * desc.k + column));
        let mut sums = [_mm512_setzero_ps(); T];
        for k in 0..columns {
            let weights = _mm512_load_ps(panel.add(k * PANEL_ROWS));
            for t in 0..T {
                sums[t] = _mm512_fmadd_ps(weights, _mm512_set1_ps(*x[t].add(k)), sums[t]);
            }
        }
        let missing = PANEL_ROWS.saturating_sub(desc.n - first);
        let mask = u16::MAX >> missing;
        for (t, &sum) in sums.iter().enumerate() {
            let out = args.out.add((start + t) * desc.n + first);
            let before = match (column, desc.bias) {
                (0, false) => _mm512_setzero_ps(),
                (0, true) => _mm512_maskz_loadu_ps(mask, args.bias.add(first)),
                _ => _mm512_maskz_loadu_ps(mask, out),
            };
            _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(before, sum));
        }
    }
}
