//! The GPU that `-ngl` asks for, or why there is none. Where its libraries are looked for and where compiled kernels are
//! kept is decided here, for nothing below reads the environment.

use std::path::{Path, PathBuf};

use chaski::{Gpu, GpuLayers};
use device::cuda::{Jit, KernelCache, Libraries, Queue};

use crate::log::Log;
use crate::settings::{GpuAsked, Load};
use crate::source;

/// The GPU, if it was asked for and is there; a line says so where it was asked for in vain.
pub fn find(load: &Load, log: &mut Log) -> Option<Gpu> {
    if load.no_gpu || load.gpu_layers == GpuLayers::Count(0) || load.gpu_asked == GpuAsked::No {
        return None;
    }
    match Gpu::find(&folders(), kernel_cache().as_deref()) {
        Ok(gpu) => Some(gpu),
        Err(missing) => {
            let ignored = if load.gpu_asked == GpuAsked::Flag { ", -ngl is ignored" } else { "" };
            log.warning(format_args!("no usable GPU found{ignored}: {missing}"));
            None
        }
    }
}

/// The first GPU's name and a queue for it, to measure it.
pub fn queue() -> Option<(String, Queue)> {
    let libraries = libraries();
    let gpu = device::cuda::Gpu::open(&libraries, 0).ok()?;
    let jit = Jit::new(&libraries, gpu.info().arch, kernel_cache().map(|folder| KernelCache::new(&folder)));
    Some((gpu.info().name.clone(), Queue::new(&gpu, &libraries, jit).ok()?))
}

/// What there is of driver, compiler and library.
pub fn libraries() -> Libraries {
    Libraries::open(&folders())
}

/// Folders with NVIDIA's libraries besides the usual ones: those in `$CHASKI_CUDA_PATH`, and the Python packages of the
/// active virtual environment.
fn folders() -> Vec<PathBuf> {
    let listed = std::env::var_os("CHASKI_CUDA_PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if let Some(environment) = std::env::var_os("VIRTUAL_ENV") {
        let versions = std::fs::read_dir(Path::new(&environment).join("lib")).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("site-packages")));
    }
    folders
}

/// Where compiled kernels are kept.
fn kernel_cache() -> Option<PathBuf> {
    source::cache_root().map(|root| root.join("kernels"))
}
