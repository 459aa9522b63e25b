//! Products of half-precision matrices by cuBLASLt, which knows best for many rows. Called by [`super::Queue`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::result;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayout_t, cudaDataType,
};
use cudarc::driver::sys::CUstream;

use super::error::CudaError;
use super::gpu::Gpu;
use super::memory::Memory;

/// What Hopper's kernels ask for.
const WORKSPACE_BYTES: usize = 32 << 20;
/// `CUBLAS_OP_T`, of which cuBLASLt's own headers have no name.
const TRANSPOSED: i32 = 1;
/// Alignment that all our matrices have.
const ALIGNMENT: u32 = 16;

/// The library with its workspace, and what it chose for the shapes seen so far.
pub(super) struct Blas {
    handle: cublasLtHandle_t,
    workspace: Memory,
    products: RefCell<HashMap<Shape, Product>>,
}

/// Rows of `x`, rows of `w`, columns of both, and values from one row of `out` to the next.
pub(super) type Shape = [usize; 4];

/// One shape. Matrices are column-major to the library: `outᵀ [n, m] = wᵀᵀ [n, k] xᵀ [k, m]`.
struct Product {
    desc: cublasLtMatmulDesc_t,
    w: cublasLtMatrixLayout_t,
    x: cublasLtMatrixLayout_t,
    out: cublasLtMatrixLayout_t,
    algorithm: cublasLtMatmulAlgo_t,
}

impl Blas {
    /// Takes the library into use; it is present.
    pub(super) fn new(gpu: &Arc<Gpu>) -> Result<Self, CudaError> {
        gpu.make_current()?;
        let handle = result::create_handle().map_err(|error| failed("cublasLtCreate", &error))?;
        let workspace = Memory::on_device(gpu, WORKSPACE_BYTES, "cuBLASLt's workspace")?;
        Ok(Self { handle, workspace, products: RefCell::default() })
    }

    /// See [`super::Queue::product_f16`].
    ///
    /// # Safety
    /// As there; the stream must live.
    pub(super) unsafe fn product_f16(
        &self,
        shape: Shape,
        w: *const u16,
        x: *const u16,
        out: *mut f32,
        stream: CUstream,
    ) -> Result<(), CudaError> {
        let mut products = self.products.borrow_mut();
        let product = match products.entry(shape) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(self.plan(shape)?),
        };
        let (alpha, beta) = (1f32, 0f32);
        // SAFETY: the caller's promise; layouts and algorithm were made for this shape.
        let done = unsafe {
            result::matmul(
                self.handle,
                product.desc,
                std::ptr::from_ref(&alpha).cast(),
                std::ptr::from_ref(&beta).cast(),
                w.cast::<c_void>(),
                product.w,
                x.cast::<c_void>(),
                product.x,
                out.cast::<c_void>(),
                product.out,
                out.cast::<c_void>(),
                product.out,
                &product.algorithm,
                self.workspace.as_ptr().cast(),
                self.workspace.len(),
                stream.cast(),
            )
        };
        done.map_err(|error| failed("cublasLtMatmul", &error))
    }

    /// Asks the library how it would compute this shape.
    fn plan(&self, [m, n, k, out_stride]: Shape) -> Result<Product, CudaError> {
        let layout = |kind, rows: usize, columns: usize, stride: usize| {
            result::create_matrix_layout(kind, rows as u64, columns as u64, stride as i64)
                .map_err(|error| failed("cublasLtMatrixLayoutCreate", &error))
        };
        let (half, single) = (cudaDataType::CUDA_R_16F, cudaDataType::CUDA_R_32F);
        let (w, x, out) = (layout(half, k, n, k)?, layout(half, k, m, k)?, layout(single, n, m, out_stride)?);
        let desc = result::create_matmul_desc(cublasComputeType_t::CUBLAS_COMPUTE_32F, single)
            .map_err(|error| failed("cublasLtMatmulDescCreate", &error))?;
        let transposed = TRANSPOSED;
        let preference =
            result::create_matmul_pref().map_err(|error| failed("cublasLtMatmulPreferenceCreate", &error))?;
        let prefer = |attribute, value: &dyn Fn() -> (*const c_void, usize)| {
            let (at, bytes) = value();
            // SAFETY: the preference lives; the value has the size that is told.
            unsafe { result::set_matmul_pref_attribute(preference, attribute, at, bytes) }
        };
        let word = |value: &u32| (std::ptr::from_ref(value).cast::<c_void>(), size_of::<u32>());
        let workspace = WORKSPACE_BYTES;
        // SAFETY: all objects live; values have the sizes that are told.
        let algorithm = unsafe {
            let at = std::ptr::from_ref(&transposed).cast::<c_void>();
            let transa = cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
            result::set_matmul_desc_attribute(desc, transa, at, size_of_val(&transposed))
                .and_then(|()| {
                    prefer(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &|| {
                        (std::ptr::from_ref(&workspace).cast(), size_of::<usize>())
                    })
                })
                .and_then(|()| prefer(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &|| word(&ALIGNMENT)))
                .and_then(|()| prefer(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &|| word(&ALIGNMENT)))
                .and_then(|()| prefer(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &|| word(&ALIGNMENT)))
                .and_then(|()| prefer(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &|| word(&ALIGNMENT)))
                .and_then(|()| result::get_matmul_algo_heuristic(self.handle, desc, w, x, out, out, preference))
        };
        // SAFETY: made above, not used any more.
        let _ = unsafe { result::destroy_matmul_pref(preference) };
        let algorithm = algorithm.map_err(|error| failed("cublasLtMatmulAlgoGetHeuristic", &error))?.algo;
        Ok(Product { desc, w, x, out, algorithm })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: each was created once; the queue has waited for its stream.
        unsafe {
            for product in self.products.get_mut().values() {
                let _ = result::destroy_matmul_desc(product.desc);
                for layout in [product.w, product.x, product.out] {
                    let _ = result::destroy_matrix_layout(layout);
                }
            }
            let _ = result::destroy_handle(self.handle);
        }
    }
}

fn failed(call: &'static str, error: &result::CublasError) -> CudaError {
    CudaError::Blas { call, status: error.to_string() }
}
