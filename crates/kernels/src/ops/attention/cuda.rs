//! `attention` on CUDA devices: on tensor cores over a cache of halves or codes, in f32 for any shape. Keys are cut into parts
//! where rows and heads alone would leave multiprocessors without work.

use device::Feature;
use device::cuda::{Constant, CudaError, FaultPlace, Grid, Kernel, Source};

use super::{Args, Attention, Desc};
use crate::cuda::{FIT, Fit, KV, Kv, Launcher, PRELUDE, fit_constants, kv_constants};
use crate::kv::fit::{KeyFit, SPAN};
use crate::kv::{KvLayout, KvType};
use crate::variant::{Exactness, Launch, Variant};

/// Caches of any type, head dimensions up to 256; codes become numbers as they are read.
pub const VARIANT: Variant<Attention> = Variant {
    id: "attention/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 32 },
    accepts: |desc| desc.layout.check().is_ok() && desc.layout.head_dim_k <= 256 && desc.layout.head_dim_v <= 256,
    launch: Launch::Cuda(attention),
};

/// Caches of f16 with a layout that fragments can be read from: queries and weights become halves, two roundings of
/// 2^-11.
pub const HALVES: Variant<Attention> = Variant {
    id: "attention/f16/cuda-mma",
    needs: &[Feature::Cuda],
    exactness: Exactness::Rounded { rel_ppb: 1_100_000 },
    accepts: |desc| {
        let KvLayout { k, v, head_dim_k, head_dim_v, block_size, .. } = desc.layout;
        (k, v, block_size) == (KvType::F16, KvType::F16, 16)
            && head_dim_k == head_dim_v
            && matches!(head_dim_k, 64 | 96 | 128 | 256)
    },
    launch: Launch::Cuda(halves),
};

/// Caches of 8- or 4-bit codes, which are exact as halves.
pub const CODES: Variant<Attention> = Variant {
    id: "attention/codes/cuda-mma",
    needs: &[Feature::Cuda],
    exactness: HALVES.exactness,
    accepts: |desc| {
        let KvLayout { k, v, head_dim_k, head_dim_v, block_size, .. } = desc.layout;
        let fits = match v {
            KvType::Q8 => matches!(head_dim_k, 64 | 96 | 128 | 256),
            KvType::Q4 => matches!(head_dim_k, 64 | 128 | 256),
            _ => false,
        };
        fits && k.is_quantized() && head_dim_k == head_dim_v && block_size == 16
    },
    launch: Launch::Cuda(codes),
};

const DECODE: Source = Source {
    name: "attention_decode",
    parts: &[
        PRELUDE,
        FIT,
        KV,
        include_str!("cuda_mma.cu"),
        include_str!("cuda_decode_halves.cu"),
        include_str!("cuda_decode.cu"),
    ],
};
const DECODE_CODES: Source = Source {
    name: "attention_decode_codes",
    parts: &[
        PRELUDE,
        FIT,
        KV,
        include_str!("cuda_mma.cu"),
        include_str!("cuda_decode_codes.cu"),
        include_str!("cuda_decode.cu"),
    ],
};
const PREFILL: Source = Source {
    name: "attention_prefill",
    parts: &[
        PRELUDE,
        FIT,
        KV,
        include_str!("cuda_mma.cu"),
        include_str!("cuda_prefill_layout.cu"),
        include_str!("cuda_prefill_halves.cu"),
        include_str!("cuda_prefill.cu"),
    ],
};
const PREFILL_CODES: Source = Source {
    name: "attention_prefill_codes",
    parts: &[
        PRELUDE,
        FIT,
        KV,
        include_str!("cuda_mma.cu"),
        include_str!("cuda_prefill_layout.cu"),
        include_str!("cuda_prefill_codes.cu"),
        include_str!("cuda_prefill.cu"),
    ],
};

/// Sequences with fewer rows than this on average are computed row by row.
const LEAST_PREFILL_ROWS: usize = 8;

const SOURCE: Source = Source { name: "attention", parts: &[PRELUDE, FIT, KV, include_str!("cuda.cu")] };

/// Query heads of one KV head that a block takes at once; their sums are held in registers.
const MOST_HEADS: usize = 8;
/// Those that `cuda_decode.cu` takes, a fragment's columns.
const DECODE_HEADS: usize = 8;
/// Blocks per multiprocessor that keys are cut for, and most parts.
const BLOCKS_PER_SM: usize = 4;
const MOST_PARTS: usize = 64;

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    q: *const f32,
    out: *mut f32,
    partial: *mut f32,
    kv: Kv,
    fit: Fit,
    fault: FaultPlace,
    num_parts: u32,
    window: u32,
    scale: f32,
    softcap: f32,
}

unsafe fn attention(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let layout = &desc.layout;
    let group = desc.num_heads / layout.num_kv_heads;
    let heads = group.min(MOST_HEADS);
    let blocks = [args.num_rows, layout.num_kv_heads * group.div_ceil(heads)];
    let wanted = BLOCKS_PER_SM * launcher.queue.num_sms() as usize;
    let num_parts = wanted.div_ceil((blocks[0] * blocks[1]).max(1)).clamp(1, MOST_PARTS);
    let partial_len = args.num_rows * desc.num_heads * num_parts * (layout.head_dim_v + 2);
    let mut constants = [&kv_constants(layout)[..], &fit_constants(args.fit.as_ref())].concat();
    constants.extend([("NUM_HEADS", desc.num_heads as i64), ("HEADS", heads as i64)]);
    let kernel = |entry| Kernel { source: &SOURCE, entry, constants: &constants };
    let device_args = DeviceArgs {
        q: args.q,
        out: args.out,
        partial: launcher.queue.scratch(if num_parts > 1 { partial_len * size_of::<f32>() } else { 0 })?.cast(),
        kv: Kv::new(&args.kv, desc.layer),
        fit: Fit::new(args.fit.as_ref(), launcher),
        fault: launcher.queue.fault_place(),
        num_parts: num_parts as u32,
        window: desc.window,
        scale: desc.scale,
        softcap: desc.softcap,
    };
    let grid = Grid { blocks: [blocks[0] as u32, blocks[1] as u32, num_parts as u32], threads: 128, shared_bytes: 0 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe {
        launcher.launch(&kernel("attend"), grid, &device_args)?;
        if num_parts == 1 {
            return Ok(());
        }
        let grid = Grid { blocks: [args.num_rows as u32, desc.num_heads as u32, 1], ..grid };
        launcher.launch(&kernel("merge"), grid, &device_args)
    }
}

/// `Args` of `cuda_decode.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DecodeArgs {
    q: *const f32,
    out: *mut f32,
    partial: *mut f32,
    kv: Kv,
    fit: Fit,
    fault: FaultPlace,
    num_parts: u32,
    window: u32,
    scale: f32,
    softcap: f32,
}

/// `Args` of `cuda_prefill.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PrefillArgs {
    q: *const f32,
    out: *mut f32,
    kv: Kv,
    fit: Fit,
    fault: FaultPlace,
    window: u32,
    scale: f32,
    softcap: f32,
}

unsafe fn halves(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    // SAFETY: the caller's promise.
    unsafe { on_tensor_cores(desc, args, launcher, [&DECODE, &PREFILL]) }
}

unsafe fn codes(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    // SAFETY: the caller's promise.
    unsafe { on_tensor_cores(desc, args, launcher, [&DECODE_CODES, &PREFILL_CODES]) }
}

unsafe fn on_tensor_cores(
    desc: &Desc,
    args: &Args,
    launcher: &Launcher<'_>,
    [single, many]: [&'static Source; 2],
) -> Result<(), CudaError> {
    let mut constants = [&kv_constants(&desc.layout)[..], &fit_constants(args.fit.as_ref())].concat();
    constants.push(("NUM_HEADS", desc.num_heads as i64));
    // Large heads with their waves are more than some devices have room for.
    let has_room = prefill_bytes(desc, args, 4) <= launcher.queue.shared_bytes();
    let is_decode = args.num_rows < LEAST_PREFILL_ROWS * args.kv.num_views || !has_room;
    let both = launcher.queue.is_rehearsing();
    // SAFETY: the caller's promise.
    unsafe {
        if is_decode || both {
            decode(desc, args, launcher, single, &constants)?;
        }
        if !is_decode || (both && has_room) { prefill(desc, args, launcher, many, &constants) } else { Ok(()) }
    }
}

unsafe fn decode(
    desc: &Desc,
    args: &Args,
    launcher: &Launcher<'_>,
    source: &'static Source,
    constants: &[Constant],
) -> Result<(), CudaError> {
    let KvLayout { num_kv_heads, head_dim_v, .. } = desc.layout;
    // One block of threads per multiprocessor; a row and KV head has as many as there are for it.
    let columns = num_kv_heads * (desc.num_heads / num_kv_heads).div_ceil(DECODE_HEADS);
    let num_parts = (launcher.queue.num_sms() as usize / (columns * args.num_rows).max(1)).clamp(1, MOST_PARTS);
    // Of all blocks, where rows are in parts: there are no more of them than multiprocessors then.
    let partial_len = launcher.queue.num_sms() as usize * DECODE_HEADS * (head_dim_v + 2);
    let device_args = DecodeArgs {
        q: args.q,
        out: args.out,
        partial: launcher.queue.counters(partial_len)?.cast(),
        kv: Kv::new(&args.kv, desc.layer),
        fit: Fit::new(args.fit.as_ref(), launcher),
        fault: launcher.queue.fault_place(),
        num_parts: num_parts as u32,
        window: desc.window,
        scale: desc.scale,
        softcap: desc.softcap,
    };
    let threads = if head_dim_v > 128 { 128 } else { 256 };
    // Cosines and sines of a span, where keys are fitted.
    let table = args.fit.filter(|_| head_dim_v <= 128).map_or(0, |fit| SPAN * (2 * num_waves(&fit) + 16));
    let blocks = [num_parts as u32, columns as u32, args.num_rows as u32];
    let grid = Grid { blocks, threads, shared_bytes: table as u32 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&Kernel { source, entry: "decode", constants }, grid, &device_args) }
}

/// Shared memory of `cuda_prefill.cu`: the queries, two tiles of keys and two of values; of codes one tile each, the next one's
/// blocks, and the waves of each row where keys are fitted.
fn prefill_bytes(desc: &Desc, args: &Args, warps: usize) -> usize {
    let KvLayout { k, head_dim_k: dim, block_size, .. } = desc.layout;
    let (rows, keys) = (16 * warps, if dim > 128 { 32 } else { 64 });
    let waves = rows * args.fit.map_or(0, |fit| num_waves(&fit));
    let (halves, blocks) = match k.is_quantized() {
        false => (dim * (4 * keys + rows), 0),
        true => (dim * (2 * keys + rows) + waves, keys / block_size),
    };
    halves * size_of::<u16>() + blocks * desc.layout.block_bytes()
}

/// Values of a query that cosines and sines are multiplied with, `WAVES` of `fit.cu`.
fn num_waves(fit: &KeyFit) -> usize {
    let rest = if fit.rotary_dim < fit.head_dim { 2 } else { 0 };
    (fit.rotary_dim + rest).next_multiple_of(32)
}

unsafe fn prefill(
    desc: &Desc,
    args: &Args,
    launcher: &Launcher<'_>,
    source: &'static Source,
    constants: &[Constant],
) -> Result<(), CudaError> {
    let head_dim = desc.layout.head_dim_k;
    let device_args = PrefillArgs {
        q: args.q,
        out: args.out,
        kv: Kv::new(&args.kv, desc.layer),
        fit: Fit::new(args.fit.as_ref(), launcher),
        fault: launcher.queue.fault_place(),
        window: desc.window,
        scale: desc.scale,
        softcap: desc.softcap,
    };
    // Large heads have one block of threads on a multiprocessor, so it has more warps where there is room.
    let shared_bytes = |warps| prefill_bytes(desc, args, warps);
    let warps = if head_dim > 128 && shared_bytes(8) <= launcher.queue.shared_bytes() { 8 } else { 4 };
    let (rows, shared_bytes) = (16 * warps, shared_bytes(warps) as u32);
    let constants = &[constants, &[("WARPS", warps as i64)]].concat();
    // No sequence has more than one block of rows that is not full.
    let runs = args.num_rows / rows + args.kv.num_views;
    let grid = Grid { blocks: [desc.num_heads as u32, runs as u32, 1], threads: 32 * warps as u32, shared_bytes };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&Kernel { source, entry: "prefill", constants }, grid, &device_args) }
}
