//! Values that change sides outside the kernels: results and activations that the host reads, and vectors of the cache
//! that move. Called by the executor between parts of a plan and between steps.

use device::Buffer;
use device::cuda::CudaError;

use super::{DeviceSide, FETCH_BYTES};
use crate::executor::{CacheSlot, TurnKey};
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

impl Transfer {
    /// Slot and bytes in a step of that many rows.
    pub(super) fn range(&self, frame: &Frame) -> (Slot, usize) {
        (self.slot, self.row_bytes * frame.rows(self.rows))
    }
}

impl DeviceSide {
    /// Copies what the host reads into its arena, and waits for it. As much as there is locked memory for is on its way
    /// at once.
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
    /// Its vectors are floats: the device has no codecs of codes.
    pub(in crate::executor) fn move_tokens(
        &self,
        storage: *mut u8,
        layout: &KvLayout,
        run: usize,
        [from, to]: [CacheSlot; 2],
        num: usize,
        mut turn: Option<TurnKey<'_>>,
    ) -> Result<(), CudaError> {
        let (key_bytes, value_bytes) = (layout.k.bytes(layout.head_dim_k), layout.v.bytes(layout.head_dim_v));
        // As floats, so that they are aligned as the codecs want them.
        let num_bytes = run * num * (key_bytes + value_bytes);
        let mut moved = vec![0f32; num_bytes.div_ceil(size_of::<f32>())];
        let moved = &mut bytemuck::cast_slice_mut::<f32, u8>(&mut moved)[..num_bytes];
        let at = |slot: CacheSlot, i: usize| {
            let (block, offset) = (slot.block as usize + i, slot.offset as usize);
            let key = layout.keys_at(block) + layout.keys().row_at(offset);
            let value = layout.values_at(block) + layout.values().row_at(offset);
            (storage.wrapping_add(key), storage.wrapping_add(value))
        };
        self.queue.enter()?;
        // SAFETY: the caller checked that all ranges lie inside the storage; `moved` stays until the queue is done.
        unsafe {
            for (i, part) in moved.chunks_exact_mut(num * (key_bytes + value_bytes)).enumerate() {
                let ((key, value), (keys, values)) = (at(from, i), part.split_at_mut(num * key_bytes));
                self.queue.download(key, keys)?;
                self.queue.download(value, values)?;
            }
            self.queue.synchronize()?;
            let mut key = vec![0f32; layout.head_dim_k];
            for (i, part) in moved.chunks_exact_mut(num * (key_bytes + value_bytes)).enumerate() {
                let (keys, values) = part.split_at_mut(num * key_bytes);
                if let Some(turn) = &mut turn {
                    for bytes in keys.chunks_exact_mut(key_bytes) {
                        layout.keys().decode(bytes.as_ptr(), 0, &mut key);
                        turn(i / layout.num_kv_heads, &mut key);
                        layout.keys().encode(bytes.as_mut_ptr(), 0, &key);
                    }
                }
                let (key_to, value_to) = at(to, i);
                self.queue.upload(keys, key_to)?;
                self.queue.upload(values, value_to)?;
            }
        }
        self.queue.synchronize()
    }
}
