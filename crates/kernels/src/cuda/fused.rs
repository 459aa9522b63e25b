//! Steps that follow one another on a device as one kernel, found when they are put on the queue: residual addition, norm
//! and int8 codes or halves; products of one input; gated activation and codes; rotation of queries and keys and the store.
//! Plans know nothing of it, and the values are those of the steps one by one. Called by `executor/device`.

use std::ops::Range;
use std::sync::Arc;

use device::cuda::{Constant, CudaError, FaultPlace, Grid, Kernel, Queue, Source};

use super::{FIT, Fit, KV, Kv, Launcher, PRELUDE, blocks, fit_constants, kv_constants};
use crate::kv::fit::{Angles, KeyFit, KeyFitting};
use crate::kv::{KvLayout, KvType};
use crate::launch::{Frame, Run, Slot, Step};
use crate::op::Op;
use crate::ops::glu::Activation;
use crate::ops::matmul::{cuda_float, cuda_wide};
use crate::ops::quantize::Codes;
use crate::ops::quantize::cuda::HALVES;
use crate::ops::rope::Pairing;
use crate::ops::{Add, Glu, KvStore, Matmul, Norm, Quantize, Rope, quantize};
use crate::variant::Place;

/// The first steps of a list as one kernel.
pub(crate) enum Fused<'a> {
    Norm { add: Option<&'a Step<Add>>, norm: &'a Step<Norm>, quantize: Option<&'a Step<Quantize>> },
    Glu { glu: &'a Step<Glu>, quantize: &'a Step<Quantize> },
    Rope { q: &'a Step<Rope>, k: &'a Step<Rope>, store: &'a Step<KvStore> },
    Products(Vec<&'a Step<Matmul>>, EnqueueProducts),
}

/// Enqueues products of one input as one kernel.
type EnqueueProducts = unsafe fn(&[&Step<Matmul>], &Frame, &Launcher<'_>) -> Result<(), CudaError>;

const SOURCE: Source = Source { name: "fused", parts: &[PRELUDE, HALVES, include_str!("fused.cu")] };
const ROPE_SOURCE: Source = Source { name: "fused_rope", parts: &[PRELUDE, FIT, KV, include_str!("fused_rope.cu")] };

/// Widest row that a block of threads holds in its registers.
const WIDEST: usize = 8192;

/// The same for gated activations that become halves.
const WIDEST_HALVES: usize = 32768;

/// Most rows for which rotation and store are one kernel: with more, one launch less is no gain, and its small blocks of
/// threads read memory slower.
const MOST_ROPE_ROWS: usize = 128;

/// What the first of `steps` can be done together with in a step of that frame: not where some threads would write what
/// others have yet to read. Where kernels are only compiled, what can be done together in some frame.
pub(crate) fn find<'a>(steps: &'a [Box<dyn Run>], frame: &Frame, queue: &Queue) -> Option<Fused<'a>> {
    norm(steps)
        .or_else(|| products(steps, frame, queue))
        .or_else(|| glu(steps))
        .or_else(|| rope(steps).filter(|_| frame.num_rows <= MOST_ROPE_ROWS))
        .filter(|fused| !fused.overwrites(frame))
}

/// Step `index`, if it is of that op and on one of the op's own kernels for devices.
pub(crate) fn step<O: Op>(steps: &[Box<dyn Run>], index: usize) -> Option<&Step<O>> {
    let step = steps.get(index)?.as_any().downcast_ref::<Step<O>>()?;
    let mut own = O::VARIANTS.iter().filter(|variant| variant.place() == Place::Cuda);
    own.any(|own| own.id == step.variant.id).then_some(step)
}

fn norm(steps: &[Box<dyn Run>]) -> Option<Fused<'_>> {
    let add = step::<Add>(steps, 0);
    let first = usize::from(add.is_some());
    let norm = step::<Norm>(steps, first).filter(|norm| {
        let width = norm.desc.width;
        norm.desc.groups == 1 && width.is_multiple_of(4) && width <= WIDEST && norm.slots.out != norm.slots.x
    })?;
    let fits = |add: &&Step<Add>| add.slots.x == norm.slots.x && add.slots.rows == norm.slots.rows;
    if !add.iter().all(fits) {
        return None;
    }
    let quantize = step::<Quantize>(steps, first + 1)
        .filter(|quantize| quantize.slots.x == norm.slots.out && quantize.slots.rows == norm.slots.rows);
    (add.is_some() || quantize.is_some()).then_some(Fused::Norm { add, norm, quantize })
}

fn products<'a>(steps: &'a [Box<dyn Run>], frame: &Frame, queue: &Queue) -> Option<Fused<'a>> {
    let all = || (0..steps.len()).map_while(|index| step::<Matmul>(steps, index));
    let (wide, float) = (cuda_wide::together(all(), frame, queue), cuda_float::together(all()));
    let fused = |count, enqueue| (count > 1).then(|| Fused::Products(all().take(count).collect(), enqueue));
    fused(wide, cuda_wide::enqueue_together as EnqueueProducts).or_else(|| fused(float, cuda_float::enqueue_together))
}

fn glu(steps: &[Box<dyn Run>]) -> Option<Fused<'_>> {
    let (glu, quantize) = (step::<Glu>(steps, 0)?, step::<Quantize>(steps, 1)?);
    let narrow = quantize.desc.codes == Codes::Int8 || quantize.desc.width <= WIDEST_HALVES;
    let fits = quantize.slots.x == glu.slots.out && quantize.slots.rows == glu.slots.rows && narrow;
    fits.then_some(Fused::Glu { glu, quantize })
}

fn rope(steps: &[Box<dyn Run>]) -> Option<Fused<'_>> {
    let (q, k, store) = (step::<Rope>(steps, 0)?, step::<Rope>(steps, 1)?, step::<KvStore>(steps, 2)?);
    let alike = q.slots.table == k.slots.table
        && (q.desc.head_dim, q.desc.rotary_dim) == (k.desc.head_dim, k.desc.rotary_dim)
        && q.desc.pairing == k.desc.pairing;
    let layout = &store.desc.layout;
    let stored =
        store.slots.k == k.slots.x && (k.desc.num_heads, k.desc.head_dim) == (layout.num_kv_heads, layout.head_dim_k);
    (alike && stored).then_some(Fused::Rope { q, k, store })
}

/// Has a queue that rehearses compile all of these kernels, for caches of the shapes that models have.
pub(super) fn compile(queue: &Queue) -> Vec<Result<(), CudaError>> {
    let compile = |source, entry, constants: &[Constant]| {
        // SAFETY: a queue that rehearses follows no address.
        unsafe { queue.launch(&Kernel { source, entry, constants }, Grid::row(0, 32), &()) }
    };
    let mut all = vec![compile(&SOURCE, "norm_1", &[])];
    for (_, kv_type) in KvType::NAMES {
        for (head_dim, num_kv_heads, num_heads) in [(64, 8, 32), (128, 8, 32), (128, 4, 28), (256, 1, 4)] {
            let (k, v) = (*kv_type, *kv_type);
            let (head_dim_k, head_dim_v, block_size) = (head_dim, head_dim, 16);
            let layout = KvLayout { k, v, head_dim_k, head_dim_v, num_kv_heads, block_size };
            for pairing in [Pairing::Adjacent, Pairing::Halves] {
                let angles = Arc::new(Angles::new(&vec![0.0; head_dim / 2], 1));
                let fitting = KeyFitting::new(head_dim, pairing, &angles, &[], &[]).key_fit();
                for fit in [None, Some(&fitting)].into_iter().take(1 + usize::from(kv_type.is_quantized())) {
                    let constants = rope_constants(&layout, num_heads, pairing, fit);
                    all.push(compile(&ROPE_SOURCE, "rope_store", &constants));
                }
            }
        }
    }
    all
}

/// The constants of `fused_rope.cu`.
fn rope_constants(layout: &KvLayout, num_heads: usize, pairing: Pairing, fit: Option<&KeyFit>) -> Vec<Constant> {
    let mut constants = kv_constants(layout).to_vec();
    // Keys are fitted in the pairs that they are rotated in, if at all.
    constants.extend(fit_constants(fit).into_iter().filter(|(name, _)| *name != "ADJACENT"));
    constants.extend([("NUM_HEADS", num_heads as i64), ("ADJACENT", i64::from(pairing == Pairing::Adjacent))]);
    constants
}

#[repr(C)]
#[derive(Clone, Copy)]
struct NormArgs {
    x: *mut f32,
    y: *const f32,
    weight: *const f32,
    out: *mut f32,
    codes: *mut u8,
    factors: *mut f32,
    row_bytes: u64,
    norm_fault: FaultPlace,
    code_fault: FaultPlace,
    width: u32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct GluArgs {
    gate: *const f32,
    up: *const f32,
    out: *mut f32,
    codes: *mut u8,
    factors: *mut f32,
    row_bytes: u64,
    code_fault: FaultPlace,
    width: u32,
    gelu_tanh: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RopeArgs {
    q: *mut f32,
    k: *mut f32,
    v: *const f32,
    table: *const f32,
    kv: Kv,
    fit: Fit,
    fault: FaultPlace,
    rotary_dim: u32,
}

impl Fused<'_> {
    /// How many steps it is.
    pub(crate) fn len(&self) -> usize {
        match self {
            Fused::Norm { add, quantize, .. } => 1 + usize::from(add.is_some()) + usize::from(quantize.is_some()),
            Fused::Glu { .. } => 2,
            Fused::Rope { .. } => 3,
            Fused::Products(steps, _) => steps.len(),
        }
    }

    /// Whether its kernel is none of those of its steps.
    pub(crate) fn has_own_kernel(&self) -> bool {
        !matches!(self, Fused::Products(..))
    }

    /// Whether what it writes lies where it reads: plans may reuse places of values that are dead between the steps.
    fn overwrites(&self, frame: &Frame) -> bool {
        let range = |slot: Slot, rows, row_bytes| slot.0..slot.0 + frame.rows(rows) * row_bytes;
        let codes = |quantize: &Step<Quantize>| {
            let row_bytes = quantize.desc.codes.row_bytes(quantize.desc.width);
            range(quantize.slots.out, quantize.slots.rows, row_bytes)
        };
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        match self {
            Fused::Norm { add, norm, quantize } => add.is_some_and(|add| {
                let (rows, row_bytes) = (norm.slots.rows, 4 * norm.desc.width);
                let read = range(add.slots.y, rows, row_bytes);
                meet(&read, &range(norm.slots.out, rows, row_bytes))
                    || quantize.is_some_and(|quantize| meet(&read, &codes(quantize)))
            }),
            Fused::Glu { glu, quantize } => [glu.slots.gate, glu.slots.up]
                .iter()
                .any(|&slot| meet(&range(slot, glu.slots.rows, 4 * glu.desc.width), &codes(quantize))),
            Fused::Rope { .. } => false,  // each value becomes another in its place
            Fused::Products(..) => false, // all read the same, which lives until the last of them
        }
    }

    /// Puts it on the queue, whose fault place is that of the first of its steps.
    ///
    /// # Safety
    /// As [`Run::enqueue`].
    pub(crate) unsafe fn enqueue(&self, frame: &Frame, launcher: &Launcher<'_>) -> Result<(), CudaError> {
        let first = launcher.queue.fault_place();
        let fault = |later: usize| FaultPlace { step: first.step + later as u64, ..first };
        // SAFETY: the caller's promise; the structs are those of the sources.
        unsafe {
            match self {
                Fused::Products(steps, enqueue) => enqueue(steps, frame, launcher),
                Fused::Norm { add, norm, quantize } => {
                    let before = usize::from(add.is_some());
                    let width = norm.desc.width;
                    let args = NormArgs {
                        x: frame.at(norm.slots.x),
                        y: add.map_or(std::ptr::null(), |add| frame.at::<f32>(add.slots.y)),
                        weight: launcher.weight(norm.slots.weight.0.cast()),
                        out: frame.at(norm.slots.out),
                        codes: quantize.map_or(std::ptr::null_mut(), |quantize| frame.at(quantize.slots.out)),
                        factors: quantize.map_or(std::ptr::null_mut(), |quantize| factors(quantize, frame)),
                        row_bytes: quantize::row_bytes(width) as u64,
                        norm_fault: fault(before),
                        code_fault: fault(before + 1),
                        width: width as u32,
                        eps: norm.desc.eps,
                    };
                    let fours = width / 4;
                    let (entry, threads) =
                        if fours <= 1024 { ("norm_1", fours) } else { ("norm_2", fours.div_ceil(2)) };
                    let kernel = Kernel { source: &SOURCE, entry, constants: &[] };
                    let rows = frame.rows(norm.slots.rows) as u32;
                    launcher.launch(&kernel, Grid::row(rows, threads.next_multiple_of(32) as u32), &args)
                }
                Fused::Glu { glu, quantize } => {
                    let width = glu.desc.width;
                    let args = GluArgs {
                        gate: frame.at(glu.slots.gate),
                        up: frame.at(glu.slots.up),
                        out: frame.at(glu.slots.out),
                        codes: frame.at(quantize.slots.out),
                        factors: factors(quantize, frame),
                        row_bytes: quantize::row_bytes(width) as u64,
                        code_fault: fault(1),
                        width: width as u32,
                        gelu_tanh: u32::from(glu.desc.activation == Activation::GeluTanh),
                    };
                    let kernel = |entry| Kernel { source: &SOURCE, entry, constants: &[] };
                    let (rows, fours) = (frame.rows(glu.slots.rows) as u32, width / 4);
                    if quantize.desc.codes == Codes::Half {
                        let each = fours.div_ceil(1024).next_power_of_two().max(2);
                        let entry = match each {
                            2 => "glu_half_2",
                            4 => "glu_half_4",
                            _ => "glu_half_8",
                        };
                        let threads = fours.div_ceil(each).next_multiple_of(32) as u32;
                        return launcher.launch(&kernel(entry), Grid::row(rows, threads), &args);
                    }
                    let grid = Grid { blocks: [blocks(fours, 256), rows, 1], threads: 256, shared_bytes: 0 };
                    launcher.launch(&kernel("glu"), grid, &args)
                }
                Fused::Rope { q, k, store } => {
                    let fit = store.slots.fit.as_ref();
                    let args = RopeArgs {
                        q: frame.at(q.slots.x),
                        k: frame.at(k.slots.x),
                        v: frame.at(store.slots.v),
                        table: frame.at(q.slots.table),
                        kv: Kv::new(&frame.group(store.desc.group), store.desc.layer),
                        fit: Fit::new(fit, launcher),
                        fault: fault(2),
                        rotary_dim: q.desc.rotary_dim as u32,
                    };
                    let constants = rope_constants(&store.desc.layout, q.desc.num_heads, q.desc.pairing, fit);
                    let kernel = Kernel { source: &ROPE_SOURCE, entry: "rope_store", constants: &constants };
                    let heads = q.desc.num_heads + 2 * store.desc.layout.num_kv_heads;
                    let grid = Grid { blocks: [frame.num_rows as u32, heads as u32, 1], threads: 64, shared_bytes: 0 };
                    launcher.launch(&kernel, grid, &args)
                }
            }
        }
    }
}

/// Where the factors of halves stand; null for other codes.
fn factors(quantize: &Step<Quantize>, frame: &Frame) -> *mut f32 {
    let rows = frame.rows(quantize.slots.rows);
    match quantize.desc.codes {
        Codes::Int8 => std::ptr::null_mut(),
        Codes::Half => frame.at::<u8>(quantize.slots.out).wrapping_add(2 * quantize.desc.width * rows).cast(),
    }
}

#[cfg(test)]
mod tests {
    use device::cuda::{Arch, Jit, Libraries};

    use gguf::DType;

    use super::*;
    use crate::launch::{RowSet, Weight};
    use crate::op::Rows;
    use crate::ops::{add, glu, matmul, norm};
    use crate::packed::Form;
    use crate::variant::Variant;

    const WIDTH: usize = 64;
    const NUM_ROWS: usize = 6;
    const BYTES: usize = NUM_ROWS * WIDTH * 4;

    fn variant<O: Op>() -> &'static Variant<O> {
        O::VARIANTS.iter().find(|variant| variant.place() == Place::Cuda).unwrap()
    }

    fn frame() -> Frame {
        Frame { num_outputs: 1, ..Frame::over(std::ptr::null_mut(), NUM_ROWS) }
    }

    fn quantize(x: Slot, out: Slot) -> Box<dyn Run> {
        let slots = quantize::Slots { x, out, rows: RowSet::Tokens };
        Box::new(Step::<Quantize> {
            desc: quantize::Desc { width: WIDTH, codes: Codes::Int8 },
            slots,
            variant: variant(),
        })
    }

    fn length(steps: &[Box<dyn Run>]) -> usize {
        let queue = Queue::compile_only(Jit::new(&Libraries::open(&[]), Arch { major: 8, minor: 0 }, None));
        find(steps, &frame(), &queue).map_or(1, |fused| fused.len())
    }

    #[test]
    fn a_norm_that_would_overwrite_what_is_added_stays_apart() {
        let rows = RowSet::Tokens;
        let all = |y, out, codes| -> [Box<dyn Run>; 3] {
            let (x, y, out) = (Slot(0), Slot(y), Slot(out));
            let desc = norm::Desc { width: WIDTH, groups: 1, eps: 1e-6 };
            let slots = norm::Slots { x, weight: Weight(std::ptr::null()), out, rows };
            [
                Box::new(Step::<Add> {
                    desc: add::Desc { width: WIDTH },
                    slots: add::Slots { x, y, rows },
                    variant: variant(),
                }),
                Box::new(Step::<Norm> { desc, slots, variant: variant() }),
                quantize(out, Slot(codes)),
            ]
        };
        assert_eq!(length(&all(BYTES, 2 * BYTES, 3 * BYTES)), 3);
        for near in [BYTES - 64, BYTES, 2 * BYTES - 64] {
            assert_eq!(length(&all(BYTES, near, 3 * BYTES)), 1, "{near}");
            assert_eq!(length(&all(BYTES, 3 * BYTES, near)), 1, "{near}");
        }
    }

    #[test]
    fn a_gated_activation_whose_codes_would_overwrite_its_input_stays_apart() {
        let all = |codes| -> [Box<dyn Run>; 2] {
            let (gate, up, out) = (Slot(0), Slot(BYTES), Slot(2 * BYTES));
            let desc = glu::Desc { width: WIDTH, activation: Activation::Silu };
            let slots = glu::Slots { gate, up, out, rows: RowSet::Tokens };
            [Box::new(Step::<Glu> { desc, slots, variant: variant() }), quantize(out, Slot(codes))]
        };
        assert_eq!(length(&all(3 * BYTES)), 2);
        for near in [0, BYTES, 2 * BYTES - 64] {
            assert_eq!(length(&all(near)), 1, "{near}");
        }
    }

    #[test]
    fn products_of_one_input_by_floats_are_one_up_to_three() {
        let product = |weight, x, out| -> Box<dyn Run> {
            let (form, input, bias, rows) = (Form::Rows, matmul::Input::F32, false, Rows::One);
            let desc = matmul::Desc { weight, form, input, n: 16, k: WIDTH, row_bytes: 2 * WIDTH, bias, rows };
            let none = Weight(std::ptr::null());
            let slots = matmul::Slots { weight: none, bias: none, x: Slot(x), out: Slot(out), rows: RowSet::Tokens };
            Box::new(Step::<Matmul> { desc, slots, variant: &cuda_float::FLOAT })
        };
        let same = |count: usize| (1..=count).map(|out| product(DType::BF16, 0, out * BYTES)).collect::<Vec<_>>();
        for (count, together) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
            assert_eq!(length(&same(count)), together, "{count}");
        }
        for other in [product(DType::F16, 0, 3 * BYTES), product(DType::BF16, 1, 3 * BYTES)] {
            let steps: Vec<_> = same(2).into_iter().chain([other]).collect();
            assert_eq!(length(&steps), 2);
        }
    }
}
