//! Where values live: which matmuls read int8 copies of their inputs, and a slot for every value and
//! every copy, reused once its last reader has run.

use std::collections::BTreeMap;

use kernels::ops::matmul::{self, Input};
use kernels::ops::{Matmul, attention, quantize};
use kernels::{RowSet, Slot, beats_reference};

use super::PlanOptions;
use crate::arena::Arena;
use crate::graph::{Graph, NodeOp};
use crate::weights::Matrix;

/// Slots of values and of int8 copies.
pub(super) struct Places {
    /// By value.
    pub(super) slots: Vec<Slot>,
    /// By value, for those that some matmul reads as int8.
    pub(super) copies: BTreeMap<usize, Slot>,
    /// Form of each matmul's input, by node.
    pub(super) inputs: Vec<Option<Input>>,
    /// Scratch of the attention ops, one after another.
    pub(super) attention_scratch: Slot,
    pub(super) arena_bytes: usize,
}

impl Places {
    pub(super) fn assign(graph: &Graph, options: &PlanOptions) -> Self {
        let inputs: Vec<Option<Input>> = graph
            .nodes
            .iter()
            .map(|node| match &node.op {
                NodeOp::Matmul { weight, .. } => Some(input_form(weight, options)),
                _ => None,
            })
            .collect();
        let count = |rows| match rows {
            RowSet::Tokens => options.max_rows,
            RowSet::Outputs => options.max_outputs,
        };
        let bytes = |value: usize| count(graph.values[value].rows) * 4 * graph.values[value].width;
        let copy_bytes =
            |value: usize| count(graph.values[value].rows) * quantize::row_bytes(graph.values[value].width);
        // Last node that reads or changes each value; the logits outlive the plan.
        let mut last = vec![0; graph.values.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            node.op.inputs().iter().chain(node.op.output().iter()).for_each(|value| last[value.0] = index);
        }
        last[graph.logits.0] = usize::MAX;
        let mut arena = Arena::default();
        let layers = 0..graph.hparams.layers.len() as u32;
        let scratch = |layer| attention::scratch_bytes(&attention_desc(graph, layer, options), options.max_rows);
        let attention_scratch = arena.take(layers.map(scratch).max().unwrap_or(0));
        let mut slots = vec![None; graph.values.len()];
        let mut copies = BTreeMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if let (NodeOp::Matmul { x, .. }, Some(Input::Q8)) = (&node.op, inputs[index]) {
                copies.entry(x.0).or_insert_with(|| arena.take(copy_bytes(x.0)));
            }
            if let Some(out) = node.op.output() {
                slots[out.0].get_or_insert_with(|| arena.take(bytes(out.0)));
            }
            let touched = node.op.inputs().into_iter().chain(node.op.output());
            let mut dying: Vec<usize> = touched.map(|value| value.0).filter(|&value| last[value] == index).collect();
            dying.sort_unstable();
            dying.dedup();
            for value in dying {
                if let Some(slot) = slots[value] {
                    arena.release(slot, bytes(value));
                }
                if let Some(&slot) = copies.get(&value) {
                    arena.release(slot, copy_bytes(value));
                }
            }
        }
        let slots = slots.into_iter().map(|slot| slot.unwrap_or(Slot(0))).collect();
        Self { slots, copies, inputs, attention_scratch, arena_bytes: arena.bytes() }
    }
}

/// Int8 where the policy allows its loss and a kernel better than the reference takes it; else f32.
fn input_form(weight: &Matrix, options: &PlanOptions) -> Input {
    let fits = weight.dtype.is_quantized() && weight.columns.is_multiple_of(quantize::BLOCK);
    if !fits || !options.policy.allows(quantize::EXACTNESS) {
        return Input::F32;
    }
    let desc = matmul_desc(weight, false, Input::Q8, options);
    if beats_reference::<Matmul>(&desc, &options.hardware, &options.policy) { Input::Q8 } else { Input::F32 }
}

/// The description of a product with `weight`.
pub(super) fn matmul_desc(weight: &Matrix, bias: bool, input: Input, options: &PlanOptions) -> matmul::Desc {
    matmul::Desc {
        weight: weight.dtype,
        input,
        n: weight.rows,
        k: weight.columns,
        row_bytes: weight.row_bytes,
        bias,
        rows: options.rows,
    }
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
