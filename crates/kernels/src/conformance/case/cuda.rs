//! Running a case on a CUDA device: everything it has goes there, and what it wrote comes back.

use device::cuda::{CudaError, Queue};

use super::{Case, Memory};
use crate::cuda::{DeviceWeights, HostWeight, Launcher};
use crate::kv::fit::KeyFitting;
use crate::launch::{Frame, KvFrame, KvView, Run, Step};
use crate::op::Op;
use crate::variant::Variant;

impl<O: Op> Case<O> {
    /// Runs a variant on fresh copies of the memory. On a queue without a device its kernels are compiled, and there
    /// is no result.
    ///
    /// # Errors
    /// When a kernel does not compile or fails.
    pub fn run_cuda(&self, variant: &'static Variant<O>, queue: &Queue) -> Result<Option<Memory>, CudaError> {
        queue.enter()?;
        // Inputs that nobody writes lie where `weights` says, like the weights.
        let mut weights = DeviceWeights::default();
        for buffer in self.weights.iter().flatten() {
            // SAFETY: the case owns the buffer, and nobody writes it any more.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr(), buffer.len()) };
            weights.add(queue, &[HostWeight { bytes, tiles: None }])?;
        }
        for words in [&self.tokens, &self.positions, &self.output_rows].into_iter().chain(&self.cache.tables) {
            weights.add(queue, &[HostWeight { bytes: bytemuck::cast_slice(words), tiles: None }])?;
        }
        for bytes in self.fitting.iter().flat_map(KeyFitting::parts) {
            weights.add(queue, &[HostWeight { bytes, tiles: None }])?;
        }
        let launcher = Launcher { queue, weights: &weights };
        let view = |view: &KvView| KvView {
            table: launcher.weight(view.table),
            lengths: launcher.weight(view.lengths),
            ..*view
        };
        let views: Vec<KvView> = self.cache.views.iter().map(view).collect();
        let step = Step::<O> { desc: self.desc, slots: self.slots, variant };
        if queue.gpu().is_none() && !queue.is_emulated() {
            let nowhere = std::ptr::null_mut();
            let group = KvFrame { storage: nowhere, views: views.as_ptr(), num_views: views.len() };
            // SAFETY: a queue without a device follows no address.
            unsafe { step.enqueue(&self.device_frame(&launcher, nowhere, &group), &launcher) }?;
            return Ok(None);
        }
        let mut memory = Memory { arena: self.arena.0.clone(), cache: self.cache.storage.clone() };
        let arena = queue.memory(memory.arena.len(), "activations of a case")?;
        let storage = queue.memory(memory.cache.len(), "cache of a case")?;
        let view_bytes = size_of_val(views.as_slice());
        let device_views = queue.memory(view_bytes, "views of a case")?;
        // SAFETY: the copies are as large as what they are made from, and last until the queue has been waited for;
        // the case describes its own memory.
        unsafe {
            queue.upload(&memory.arena, arena.as_ptr())?;
            queue.upload(&memory.cache, storage.as_ptr())?;
            queue.upload(std::slice::from_raw_parts(views.as_ptr().cast(), view_bytes), device_views.as_ptr())?;
            let group =
                KvFrame { storage: storage.as_ptr(), views: device_views.as_ptr().cast(), num_views: views.len() };
            step.enqueue(&self.device_frame(&launcher, arena.as_ptr(), &group), &launcher)?;
            queue.download(arena.as_ptr(), &mut memory.arena)?;
            queue.download(storage.as_ptr(), &mut memory.cache)?;
        }
        queue.synchronize()?;
        Ok(Some(memory))
    }

    fn device_frame(&self, launcher: &Launcher<'_>, arena: *mut u8, group: &KvFrame) -> Frame {
        Frame {
            arena,
            tokens: launcher.weight(self.tokens.as_ptr()),
            positions: launcher.weight(self.positions.as_ptr()),
            num_rows: self.num_rows,
            output_rows: launcher.weight(self.output_rows.as_ptr()),
            num_outputs: self.output_rows.len(),
            groups: group,
            logits: std::ptr::null(),
            num_logits: 0,
        }
    }
}
