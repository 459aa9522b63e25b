//! Values that change sides outside the kernels: results and activations that the host reads, and vectors of the cache
//! that move. Called by the executor between parts of a plan and between steps.

use device::Buffer;
use device::cuda::CudaError;

use super::{DeviceSide, FETCH_BYTES};
use crate::executor::{CacheSlot, TurnKey, move_in};
use crate::kv::KvLayout;
use crate::launch::{Frame, RowSet, Slot};

/// Rows that are copied between host and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Where they are, on both sides.
    pub slot: Slot,
    /// Bytes per row.
    pub row_bytes: usize,
    /// Which rows.
    pub rows: RowSet,
}

/// A result in locked memory.
#[derive(Debug)]
pub(super) struct Kept {
    /// Where it is in the arena.
    slot: Slot,
    bytes: usize,
    /// Where it is in the locked memory.
    at: usize,
}

/// Results begin where any value may.
const KEPT_ALIGNMENT: usize = 64;

impl Transfer {
    /// Slot and bytes in a step of that many rows.
    pub(super) fn range(&self, frame: &Frame) -> (Slot, usize) {
        (self.slot, self.row_bytes * frame.rows(self.rows))
    }
}

impl DeviceSide {
    /// Copies what the host's steps read into its arena, and waits for it. As much as there is locked memory for is on its
    /// way at once.
    pub(in crate::executor) fn fetch(
        &mut self,
        transfers: &[Transfer],
        frame: &Frame,
        to: &Buffer,
    ) -> Result<(), CudaError> {
        let mut pieces: Vec<(usize, usize)> = Vec::new(); // of the arena: place and length
        for (slot, bytes) in transfers.iter().map(|transfer| transfer.range(frame)) {
            let parts = (0..bytes).step_by(FETCH_BYTES);
            pieces.extend(parts.map(|first| (slot.0 + first, FETCH_BYTES.min(bytes - first))));
        }
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let (mut count, mut used) = (0, 0);
            while let Some((place, len)) = rest.get(count).filter(|(_, len)| used + len <= FETCH_BYTES) {
                let fetched = &mut self.fetched.as_mut_slice()[used..used + len];
                // SAFETY: the plan answers for its slots lying inside both arenas.
                unsafe { self.queue.download(self.arena.as_ptr().add(*place), fetched) }?;
                (count, used) = (count + 1, used + len);
            }
            self.queue.synchronize()?;
            let mut from = self.fetched.as_slice().as_ptr();
            for (place, len) in &rest[..count] {
                // SAFETY: as above; the workers are idle, and the copies are done.
                unsafe {
                    std::ptr::copy_nonoverlapping(from, to.as_ptr().add(*place), *len);
                    from = from.add(*len);
                }
            }
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Has the results of a step copied to locked memory, where [`DeviceSide::result`] finds them after
    /// [`DeviceSide::end`]: logits of many rows fill so much that to copy them once more, into the host's arena, would take
    /// longer than to compute them.
    pub(in crate::executor) fn keep(&mut self, transfers: &[Transfer], frame: &Frame) -> Result<(), CudaError> {
        self.kept.clear();
        let mut used = 0;
        for (slot, bytes) in transfers.iter().map(|transfer| transfer.range(frame)) {
            self.kept.push(Kept { slot, bytes, at: used });
            used += bytes.next_multiple_of(KEPT_ALIGNMENT);
        }
        if used > self.results.as_slice().len() {
            self.results = self.queue.pinned(used.next_multiple_of(FETCH_BYTES))?;
        }
        for Kept { slot, bytes, at } in &self.kept {
            let to = &mut self.results.as_mut_slice()[*at..][..*bytes];
            // SAFETY: the plan answers for its slots lying inside the arena; nobody looks before the queue has ended.
            unsafe { self.queue.download(self.arena.as_ptr().add(slot.0), to) }?;
        }
        Ok(())
    }

    /// `bytes` bytes of the arena from `slot` on, where the last step left them as a result.
    pub(in crate::executor) fn result(&self, slot: Slot, bytes: usize) -> Option<*const u8> {
        let kept = self.kept.iter().find(|kept| kept.slot == slot && bytes <= kept.bytes)?;
        Some(self.results.as_slice()[kept.at..].as_ptr())
    }

    /// From now on results are those of the host's arena.
    pub(in crate::executor) fn forget_results(&mut self) {
        self.kept.clear();
    }

    /// All activations from the device, or to it: for those who look at single steps.
    pub(in crate::executor) fn mirror(&mut self, arena: &Buffer, bytes: usize, to_host: bool) -> Result<(), CudaError> {
        let bytes = bytes.min(arena.len()).min(self.arena.len());
        // SAFETY: both arenas are that large; the workers are idle and nobody else holds a view.
        unsafe {
            let host = std::slice::from_raw_parts_mut(arena.as_ptr(), bytes);
            match to_host {
                true => self.queue.download(self.arena.as_ptr(), host)?,
                false => self.queue.upload(host, self.arena.as_ptr())?,
            }
        }
        self.queue.synchronize()
    }

    /// `Executor::move_tokens` for a group that is the device's: by way of the host, for it happens rarely.
    pub(in crate::executor) fn move_tokens(
        &self,
        storage: *mut u8,
        layout: &KvLayout,
        run: usize,
        [from, to]: [CacheSlot; 2],
        num: usize,
        turn: Option<TurnKey<'_>>,
    ) -> Result<(), CudaError> {
        let bytes = run * layout.block_bytes();
        // As floats, so that they are aligned as the codecs want them. Blocks that stay are there once.
        let stays = from.block == to.block;
        let mut moved = vec![0f32; (if stays { 1 } else { 2 }) * bytes.div_ceil(size_of::<f32>())];
        let moved = bytemuck::cast_slice_mut::<f32, u8>(&mut moved);
        let [first, second] = [from, to].map(|slot| storage.wrapping_add(layout.keys_at(slot.block as usize)));
        let second_block = if stays { 0 } else { run as u32 };
        let slots = [CacheSlot { block: 0, ..from }, CacheSlot { block: second_block, ..to }];
        self.queue.enter()?;
        // SAFETY: the caller checked that all ranges lie inside the storage; `moved` stays until the queue is done.
        unsafe {
            self.queue.download(first, &mut moved[..bytes])?;
            if !stays {
                self.queue.download(second, &mut moved[bytes..][..bytes])?;
            }
            self.queue.synchronize()?;
            move_in(moved.as_mut_ptr(), layout, run, slots, num, turn);
            self.queue.upload(&moved[second_block as usize * layout.block_bytes()..][..bytes], second)?;
        }
        self.queue.synchronize()
    }
}
