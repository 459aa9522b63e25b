//! The GPU's half of an executor: activations, cache, weights and inputs on the device, and the walk over the parts of
//! a plan that are its.
//!
//! The arena of activations exists on both sides with the same places, so a value is at home on either and a part of a
//! plan begins with the copies of what the other side wrote ([`Segment`]). A part that was run before with the same
//! numbers of rows is replayed as a recorded graph: what changes from step to step is all in device memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use device::Buffer;
use device::cuda::{CudaError, Event, FaultPlace, Graph, Memory, Pinned, Queue};
use gguf::DType;

use super::{CacheSlot, Program, StepInputs, TurnKey};
use crate::cuda::{DeviceWeights, Launcher, fused, look_over};
use crate::fault::{Faults, Finding};
use crate::kv::KvLayout;
use crate::launch::{Frame, KvFrame, KvView, RowSet, Run, Slot};
use crate::tiles::Tiling;
use crate::variant::Place;

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

/// Recorded parts of one plan.
#[derive(Debug, Default)]
pub struct Graphs(Mutex<HashMap<GraphKey, Recorded>>);

/// What a recorded part depends on besides the contents of device memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GraphKey {
    first_step: usize,
    num_rows: usize,
    num_outputs: usize,
    num_views: usize,
    generation: (u64, u64),
}

/// A part is run once as it is, so that nothing is compiled while it is recorded the second time.
#[derive(Debug)]
enum Recorded {
    SeenOnce,
    Graph(Graph),
}

/// Steps of more rows are long enough that the time to launch their kernels does not count.
const MOST_RECORDED_ROWS: usize = 64;

/// Bytes that are fetched from the device at one time.
const FETCH_BYTES: usize = 8 << 20;

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
    fault: Memory,
    fetched: Pinned,
    /// Whether every step is timed, and the moments between those of the current run.
    timing: bool,
    marks: Vec<(usize, Event)>,
}

/// Tokens, positions, output rows, views and tables: one piece on either side, copied at once.
struct Inputs {
    host: Pinned,
    device: Memory,
    num_rows: usize,
    num_views: usize,
    num_entries: usize,
}

impl DeviceSide {
    /// Takes what plans need that work in an arena of `arena_bytes`.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(queue: Queue, arena_bytes: usize) -> Result<Self, CudaError> {
        Ok(Self {
            weights: DeviceWeights::default(),
            arena: queue.memory(arena_bytes, "activations")?,
            groups: Vec::new(),
            inputs: Inputs::new(&queue, 64, 64, 4096)?,
            generation: 0,
            fault: queue.memory(size_of::<u64>(), "the note of faults")?,
            fetched: queue.pinned(FETCH_BYTES)?,
            timing: false,
            marks: Vec::new(),
            queue,
        })
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Bytes of weights on the device.
    pub fn weight_bytes(&self) -> usize {
        self.weights.num_bytes()
    }

    /// Copies weights to the device; plans go on naming them by their addresses on the host.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add_weights(&mut self, bytes: &[u8]) -> Result<(), CudaError> {
        self.weights.add(&self.queue, bytes)
    }

    /// The same for a matrix of whole rows, which is laid out in tiles there; `made_up` as in [`Self::make_weights`].
    ///
    /// # Errors
    /// When the device has no room.
    pub fn add_tiles(&mut self, rows: &[u8], tiling: Tiling, columns: usize, made_up: bool) -> Result<(), CudaError> {
        self.weights.add_tiles(&self.queue, rows, tiling, columns, made_up)
    }

    /// Makes up weights of this type on the device, in place of `bytes`, which nobody looks at.
    ///
    /// # Errors
    /// When the device has no room, or the type is none of the GPU's.
    pub fn make_weights(&mut self, bytes: &[u8], dtype: DType) -> Result<(), CudaError> {
        self.weights.make(&self.queue, bytes, dtype)
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
    /// a kernel that does not compile comes to light here.
    ///
    /// # Errors
    /// When a kernel does not compile or the device has no room.
    pub fn rehearse(&mut self, program: &Program) -> Result<(), CudaError> {
        self.queue.enter()?;
        let storage = |group: &Option<Memory>| group.as_ref().map_or(std::ptr::null_mut(), Memory::as_ptr);
        let group = |group| KvFrame { storage: storage(group), views: std::ptr::null(), num_views: 1 };
        let groups: Vec<KvFrame> = self.groups.iter().map(group).collect();
        let frame = Frame {
            arena: self.arena.as_ptr(),
            tokens: std::ptr::null(),
            positions: std::ptr::null(),
            num_rows: program.max_rows,
            output_rows: std::ptr::null(),
            num_outputs: program.max_outputs,
            groups: groups.as_ptr(),
            logits: std::ptr::null(),
            num_logits: program.vocab_size,
        };
        self.queue.rehearse(true);
        let mut on_gpu = program.segments.iter().filter(|segment| segment.place == Place::Cuda);
        let done = on_gpu.try_for_each(|segment| self.enqueue(&program.steps, segment.steps.clone(), &frame));
        self.queue.rehearse(false);
        done
    }

    /// [`super::Executor::move_tokens`] for a group that is the device's: by way of the host, for it happens rarely.
    /// Its vectors are floats: the device has no codecs of codes.
    pub(super) fn move_tokens(
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
            self.queue.fill(self.fault.as_ptr(), 0xff, size_of::<u64>())?;
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

    /// Enqueues the steps of a part, after the copies of what it reads from the host's arena.
    pub(super) fn run(
        &mut self,
        steps: &[Box<dyn Run>],
        segment: &Segment,
        graphs: &Graphs,
        frame: &Frame,
        num_views: usize,
        host_arena: &Buffer,
    ) -> Result<(), CudaError> {
        for (slot, bytes) in segment.inputs.iter().map(|transfer| transfer.range(frame)) {
            // SAFETY: the plan answers for its slots lying inside both arenas; the workers are idle.
            unsafe {
                let from = std::slice::from_raw_parts(host_arena.as_ptr().add(slot.0), bytes);
                self.queue.upload(from, self.arena.as_ptr().add(slot.0))?;
            }
        }
        if self.timing {
            return self.run_timed(steps, segment.steps.clone(), frame);
        }
        if frame.num_rows > MOST_RECORDED_ROWS {
            return self.enqueue(steps, segment.steps.clone(), frame);
        }
        let key = GraphKey {
            first_step: segment.steps.start,
            num_rows: frame.num_rows,
            num_outputs: frame.num_outputs,
            num_views,
            generation: (self.generation, self.queue.generation()),
        };
        let Ok(mut graphs) = graphs.0.lock() else { return self.enqueue(steps, segment.steps.clone(), frame) };
        match graphs.get(&key) {
            Some(Recorded::Graph(graph)) => return self.queue.replay(graph),
            Some(Recorded::SeenOnce) => {
                let graph = self.queue.record(|| self.enqueue(steps, segment.steps.clone(), frame))?;
                if let Some(graph) = graph {
                    self.queue.replay(&graph)?;
                    graphs.insert(key, Recorded::Graph(graph));
                }
                return Ok(());
            }
            None => {}
        }
        self.enqueue(steps, segment.steps.clone(), frame)?;
        // What was recorded with addresses that are no more goes.
        let generation = (self.generation, self.queue.generation());
        graphs.retain(|other, _| other.generation == generation);
        graphs.insert(GraphKey { generation, ..key }, Recorded::SeenOnce);
        Ok(())
    }

    /// Enqueues steps as a graph with a moment after each, so that the time to launch them does not count.
    fn run_timed(&mut self, steps: &[Box<dyn Run>], range: Range<usize>, frame: &Frame) -> Result<(), CudaError> {
        let mut marks = Vec::with_capacity(range.len() + 2);
        let graph = self.queue.record(|| {
            // Twice, for the time that a mark takes.
            marks.push((usize::MAX, self.queue.mark()?));
            marks.push((usize::MAX, self.queue.mark()?));
            let mut rest = range;
            while !rest.is_empty() {
                // What is one kernel is timed as the first of its steps.
                let count = fused::find(&steps[rest.clone()], frame).map_or(1, |fused| fused.len());
                self.enqueue(steps, rest.start..rest.start + count, frame)?;
                marks.push((rest.start, self.queue.mark()?));
                rest.start += count;
            }
            Ok(())
        })?;
        self.marks.append(&mut marks);
        graph.map_or(Ok(()), |graph| {
            self.queue.replay(&graph)?;
            self.queue.synchronize()
        })
    }

    /// Step and microseconds of each that was timed since this was last asked; the queue is idle.
    pub(super) fn take_times(&mut self) -> Result<Vec<(usize, f64)>, CudaError> {
        let marks = std::mem::take(&mut self.marks);
        let (mut times, mut mark_us) = (Vec::with_capacity(marks.len()), 0.0);
        for pair in marks.windows(2) {
            let [(_, before), (step, after)] = pair else { continue };
            if pair[0].0 == usize::MAX && *step == usize::MAX {
                mark_us = after.us_since(before)?;
            } else if *step != usize::MAX {
                times.push((*step, after.us_since(before)? - mark_us));
            }
        }
        Ok(times)
    }

    /// Enqueues steps, those that go together as one kernel.
    pub(super) fn enqueue(&self, steps: &[Box<dyn Run>], range: Range<usize>, frame: &Frame) -> Result<(), CudaError> {
        let launcher = Launcher { queue: &self.queue, weights: &self.weights };
        let mut rest = range.clone();
        while let Some(step) = steps[rest.clone()].first() {
            self.queue.set_fault_place(FaultPlace { word: self.fault.as_ptr().cast(), step: rest.start as u64 + 1 });
            let fused = fused::find(&steps[rest.clone()], frame);
            // SAFETY: the frame is that of `begin`; the plan answers for its slots, and weights are never taken away.
            rest.start += unsafe {
                match &fused {
                    Some(fused) => fused.enqueue(frame, &launcher).map(|()| fused.len())?,
                    None => step.enqueue(frame, &launcher).map(|()| 1)?,
                }
            };
        }
        if range.end == steps.len() && frame.num_logits > 0 {
            // SAFETY: as above; the logits lie in the arena.
            unsafe { look_over(&launcher, frame.logits, frame.num_logits) }?;
        }
        Ok(())
    }

    /// Copies what the host reads into its arena, and waits for it. As much as there is locked memory for is on its way
    /// at once.
    pub(super) fn fetch(&mut self, transfers: &[Transfer], frame: &Frame, to: &Buffer) -> Result<(), CudaError> {
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
    pub(super) fn mirror(&mut self, arena: &Buffer, bytes: usize, to_host: bool) -> Result<(), CudaError> {
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

    /// Waits for the device. Returns the first thing that a kernel found wrong.
    pub(super) fn end(&mut self) -> Result<Option<Finding>, CudaError> {
        // SAFETY: the word lives; nobody looks at the copy before the queue has been waited for.
        unsafe { self.queue.download(self.fault.as_ptr(), &mut self.fetched.as_mut_slice()[..8]) }?;
        self.queue.synchronize()?;
        let word = self.fetched.as_slice().first_chunk().map_or(u64::MAX, |bytes| u64::from_ne_bytes(*bytes));
        let step = (word >> u32::BITS) as usize;
        let found = word != u64::MAX && step > 0;
        Ok(found.then(|| Finding { step: step - 1, faults: Faults::from_bits(word as u32) }))
    }
}

impl Transfer {
    /// Slot and bytes in a step of that many rows.
    fn range(&self, frame: &Frame) -> (Slot, usize) {
        (self.slot, self.row_bytes * frame.rows(self.rows))
    }
}

/// Byte offsets of the inputs.
struct InputPlaces {
    tokens: usize,
    positions: usize,
    output_rows: usize,
    views: usize,
    tables: usize,
    end: usize,
}

impl Inputs {
    fn new(queue: &Queue, num_rows: usize, num_views: usize, num_entries: usize) -> Result<Self, CudaError> {
        let bytes = places(num_rows, num_views, num_entries).end;
        let (host, device) = (queue.pinned(bytes)?, queue.memory(bytes, "inputs of a step")?);
        Ok(Self { host, device, num_rows, num_views, num_entries })
    }

    /// Grows where a step has more of something. Returns whether the inputs have moved.
    fn make_room(&mut self, queue: &Queue, rows: usize, views: usize, entries: usize) -> Result<bool, CudaError> {
        if rows <= self.num_rows && views <= self.num_views && entries <= self.num_entries {
            return Ok(false);
        }
        let grown = |had: usize, needed: usize| if needed > had { needed.next_power_of_two() } else { had };
        let (rows, views) = (grown(self.num_rows, rows), grown(self.num_views, views));
        *self = Inputs::new(queue, rows, views, grown(self.num_entries, entries))?;
        Ok(true)
    }

    fn places(&self) -> InputPlaces {
        places(self.num_rows, self.num_views, self.num_entries)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.host.as_mut_slice()[at..][..bytes.len()].copy_from_slice(bytes);
    }
}

fn places(num_rows: usize, num_views: usize, num_entries: usize) -> InputPlaces {
    let rows = (4 * num_rows).next_multiple_of(16);
    let views = 3 * rows;
    let tables = views + num_views * size_of::<KvView>();
    InputPlaces { tokens: 0, positions: rows, output_rows: 2 * rows, views, tables, end: tables + 4 * num_entries }
}
