//! What can be wrong with a GPU, its driver and its libraries. Everything in `device/cuda` ends in one of these.

use cudarc::driver::sys::{CUresult, cuGetErrorName};

/// Why the GPU did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// A library that is opened at run time is not there.
    #[error("{library} was not found ({what_for})")]
    Missing {
        /// Its file name.
        library: &'static str,
        /// What needs it.
        what_for: &'static str,
    },
    /// The driver is older than the kernels need.
    #[error("the driver is for CUDA {}.{}, at least {}.{} is needed", found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10)]
    DriverTooOld {
        /// CUDA version as the driver counts it: 13020 is 13.2.
        found: i32,
        /// The least that will do.
        needed: i32,
    },
    /// No device, or none that kernels can be made for.
    #[error("no usable device: {0}")]
    NoDevice(String),
    /// A call into the driver failed.
    #[error("{call} failed: {code}")]
    Call {
        /// Name of the call.
        call: &'static str,
        /// The driver's name for the failure.
        code: String,
    },
    /// The device has no room.
    #[error("the GPU has no room for {bytes} bytes of {purpose}: {free_bytes} are free")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
        /// What it was for.
        purpose: &'static str,
        /// What is left.
        free_bytes: usize,
    },
    /// NVRTC refused a kernel.
    #[error("kernel {kernel} does not compile: {log}")]
    Compile {
        /// Source and constants.
        kernel: String,
        /// The compiler's words.
        log: String,
    },
    /// cuBLASLt refused a product.
    #[error("{call} failed: {status}")]
    Blas {
        /// Name of the call.
        call: &'static str,
        /// The library's name for the failure.
        status: String,
    },
    /// Memory that is bound by a recorded graph cannot move while it is recorded.
    #[error("{0} grew while a graph was recorded")]
    GrewInGraph(&'static str),
}

impl CudaError {
    /// Says in a failed call what it was about.
    pub(super) fn about(self, what: impl FnOnce() -> String) -> Self {
        match self {
            CudaError::Call { call, code } => CudaError::Call { call, code: format!("{code} ({})", what()) },
            other => other,
        }
    }
}

/// Turns the answer of a driver call into a result.
pub(super) fn check(call: &'static str, result: CUresult) -> Result<(), CudaError> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut name = std::ptr::null();
    // SAFETY: the driver was present for the call that failed; it hands out a static string or leaves null.
    let known = unsafe { cuGetErrorName(result, &mut name) } == CUresult::CUDA_SUCCESS && !name.is_null();
    let code = match known {
        // SAFETY: a static, terminated string of the driver.
        true => unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned(),
        false => format!("{result:?}"),
    };
    Err(CudaError::Call { call, code })
}
