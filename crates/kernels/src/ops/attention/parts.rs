//! Results over parts of the keys: kept for other workers, joined in the order of the parts, written out.
//! Used by the driver (`cpu`) for heads with few pairs.
//!
//! A part's result for one pair is the sums of values, the maximum and the total of weights
//! ([`partial_len`] floats); parts are joined as chunks are (arXiv 2205.14135, algorithm 1).

use std::ops::Range;

use super::head::Head;
use super::{Desc, MAX_PARTS, faults_of, partial_len, stream};
use crate::fault::Faults;
use crate::kv::hadamard;
use crate::rows::{row, row_mut};

/// Floats for the joined results of the pairs of one head.
pub fn joined_len(desc: &Desc) -> usize {
    stream::PAIRS * partial_len(desc)
}

impl Head<'_> {
    /// Where a part's result for one pair waits for the others.
    ///
    /// # Safety
    /// There must be at most `SPLIT_ROWS` rows in the step.
    #[inline(always)]
    unsafe fn saved(&self, pair: usize, part: usize) -> *mut f32 {
        let index = self.query(pair) * MAX_PARTS + part;
        // SAFETY: within `scratch_bytes`.
        unsafe { self.args.scratch.add(index * partial_len(self.desc)) }
    }

    /// Keeps a part's results for all workers.
    #[inline(always)]
    pub(super) unsafe fn save(&self, part: usize, partial: *const f32) {
        let len = partial_len(self.desc);
        let mut pair = 0;
        while pair < self.num_pairs() {
            // SAFETY: each pair and part has a place of its own.
            unsafe { std::ptr::copy_nonoverlapping(partial.add(pair * len), self.saved(pair, part), len) };
            pair += 1;
        }
    }

    /// Joins the next part's results, in the order of parts.
    #[inline(always)]
    pub(super) unsafe fn join(&self, part: usize, partial: *const f32, joined: *mut f32) {
        let len = partial_len(self.desc);
        let mut pair = 0;
        while pair < self.num_pairs() {
            // SAFETY: both hold the results of all pairs.
            unsafe { join(self.desc.layout.head_dim_v, part, row(partial, pair, len), row_mut(joined, pair, len)) };
            pair += 1;
        }
    }

    /// Joins what the workers saved and writes the output. Returns what is wrong with it.
    #[inline(always)]
    pub(super) unsafe fn join_saved(&self, joined: *mut f32) -> Faults {
        let len = partial_len(self.desc);
        // SAFETY: all parts were saved before the barrier.
        unsafe {
            let mut pair = 0;
            while pair < self.num_pairs() {
                let mut part = 0;
                while part < self.num_parts() {
                    let saved = row(self.saved(pair, part), 0, len);
                    join(self.desc.layout.head_dim_v, part, saved, row_mut(joined, pair, len));
                    part += 1;
                }
                pair += 1;
            }
            self.finish(0..self.num_pairs(), joined)
        }
    }

    /// Sums over totals to the output, for the pairs whose results stand at `joined`. Returns what is wrong
    /// with them.
    ///
    /// # Safety
    /// The head must be bound to live memory, and `joined` hold results of all these pairs.
    #[inline(always)]
    pub unsafe fn finish(&self, pairs: Range<usize>, joined: *const f32) -> Faults {
        let (dim, v) = (self.desc.layout.head_dim_v, self.desc.layout.v);
        let mut faults = Faults::NONE;
        for (n, pair) in pairs.enumerate() {
            // SAFETY: this worker alone writes these outputs.
            let (sums, out) =
                unsafe { (row(joined, n, partial_len(self.desc)), row_mut(self.args.out, self.query(pair), dim)) };
            faults = faults.and(faults_of(sums[dim + 1].into()));
            let inverse = 1.0 / sums[dim + 1];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * inverse);
            if v.is_quantized() {
                hadamard(out);
            }
        }
        faults
    }
}

/// Brings two partial results to a common maximum and adds them; the first part starts afresh.
fn join(dim: usize, part: usize, partial: &[f32], joined: &mut [f32]) {
    if part == 0 {
        joined.copy_from_slice(partial);
        return;
    }
    let maximum = joined[dim].max(partial[dim]);
    let (old, new) = ((joined[dim] - maximum).exp2(), (partial[dim] - maximum).exp2());
    joined.iter_mut().zip(partial).for_each(|(joined, &partial)| *joined = *joined * old + partial * new);
    joined[dim] = maximum;
}
