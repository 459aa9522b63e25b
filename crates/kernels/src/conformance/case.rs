//! A problem with its data, and the comparison of two results.
//!
//! Everything that is not input is 0xff before a run: NaN to whoever reads it, and bytes that must
//! still be there afterwards wherever the op has nothing to write.

mod cuda;

use std::ops::Range;

use device::{Buffer, Pool, PoolError};

use crate::kv::fit::KeyFitting;
use crate::launch::{Frame, KvFrame, KvView, Run, Slot, Step};
use crate::op::Op;
use crate::variant::{Exactness, Variant};

/// Fills memory that nobody may read or write.
const POISON: u8 = 0xff;
/// Bytes of poison after every tensor.
const GUARD: usize = 128;
/// Failures told per result.
const MOST_TOLD: usize = 4;

/// Activations of a case, tensor after tensor with guards between them.
#[derive(Clone, Debug, Default)]
pub struct Arena(Vec<u8>);

impl Arena {
    /// Places an input.
    pub fn input<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Slot {
        let slot = self.output(size_of_val(values));
        self.0[slot.0..][..size_of_val(values)].copy_from_slice(bytemuck::cast_slice(values));
        slot
    }

    /// Places `bytes` poisoned bytes.
    pub fn output(&mut self, bytes: usize) -> Slot {
        let at = self.0.len();
        self.0.resize((at + bytes + GUARD).next_multiple_of(device::buffer::ALIGN), POISON);
        Slot(at)
    }
}

/// KV cache of a case.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// All physical blocks.
    pub storage: Vec<u8>,
    /// One per sequence; their tables and lengths live in `tables`.
    pub views: Vec<KvView>,
    /// Keeps alive what the views point to.
    pub tables: Vec<Vec<u32>>,
}

/// Which memory an output lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The arena.
    Arena,
    /// The KV cache.
    Cache,
}

/// What an output must look like.
#[derive(Clone, Debug)]
pub enum Bounds {
    /// f32 values; per value the sum of the absolute values of its terms.
    Terms(Vec<f32>),
    /// The same in vectors of that many values: what a variant that rounds makes of one of them may miss by a part of the
    /// largest in its vector, because codes share a scale.
    Vectors(Vec<f32>, usize),
    /// Bytes that equal the reference's, however exact the variant is.
    Bytes(usize),
    /// Bytes that may be anything afterwards.
    Any(usize),
}

/// One output.
#[derive(Clone, Debug)]
pub struct Output {
    /// Where.
    pub place: Place,
    /// Byte offset.
    pub at: usize,
    /// What.
    pub bounds: Bounds,
}

impl Bounds {
    /// The terms that an error is held against: its own, or the largest of its vector.
    fn shared(&self, exactness: Exactness, terms: &[f32]) -> Vec<f32> {
        match (self, exactness) {
            (Bounds::Vectors(_, len), Exactness::Rounded { .. }) => {
                let largest = |vector: &[f32]| vector.iter().fold(0f32, |largest, &terms| largest.max(terms));
                terms.chunks(*len).flat_map(|vector| vec![largest(vector); vector.len()]).collect()
            }
            _ => terms.to_vec(),
        }
    }
}

impl Output {
    /// f32 values in the arena.
    pub fn values(slot: Slot, terms: Vec<f32>) -> Self {
        Output { place: Place::Arena, at: slot.0, bounds: Bounds::Terms(terms) }
    }

    fn range(&self) -> Range<usize> {
        let bytes = match &self.bounds {
            Bounds::Terms(terms) | Bounds::Vectors(terms, _) => size_of_val(terms.as_slice()),
            Bounds::Bytes(bytes) | Bounds::Any(bytes) => *bytes,
        };
        self.at..self.at + bytes
    }
}

/// A problem with its data.
pub struct Case<O: Op> {
    /// Says what is special about it.
    pub label: String,
    /// The problem.
    pub desc: O::Desc,
    /// Places in `arena`.
    pub slots: O::Slots,
    /// Rows of the step.
    pub num_rows: usize,
    /// Activations before the run.
    pub arena: Arena,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Positions.
    pub positions: Vec<u32>,
    /// Rows that yield logits.
    pub output_rows: Vec<u32>,
    /// Cache before the run, as group 0.
    pub cache: Cache,
    /// Keeps the weights alive that the slots name.
    pub weights: Vec<Option<Buffer>>,
    /// Keeps alive how keys are fitted.
    pub fitting: Option<KeyFitting>,
    /// All that the op writes.
    pub outputs: Vec<Output>,
    /// Whether every variant must give the same bits as on the case before.
    pub same_as_before: bool,
}

/// Arena and cache after a run.
#[derive(Clone)]
pub struct Memory {
    arena: Vec<u8>,
    cache: Vec<u8>,
}

impl Memory {
    fn of(&self, place: Place) -> &[u8] {
        match place {
            Place::Arena => &self.arena,
            Place::Cache => &self.cache,
        }
    }
}

impl<O: Op> Case<O> {
    /// A case without rows, weights, cache and outputs.
    pub fn new(label: impl Into<String>, desc: O::Desc, slots: O::Slots, arena: Arena) -> Self {
        Case {
            label: label.into(),
            desc,
            slots,
            num_rows: 0,
            arena,
            tokens: Vec::new(),
            positions: Vec::new(),
            output_rows: Vec::new(),
            cache: Cache::default(),
            weights: Vec::new(),
            fitting: None,
            outputs: Vec::new(),
            same_as_before: false,
        }
    }

    /// Runs a variant on fresh copies of the memory.
    ///
    /// # Errors
    /// [`PoolError`] when the kernel panicked, or when there is no memory.
    pub fn run(&self, variant: &'static Variant<O>, pool: &mut Pool) -> Result<Memory, PoolError> {
        let arena = copy(&self.arena.0)?;
        let storage = copy(&self.cache.storage)?;
        let (views, num_views) = (self.cache.views.as_ptr(), self.cache.views.len());
        let group = KvFrame { storage: storage.as_ptr(), views, num_views };
        let frame = Frame {
            arena: arena.as_ptr(),
            tokens: self.tokens.as_ptr(),
            positions: self.positions.as_ptr(),
            num_rows: self.num_rows,
            output_rows: self.output_rows.as_ptr(),
            num_outputs: self.output_rows.len(),
            groups: &group,
            logits: std::ptr::null(),
            num_logits: 0,
        };
        let step = Step::<O> { desc: self.desc, slots: self.slots, variant };
        // SAFETY: the case describes its own memory, which lives until the end of this function; the
        // suite runs only variants whose features the machine has and that accept the description.
        pool.run(&|shard| unsafe { step.run(&frame, shard) })?;
        Ok(Memory { arena: bytes(&arena, self.arena.0.len()), cache: bytes(&storage, self.cache.storage.len()) })
    }

    /// Largest error as a part of the allowed one, and what is wrong with `found`.
    pub fn compare(&self, exactness: Exactness, expected: &Memory, found: &Memory) -> (f64, Option<String>) {
        let (mut worst, mut wrong) = (0f64, Vec::new());
        for output in &self.outputs {
            let (expected, found) =
                (&expected.of(output.place)[output.range()], &found.of(output.place)[output.range()]);
            match &output.bounds {
                Bounds::Terms(terms) | Bounds::Vectors(terms, _) => {
                    let terms = output.bounds.shared(exactness, terms);
                    let values = terms.iter().zip(floats(expected)).zip(floats(found)).enumerate();
                    for (i, ((&terms, expected), found)) in values {
                        let error = error(exactness, terms, expected, found);
                        worst = worst.max(error);
                        if error > 1.0 {
                            wrong.push(format!(
                                "value {i}: {found:e}, not {expected:e} ({error:.1} times what is allowed)"
                            ));
                        }
                    }
                }
                Bounds::Bytes(_) => {
                    let mut bytes = expected.iter().zip(found).enumerate();
                    wrong.extend(
                        bytes.find(|(_, (a, b))| a != b).map(|(i, (a, b))| format!("byte {i}: {b:#04x}, not {a:#04x}")),
                    );
                }
                Bounds::Any(_) => {}
            }
        }
        for (place, before) in [(Place::Arena, &self.arena.0), (Place::Cache, &self.cache.storage)] {
            wrong.extend(self.touched(place, before, found.of(place)));
        }
        let more = wrong.len().saturating_sub(MOST_TOLD);
        wrong.truncate(MOST_TOLD);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        (worst, (!wrong.is_empty()).then(|| wrong.join("; ")))
    }

    /// The first byte outside the outputs that a run has changed.
    fn touched(&self, place: Place, before: &[u8], after: &[u8]) -> Option<String> {
        let mut free = vec![false; before.len()];
        for output in self.outputs.iter().filter(|output| output.place == place) {
            free[output.range()].fill(true);
        }
        let at = (0..before.len()).find(|&i| !free[i] && before[i] != after[i])?;
        Some(format!("wrote byte {at} of the {place:?}, which is not its output"))
    }

    /// Where the outputs of two runs differ in their bits.
    pub fn same_outputs(&self, before: &Memory, found: &Memory) -> Option<String> {
        let arena = self.outputs.iter().filter(|output| output.place == Place::Arena);
        let checked = arena.filter(|output| !matches!(output.bounds, Bounds::Any(_)));
        let differs = |output: &&Output| before.arena.get(output.range()) != found.arena.get(output.range());
        checked.into_iter().find(differs).map(|output| format!("output at {} has other bits", output.at))
    }
}

/// The error as a part of what is allowed. NaNs are equal; an infinity must be met exactly.
fn error(exactness: Exactness, terms: f32, expected: f32, found: f32) -> f64 {
    if expected.to_bits() == found.to_bits() || (expected.is_nan() && found.is_nan()) {
        return 0.0;
    }
    let allowed = match exactness {
        Exactness::Bitwise => return f64::INFINITY,
        Exactness::Reordered { ulp } => f64::from(ulp) * f64::from(f32::EPSILON),
        Exactness::Rounded { rel_ppb } => f64::from(rel_ppb) * 1e-9,
        Exactness::Approximate => f64::INFINITY,
    };
    let error = (f64::from(expected) - f64::from(found)).abs();
    if error == 0.0 {
        return 0.0; // zeros of different signs
    }
    if !error.is_finite() {
        return f64::INFINITY;
    }
    // Below the normal numbers precision is absolute.
    error / (allowed * f64::from(terms.max(f32::MIN_POSITIVE)))
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|&four| f32::from_ne_bytes(four))
}

fn copy(from: &[u8]) -> Result<Buffer, PoolError> {
    let buffer = Buffer::zeroed(from.len(), "a conformance case").map_err(|error| PoolError(error.to_string()))?;
    // SAFETY: the buffer is new and has that many bytes.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), buffer.as_ptr(), from.len()) };
    Ok(buffer)
}

fn bytes(buffer: &Buffer, len: usize) -> Vec<u8> {
    // SAFETY: the run is over, so nobody writes; the buffer has that many bytes.
    unsafe { std::slice::from_raw_parts(buffer.as_ptr(), len) }.to_vec()
}
