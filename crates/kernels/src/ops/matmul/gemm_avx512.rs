//! Panels from the blocks of the file: the form for many rows of activations and types that are not repacked.

use device::Shard;

use super::panel_avx512::{self, PANEL_ROWS, Panel, Source};
use super::transpose_avx512::transpose_16x16;
use super::{Args, Desc, Input};
use crate::packed::Form;
use crate::rows::{row, row_mut};
use crate::scratch::Carve;
use crate::weights::unpack_row;

/// Quantised weights of whole groups of 64 columns, int8 activations.
pub fn accepts(desc: &Desc) -> bool {
    (desc.input, desc.form) == (Input::Q8, Form::Rows)
        && desc.weight.is_quantized()
        && desc.k.is_multiple_of(32)
        && desc.k >= 32
}

/// The kernel.
///
/// # Safety
/// AVX-512 with VNNI; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn gemm(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    // SAFETY: the caller's promise.
    unsafe { panel_avx512::gemm::<Blocks>(desc, args, shard) }
}

/// Rows in the blocks of the file, and room to unpack them before they become columns.
struct Blocks {
    /// `[32, k_padded]` codes, row by row, as `unpack` writes them.
    codes: *mut i8,
    /// One row of scales or mins before transposition.
    scales: *mut f32,
    mins: *mut f32,
    k_padded: usize,
}

impl Source for Blocks {
    fn carve(carve: &mut Carve, desc: &Desc) -> Self {
        let k_padded = desc.k.next_multiple_of(64);
        let num_groups = desc.k / desc.weight.group_len();
        Self {
            codes: carve.take(PANEL_ROWS * k_padded),
            scales: carve.take(num_groups),
            mins: carve.take(num_groups),
            k_padded,
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn fill(&self, desc: &Desc, args: &Args, first: usize, panel: &Panel) {
        // SAFETY: the caller's promise; all indices stay inside the panel by construction.
        unsafe {
            for r in 0..PANEL_ROWS {
                let codes = row_mut(self.codes, r, self.k_padded);
                codes[desc.k..].fill(0);
                let (scales, mins) =
                    (row_mut(self.scales, 0, panel.num_groups), row_mut(self.mins, 0, panel.num_groups));
                if first + r < desc.n {
                    let packed = row(args.weight, first + r, desc.row_bytes);
                    let mins = if desc.weight.has_mins() { &mut *mins } else { &mut [] };
                    unpack_row(desc.weight, packed, &mut codes[..desc.k], scales, mins);
                } else {
                    scales.fill(0.0);
                    mins.fill(0.0);
                }
                for g in 0..panel.num_groups {
                    *panel.scales.add(g * PANEL_ROWS + r) = scales[g];
                    if desc.weight.has_mins() {
                        *panel.mins.add(g * PANEL_ROWS + r) = mins[g];
                    }
                }
            }
            for half in 0..2 {
                for k in (0..self.k_padded).step_by(64) {
                    let from = self.codes.add(half * 16 * self.k_padded + k).cast();
                    let to = panel.columns.add(k * PANEL_ROWS + half * 64);
                    transpose_16x16(from, self.k_padded, desc.weight.code_offset(), to, 4 * PANEL_ROWS);
                }
            }
        }
    }
}
