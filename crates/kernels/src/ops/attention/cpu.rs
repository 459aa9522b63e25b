//! Attention on the CPU, written once for all instruction sets: how the work is cut and shared.
//!
//! A query of one row and one head is a *pair*. The pairs of a sequence that share a KV head read the
//! same keys, so they are computed together: few pairs by `stream` (decode: bound by reading the
//! cache), many by `tile` (prefill: bound by arithmetic).

use device::Shard;

use super::head::Head;
use super::parts::joined_len;
use super::{Args, Desc, SPLIT_ROWS, stream, tile};
use crate::fault::{self, Faults};
use crate::simd::Lanes;

/// Whether the variants over [`Lanes`] can run `desc`: head dimensions must fill vectors, and 16
/// consecutive keys must lie in one block.
pub fn accepts(desc: &Desc, vector: usize) -> bool {
    let layout = &desc.layout;
    layout.head_dim_k.is_multiple_of(vector)
        && layout.head_dim_v.is_multiple_of(vector)
        && layout.block_size.is_multiple_of(stream::GROUP)
}

/// All heads of all sequences, in order.
#[derive(Clone, Copy)]
struct Heads<'a> {
    desc: &'a Desc,
    args: &'a Args,
}

impl<'a> Heads<'a> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.args.kv.num_views * self.desc.layout.num_kv_heads
    }

    /// # Safety
    /// `args` must be bound to live memory of the described shape.
    #[inline(always)]
    unsafe fn at(&self, index: usize) -> Head<'a> {
        let heads = self.desc.layout.num_kv_heads;
        // SAFETY: the caller's promise.
        unsafe {
            let view = &*self.args.kv.views.add(index / heads);
            let index = index % heads;
            let cached = view.cached(self.desc.layer, index as u32, heads as u32) as usize;
            Head { desc: self.desc, args: self.args, view, index, cached }
        }
    }

    /// Whether keys are cut, and the number of units of work. The same for every worker.
    ///
    /// # Safety
    /// As [`Heads::at`].
    #[inline(always)]
    unsafe fn split(&self, num_workers: usize) -> (bool, usize) {
        let (mut num_rows, mut whole, mut cut) = (0, 0, 0);
        let mut i = 0;
        while i < self.len() {
            // SAFETY: the caller's promise.
            let head = unsafe { self.at(i) };
            num_rows += if head.index == 0 { head.view.num_rows as usize } else { 0 };
            whole += head.num_units(false);
            cut += head.num_units(true);
            i += 1;
        }
        let split = num_workers > 1 && num_rows <= SPLIT_ROWS && cut > whole;
        (split, if split { cut } else { whole })
    }
}

/// The whole op. Units of work go to whoever is free, the last rows of a sequence first: they see the
/// most keys. With few rows there are few heads to share out, so their keys are cut too, into parts
/// whose results are joined after a barrier.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `V`, `joined` hold [`scratch_len`] floats.
#[inline(always)]
pub unsafe fn attention<V: Lanes>(desc: &Desc, args: &Args, shard: &Shard<'_>, joined: *mut f32) {
    let heads = Heads { desc, args };
    // SAFETY: the caller's promise; every unit has outputs of its own.
    unsafe {
        let scratch = joined.add(joined_len(desc));
        let (split, num_units) = heads.split(shard.count);
        let (mut i, mut first) = (0, 0);
        for unit in shard.tiles(num_units) {
            while unit >= first + heads.at(i).num_units(split) {
                first += heads.at(i).num_units(split);
                i += 1;
            }
            let (head, unit) = (heads.at(i), unit - first);
            let mut faults = Faults::NONE;
            if !head.streams() {
                let end = head.num_pairs() - unit * tile::PAIRS;
                faults = tile::tile::<V>(&head, end.saturating_sub(tile::PAIRS)..end, scratch);
            } else if split {
                stream::stream::<V>(&head, head.part(unit), scratch);
                head.save(unit, scratch);
            } else {
                let mut part = 0;
                while part < head.num_parts() {
                    stream::stream::<V>(&head, head.part(part), scratch);
                    head.join(part, scratch, joined);
                    part += 1;
                }
                faults = head.finish(joined);
            }
            fault::unless(faults.is_none(), shard, || faults);
        }
        if split {
            shard.barrier();
            for i in shard.tiles(heads.len()) {
                let head = heads.at(i);
                if head.streams() {
                    let faults = head.join_saved(joined);
                    fault::unless(faults.is_none(), shard, || faults);
                }
            }
        }
    }
}

/// Floats of scratch memory per worker.
pub fn scratch_len(desc: &Desc) -> usize {
    joined_len(desc) + stream::scratch_len(desc).max(tile::scratch_len(desc))
}
