//! Opens the driver, NVRTC and cuBLASLt at run time. That one is missing is a value, not a failure: what needs it
//! says so, and the CPU serves.
//!
//! The driver comes with the system. NVRTC and cuBLASLt come with a toolkit or with Python wheels, in folders the
//! loader does not know; a library opened once under its full name is found again by its short one.

use std::path::{Path, PathBuf};

use cudarc::{cublaslt, driver, nvrtc};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::error::{CudaError, check};

/// Least driver that the calls made here exist in: CUDA 12.0.
const LEAST_DRIVER: i32 = 12_000;

/// Which of the libraries there are.
#[derive(Clone, Debug)]
pub struct Libraries {
    /// Version of CUDA that the driver is for, as 13020 for 13.2.
    pub driver: Result<i32, CudaError>,
    /// Version of the run-time compiler.
    pub nvrtc: Result<(i32, i32), CudaError>,
    /// The library of matrix products.
    pub cublaslt: Result<(), CudaError>,
}

impl Libraries {
    /// Looks for the libraries where the system's loader looks, in `folders`, and where toolkits and Python
    /// wheels put them.
    pub fn open(folders: &[PathBuf]) -> Self {
        let places = places(folders);
        Self { driver: open_driver(), nvrtc: open_nvrtc(&places), cublaslt: open_cublaslt(&places) }
    }
}

fn open_driver() -> Result<i32, CudaError> {
    let missing = CudaError::Missing { library: "libcuda.so.1", what_for: "the NVIDIA driver: everything on the GPU" };
    // SAFETY: opens the driver's library, whose start-up code is trusted as the driver is.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err(missing);
    }
    let mut version = 0;
    // SAFETY: the library is present.
    check("cuDriverGetVersion", unsafe { driver::sys::cuDriverGetVersion(&mut version) })?;
    if version < LEAST_DRIVER {
        return Err(CudaError::DriverTooOld { found: version, needed: LEAST_DRIVER });
    }
    // SAFETY: as above.
    check("cuInit", unsafe { driver::sys::cuInit(0) })?;
    Ok(version)
}

fn open_nvrtc(places: &[PathBuf]) -> Result<(i32, i32), CudaError> {
    // SAFETY: opens NVIDIA's library, whose start-up code is trusted.
    let present = || unsafe { nvrtc::sys::is_culib_present() };
    if !present() {
        // It opens this one by its short name, with the version in it.
        preload("libnvrtc-builtins.so", places);
        preload("libnvrtc.so", places);
    }
    if !present() {
        return Err(CudaError::Missing { library: "libnvrtc.so.13", what_for: "the compiler of kernels" });
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is present.
    let result = unsafe { nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
    let failed = CudaError::Call { call: "nvrtcVersion", code: format!("{result:?}") };
    if result == nvrtc::sys::nvrtcResult::NVRTC_SUCCESS { Ok((major, minor)) } else { Err(failed) }
}

fn open_cublaslt(places: &[PathBuf]) -> Result<(), CudaError> {
    // SAFETY: opens NVIDIA's library, whose start-up code is trusted.
    let present = || unsafe { cublaslt::sys::is_culib_present() };
    if !present() {
        preload("libcublasLt.so", places);
    }
    let missing = CudaError::Missing { library: "libcublasLt.so.13", what_for: "fast products with many rows" };
    if present() { Ok(()) } else { Err(missing) }
}

/// Opens the first file that is called `stem.NUMBER`, for good: its short name is known to the loader from then on.
fn preload(stem: &str, places: &[PathBuf]) {
    for place in places {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| is_version_of(path, stem));
        files.sort();
        for file in files {
            // SAFETY: the name is that of NVIDIA's library in a folder where it belongs.
            if let Ok(library) = unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) } {
                std::mem::forget(library);
                return;
            }
        }
    }
}

/// `libnvrtc.so.13` of `libnvrtc.so`, not `libnvrtc.alt.so.13`, nor one for another major version.
fn is_version_of(path: &Path, stem: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let version = name.strip_prefix(stem).unwrap_or_default();
    [".13", ".12"].iter().any(|major| version.strip_prefix(major).is_some_and(|rest| rest.len() <= 2))
}

/// Folders to look in: those given, toolkits, wheels of the system's Python versions.
fn places(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut places = folders.to_vec();
    for root in folders {
        places.extend(below(root, "lib"));
        places.extend(wheels(root));
    }
    places.extend(["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"].map(PathBuf::from));
    for root in children(Path::new("/usr/local")).into_iter().filter(|path| has_prefix(path, "cuda")) {
        places.push(root.join("lib64"));
    }
    for prefix in ["/usr/local/lib", "/usr/lib"] {
        for python in children(Path::new(prefix)).into_iter().filter(|path| has_prefix(path, "python3")) {
            places.extend(["site-packages", "dist-packages"].iter().flat_map(|site| wheels(&python.join(site))));
        }
    }
    places
}

/// `nvidia/*/lib` of a folder of Python packages.
fn wheels(site: &Path) -> Vec<PathBuf> {
    children(&site.join("nvidia")).into_iter().map(|package| package.join("lib")).collect()
}

fn below(root: &Path, name: &str) -> Option<PathBuf> {
    Some(root.join(name)).filter(|path| path.is_dir())
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

fn has_prefix(path: &Path, prefix: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_library_itself_is_opened() {
        let is = |name: &str| is_version_of(&Path::new("lib").join(name), "libnvrtc.so");
        assert!(is("libnvrtc.so.13") && is("libnvrtc.so.12"));
        assert!(is_version_of(Path::new("libnvrtc-builtins.so.13.0"), "libnvrtc-builtins.so"));
        assert!(!is("libnvrtc.alt.so.13") && !is("libnvrtc-builtins.so.13.0") && !is("libnvrtc.so"));
    }
}
