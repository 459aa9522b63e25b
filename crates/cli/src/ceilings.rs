//! What this machine can do at most, measured once by `devices --measure` and kept in the cache directory for
//! `bench --ops` and `run --verbose`.

use std::path::PathBuf;

use anyhow::Context;
use device::cuda::GpuCeilings;
use device::{Ceilings, Hardware};
use serde::{Deserialize, Serialize};

use crate::source;

/// The file, `CACHE/ceilings.json`. Figures of another machine, or made by another version, do not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    version: String,
    cpu: String,
    threads: usize,
    read_gbps: f64,
    int8_gops: f64,
    f32_gflops: f64,
}

/// The ceilings of this machine; `None` before `devices --measure`.
pub fn stored(hardware: &Hardware) -> Option<Ceilings> {
    let text = std::fs::read_to_string(path(FILE).ok()?).ok()?;
    serde_json::from_str::<Stored>(&text).ok()?.of(hardware)
}

/// The ceilings of a GPU, `CACHE/gpu-ceilings.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredGpu {
    version: String,
    gpu: String,
    read_gbps: f64,
    f16_gflops: f64,
}

/// What the GPU of this name reaches; `None` before `devices --measure`. Its kernels multiply on matrix units, whatever
/// the numbers are, so there is one figure for all arithmetic.
pub fn of_gpu(name: &str) -> Option<Ceilings> {
    let text = std::fs::read_to_string(path(GPU_FILE).ok()?).ok()?;
    let stored: StoredGpu = serde_json::from_str(&text).ok()?;
    let known = stored.version == env!("CARGO_PKG_VERSION") && stored.gpu == name;
    let StoredGpu { read_gbps, f16_gflops, .. } = stored;
    known.then_some(Ceilings { read_gbps, int8_gops: f16_gflops, f32_gflops: f16_gflops })
}

/// Keeps a GPU's ceilings.
pub fn store_gpu(name: &str, measured: &GpuCeilings) -> anyhow::Result<()> {
    let (version, gpu) = (env!("CARGO_PKG_VERSION").to_owned(), name.to_owned());
    let &GpuCeilings { read_gbps, f16_gflops } = measured;
    write(GPU_FILE, &StoredGpu { version, gpu, read_gbps, f16_gflops }).map(|_| ())
}

/// Keeps the ceilings.
pub fn store(hardware: &Hardware, threads: usize, ceilings: &Ceilings) -> anyhow::Result<PathBuf> {
    write(FILE, &Stored::new(hardware, threads, ceilings))
}

/// The file is complete or not there, whatever happens meanwhile.
fn write(name: &str, figures: &impl Serialize) -> anyhow::Result<PathBuf> {
    let path = path(name)?;
    let text = serde_json::to_string_pretty(figures)?;
    let partial = path.with_extension(format!("json.{}.partial", std::process::id()));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        std::fs::write(&partial, text + "\n")?;
        std::fs::rename(&partial, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

const FILE: &str = "ceilings.json";
const GPU_FILE: &str = "gpu-ceilings.json";

fn path(name: &str) -> anyhow::Result<PathBuf> {
    let root = source::cache_root().context("no place for a cache: set HOME, or CHASKI_CACHE to a directory")?;
    Ok(root.join(name))
}

impl Stored {
    fn new(hardware: &Hardware, threads: usize, ceilings: &Ceilings) -> Stored {
        Stored {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpu: hardware.cpu_name.clone(),
            threads,
            read_gbps: ceilings.read_gbps,
            int8_gops: ceilings.int8_gops,
            f32_gflops: ceilings.f32_gflops,
        }
    }

    /// The figures, if they are of this machine and version and make sense.
    fn of(&self, hardware: &Hardware) -> Option<Ceilings> {
        let known = self.version == env!("CARGO_PKG_VERSION") && self.cpu == hardware.cpu_name;
        let figures = [self.read_gbps, self.int8_gops, self.f32_gflops];
        let sound = figures.iter().all(|figure| figure.is_finite() && *figure > 0.0);
        (known && sound).then_some(Ceilings {
            read_gbps: self.read_gbps,
            int8_gops: self.int8_gops,
            f32_gflops: self.f32_gflops,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_figures_of_this_machine_and_version_count() {
        let hardware = Hardware::probe();
        let ceilings = Ceilings { read_gbps: 20.0, int8_gops: 500.0, f32_gflops: 200.0 };
        let stored = Stored::new(&hardware, 2, &ceilings);
        assert_eq!(stored.of(&hardware), Some(ceilings));
        assert_eq!(Stored { cpu: "another".into(), ..stored.clone() }.of(&hardware), None);
        assert_eq!(Stored { version: "0.0.0".into(), ..stored.clone() }.of(&hardware), None);
        assert_eq!(Stored { read_gbps: 0.0, ..stored }.of(&hardware), None);
    }
}
