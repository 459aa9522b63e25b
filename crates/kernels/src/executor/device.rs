//! The GPU's half of an executor: activations, cache, weights and inputs on the device, and the walk over the parts of
//! a plan that are its.
//!
//! The arena of activations exists on both sides with the same places, so a value is at home on either and a part of a
//! plan begins with the copies of what the other side wrote ([`Segment`]). A part that was run before with the same
//! numbers of rows is replayed as a recorded graph: what changes from step to step is all in device memory.

mod graphs;
mod inputs;
mod transfer;

use std::ops::Range;

use device::cuda::{CudaError, Event, FaultPlace, Memory, Pinned, Queue};
use gguf::DType;

use self::inputs::Inputs;
use self::transfer::Kept;
use super::{Program, StepInputs};
use crate::cuda::{DeviceWeights, HostWeight, Launcher, best_token, fused, look_over};
use crate::fault::{Faults, Finding};
use crate::launch::{Frame, KvFrame, KvView, Run, Step};
use crate::ops::Matmul;
use crate::ops::matmul::cuda_crossover;
use crate::variant::Place;

pub use self::graphs::Graphs;
pub use self::transfer::Transfer;

/// A run of steps that one place computes.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Who computes them.
    pub place: Place,
    /// Which steps.
    pub steps: Range<usize>,
    /// What the other side wrote and these steps read.
    pub inputs: Vec<Transfer>,
}

/// Bytes of what kernels tell of a step with so many output rows.
const fn told_bytes(num_outputs: usize) -> usize {
    (1 + num_outputs) * size_of::<u64>()
}

/// Bytes that are fetched from the device into the host's arena at one time.
const FETCH_BYTES: usize = 8 << 20;

/// Locked memory for results that is there from the beginning; it grows with the first step that has more.
const LEAST_RESULT_BYTES: usize = 1 << 20;

/// The device's memory and queue.
pub struct DeviceSide {
    queue: Queue,
    weights: DeviceWeights,
    arena: Memory,
    /// By KV group; `None` for those on the host.
    groups: Vec<Option<Memory>>,
    inputs: Inputs,
    /// Changes whenever arena, inputs or cache move.
    generation: u64,
    /// What kernels tell of a step: the first fault, and the best token of each output row.
    told: Memory,
    fetched: Pinned,
    /// Results of the last step, and where each lies in them.
    results: Pinned,
    kept: Vec<Kept>,
    /// Whether every step is timed, and the moments between those of the current run.
    timing: bool,
    marks: Vec<(usize, Event)>,
    /// Why steps that go together are not one kernel, where they are not.
    apart: Option<CudaError>,
}

/// A step that the device cannot do.
#[derive(Debug)]
pub struct Unfit {
    /// Which step of the plan.
    pub step: usize,
    /// What is wrong with it.
    pub error: CudaError,
}

impl DeviceSide {
    /// Takes what plans need that work in an arena of `arena_bytes`; `weights` are those that are on the device already.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(queue: Queue, weights: DeviceWeights, arena_bytes: usize) -> Result<Self, CudaError> {
        Ok(Self {
            weights,
            arena: queue.memory(arena_bytes, "activations")?,
            groups: Vec::new(),
            inputs: Inputs::new(&queue, 64, 64, 4096)?,
            generation: 0,
            told: queue.memory(told_bytes(64), "what kernels tell of a step")?,
            fetched: queue.pinned(FETCH_BYTES)?,
            results: queue.pinned(LEAST_RESULT_BYTES)?,
            kept: Vec::new(),
            timing: false,
            marks: Vec::new(),
            apart: None,
            queue,
        })
    }

    /// Queue and weights, for another plan; all else is given back.
    pub fn into_parts(self) -> (Queue, DeviceWeights) {
        (self.queue, self.weights)
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Why steps that go together are not one kernel, where they are not.
    pub fn apart(&self) -> Option<&CudaError> {
        self.apart.as_ref()
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> usize {
        self.weights.num_bytes()
    }

    /// Brings weights to the device; plans go on naming them by their addresses on the host.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add_weights(&mut self, parts: &[HostWeight<'_>]) -> Result<(), CudaError> {
        self.weights.add(&self.queue, parts)
    }

    /// Makes up weights of this type on the device, in place of some that nobody looks at.
    ///
    /// # Errors
    /// When the device has no room, or the type is none of the GPU's.
    pub fn make_weights(&mut self, part: &HostWeight<'_>, dtype: DType) -> Result<(), CudaError> {
        self.weights.make(&self.queue, part, dtype)
    }

    /// From now on every step is timed by itself, which makes runs slower; or no longer.
    pub fn time_steps(&mut self, on: bool) {
        self.timing = on;
    }

    /// Whether steps are timed.
    pub(super) fn is_timing(&self) -> bool {
        self.timing
    }

    /// Adds the storage of a KV group of so many bytes, or a place for one that is on the host.
    pub(super) fn add_group(&mut self, bytes: Option<usize>) -> Result<(), CudaError> {
        let memory = bytes.map(|bytes| self.queue.memory(bytes, "the KV cache")).transpose()?;
        self.groups.push(memory);
        self.generation += 1;
        Ok(())
    }

    /// Makes the arena as large as a plan needs it.
    pub(super) fn reserve(&mut self, arena_bytes: usize) -> Result<(), CudaError> {
        if arena_bytes > self.arena.len() {
            self.arena = self.queue.memory(arena_bytes, "activations")?;
            self.generation += 1;
        }
        Ok(())
    }

    /// The cache of a group, where it is the device's.
    pub(super) fn storage(&self, group: usize) -> Option<*mut u8> {
        self.groups.get(group)?.as_ref().map(Memory::as_ptr)
    }

    /// Compiles the kernels of a plan and takes the memory that they pass on among themselves, so that steps do neither;
    /// a kernel that does not compile comes to light here. Where that is one for several steps they stay apart from now on.
    ///
    /// # Errors
    /// Names the first step whose kernel does not compile, or for which the device has no room.
    pub fn rehearse(&mut self, program: &Program) -> Result<(), Unfit> {
        self.queue.enter().map_err(|error| Unfit { step: 0, error })?;
        let storage = |group: &Option<Memory>| group.as_ref().map_or(std::ptr::null_mut(), Memory::as_ptr);
        let group = |group| KvFrame { storage: storage(group), views: std::ptr::null(), num_views: 1 };
        let groups: Vec<KvFrame> = self.groups.iter().map(group).collect();
        let frame = Frame {
            num_outputs: program.max_outputs,
            groups: groups.as_ptr(),
            num_logits: program.vocab_size,
            ..Frame::over(self.arena.as_ptr(), program.max_rows)
        };
        self.queue.rehearse(true);
        let mut on_gpu = program.segments.iter().filter(|segment| segment.place == Place::Cuda);
        let done = on_gpu.try_for_each(|segment| self.rehearse_steps(&program.steps, segment.steps.clone(), &frame));
        self.queue.rehearse(false);
        done
    }

    /// Measures what choices within the kernels of a plan depend on, unless that was done on this device before.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn measure(&mut self, program: &Program) -> Result<(), CudaError> {
        self.queue.enter()?;
        let launcher = Launcher { queue: &self.queue, weights: &self.weights };
        let steps = (0..program.steps.len()).filter_map(|index| fused::step::<Matmul>(&program.steps, index));
        // SAFETY: the plan answers for its slots, which lie in the arena for as many rows; nothing else runs.
        unsafe { cuda_crossover::measure(steps, self.arena.as_ptr(), program.max_rows, &launcher) }
    }

    /// What was measured that decides within the kernel of a step.
    pub fn note(&self, step: &dyn Run) -> Option<String> {
        cuda_crossover::note(step.as_any().downcast_ref::<Step<Matmul>>()?, &self.queue)
    }

    /// Those of one segment.
    fn rehearse_steps(&mut self, steps: &[Box<dyn Run>], mut rest: Range<usize>, frame: &Frame) -> Result<(), Unfit> {
        while !rest.is_empty() {
            let fused = self.fused(&steps[rest.clone()], frame);
            let (count, own) = fused.map_or((1, false), |fused| (fused.len(), fused.has_own_kernel()));
            match self.enqueue(steps, rest.start..rest.start + count, frame) {
                Ok(()) => rest.start += count,
                Err(error @ CudaError::Compile { .. }) if own => self.apart = Some(error),
                Err(error) => return Err(Unfit { step: rest.start, error }),
            }
        }
        Ok(())
    }

    /// What the first of `steps` is done together with.
    fn fused<'a>(&self, steps: &'a [Box<dyn Run>], frame: &Frame) -> Option<fused::Fused<'a>> {
        fused::find(steps, frame, &self.queue).filter(|_| self.apart.is_none())
    }

    /// Brings a step's inputs to the device. `views` are the host's, by group; their tables point into
    /// `inputs.tables`. Returns the frame of the device, whose groups are put into `frames`.
    pub(super) fn begin(
        &mut self,
        host: &Frame,
        inputs: &StepInputs<'_>,
        views: &[&[KvView]],
        frames: &mut Vec<KvFrame>,
    ) -> Result<Frame, CudaError> {
        self.queue.enter()?;
        let num_views: usize = views.iter().map(|views| views.len()).sum();
        if self.inputs.make_room(&self.queue, host.num_rows, num_views, inputs.tables.len())? {
            self.generation += 1;
        }
        if self.told.len() < told_bytes(host.num_outputs) {
            let bytes = told_bytes(host.num_outputs.next_power_of_two());
            self.told = self.queue.memory(bytes, "what kernels tell of a step")?;
            self.generation += 1;
        }
        let at = self.inputs.places();
        let device = self.inputs.device.as_ptr();
        self.inputs.put(at.tokens, bytemuck::cast_slice(inputs.tokens));
        self.inputs.put(at.positions, bytemuck::cast_slice(inputs.positions));
        self.inputs.put(at.output_rows, bytemuck::cast_slice(inputs.output_rows));
        self.inputs.put(at.tables, bytemuck::cast_slice(inputs.tables));
        frames.clear();
        let mut next = at.views;
        for (group, views) in views.iter().enumerate() {
            let storage = self.storage(group).unwrap_or(std::ptr::null_mut());
            frames.push(KvFrame { storage, views: device.wrapping_add(next).cast(), num_views: views.len() });
            for view in *views {
                let entry = (view.table as usize).wrapping_sub(inputs.tables.as_ptr() as usize);
                let view = KvView { table: device.wrapping_add(at.tables + entry).cast(), ..*view };
                // SAFETY: a view is plain data without padding that matters to who reads it as a view.
                let bytes = unsafe { std::slice::from_raw_parts((&raw const view).cast(), size_of::<KvView>()) };
                self.inputs.put(next, bytes);
                next += size_of::<KvView>();
            }
        }
        let used = at.tables + size_of_val(inputs.tables);
        // SAFETY: both sides of the inputs are as large; the host's stays as it is until the step has ended.
        unsafe {
            self.queue.upload(&self.inputs.host.as_slice()[..used], device)?;
            self.queue.fill(self.told.as_ptr(), 0xff, told_bytes(host.num_outputs))?;
        }
        Ok(Frame {
            arena: self.arena.as_ptr(),
            tokens: device.wrapping_add(at.tokens).cast(),
            positions: device.wrapping_add(at.positions).cast(),
            output_rows: device.wrapping_add(at.output_rows).cast(),
            groups: frames.as_ptr(),
            logits: self.arena.as_ptr().wrapping_add((host.logits as usize).wrapping_sub(host.arena as usize)).cast(),
            ..*host
        })
    }

    /// Enqueues steps, those that go together as one kernel.
    pub(super) fn enqueue(&self, steps: &[Box<dyn Run>], range: Range<usize>, frame: &Frame) -> Result<(), CudaError> {
        let launcher = Launcher { queue: &self.queue, weights: &self.weights };
        let mut rest = range.clone();
        while let Some(step) = steps[rest.clone()].first() {
            self.queue.set_fault_place(FaultPlace { word: self.told.as_ptr().cast(), step: rest.start as u64 + 1 });
            let fused = self.fused(&steps[rest.clone()], frame);
            // SAFETY: the frame is that of `begin`; the plan answers for its slots, and weights are never taken away.
            rest.start += unsafe {
                match &fused {
                    Some(fused) => fused.enqueue(frame, &launcher).map(|()| fused.len())?,
                    None => step.enqueue(frame, &launcher).map(|()| 1)?,
                }
            };
        }
        if range.end == steps.len() && frame.num_logits > 0 {
            let shape = [frame.num_outputs, frame.num_logits / frame.num_outputs.max(1)];
            let best = self.told.as_ptr().wrapping_add(told_bytes(0)).cast();
            // SAFETY: as above; the logits lie in the arena, and there is a word for each row.
            unsafe { look_over(&launcher, frame.logits, shape, best) }?;
        }
        Ok(())
    }

    /// Waits for the device, and for the best tokens of so many output rows. Returns the first thing that a kernel found
    /// wrong.
    pub(super) fn end(&mut self, num_outputs: usize) -> Result<Option<Finding>, CudaError> {
        let bytes = told_bytes(num_outputs).min(FETCH_BYTES);
        // SAFETY: the words live; nobody looks at the copy before the queue has been waited for.
        unsafe { self.queue.download(self.told.as_ptr(), &mut self.fetched.as_mut_slice()[..bytes]) }?;
        self.queue.synchronize()?;
        let word = self.words().next().unwrap_or(u64::MAX);
        let step = (word >> u32::BITS) as usize;
        let found = word != u64::MAX && step > 0;
        Ok(found.then(|| Finding { step: step - 1, faults: Faults::from_bits(word as u32) }))
    }

    /// The best token of each output row of the step that has just ended; false where a row has none.
    pub(super) fn best(&self, num_outputs: usize, best: &mut Vec<u32>) -> bool {
        best.clear();
        best.extend(self.words().skip(1).take(num_outputs).map_while(best_token));
        if best.len() < num_outputs {
            best.clear();
        }
        !best.is_empty()
    }

    /// What kernels have told, as far as it was fetched.
    fn words(&self) -> impl Iterator<Item = u64> {
        self.fetched.as_slice().as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes))
    }
}
