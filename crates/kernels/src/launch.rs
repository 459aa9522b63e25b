//! Runs a plan: every worker walks the same list of steps and meets the others after each.
//!
//! Nothing is chosen here. A [`Step`] holds a chosen variant and the places of its data; binding
//! turns places into addresses once per step and worker, which costs a few nanoseconds.

use std::any::Any;
use std::ops::Range;
use std::ptr;

use device::cuda::CudaError;
use device::{Pool, PoolError, Shard};

use crate::cost::Cost;
use crate::cuda::Launcher;
use crate::fault;
use crate::op::{Op, OpKind};
use crate::record::Record;
use crate::rows::row;
use crate::variant::{Exactness, Launch, Place, Variant};

/// A place in the arena of activations: a byte offset, a multiple of the cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub usize);

/// Address of weights or constants. Whoever builds the plan keeps the memory alive as long as it.
#[derive(Clone, Copy, Debug)]
pub struct Weight(pub *const u8);

// SAFETY: weights are read-only memory.
unsafe impl Send for Weight {}
// SAFETY: as above.
unsafe impl Sync for Weight {}

/// How one sequence's part of a step sees the KV cache of one group of layers.
///
/// ```text
/// entry    = table[layer * layer_stride + head * head_stride + logical - first_logical]
/// physical = entry + layer * layer_step + head * head_step
/// ```
/// `layer` counts within the group. Uniform sequences have strides 0 and steps `(num_kv_heads, 1)`:
/// one entry is a run of blocks, one per layer and head. Headwise (compressed) sequences have strides
/// `(heads * width, width)`, steps 0 and their own lengths per layer and head.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KvView {
    /// Block table of the sequence.
    pub table: *const u32,
    /// Headwise: cached tokens before this step per (layer, head), `[num_layers, num_kv_heads]`; else null.
    pub lengths: *const u32,
    /// Table entries from one layer to the next.
    pub layer_stride: u32,
    /// Table entries from one head to the next.
    pub head_stride: u32,
    /// Physical blocks from one layer to the next within an entry.
    pub layer_step: u32,
    /// Physical blocks from one head to the next within an entry.
    pub head_step: u32,
    /// Logical index of the first entry in the table; earlier blocks fell out of the window.
    pub first_logical: u32,
    /// Tokens cached before this step (uniform form).
    pub context: u32,
    /// First row of this sequence in the step.
    pub first_row: u32,
    /// Rows of this sequence in the step.
    pub num_rows: u32,
}

impl KvView {
    /// Tokens cached before this step for one layer and head.
    ///
    /// # Safety
    /// `lengths` must be null or cover `layer` and `head`.
    pub unsafe fn cached(&self, layer: u32, head: u32, num_kv_heads: u32) -> u32 {
        if self.lengths.is_null() {
            return self.context;
        }
        // SAFETY: the caller's promise.
        unsafe { *self.lengths.add((layer * num_kv_heads + head) as usize) }
    }

    /// Physical block of a logical one.
    ///
    /// # Safety
    /// The table must cover `layer`, `head` and `logical`, and `logical >= first_logical`.
    pub unsafe fn physical(&self, layer: u32, head: u32, logical: u32) -> usize {
        let index = layer * self.layer_stride + head * self.head_stride + logical - self.first_logical;
        // SAFETY: the caller's promise.
        let entry = unsafe { *self.table.add(index as usize) };
        (entry + layer * self.layer_step + head * self.head_step) as usize
    }
}

/// The KV cache of one group of layers as a step sees it. A physical block holds `block_size`
/// positions of one KV head of one layer: all keys, then all values.
#[derive(Clone, Copy, Debug)]
pub struct KvFrame {
    /// First physical block.
    pub storage: *mut u8,
    /// One view per sequence of the step, in the order of their rows.
    pub views: *const KvView,
    /// Number of views.
    pub num_views: usize,
}

/// Everything that changes from step to step. Pointers are valid for the counts beside them.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Base of the activation arena.
    pub arena: *mut u8,
    /// Token ids, `[num_rows]`.
    pub tokens: *const u32,
    /// Positions, `[num_rows]`.
    pub positions: *const u32,
    /// Tokens in this step.
    pub num_rows: usize,
    /// Rows that yield logits, `[num_outputs]`.
    pub output_rows: *const u32,
    /// Number of rows that yield logits.
    pub num_outputs: usize,
    /// One per KV group.
    pub groups: *const KvFrame,
    /// Where the logits appear, to be looked over at the end.
    pub logits: *const f32,
    /// How many they are; 0 for none.
    pub num_logits: usize,
}

// SAFETY: the pointees are written only by kernels, which divide rows among workers and are
// separated by barriers.
unsafe impl Sync for Frame {}

impl Frame {
    /// Of `num_rows` rows in an arena: for operations that read neither tokens nor caches.
    pub fn over(arena: *mut u8, num_rows: usize) -> Self {
        Self {
            arena,
            tokens: ptr::null(),
            positions: ptr::null(),
            num_rows,
            output_rows: ptr::null(),
            num_outputs: 0,
            groups: ptr::null(),
            logits: ptr::null(),
            num_logits: 0,
        }
    }

    /// Address of a slot.
    pub fn at<T>(&self, slot: Slot) -> *mut T {
        self.arena.wrapping_add(slot.0).cast()
    }

    /// Rows of a value: all tokens or only the outputs.
    pub fn rows(&self, which: RowSet) -> usize {
        match which {
            RowSet::Tokens => self.num_rows,
            RowSet::Outputs => self.num_outputs,
        }
    }

    /// The KV frame of a group.
    pub fn group(&self, index: u32) -> KvFrame {
        // SAFETY: plans name only the groups that the runner binds.
        unsafe { *self.groups.add(index as usize) }
    }
}

/// Which rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSet {
    /// One row per token of the step.
    Tokens,
    /// One row per requested output.
    Outputs,
}

/// A bound, typed kernel call behind one virtual function.
pub trait Run: Send + Sync {
    /// Runs this worker's part.
    ///
    /// # Safety
    /// The frame must describe live memory that fits the plan; all workers of the pool must call.
    unsafe fn run(&self, frame: &Frame, shard: &Shard<'_>);
    /// Puts the kernels of a step for a device on its queue.
    ///
    /// # Safety
    /// The frame must describe live memory of the device that fits the plan; only its groups lie on the host.
    ///
    /// # Errors
    /// When a kernel cannot be launched, or is none of the device's.
    unsafe fn enqueue(&self, frame: &Frame, launcher: &Launcher<'_>) -> Result<(), CudaError>;
    /// What computes it.
    fn place(&self) -> Place;
    /// Which op.
    fn kind(&self) -> OpKind;
    /// Which variant.
    fn id(&self) -> &'static str;
    /// How exact.
    fn exactness(&self) -> Exactness;
    /// What it moves and computes.
    fn cost(&self) -> Cost;
    /// The [`Step`] itself, for who looks for steps that go together.
    fn as_any(&self) -> &dyn Any;
}

/// One step of a plan.
pub struct Step<O: Op> {
    /// The problem.
    pub desc: O::Desc,
    /// The places of the data.
    pub slots: O::Slots,
    /// The chosen variant.
    pub variant: &'static Variant<O>,
}

impl<O: Op> Run for Step<O> {
    unsafe fn run(&self, frame: &Frame, shard: &Shard<'_>) {
        let args = O::bind(&self.desc, &self.slots, frame);
        match self.variant.launch {
            // SAFETY: `select` checked features and shape; the caller vouches for the frame.
            Launch::Cpu(kernel) => unsafe { kernel(&self.desc, &args, shard) },
            Launch::Cuda(_) => unreachable!("{} is no step for the CPU", self.variant.id),
        }
    }

    unsafe fn enqueue(&self, frame: &Frame, launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let args = O::bind(&self.desc, &self.slots, frame);
        match self.variant.launch {
            // SAFETY: `select` checked device and shape; the caller vouches for the frame.
            Launch::Cuda(kernel) => unsafe { kernel(&self.desc, &args, launcher) },
            Launch::Cpu(_) => Err(CudaError::NoDevice(format!("{} is a kernel for the CPU", self.variant.id))),
        }
    }

    fn place(&self) -> Place {
        self.variant.place()
    }

    fn kind(&self) -> OpKind {
        O::KIND
    }

    fn id(&self) -> &'static str {
        self.variant.id
    }

    fn exactness(&self) -> Exactness {
        self.variant.exactness
    }

    fn cost(&self) -> Cost {
        O::cost(&self.desc, &self.slots)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Runs all steps in order on all workers. `record` takes how long each took, and the first that saw numbers
/// go wrong; after the last one the logits are looked over.
///
/// # Safety
/// The frame must describe live memory that fits the plan.
///
/// # Errors
/// [`PoolError`] when a worker panicked.
pub unsafe fn walk(pool: &mut Pool, steps: &[Box<dyn Run>], frame: &Frame, record: &Record) -> Result<(), PoolError> {
    // SAFETY: the caller's promise, passed on.
    unsafe { walk_part(pool, steps, 0..steps.len(), frame, record) }
}

/// The same for the steps in `range`.
///
/// # Safety
/// The frame must describe live memory that fits the plan.
///
/// # Errors
/// [`PoolError`] when a worker panicked.
pub(crate) unsafe fn walk_part(
    pool: &mut Pool,
    steps: &[Box<dyn Run>],
    range: Range<usize>,
    frame: &Frame,
    record: &Record,
) -> Result<(), PoolError> {
    pool.run(&|shard| {
        let mut watch = record.stopwatch(shard);
        for (index, step) in steps.iter().enumerate().take(range.end).skip(range.start) {
            // SAFETY: the caller's promise, passed on.
            unsafe { step.run(frame, shard) };
            record.note(index, shard);
            shard.barrier();
            watch.lap(index);
        }
        if range.end == steps.len() && frame.num_logits > 0 {
            // SAFETY: the caller's promise; all steps are done, so nobody writes any more.
            fault::look_over(unsafe { row(frame.logits, 0, frame.num_logits) }, shard);
            record.note(steps.len() - 1, shard);
        }
    })
}
