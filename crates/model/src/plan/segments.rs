//! What the GPU computes of a model, and the steps of a plan in runs of one place, with what each run must be brought
//! from the other side.

use std::collections::BTreeMap;

use kernels::packed::Form;
use kernels::tiles::{TILE, Tiling};
use kernels::{Place, Segment, Transfer};

use crate::graph::{Graph, Node, NodeOp};
use crate::weights::{Matrix, Vector, Weights};

/// Which part of a model the GPU computes.
#[derive(Clone, Debug)]
pub struct Offload {
    /// The GPU, described as a machine.
    pub hardware: device::Hardware,
    /// First of the layers that are its; those after are too.
    pub first_layer: u32,
    /// Whether the logits are too.
    pub output: bool,
    /// How its weights are laid out: in tiles, or in the rows of the file; what has no tiles stays in rows.
    pub form: Form,
}

/// Bytes of the file or of the graph that some step reads.
#[derive(Clone, Copy, Debug)]
pub struct WeightPart<'a> {
    /// The bytes, whose address names them in plans.
    pub bytes: &'a [u8],
    /// The matrix they are; `None` for a vector of f32.
    pub matrix: Option<Matrix>,
}

impl Offload {
    /// Who computes each node of `graph`: those before the first layer belong to it, those after the last to the
    /// logits.
    pub(super) fn places(&self, graph: &Graph) -> Vec<Place> {
        let on = |gpu: bool| if gpu { Place::Cuda } else { Place::Cpu };
        let mut place = on(self.first_layer == 0);
        let of_node = |node: &Node| {
            match layer_of(&node.name) {
                Some(layer) => place = on(layer >= self.first_layer),
                None if node.name.starts_with("output_norm") => place = on(self.output),
                None => {}
            }
            place
        };
        graph.nodes.iter().map(of_node).collect()
    }

    /// How a matrix that it reads is laid out.
    pub(super) fn form(&self, matrix: &Matrix) -> Form {
        if self.tiles(matrix).is_some() { Form::Tiles } else { Form::Rows }
    }

    /// The tiles that a matrix becomes, if any; one of fewer rows than a tile has would only be padding.
    pub fn tiles(&self, matrix: &Matrix) -> Option<Tiling> {
        let tiling = Tiling::of(matrix.dtype).filter(|tiling| tiling.fits(matrix.columns) && matrix.rows >= TILE)?;
        (self.form == Form::Tiles).then_some(tiling)
    }

    /// The weights that its nodes read, as they lie in the file or in the graph; some may come twice.
    pub fn weights<'a>(&self, graph: &'a Graph, weights: &'a Weights) -> Vec<WeightPart<'a>> {
        let places = self.places(graph);
        let on_gpu = graph.nodes.iter().zip(places).filter(|(_, place)| *place == Place::Cuda);
        on_gpu.flat_map(|(node, _)| weights_of(node, weights)).collect()
    }

    /// Bytes of weights that each layer reads, by what comes before the first layer, the layers, and what comes after.
    pub fn weight_bytes(graph: &Graph, weights: &Weights) -> Vec<usize> {
        let num_layers = graph.hparams.layers.len();
        let mut bytes = vec![0; num_layers + 2];
        let (mut at, mut known) = (0, std::collections::BTreeSet::new());
        for node in &graph.nodes {
            match layer_of(&node.name) {
                Some(layer) => at = layer as usize + 1,
                None if node.name.starts_with("output_norm") => at = num_layers + 1,
                None => {}
            }
            let new = weights_of(node, weights).into_iter().filter(|part| known.insert(part.bytes.as_ptr() as usize));
            bytes[at] += new.map(|part| part.bytes.len()).sum::<usize>();
        }
        bytes
    }
}

/// The weights that a node reads.
fn weights_of<'a>(node: &'a Node, weights: &'a Weights) -> Vec<WeightPart<'a>> {
    let floats = |vector: &'a Vector| WeightPart { bytes: bytemuck::cast_slice::<f32, u8>(vector), matrix: None };
    let blocks = |matrix: &Matrix| WeightPart { bytes: weights.matrix_bytes(matrix), matrix: Some(*matrix) };
    match &node.op {
        NodeOp::Embed { table, .. } => vec![blocks(table)],
        NodeOp::RopeTable { inv_freq, .. } => vec![floats(inv_freq)],
        NodeOp::Norm { weight, .. } => vec![floats(weight)],
        NodeOp::Matmul { weight, bias, .. } => {
            std::iter::once(blocks(weight)).chain(bias.as_ref().map(floats)).collect()
        }
        _ => Vec::new(),
    }
}

/// The layer in a name like `blk.3.attn_q`.
pub(super) fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// What a step reads and writes in the arena, besides what is its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Touches {
    pub(super) reads: Vec<Transfer>,
    pub(super) writes: Vec<Transfer>,
}

/// Cuts the steps into runs and finds what each needs copied. Empty when the CPU computes all; `results` are what
/// the host reads in the end. Returns also which of these the GPU has.
pub(super) fn segments(steps: &[(Place, Touches)], results: &[Transfer]) -> (Vec<Segment>, Vec<Transfer>) {
    if steps.iter().all(|(place, _)| *place == Place::Cpu) {
        return (Vec::new(), Vec::new());
    }
    let mut segments: Vec<Segment> = Vec::new();
    // Who has the current contents of a slot.
    let mut holders: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
    for (index, (place, touches)) in steps.iter().enumerate() {
        if segments.last().is_none_or(|last| last.place != *place) {
            segments.push(Segment { place: *place, steps: index..index, inputs: Vec::new() });
        }
        let Some(segment) = segments.last_mut() else { continue };
        segment.steps.end = index + 1;
        for read in &touches.reads {
            let holders = holders.entry(read.slot.0).or_default();
            if !holders.is_empty() && !holders.contains(place) {
                segment.inputs.push(*read);
                holders.push(*place);
            }
        }
        for write in &touches.writes {
            holders.insert(write.slot.0, vec![*place]);
        }
    }
    let on_gpu = |result: &&Transfer| holders.get(&result.slot.0).is_some_and(|holders| !holders.contains(&Place::Cpu));
    (segments, results.iter().filter(on_gpu).copied().collect())
}

/// Values that a node reads and the one it writes, as the arena holds them.
pub(super) fn touches(graph: &Graph, op: &NodeOp, slots: &[kernels::Slot]) -> Touches {
    let value = |id: &crate::graph::ValueId| {
        let value = &graph.values[id.0];
        Transfer { slot: slots[id.0], row_bytes: 4 * value.width, rows: value.rows }
    };
    Touches { reads: op.inputs().iter().map(value).collect(), writes: op.output().iter().map(value).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{RowSet, Slot};

    fn value(at: usize) -> Transfer {
        Transfer { slot: Slot(64 * at), row_bytes: 4, rows: RowSet::Tokens }
    }

    fn step(place: Place, reads: &[usize], writes: &[usize]) -> (Place, Touches) {
        let all = |places: &[usize]| places.iter().map(|&at| value(at)).collect();
        (place, Touches { reads: all(reads), writes: all(writes) })
    }

    #[test]
    fn what_the_other_side_wrote_is_copied_once_and_again_after_a_change() {
        use Place::{Cpu, Cuda};
        let steps = [
            step(Cpu, &[], &[0]),
            step(Cpu, &[], &[1]),
            step(Cuda, &[0], &[2]),
            step(Cuda, &[0, 1, 2], &[2]),
            step(Cpu, &[2], &[2]),
            step(Cuda, &[2, 1], &[3]),
        ];
        let (segments, results) = segments(&steps, &[value(3), value(0)]);
        let found: Vec<_> = segments.iter().map(|s| (s.place, s.steps.clone(), s.inputs.clone())).collect();
        let expected = [
            (Cpu, 0..2, vec![]),
            (Cuda, 2..4, vec![value(0), value(1)]),
            (Cpu, 4..5, vec![value(2)]),
            (Cuda, 5..6, vec![value(2)]),
        ];
        assert_eq!(found, expected);
        assert_eq!(results, [value(3)]);
    }

    #[test]
    fn a_plan_for_the_cpu_has_no_segments() {
        let (found, results) = segments(&[step(Place::Cpu, &[], &[0])], &[value(0)]);
        assert!(found.is_empty() && results.is_empty());
    }
}
