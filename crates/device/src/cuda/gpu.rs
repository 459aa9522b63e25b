//! A device with its context. The context is shared by all that lives on the device and made current on whatever
//! thread works with it.

use std::ffi::c_int;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUcontext, CUdevice_attribute_enum as Attribute};

use super::error::{CudaError, check};
use super::libraries::Libraries;

/// Oldest architecture that kernels are written for: 8.0, Ampere.
const LEAST_ARCH: Arch = Arch { major: 8, minor: 0 };

/// Compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arch {
    /// Generation.
    pub major: u32,
    /// Member of the generation.
    pub minor: u32,
}

impl Arch {
    /// What the compiler calls it: `sm_90a` where there are instructions of that chip alone.
    pub fn target(self) -> String {
        let own = if self.major == 9 { "a" } else { "" };
        format!("sm_{}{}{own}", self.major, self.minor)
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub arch: Arch,
    /// Bytes of its memory.
    pub memory_bytes: usize,
    /// Multiprocessors.
    pub num_sms: u32,
    /// Bytes of its second cache.
    pub l2_bytes: usize,
}

/// A device that is in use.
#[derive(Debug)]
pub struct Gpu {
    info: GpuInfo,
    device: c_int,
    context: CUcontext,
}

// SAFETY: a context may be current on any number of threads; the driver locks what needs it.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// What devices there are.
    ///
    /// # Errors
    /// When there is no driver.
    pub fn list(libraries: &Libraries) -> Result<Vec<GpuInfo>, CudaError> {
        libraries.driver.clone()?;
        let mut count = 0;
        // SAFETY: the driver is present and initialised.
        check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
        (0..count).map(|ordinal| info(ordinal).map(|(_, info)| info)).collect()
    }

    /// Takes device `ordinal` into use.
    ///
    /// # Errors
    /// When there is no driver, no such device, or one that is too old.
    pub fn open(libraries: &Libraries, ordinal: usize) -> Result<Arc<Self>, CudaError> {
        let devices = Gpu::list(libraries)?;
        if ordinal >= devices.len() {
            return Err(CudaError::NoDevice(format!("there are {}, number {ordinal} was asked for", devices.len())));
        }
        let (device, info) = info(ordinal as c_int)?;
        if info.arch < LEAST_ARCH {
            return Err(CudaError::NoDevice(format!(
                "{} has compute capability {}, at least {LEAST_ARCH} is needed",
                info.name, info.arch
            )));
        }
        let mut context = std::ptr::null_mut();
        // SAFETY: the device exists; the context is released when this is dropped.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) })?;
        Ok(Arc::new(Self { info, device, context }))
    }

    /// What is known of it.
    pub fn info(&self) -> &GpuInfo {
        &self.info
    }

    /// Bytes of its memory that are free.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn free_bytes(&self) -> Result<usize, CudaError> {
        self.make_current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: a context is current.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok(free)
    }

    /// Makes the calls of this thread go to this device.
    pub(super) fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context lives as long as this.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.context) })
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`; memory, streams and modules hold the `Arc` and are gone.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

fn info(ordinal: c_int) -> Result<(c_int, GpuInfo), CudaError> {
    let (mut device, mut memory_bytes, mut name) = (0, 0, [0; 128]);
    // SAFETY: the driver is initialised; every place has the size that is told.
    unsafe {
        check("cuDeviceGet", sys::cuDeviceGet(&mut device, ordinal))?;
        check("cuDeviceTotalMem", sys::cuDeviceTotalMem_v2(&mut memory_bytes, device))?;
        check("cuDeviceGetName", sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device))?;
    }
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: the device exists.
        check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) })?;
        Ok(value.max(0) as u32)
    };
    let name: Vec<u8> = name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    let arch = Arch {
        major: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        minor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    };
    let info = GpuInfo {
        name: String::from_utf8_lossy(&name).into_owned(),
        arch,
        memory_bytes,
        num_sms: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
    };
    Ok((device, info))
}
