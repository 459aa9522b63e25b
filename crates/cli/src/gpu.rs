//! The GPU that a model goes to, or why there is none. Where its libraries are looked for and where compiled kernels are
//! kept is decided here, for nothing below reads the environment.

use std::path::{Path, PathBuf};

use chaski::{Gpu, GpuLayers};
use device::cuda::{Jit, KernelCache, Libraries, Queue};
use engine::technique::{Mode, Switch};

use crate::log::Log;
use crate::settings::{GpuAsked, Load, Plan};
use crate::source;

/// The GPU, if it is there and nothing speaks against it; a line says so where it was asked for in vain.
pub fn find(load: &Load, log: &mut Log) -> Option<Gpu> {
    let unasked = load.gpu_asked == GpuAsked::No;
    if load.no_gpu || load.gpu_layers == GpuLayers::Count(0) || (unasked && !suits(load)) {
        return None;
    }
    match Gpu::find(&folders(), kernel_cache().as_deref()) {
        Ok(gpu) => Some(gpu),
        Err(missing) => {
            match load.gpu_asked {
                GpuAsked::No => log.trace(format_args!("no GPU is used: {missing}")),
                GpuAsked::Flag => log.warning(format_args!("no usable GPU found, -ngl is ignored: {missing}")),
                GpuAsked::Command => log.warning(format_args!("no usable GPU found: {missing}")),
            }
            None
        }
    }
}

/// Whether a GPU that nobody asked for is taken: not where something was asked for that the CPU alone has, or has better.
fn suits(load: &Load) -> bool {
    let catalogue = chaski::Options::default().catalogue;
    let of_cpu = |switch: &Switch| {
        let mut named = catalogue.iter().filter(|technique| [technique.id, Switch::ALL].contains(&&switch.id[..]));
        switch.mode == Mode::On && named.any(|technique| technique.is_of_cpu())
    };
    let asked_of_cpu = load.isa.is_some() || load.techniques.iter().any(of_cpu) || !load.inject.is_empty();
    load.plan == Plan::Baseline && !load.batch_invariant && !asked_of_cpu
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

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::KvType;

    #[test]
    fn a_gpu_is_taken_unless_the_cpu_alone_was_asked_for() {
        let with = |id: &str, mode| Load {
            techniques: vec![Switch { id: id.to_owned(), mode, knobs: Vec::new() }],
            ..Load::default()
        };
        let codes = Load { kv_type_k: Some(KvType::Q4), kv_type_v: Some(KvType::Q4), ..Load::default() };
        for load in [Load::default(), codes, with("marlin", Mode::On), with("sage_attention", Mode::Off)] {
            assert!(suits(&load), "{load:?}");
        }
        let invariant = Load { batch_invariant: true, ..Load::default() };
        for load in [with("sage_attention", Mode::On), with(Switch::ALL, Mode::On), invariant] {
            assert!(!suits(&load), "{load:?}");
        }
    }
}
