//! How many clusters of blocks a device has room for at one time, asked of the driver once for each size. Kernels whose
//! blocks share their work as clusters divide it by this.

use std::cell::RefCell;
use std::collections::HashMap;

use cudarc::driver::sys;

use super::kernel::Kernel;
use super::modules::Modules;
use crate::cuda::error::check;
use crate::cuda::jit::{Jit, Source};

/// Threads of the blocks in question, none of which needs more than its share of registers.
const THREADS: u32 = 256;

/// A kernel that does nothing: the answer depends on its shared memory.
const SOURCE: Source = Source { name: "cluster", parts: &["extern \"C\" __global__ void cluster() {}"] };

/// Rooms that are known, by blocks of a cluster and shared memory of a block.
#[derive(Default)]
pub struct Clusters(RefCell<HashMap<(u32, u32), Option<usize>>>);

impl Clusters {
    /// How many clusters of `size` blocks with so much shared memory run at one time; `None` where the driver does not
    /// say.
    pub fn room(&self, modules: &Modules, jit: &Jit, size: u32, shared_bytes: u32) -> Option<usize> {
        let mut known = self.0.borrow_mut();
        *known.entry((size, shared_bytes)).or_insert_with(|| ask(modules, jit, size, shared_bytes))
    }
}

fn ask(modules: &Modules, jit: &Jit, size: u32, shared_bytes: u32) -> Option<usize> {
    let kernel = Kernel { source: &SOURCE, entry: "cluster", constants: &[] };
    let function = modules.function(jit, &kernel, true).ok()??;
    let most_shared = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    // SAFETY: the function lives as long as its module, which the caller owns.
    check("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(function, most_shared, shared_bytes as i32) }).ok()?;
    // SAFETY: all bytes zero are an attribute that says nothing.
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: size, y: 1, z: 1 };
    let config = sys::CUlaunchConfig {
        gridDimX: size,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: THREADS,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: shared_bytes,
        hStream: std::ptr::null_mut(),
        attrs: &raw mut attribute,
        numAttrs: 1,
    };
    let mut room = 0;
    // SAFETY: the answer has a place; attribute and function live until the call returns.
    check("cuOccupancyMaxActiveClusters", unsafe { sys::cuOccupancyMaxActiveClusters(&mut room, function, &config) })
        .ok()?;
    usize::try_from(room).ok().filter(|&room| room > 0)
}
