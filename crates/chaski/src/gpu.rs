//! A GPU for a model: found as a value, and given as many layers as it was asked to take and has room for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use device::cuda::{CudaError, Jit, KernelCache, Libraries, Queue};
use device::{Feature, Hardware};
use engine::cache::{CacheLimits, KvGroup};
use kernels::packed::Form;
use model::plan::Offload;
use model::{Graph, Weights};

use crate::{Error, Options};

/// What kernels pass on among themselves, and what cuBLASLt works in.
const SCRATCH_BYTES: usize = 256 << 20;

/// How many layers a GPU is to take, counted as llama.cpp does: the last ones of the model, and the output as one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuLayers {
    /// So many, all where that is more than there are; 0 for none.
    Count(u32),
    /// As many as there is room for.
    Fit,
}

/// A GPU that is ready for a model.
pub struct Gpu {
    queue: Queue,
    hardware: Hardware,
}

impl Gpu {
    /// Takes the first GPU into use. Its libraries are looked for in `folders` too, and compiled kernels are kept in
    /// `kernel_cache`.
    ///
    /// # Errors
    /// What is missing.
    pub fn find(folders: &[PathBuf], kernel_cache: Option<&Path>) -> Result<Self, CudaError> {
        Self::with(&Libraries::open(folders), kernel_cache)
    }

    /// The same with libraries that are open.
    ///
    /// # Errors
    /// What is missing.
    pub fn with(libraries: &Libraries, kernel_cache: Option<&Path>) -> Result<Self, CudaError> {
        libraries.driver.clone()?;
        libraries.nvrtc.clone()?;
        let gpu = device::cuda::Gpu::open(libraries, 0)?;
        let jit = Jit::new(libraries, gpu.info().arch, kernel_cache.map(KernelCache::new));
        Queue::new(&gpu, libraries, jit).map(Self::of)
    }

    /// Described as a machine.
    pub(crate) fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// One that works through this queue.
    pub fn of(queue: Queue) -> Self {
        let mut features = vec![Feature::Cuda];
        features.extend(queue.blas().is_ok().then_some(Feature::CublasLt));
        features.extend(queue.has_wgmma().then_some(Feature::Wgmma));
        let (name, memory) = queue
            .gpu()
            .map_or_else(|| ("no GPU".to_owned(), 0), |gpu| (gpu.info().name.clone(), gpu.info().memory_bytes));
        let (num_cores, memory_bytes) = (queue.num_sms() as usize, memory as u64);
        let hardware =
            Hardware { cpu_name: name, num_threads: 1, num_cores, memory_bytes, huge_pages: false, features };
        Self { queue, hardware }
    }

    /// Decides which layers it takes, before anything is loaded. Returns itself with what it takes; nothing where
    /// there is nothing to take.
    pub(crate) fn take(
        self,
        options: &Options,
        graph: &Graph,
        weights: &Weights,
        groups: &[KvGroup],
        limits: &CacheLimits,
        form: Form,
    ) -> Result<Option<(Queue, Offload)>, Error> {
        let mut layer_bytes = Offload::weight_bytes(graph, weights);
        for group in groups {
            let each = group.num_bytes(limits) as usize / group.layers.len().max(1);
            group.layers.iter().for_each(|&layer| layer_bytes[layer as usize + 1] += each);
        }
        let free_bytes = self.queue.free_bytes().map_err(device::Error::from).map_err(Error::Gpu)?;
        let working_bytes = SCRATCH_BYTES + limits.step_tokens as usize * row_bytes(graph);
        let count = choose(options.gpu_layers, &layer_bytes, working_bytes, free_bytes)?;
        let num_layers = graph.hparams.layers.len() as u32;
        let first_layer = (num_layers + 1).saturating_sub(count);
        let offload = Offload { hardware: self.hardware, first_layer, output: true, form };
        Ok((count > 0).then_some((self.queue, offload)))
    }
}

/// Bytes of activations per row, a little more than the arena has.
fn row_bytes(graph: &Graph) -> usize {
    let widest = graph.values.iter().map(|value| value.width).filter(|&width| width != graph.vocab_size).max();
    4 * (graph.vocab_size + 8 * widest.unwrap_or(0))
}

/// How many layers, output included, the GPU takes. `layer_bytes` begins with what stands before the layers and ends
/// with the output.
fn choose(asked: GpuLayers, layer_bytes: &[usize], working_bytes: usize, free_bytes: usize) -> Result<u32, Error> {
    let all = layer_bytes.len() as u32 - 1;
    let needed = |count: u32| {
        let first = if count == all { 0 } else { layer_bytes.len() - count as usize };
        let parts: usize = layer_bytes[first..].iter().sum();
        if count == 0 { 0 } else { parts.saturating_add(working_bytes) }
    };
    let fits = (0..=all).rev().find(|&count| needed(count) <= free_bytes).unwrap_or(0);
    match asked {
        GpuLayers::Fit => Ok(fits),
        GpuLayers::Count(count) if count.min(all) <= fits => Ok(count.min(all)),
        GpuLayers::Count(count) => {
            let count = count.min(all);
            Err(Error::GpuMemory { asked: count, all, needed_bytes: needed(count), free_bytes, fits })
        }
    }
}

/// Shared ownership of a graph whose layers are divided.
pub(crate) fn divide(mut graph: Graph, offload: Option<&Offload>) -> Arc<Graph> {
    if let Some(offload) = offload {
        graph.offload(offload.first_layer);
    }
    Arc::new(graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Embedding 100, three layers of 10, output 50.
    const LAYERS: [usize; 5] = [100, 10, 10, 10, 50];

    fn chosen(asked: GpuLayers, free_bytes: usize) -> Result<u32, String> {
        choose(asked, &LAYERS, 5, free_bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn what_fits_is_taken() {
        use GpuLayers::{Count, Fit};
        for (free, count) in [(0, 0), (54, 0), (55, 1), (65, 2), (75, 3), (184, 3), (185, 4), (usize::MAX, 4)] {
            assert_eq!(chosen(Fit, free), Ok(count), "{free}");
        }
        assert_eq!(chosen(Count(99), 185), Ok(4));
        assert_eq!(chosen(Count(0), 0), Ok(0));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let refused = chosen(GpuLayers::Count(99), 70).unwrap_err();
        assert!(refused.contains("185") && refused.contains("70") && refused.contains("-ngl 2"), "{refused}");
    }
}
