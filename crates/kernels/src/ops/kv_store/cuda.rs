//! `kv_store` on CUDA devices.

use device::Feature;
use device::cuda::{CudaError, FaultPlace, Grid, Kernel, Source};

use super::{Args, Desc, EXACTNESS, KvStore};
use crate::cuda::{FIT, Fit, KV, Kv, Launcher, PRELUDE, fit_constants, kv_constants};
use crate::variant::{Launch, Variant};

/// Caches of any type.
pub const VARIANT: Variant<KvStore> = Variant {
    id: "kv_store/any/cuda",
    needs: &[Feature::Cuda],
    exactness: EXACTNESS,
    accepts: |desc| desc.layout.check().is_ok(),
    launch: Launch::Cuda(kv_store),
};

const SOURCE: Source = Source { name: "kv_store", parts: &[PRELUDE, FIT, KV, include_str!("cuda.cu")] };

#[repr(C)]
#[derive(Clone, Copy)]
struct DeviceArgs {
    k: *const f32,
    v: *const f32,
    kv: Kv,
    fit: Fit,
    fault: FaultPlace,
}

unsafe fn kv_store(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let constants = [&kv_constants(&desc.layout)[..], &fit_constants(args.fit.as_ref())].concat();
    let kernel = Kernel { source: &SOURCE, entry: "kv_store", constants: &constants };
    let device_args = DeviceArgs {
        k: args.k,
        v: args.v,
        kv: Kv::new(&args.kv, desc.layer),
        fit: Fit::new(args.fit.as_ref(), launcher),
        fault: launcher.queue.fault_place(),
    };
    let grid =
        Grid { blocks: [args.num_rows as u32, desc.layout.num_kv_heads as u32, 1], threads: 128, shared_bytes: 0 };
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe { launcher.launch(&kernel, grid, &device_args) }
}
