//! A GPU's half of a runner: what it computes with goes there. Called while a runner is made.

use device::cuda::{CudaError, Queue};
use kernels::{DeviceSide, DeviceWeights, HostWeight, KeyFitting};
use model::plan::Offload;
use model::{Graph, Weights};

use super::RunnerOptions;

/// Takes memory for activations, and brings the weights of the GPU's layers there that it has not yet; those of a model
/// without a file are made up. What keys are fitted with goes along.
pub(super) fn side(
    graph: &Graph,
    weights: &Weights,
    options: &RunnerOptions,
    offload: &Offload,
    (queue, known): (Queue, DeviceWeights),
    arena_bytes: usize,
) -> Result<DeviceSide, CudaError> {
    let mut side = DeviceSide::new(queue, known, arena_bytes)?;
    let parts = offload.weights(graph, weights);
    let on_host: Vec<HostWeight<'_>> = parts
        .iter()
        .map(|part| HostWeight {
            bytes: part.bytes,
            tiles: part.matrix.and_then(|matrix| Some((offload.tiles(&matrix)?, matrix.columns))),
        })
        .collect();
    match weights.is_hollow() {
        false => side.add_weights(&on_host)?,
        true => parts.iter().zip(&on_host).try_for_each(|(part, on_host)| match part.matrix {
            Some(matrix) => side.make_weights(on_host, matrix.dtype),
            None => side.add_weights(&[*on_host]),
        })?,
    }
    let fittings = options.key_fittings.iter().skip(offload.first_layer as usize).flatten();
    let tables: Vec<HostWeight<'_>> =
        fittings.flat_map(KeyFitting::parts).map(|bytes| HostWeight { bytes, tiles: None }).collect();
    side.add_weights(&tables)?;
    Ok(side)
}
