//! Attention over a quantised cache: both products as exact dot products of bytes (INT-FlashAttention,
//! arXiv 2409.16997, for decoding and prefill alike).
//!
//! Keys lie along the vector for scores, values of a head for sums, as the blocks of the cache have them
//! (`kv/code`): codes go from the cache into the registers. A query gets codes of its own, with one scale.
//!
//! A weight and the scale of its value become one unsigned byte, `p · scale / 2^maximum · 240`, relative to
//! the largest in its chunk of keys. Bytes are made with a fixed pattern of offsets in -0.5..0.5 (dither), so
//! that of many weights too small for a code of their own the right part is counted: plain rounding would
//! drop a flat tail beside a peak altogether, while the sum of weights, which stays f32, kept it.
//!
//! Called by [`super::cpu`] through `bytes`, and by the technique `sage_attention`, chunk by chunk, through [`Pass`]; the
//! loops that take the time are in `step`.

mod chunk;
mod places;
mod step;
mod waves;
mod weights;

use std::ops::Range;

use self::places::Places;
use super::head::Head;
use super::stream::{GROUP, LOWEST};
use super::{Desc, partial_len};
use crate::kv::{self, KvType, hadamard};
use crate::simd::Dots;

pub use self::chunk::{CHUNK, Chunk, GROUPS};
pub use self::places::scratch_len;
pub use self::step::{Compiled, Step};
pub use self::weights::{Powers, Weights};

/// Most queries of one pass over a quantised cache.
pub const PAIRS: usize = 128;

/// Some pairs of `head` over some keys of a quantised cache; `keys` starts with a group. Leaves the partial
/// results at the start of `scratch`.
///
/// # Safety
/// As [`Pass`], with [`PAIRS`] pairs at most.
#[inline(always)]
pub unsafe fn bytes<V: Compiled>(head: &Head<'_>, pairs: Range<usize>, keys: Range<usize>, scratch: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let num_pairs = pairs.len();
        let pass = Pass::begin(head, pairs, &[], scratch, PAIRS);
        let mut chunk = Chunk::at(head, keys.start, keys.end);
        while chunk.count > 0 {
            let next = Chunk::at(head, chunk.end(), keys.end);
            next.fetch_scales();
            pass.chunk::<V, V>(&chunk, &next, 0..num_pairs);
            chunk = next;
        }
        pass.end();
    }
}

/// Some pairs of a head on their way through the keys, chunk by chunk.
///
/// # Safety
/// The head must be bound to live memory, the scratch memory have [`scratch_len`] floats, chunks point to codes and
/// scales of whole groups, the CPU have the features of `V`; there must be at most `most` pairs.
pub struct Pass<'a> {
    head: &'a Head<'a>,
    pairs: Range<usize>,
    places: Places,
    /// How many of [`Places::rows`] there are.
    num_rows: usize,
}

impl<'a> Pass<'a> {
    /// Makes codes of the rotated queries and clears the sums. `mean`, `[head_dim_k]` or empty, is what the keys have lost
    /// before they were rotated and codes made of them: their scores get `q · mean` back.
    ///
    /// # Safety
    /// See [`Pass`].
    #[inline(always)]
    pub unsafe fn begin(head: &'a Head<'a>, pairs: Range<usize>, mean: &[f32], scratch: *mut f32, most: usize) -> Self {
        let (dim_v, partial_len) = (head.desc.layout.head_dim_v, partial_len(head.desc));
        // SAFETY: the caller's promise.
        unsafe {
            let places = Places::within(scratch, head.desc, most);
            let num_rows = waves::rows(head, &places);
            let mut pair = 0;
            while pair < pairs.len() {
                query(head, pairs.start + pair, mean, pair, &places);
                std::slice::from_raw_parts_mut(places.partial.add(pair * partial_len), dim_v).fill(0.0);
                *places.maximum.add(pair) = LOWEST;
                *places.total.add(pair) = 0.0;
                pair += 1;
            }
            Pass { head, pairs, places, num_rows }
        }
    }

    /// One chunk of keys for some of the pairs, counted from the first, with weights in the form `W`; `next` is fetched meanwhile.
    ///
    /// # Safety
    /// See [`Pass`].
    #[inline(always)]
    pub unsafe fn chunk<V: Compiled, W: Weights>(&self, chunk: &Chunk, next: &Chunk, some: Range<usize>) {
        let Pass { head, pairs, places, num_rows } = self;
        // SAFETY: the caller's promise.
        unsafe {
            let fault = chunk.scales::<V>(head.desc.layout.head_dim_v, places);
            let mut pair = some.start;
            while pair < some.end {
                let count = together::<V>(some.end - pair);
                let first = pairs.start + pair;
                let (oldest, newest) = (head.visible(first), head.visible(first + count - 1));
                // Keys after all of these pairs, or before all of their windows, do nothing.
                let end = chunk.end().min(newest.end);
                if chunk.start < end && oldest.start < end {
                    let groups = (end - chunk.start).div_ceil(GROUP);
                    let next = if pair == some.start { next } else { &Chunk::NONE };
                    let step = Step { head, places, chunk, next, groups, pair, first, num_rows: *num_rows, fault };
                    if V::QUERIES == 2 {
                        match count {
                            1 => step.run::<V, W, 1>(),
                            _ => step.run::<V, W, 2>(),
                        }
                    } else {
                        match count {
                            1 => step.run::<V, W, 1>(),
                            2 => step.run::<V, W, 2>(),
                            3 => step.run::<V, W, 3>(),
                            4 => step.run::<V, W, 4>(),
                            _ => step.run::<V, W, 6>(),
                        }
                    }
                }
                pair += count;
            }
        }
    }

    /// Leaves the partial results at the start of the scratch memory.
    ///
    /// # Safety
    /// See [`Pass`].
    #[inline(always)]
    pub unsafe fn end(&self) {
        let Pass { head, pairs, places, .. } = self;
        let (dim_v, partial_len) = (head.desc.layout.head_dim_v, partial_len(head.desc));
        let mut pair = 0;
        while pair < pairs.len() {
            // SAFETY: the caller's promise.
            unsafe {
                let partial = places.partial.add(pair * partial_len);
                *partial.add(dim_v) = *places.maximum.add(pair);
                *partial.add(dim_v + 1) = *places.total.add(pair);
            }
            pair += 1;
        }
    }
}

/// How many of the pairs that are left go together: one of the sizes that are compiled, and no single one left
/// over where it can be helped.
#[inline(always)]
fn together<V: Dots>(left: usize) -> usize {
    match left {
        _ if V::QUERIES == 2 => left.min(2),
        5 => 3,
        7 => 4,
        _ => left.min(6),
    }
}

/// Codes of one query, rotated like the keys, and its score with what they have lost.
#[inline(always)]
unsafe fn query(head: &Head<'_>, pair: usize, mean: &[f32], at: usize, places: &Places) {
    let (dim, k) = (head.desc.layout.head_dim_k, head.desc.layout.k);
    // SAFETY: as in `bytes`.
    unsafe {
        let q = std::slice::from_raw_parts(head.args.q.add(head.query(pair) * dim), dim);
        let mut bias: f32 = q.iter().zip(mean).map(|(q, mean)| q * mean).sum();
        let mut rotated = [0f32; kv::MAX_ROTATED];
        let rotated = &mut rotated[..dim];
        rotated.copy_from_slice(q);
        if let Some(fit) = &head.args.fit {
            bias += waves::query(head, fit, q, at, places);
            let [_, step, _] = fit.head(head.index);
            rotated.iter_mut().zip(step).for_each(|(q, step)| *q *= step);
        }
        *places.query_bias.add(at) = bias * head.query_factor();
        hadamard(rotated);
        let codes = std::slice::from_raw_parts_mut(places.q.add(at * dim), dim);
        let scale = kv::codes(rotated, codes);
        let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
        *places.query_scale.add(at) = scale * head.query_factor();
        *places.query_offset.add(at) = -k.key_offset() * sum;
    }
}

/// Whether [`bytes`] can run `desc`: codes must fill vectors.
pub fn accepts(desc: &Desc, vector: usize) -> bool {
    let layout = &desc.layout;
    let granule = if layout.v == KvType::Q4 { 2 * vector } else { vector };
    layout.k.is_quantized()
        && layout.v.is_quantized()
        && layout.head_dim_k.is_multiple_of(8)
        && layout.head_dim_v.is_multiple_of(granule)
        && layout.head_dim_k.max(layout.head_dim_v) <= kv::MAX_ROTATED
        && layout.block_size.is_multiple_of(GROUP)
}
