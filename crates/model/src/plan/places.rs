//! Where values live: in which form each matmul reads its input and its weights, and a slot for every value
//! and every copy of fewer bits, reused once its last reader has run.

use std::collections::BTreeMap;

use device::Hardware;
use kernels::ops::matmul::{self, Input};
use kernels::ops::quantize::Codes;
use kernels::ops::{Matmul, attention, quantize};
use kernels::packed::Form;
use kernels::{Place, Policy, RowSet, Rows, Slot, best_way, choose};

use super::{Offload, PlanOptions};
use crate::arena::Arena;
use crate::graph::{Graph, Node, NodeOp};
use crate::weights::{Matrix, Weights};

/// Slots of values and of their copies.
pub(super) struct Places {
    /// By value.
    pub(super) slots: Vec<Slot>,
    /// By value and what it became, for those that some matmul reads so.
    pub(super) copies: BTreeMap<(usize, Codes), Slot>,
    /// Who is to compute each node.
    pub(super) nodes: Vec<Place>,
    /// Each matmul's problem, by node.
    pub(super) matmuls: Vec<Option<matmul::Desc>>,
    /// Scratch of the attention ops, one after another.
    pub(super) attention_scratch: Slot,
    pub(super) arena_bytes: usize,
}

/// Most nodes that a GPU computes as one kernel, some of whose threads write what the last of them leaves while others
/// still read what the first was given: slots read there stay taken for that long.
const MOST_FUSED: usize = 3;

impl Places {
    pub(super) fn assign(graph: &Graph, weights: &Weights, options: &PlanOptions) -> Self {
        let mut nodes = match &options.offload {
            Some(offload) => offload.places(graph),
            None => vec![Place::Cpu; graph.nodes.len()],
        };
        let places = graph.nodes.iter().zip(&mut nodes);
        let matmuls: Vec<Option<matmul::Desc>> =
            places.map(|(node, place)| matmul_at(node, weights, options, place)).collect();
        let count = |rows| match rows {
            RowSet::Tokens => options.max_rows,
            RowSet::Outputs => options.max_outputs,
        };
        let bytes = |value: usize| count(graph.values[value].rows) * 4 * graph.values[value].width;
        let copy_bytes = |(value, codes): (usize, Codes)| {
            count(graph.values[value].rows) * codes.row_bytes(graph.values[value].width)
        };
        // Last node that reads or changes each value; results outlive the plan.
        let mut last = vec![0; graph.values.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            node.op.inputs().iter().chain(node.op.output().iter()).for_each(|value| last[value.0] = index);
        }
        [graph.logits, graph.hidden].iter().chain(&*options.kept).for_each(|result| last[result.0] = usize::MAX);
        let mut arena = Arena::default();
        let layers = 0..graph.hparams.layers.len() as u32;
        let scratch = |layer| attention::scratch_bytes(&attention_desc(graph, layer, options), options.max_rows);
        let attention_scratch = arena.take(layers.map(scratch).max().unwrap_or(0));
        let mut slots = vec![None; graph.values.len()];
        let mut copies = BTreeMap::new();
        let mut kept: Vec<(usize, usize)> = Vec::new(); // dead values, each until after a node
        for (index, node) in graph.nodes.iter().enumerate() {
            if let (NodeOp::Matmul { x, .. }, Some(desc)) = (&node.op, &matmuls[index])
                && let Some(codes) = desc.input.codes()
            {
                let copy = (x.0, codes);
                copies.entry(copy).or_insert_with(|| arena.take(copy_bytes(copy)));
            }
            if let Some(out) = node.op.output() {
                slots[out.0].get_or_insert_with(|| arena.take(bytes(out.0)));
            }
            let touched = node.op.inputs().into_iter().chain(node.op.output());
            let mut dead: Vec<usize> = touched.map(|value| value.0).filter(|&value| last[value] == index).collect();
            dead.sort_unstable();
            dead.dedup();
            let until = index + if nodes[index] == Place::Cuda { MOST_FUSED - 1 } else { 0 };
            kept.extend(dead.into_iter().map(|value| (until, value)));
            for (_, value) in kept.extract_if(.., |(until, _)| *until <= index) {
                if let Some(slot) = slots[value] {
                    arena.release(slot, bytes(value));
                }
                for (&copy, &slot) in copies.range((value, Codes::Int8)..=(value, Codes::Half)) {
                    arena.release(slot, copy_bytes(copy));
                }
            }
        }
        let slots = slots.into_iter().map(|slot| slot.unwrap_or(Slot(0))).collect();
        Self { slots, copies, nodes, matmuls, attention_scratch, arena_bytes: arena.bytes() }
    }
}

/// The problem of a node, where that is a product. One that the GPU has no kernel for goes to the CPU.
fn matmul_at(node: &Node, weights: &Weights, options: &PlanOptions, place: &mut Place) -> Option<matmul::Desc> {
    let NodeOp::Matmul { weight, bias, .. } = &node.op else { return None };
    let (rows, bias, policy) = (options.rows, bias.is_some(), &options.policy);
    if let Some(offload) = options.offload.as_ref().filter(|_| *place == Place::Cuda) {
        let desc = matmul_desc(weight, &[offload.form(weight)], bias, rows, &offload.hardware, policy);
        if choose::<Matmul>(&desc, &offload.hardware, policy).variant.place() == Place::Cuda {
            return Some(desc);
        }
        *place = Place::Cpu;
    }
    Some(matmul_desc(weight, weights.forms(weight), bias, rows, &options.hardware, policy))
}

/// The description of a product with `weight`, in whatever forms of activations and weights the best kernel takes.
fn matmul_desc(
    weight: &Matrix,
    forms: &[Form],
    bias: bool,
    rows: Rows,
    hardware: &Hardware,
    policy: &Policy,
) -> matmul::Desc {
    let way = |input, form| matmul::Desc {
        weight: weight.dtype,
        form,
        input,
        n: weight.rows,
        k: weight.columns,
        row_bytes: weight.row_bytes,
        bias,
        rows,
    };
    let coded = weight.dtype.is_quantized() && weight.columns.is_multiple_of(quantize::BLOCK);
    let allowed = |input: &Input| input.codes().is_none_or(|codes| coded && policy.allows(codes.exactness()));
    let inputs = [Input::F32, Input::Q8, Input::Half].into_iter().filter(allowed);
    let ways: Vec<_> = inputs.flat_map(|input| forms.iter().map(move |&form| way(input, form))).collect();
    best_way::<Matmul>(&ways, hardware, policy).unwrap_or_else(|| way(Input::F32, Form::Rows))
}

/// The matrices for which some kernel is better on a packed copy than any on the file's rows, whatever the
/// number of rows of a step: one form serves all plans. And floats, where a copy lies in larger pages than the file.
pub(super) fn worth_repacking(
    graph: &Graph,
    hardware: &Hardware,
    policy: &Policy,
    offload: Option<&Offload>,
) -> Vec<Matrix> {
    let places = offload.map_or_else(|| vec![Place::Cpu; graph.nodes.len()], |offload| offload.places(graph));
    let better = |weight: &Matrix| {
        let forms = [Form::Rows, Form::Packed];
        let form = |rows| matmul_desc(weight, &forms, false, rows, hardware, policy).form;
        weight.packing().is_some() && Rows::ALL.into_iter().all(|rows| form(rows) == Form::Packed)
    };
    let weights = graph.nodes.iter().zip(places).filter_map(|(node, place)| match &node.op {
        NodeOp::Matmul { weight, .. } if place == Place::Cpu => Some(*weight),
        _ => None,
    });
    let copied = |weight: &Matrix| hardware.huge_pages && !weight.dtype.is_quantized();
    let weights: Vec<Matrix> = weights.filter(|weight| copied(weight) || better(weight)).collect();
    // Pages of the file can be dropped and read again, those of a copy cannot: what would fill the machine stays mapped.
    let bytes: usize = weights.iter().map(Matrix::bytes).sum();
    let fits = hardware.memory_bytes == 0 || bytes as u64 <= hardware.memory_bytes / 4 * 3;
    if fits { weights } else { Vec::new() }
}

/// The description of a layer's attention.
pub(super) fn attention_desc(graph: &Graph, layer: u32, options: &PlanOptions) -> attention::Desc {
    let numbers = &graph.hparams.layers[layer as usize];
    let (group, place) = graph.group_of(layer);
    attention::Desc {
        layout: options.kv_layout(graph, group),
        group,
        layer: place,
        num_heads: numbers.num_heads,
        scale: numbers.query_scale,
        softcap: numbers.softcap,
        window: numbers.window,
        rows: options.rows,
    }
}
