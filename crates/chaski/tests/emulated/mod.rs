//! A GPU that is emulated: kernels for CUDA run as C++ on the CPU (`kernels/examples/cuda`), with memory of their own.
//! For all tests that open models on one.

#[path = "../../../kernels/examples/cuda/emulator.rs"]
mod emulator;

use std::path::{Path, PathBuf};
use std::process::Command;

use chaski::Gpu;
use device::cuda::{Arch, Jit, Libraries, Queue, StandIn};
pub use emulator::Emulator;

/// A tiny model.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// Whether kernels can be run at all. Says so when not.
pub fn has_compiler() -> bool {
    let found = Command::new("c++").arg("--version").output().is_ok();
    if !found {
        println!("skipped: no C++ compiler");
    }
    found
}

/// What runs the kernels.
pub fn emulator() -> Emulator {
    Emulator::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated-kernels"))
}

/// The queue of a GPU of compute capability `major`.0 of which `stand_in` plays the device.
pub fn queue(major: u32, stand_in: impl StandIn + 'static) -> Queue {
    let jit = Jit::new(&Libraries::open(&[]), Arch { major, minor: 0 }, None);
    Queue::emulated(jit, Box::new(stand_in))
}

/// A GPU of compute capability 8.0 of which `stand_in` plays the device.
pub fn gpu(stand_in: impl StandIn + 'static) -> Gpu {
    Gpu::of(queue(8, stand_in))
}
