//! `attention` on CUDA devices, in f32: any shape. Keys are cut into parts where rows and heads alone would leave
//! multiprocessors without work.

use device::Feature;
use device::cuda::{CudaError, FaultPlace, Grid, Kernel, Source};

use super::{Args, Attention, Desc};
use crate::cuda::{KV, Kv, Launcher, PRELUDE, has_codec, kv_constants};
use crate::variant::{Exactness, Launch, Variant};

/// Caches of f32 and f16, head dimensions up to 256.
pub const VARIANT: Variant<Attention> = Variant {
    id: "attention/f32/cuda",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 32 },
    accepts: |desc| has_codec(&desc.layout) && desc.layout.head_dim_k <= 256 && desc.layout.head_dim_v <= 256,
    launch: Launch::Cuda(attention),
};

const SOURCE: Source = Source { name: "attention", parts: &[PRELUDE, KV, include_str!("cuda.cu")] };

/// Query heads of one KV head that a block takes at once; their sums are held in registers.
const MOST_HEADS: usize = 8;
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
    let mut constants = kv_constants(layout).to_vec();
    constants.extend([("NUM_HEADS", desc.num_heads as i64), ("HEADS", heads as i64)]);
    let kernel = |entry| Kernel { source: &SOURCE, entry, constants: &constants };
    let device_args = DeviceArgs {
        q: args.q,
        out: args.out,
        partial: launcher.queue.scratch(if num_parts > 1 { partial_len * size_of::<f32>() } else { 0 })?.cast(),
        kv: Kv::new(&args.kv, desc.layer),
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
