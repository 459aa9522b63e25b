//! Owns the memory and the workers a plan runs on, and runs it: the safe face of `launch` for the
//! engine, which holds no unsafe code of its own. With a GPU ([`DeviceSide`]) parts of a plan run there.
//!
//! Plans are trusted: whoever builds a [`Program`] answers for its slots lying inside `arena_bytes`
//! and its weights living as long as it. What comes from outside (token ids, positions, rows, block
//! tables) is checked here, once per step.

mod device;

use std::ops::ControlFlow;
use std::time::Instant;

use ::device::cuda::CudaError;
use ::device::{Buffer, Error, Pool, PoolError};

pub use self::device::{DeviceSide, Graphs, Segment, Transfer, Unfit};

use crate::kv::KvLayout;
use crate::launch::{Frame, KvFrame, KvView, Run, Slot, walk, walk_part};
use crate::record::Record;
use crate::variant::Place;

/// A finished plan as the executor needs it.
pub struct Program {
    /// The steps in order.
    pub steps: Vec<Box<dyn Run>>,
    /// Who computes which of them, in order; empty where the CPU computes all.
    pub segments: Vec<Segment>,
    /// What the host reads of the GPU's results at the end.
    pub results: Vec<Transfer>,
    /// Parts for the GPU as it has recorded them.
    pub graphs: Graphs,
    /// Size of the arena it works in.
    pub arena_bytes: usize,
    /// Most rows it was laid out for.
    pub max_rows: usize,
    /// Most output rows it was laid out for.
    pub max_outputs: usize,
    /// Ids must be below this.
    pub vocab_size: usize,
    /// Where the logits appear, `[num_outputs, vocab_size]`; they are looked over at the end.
    pub logits: Option<Slot>,
    /// How long its steps have taken, and what they noticed.
    pub record: Record,
}

/// What one step reads besides weights and cache. Rows of one sequence are contiguous.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// `[num_rows]`.
    pub tokens: &'a [u32],
    /// `[num_rows]`.
    pub positions: &'a [u32],
    /// Rows that yield logits, ascending.
    pub output_rows: &'a [u32],
    /// Block tables of all sequences and groups, which the views point into.
    pub tables: &'a [u32],
    /// Per KV group, per sequence of the step.
    pub views: &'a [Vec<SequenceView>],
    /// The best token of each output row is enough: where the GPU finds it, it alone comes back ([`Executor::best`]).
    pub best_only: bool,
}

/// A place of one token in the cache: the first physical block of a run and the position in it.
#[derive(Clone, Copy, Debug)]
pub struct CacheSlot {
    /// First block of the run.
    pub block: u32,
    /// Position within the block.
    pub offset: u32,
}

/// One sequence's uniform block table in one group for one step.
#[derive(Clone, Copy, Debug)]
pub struct SequenceView {
    /// Where its entries begin in [`StepInputs::tables`]: the first physical block of the run of each
    /// logical block, from `first_logical` on.
    pub table_start: usize,
    /// Number of entries.
    pub table_len: usize,
    /// Logical index of the first entry.
    pub first_logical: u32,
    /// Tokens cached before this step.
    pub context: u32,
    /// First row of the sequence in the step.
    pub first_row: u32,
    /// Rows of the sequence in the step.
    pub num_rows: u32,
}

/// Storage of one KV group.
struct Group {
    layout: KvLayout,
    num_layers: usize,
    num_blocks: usize,
    /// Empty where the GPU holds it.
    storage: Buffer,
    views: Vec<KvView>,
}

/// Rotates a key, given the index of its layer in the group, to its new position.
pub type TurnKey<'a> = &'a mut dyn FnMut(usize, &mut [f32]);

/// Why a step did not run, or did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// An input does not fit the plan or the cache.
    #[error("step input {what}: {value} is outside {limit}")]
    Input {
        /// Which input.
        what: &'static str,
        /// Its value.
        value: usize,
        /// What it must stay below.
        limit: usize,
    },
    /// A kernel panicked.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The GPU failed.
    #[error("the GPU failed: {0}")]
    Cuda(#[from] CudaError),
}

/// Memory and workers.
pub struct Executor {
    pool: Pool,
    arena: Buffer,
    groups: Vec<Group>,
    frames: Vec<KvFrame>,
    gpu: Option<DeviceSide>,
    /// Of the groups, as the GPU sees them.
    gpu_frames: Vec<KvFrame>,
    /// Of the last step.
    best: Vec<u32>,
}

// SAFETY: the raw pointers in views and frames are rewritten before every use and never outlive `run`.
unsafe impl Send for Executor {}

impl Executor {
    /// Allocates the arena. Groups follow with [`Executor::add_group`].
    ///
    /// # Errors
    /// When memory is refused.
    pub fn new(pool: Pool, arena_bytes: usize) -> Result<Self, Error> {
        Ok(Self {
            pool,
            arena: Buffer::zeroed(arena_bytes, "activations")?,
            groups: Vec::new(),
            frames: Vec::new(),
            gpu: None,
            gpu_frames: Vec::new(),
            best: Vec::new(),
        })
    }

    /// Lets `gpu` run the parts of plans that are made for it. Before any group is added.
    pub fn attach(&mut self, gpu: DeviceSide) {
        self.gpu = Some(gpu);
    }

    /// The GPU's half, which leaves: nothing runs afterwards.
    pub fn into_gpu(self) -> Option<DeviceSide> {
        self.gpu
    }

    /// The GPU's half.
    pub fn gpu(&self) -> Option<&DeviceSide> {
        self.gpu.as_ref()
    }

    /// The GPU's half, to give it weights.
    pub fn gpu_mut(&mut self) -> Option<&mut DeviceSide> {
        self.gpu.as_mut()
    }

    /// Adds the storage of a KV group of `num_blocks` physical blocks.
    ///
    /// # Errors
    /// When memory is refused.
    pub fn add_group(&mut self, layout: KvLayout, num_layers: usize, num_blocks: usize) -> Result<(), Error> {
        let bytes = num_blocks.saturating_mul(layout.block_bytes());
        let storage = Buffer::zeroed(bytes, "the KV cache")?;
        if let Some(gpu) = &mut self.gpu {
            gpu.add_group(None)?;
        }
        self.groups.push(Group { layout, num_layers, num_blocks, storage, views: Vec::new() });
        Ok(())
    }

    /// Adds a KV group that the GPU holds.
    ///
    /// # Errors
    /// When there is no GPU, or no room on it.
    pub fn add_gpu_group(&mut self, layout: KvLayout, num_layers: usize, num_blocks: usize) -> Result<(), Error> {
        let bytes = num_blocks.saturating_mul(layout.block_bytes());
        let Some(gpu) = &mut self.gpu else { return Err(CudaError::NoDevice("none is attached".to_owned()).into()) };
        gpu.add_group(Some(bytes))?;
        let storage = Buffer::zeroed(0, "the KV cache")?;
        self.groups.push(Group { layout, num_layers, num_blocks, storage, views: Vec::new() });
        Ok(())
    }

    /// Number of workers.
    pub fn num_workers(&self) -> usize {
        self.pool.num_workers()
    }

    /// Bytes of the KV cache.
    pub fn kv_bytes(&self) -> usize {
        self.groups.iter().map(|group| group.num_blocks * group.layout.block_bytes()).sum()
    }

    /// Runs `program` on `inputs`; results are read with [`Executor::values`], what went wrong with the
    /// numbers with [`Record::take_finding`].
    ///
    /// # Errors
    /// [`StepError::Input`] before anything is computed when an input is out of range;
    /// [`StepError::Pool`] when a kernel panicked.
    pub fn run(&mut self, program: &Program, inputs: &StepInputs<'_>) -> Result<(), StepError> {
        let begin = Instant::now();
        let frame = self.frame(program, inputs)?;
        self.forget_results();
        if program.segments.is_empty() {
            // SAFETY: `check` bounded everything that varies; the plan answers for the rest.
            unsafe { walk(&mut self.pool, &program.steps, &frame, &program.record) }?;
        } else {
            self.run_segments(program, inputs, &frame)?;
        }
        if !self.gpu.as_ref().is_some_and(DeviceSide::is_timing) {
            program.record.add_run(begin.elapsed());
        }
        Ok(())
    }

    /// The parts of a plan in order, each where it belongs.
    fn run_segments(&mut self, program: &Program, inputs: &StepInputs<'_>, frame: &Frame) -> Result<(), StepError> {
        let Some(gpu) = &mut self.gpu else { return Err(CudaError::NoDevice("none is attached".to_owned()).into()) };
        let views: Vec<&[KvView]> = self.groups.iter().map(|group| &group.views[..]).collect();
        let device_frame = gpu.begin(frame, inputs, &views, &mut self.gpu_frames)?;
        let num_views = views.first().map_or(0, |views| views.len());
        for segment in &program.segments {
            match segment.place {
                Place::Cpu => {
                    gpu.fetch(&segment.inputs, frame, &self.arena)?;
                    let steps = segment.steps.clone();
                    // SAFETY: as in `run`; the GPU has done what these steps read.
                    unsafe { walk_part(&mut self.pool, &program.steps, steps, frame, &program.record) }?;
                }
                Place::Cuda => {
                    gpu.run(&program.steps, segment, &program.graphs, &device_frame, num_views, &self.arena)?;
                }
            }
        }
        let ends_there = program.segments.last().is_some_and(|segment| segment.place == Place::Cuda);
        let best_only = inputs.best_only && ends_there && frame.num_logits > 0;
        if !best_only {
            gpu.keep(&program.results, frame)?;
        }
        if let Some(finding) = gpu.end(frame.num_outputs)? {
            program.record.found(finding);
        }
        if best_only && !gpu.best(frame.num_outputs, &mut self.best) {
            gpu.keep(&program.results, frame)?;
            gpu.queue().synchronize()?;
        }
        program.record.add_steps(&gpu.take_times()?);
        Ok(())
    }

    /// What the GPU left last is not to be read any more.
    fn forget_results(&mut self) {
        if let Some(gpu) = &mut self.gpu {
            gpu.forget_results();
        }
    }

    /// The same, one step at a time: `after` may look at what a step left, change it, or end the run.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn run_each(
        &mut self,
        program: &Program,
        inputs: &StepInputs<'_>,
        after: &mut dyn FnMut(usize, &mut Executor) -> ControlFlow<()>,
    ) -> Result<(), StepError> {
        let begin = Instant::now();
        let frame = self.frame(program, inputs)?;
        self.forget_results();
        let views: Vec<&[KvView]> = self.groups.iter().map(|group| &group.views[..]).collect();
        let device_frame = match self.gpu.as_mut().filter(|_| !program.segments.is_empty()) {
            Some(gpu) => Some(gpu.begin(&frame, inputs, &views, &mut self.gpu_frames)?),
            None => None,
        };
        for (index, step) in program.steps.iter().enumerate() {
            match (step.place(), &mut self.gpu, &device_frame) {
                (Place::Cuda, Some(gpu), Some(device_frame)) => {
                    gpu.mirror(&self.arena, program.arena_bytes, false)?;
                    gpu.enqueue(&program.steps, index..index + 1, device_frame)?;
                    gpu.mirror(&self.arena, program.arena_bytes, true)?;
                    if let Some(finding) = gpu.end(0)? {
                        program.record.found(finding);
                    }
                }
                // SAFETY: as in `run`; `after` reaches the same memory only through methods that check.
                _ => unsafe { walk_part(&mut self.pool, &program.steps, index..index + 1, &frame, &program.record) }?,
            }
            if after(index, self).is_break() {
                break;
            }
        }
        program.record.add_run(begin.elapsed());
        Ok(())
    }

    /// Makes room for a program that was not known when the executor was made.
    ///
    /// # Errors
    /// When memory is refused.
    pub fn reserve(&mut self, arena_bytes: usize) -> Result<(), Error> {
        if arena_bytes > self.arena.len() {
            self.arena = Buffer::zeroed(arena_bytes, "activations")?;
        }
        if let Some(gpu) = &mut self.gpu {
            gpu.reserve(arena_bytes)?;
        }
        Ok(())
    }

    /// Checks the inputs and turns them into addresses, good until the next call.
    fn frame(&mut self, program: &Program, inputs: &StepInputs<'_>) -> Result<Frame, StepError> {
        self.check(program, inputs)?;
        self.best.clear();
        self.frames.clear();
        for (group, views) in self.groups.iter_mut().zip(inputs.views) {
            let heads = group.layout.num_kv_heads as u32;
            group.views.clear();
            group.views.extend(views.iter().map(|view| KvView {
                table: inputs.tables[view.table_start..].as_ptr(),
                lengths: std::ptr::null(),
                layer_stride: 0,
                head_stride: 0,
                layer_step: heads,
                head_step: 1,
                first_logical: view.first_logical,
                context: view.context,
                first_row: view.first_row,
                num_rows: view.num_rows,
            }));
            self.frames.push(KvFrame {
                storage: group.storage.as_ptr(),
                views: group.views.as_ptr(),
                num_views: group.views.len(),
            });
        }
        // A program without logits of its own (a single step, run by a test) has none to look over.
        let num_logits = program.logits.map_or(0, |_| inputs.output_rows.len() * program.vocab_size);
        let logits = program.logits.unwrap_or(Slot(0));
        within("logits", logits.0 + 4 * num_logits, self.arena.len() + 1)?;
        Ok(Frame {
            arena: self.arena.as_ptr(),
            tokens: inputs.tokens.as_ptr(),
            positions: inputs.positions.as_ptr(),
            num_rows: inputs.tokens.len(),
            output_rows: inputs.output_rows.as_ptr(),
            num_outputs: inputs.output_rows.len(),
            groups: self.frames.as_ptr(),
            logits: self.arena.as_ptr().wrapping_add(logits.0).cast(),
            num_logits,
        })
    }

    /// The most likely token of each output row of the last step, where no more came back of it; else empty, and the logits
    /// are there.
    pub fn best(&self) -> &[u32] {
        &self.best
    }

    /// The first `len` f32 values at `slot`: in the arena, or where a GPU has left what it computed last.
    ///
    /// # Errors
    /// When they are not inside the arena.
    pub fn values(&self, slot: Slot, len: usize) -> Result<&[f32], StepError> {
        within("result", slot.0 + 4 * len, self.arena.len() + 1)?;
        let left = self.gpu.as_ref().and_then(|gpu| gpu.result(slot, 4 * len));
        let at = left.unwrap_or(self.arena.as_ptr().wrapping_add(slot.0));
        // SAFETY: inside the arena or that long a result, aligned (both are multiples of a cache line), any bits are an f32.
        Ok(unsafe { std::slice::from_raw_parts(at.cast(), len) })
    }

    /// The same in the arena, to change them: between the steps of [`Executor::run_each`].
    ///
    /// # Errors
    /// When they are not inside the arena.
    pub fn values_mut(&mut self, slot: Slot, len: usize) -> Result<&mut [f32], StepError> {
        within("result", slot.0 + 4 * len, self.arena.len() + 1)?;
        // SAFETY: as in `values`, borrowed mutably from the owner of the arena.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.arena.as_ptr().add(slot.0).cast(), len) })
    }

    /// Moves `num_tokens` tokens (keys and values of all layers and heads of a group) within the cache;
    /// the ranges may overlap. With `turn`, each key then passes through it with the index of its layer in
    /// the group, to be rotated to its new position.
    ///
    /// # Errors
    /// When a range is not inside a block of the cache.
    pub fn move_tokens(
        &mut self,
        group: usize,
        from: CacheSlot,
        to: CacheSlot,
        num_tokens: u32,
        turn: Option<TurnKey<'_>>,
    ) -> Result<(), StepError> {
        let (index, group) = (group, self.group(group)?);
        let (layout, num) = (group.layout, num_tokens as usize);
        let run = group.num_layers * layout.num_kv_heads;
        for slot in [from, to] {
            within("block", slot.block as usize + run, group.num_blocks + 1)?;
            within("slot", slot.offset as usize + num, layout.block_size + 1)?;
        }
        if let Some((gpu, storage)) = self.gpu.as_ref().and_then(|gpu| Some((gpu, gpu.storage(index)?))) {
            return Ok(gpu.move_tokens(storage, &layout, run, [from, to], num, turn)?);
        }
        // SAFETY: both ranges lie inside the storage, which nobody else uses now.
        unsafe { move_in(group.storage.as_ptr(), &layout, run, [from, to], num, turn) };
        Ok(())
    }

    fn group(&self, index: usize) -> Result<&Group, StepError> {
        self.groups.get(index).ok_or(StepError::Input { what: "KV group", value: index, limit: self.groups.len() })
    }

    fn check(&self, program: &Program, inputs: &StepInputs<'_>) -> Result<(), StepError> {
        let num_rows = inputs.tokens.len();
        within("arena", program.arena_bytes, self.arena.len() + 1)?;
        within("row count", num_rows, program.max_rows + 1)?;
        within("position count", inputs.positions.len().abs_diff(num_rows), 1)?;
        within("output count", inputs.output_rows.len(), program.max_outputs + 1)?;
        within("group count", inputs.views.len().abs_diff(self.groups.len()), 1)?;
        for &token in inputs.tokens {
            within("token id", token as usize, program.vocab_size)?;
        }
        for &row in inputs.output_rows {
            within("output row", row as usize, num_rows)?;
        }
        for (group, views) in self.groups.iter().zip(inputs.views) {
            let run = group.num_layers * group.layout.num_kv_heads;
            for view in views {
                within("sequence rows", (view.first_row + view.num_rows) as usize, num_rows + 1)?;
                let tokens = (view.context + view.num_rows) as usize;
                let blocks = tokens.div_ceil(group.layout.block_size);
                within("block table", blocks, view.first_logical as usize + view.table_len + 1)?;
                within("block table", view.table_start + view.table_len, inputs.tables.len() + 1)?;
                for &entry in &inputs.tables[view.table_start..][..view.table_len] {
                    within("block", entry as usize + run, group.num_blocks + 1)?;
                }
            }
        }
        Ok(())
    }
}

/// Moves `num` tokens of `run` heads within a cache on the host; each key then passes through `turn`.
///
/// # Safety
/// Both ranges must lie inside the storage, which nobody else may use.
unsafe fn move_in(
    storage: *mut u8,
    layout: &KvLayout,
    run: usize,
    [from, to]: [CacheSlot; 2],
    num: usize,
    mut turn: Option<TurnKey<'_>>,
) {
    let mut key = vec![0f32; layout.head_dim_k];
    let (keys, values) = (layout.keys(), layout.values());
    for i in 0..run {
        let (block_from, block_to) = (from.block as usize + i, to.block as usize + i);
        for token in 0..num {
            // Where the ranges overlap, a slot is read before it is written.
            let token = if to.offset > from.offset { num - 1 - token } else { token };
            let (slot_from, slot_to) = (from.offset as usize + token, to.offset as usize + token);
            // SAFETY: the caller's promise.
            unsafe {
                let keys_to = storage.add(layout.keys_at(block_to));
                let values_to = storage.add(layout.values_at(block_to));
                keys.copy(storage.add(layout.keys_at(block_from)), slot_from, keys_to, slot_to);
                values.copy(storage.add(layout.values_at(block_from)), slot_from, values_to, slot_to);
                if let Some(turn) = &mut turn {
                    keys.decode(keys_to, slot_to, &mut key);
                    turn(i / layout.num_kv_heads, &mut key);
                    keys.encode(keys_to, slot_to, &key);
                }
            }
        }
    }
}

fn within(what: &'static str, value: usize, limit: usize) -> Result<(), StepError> {
    if value < limit { Ok(()) } else { Err(StepError::Input { what, value, limit }) }
}
