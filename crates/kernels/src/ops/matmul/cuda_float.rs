//! `matmul` on CUDA devices for few rows and weights of 16-bit floats: as fast as they can be read.

use device::Feature;
use device::cuda::{CudaError, Grid, Kernel, Source};
use gguf::DType;

use super::cuda::F32Args;
use super::{Args, Desc, Input, Matmul};
use crate::cuda::{BLOCKS, Launcher, PRELUDE, blocks, type_constant};
use crate::op::Rows;
use crate::packed::Form;
use crate::variant::{Exactness, Launch, Variant};

/// Rows of 16-byte pieces.
pub const FLOAT: Variant<Matmul> = Variant {
    id: "matmul/f16/cuda-rows",
    needs: &[Feature::Cuda],
    exactness: Exactness::Reordered { ulp: 64 },
    accepts: |desc| {
        let float = matches!(desc.weight, DType::F16 | DType::BF16);
        float
            && desc.input == Input::F32
            && desc.form == Form::Rows
            && desc.rows != Rows::Many
            && desc.k.is_multiple_of(8)
    },
    launch: Launch::Cuda(float),
};

const SOURCE: Source = Source { name: "matmul_float", parts: &[PRELUDE, BLOCKS, include_str!("cuda_float.cu")] };

/// Rows of weights per block: two for each of its warps.
const ROWS: usize = 16;

unsafe fn float(desc: &Desc, args: &Args, launcher: &Launcher<'_>) -> Result<(), CudaError> {
    let (entry, rows) = match args.num_rows {
        0 | 1 => ("float_1", 1),
        2 => ("float_2", 2),
        _ => ("float_4", 4),
    };
    let kernel = Kernel { source: &SOURCE, entry, constants: &[type_constant(desc.weight)] };
    let blocks = [blocks(desc.n, ROWS), blocks(args.num_rows, rows), 1];
    // SAFETY: the caller's promise; the struct is that of the source.
    unsafe {
        launcher.launch(&kernel, Grid { blocks, threads: 256, shared_bytes: 0 }, &F32Args::new(desc, args, launcher))
    }
}
