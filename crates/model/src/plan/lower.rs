//! Nodes to steps: each becomes one typed kernel call, matmuls on inputs of fewer bits a quantisation before it
//! where no earlier one has made the copy.

use std::collections::BTreeSet;

use kernels::ops::quantize::Codes;
use kernels::ops::*;
use kernels::packed::Form;
use kernels::{Choice, Op, Place, RowSet, Run, Slot, Step, Transfer, Weight, choose};

use super::places::{Places, attention_desc};
use super::segments::{self, Touches};
use super::{PlanOptions, StepInfo};
use crate::Error;
use crate::graph::{Graph, Node, NodeOp, ValueId};
use crate::weights::{Matrix, Vector, Weights};

/// A plan under construction.
pub(super) struct Lowering<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    options: &'a PlanOptions,
    places: &'a Places,
    /// Copies of values that are up to date.
    quantized: BTreeSet<(usize, Codes)>,
    pub(super) steps: Vec<Box<dyn Run>>,
    pub(super) info: Vec<StepInfo>,
    /// Of each step: who computes it, and what it touches.
    pub(super) touches: Vec<(Place, Touches)>,
    /// The first step that cannot be where it must be.
    refused: Option<Error>,
}

/// Name and written value of the step being made.
struct Label<'a> {
    name: &'a str,
    output: Option<ValueId>,
    shape: String,
    touches: Touches,
    /// Who is to compute it.
    place: Place,
    /// Whether what it works on is nowhere else: the cache, weights in a layout of the GPU's own.
    bound: bool,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(graph: &'a Graph, weights: &'a Weights, options: &'a PlanOptions, places: &'a Places) -> Self {
        Self {
            graph,
            weights,
            options,
            places,
            quantized: BTreeSet::new(),
            steps: Vec::new(),
            info: Vec::new(),
            touches: Vec::new(),
            refused: None,
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Error> {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            self.node(index, node);
            if let Some(changed) = node.op.output() {
                self.quantized.retain(|(value, _)| *value != changed.0);
            }
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    fn node(&mut self, index: usize, node: &Node) {
        let graph = self.graph;
        let place = self.places.nodes[index];
        let touches = segments::touches(graph, &node.op, &self.places.slots);
        let label = |shape: String| Label {
            name: &node.name,
            output: node.op.output(),
            shape,
            touches: touches.clone(),
            place,
            bound: matches!(node.op, NodeOp::KvStore { .. } | NodeOp::Attention { .. }),
        };
        match &node.op {
            NodeOp::Embed { table, scale, out } => {
                // A table that some product reads packed is not read from the file at all.
                let form = match &self.options.offload {
                    Some(offload) if place == Place::Cuda => offload.form(table),
                    _ => self.weights.forms(table)[0],
                };
                let desc = embed::Desc {
                    table: table.dtype,
                    form,
                    width: table.columns,
                    row_bytes: table.row_bytes,
                    scale: *scale,
                };
                let slots = embed::Slots { table: self.weights.address(table, form), out: self.slot(*out) };
                let shape = format!("{} x {} {}, {}", table.rows, table.columns, table.dtype, form.name());
                self.push::<Embed>(Label { bound: form == Form::Tiles, ..label(shape) }, desc, slots);
            }
            NodeOp::RopeTable { inv_freq, magnitude, out } => {
                let desc = rope_table::Desc { rotary_dim: 2 * inv_freq.len(), magnitude: *magnitude };
                let slots = rope_table::Slots { inv_freq: address(inv_freq), out: self.slot(*out) };
                self.push::<RopeTable>(label(format!("{} angles", inv_freq.len())), desc, slots);
            }
            NodeOp::Norm { x, weight, groups, eps, out } => {
                let desc = norm::Desc { width: weight.len(), groups: *groups, eps: *eps };
                let rows = self.rows(*x);
                let slots = norm::Slots { x: self.slot(*x), weight: address(weight), out: self.slot(*out), rows };
                self.push::<Norm>(label(format!("{groups} x {}", weight.len())), desc, slots);
            }
            NodeOp::Matmul { x, weight, bias, out } => self.matmul(index, node, *x, weight, bias.as_ref(), *out),
            NodeOp::Rope { x, table, num_heads, pairing } => {
                let (head_dim, rotary_dim) = (graph.values[x.0].width / num_heads, graph.values[table.0].width);
                let desc = rope::Desc { head_dim, num_heads: *num_heads, rotary_dim, pairing: *pairing };
                let slots = rope::Slots { x: self.slot(*x), table: self.slot(*table) };
                self.push::<Rope>(label(format!("{num_heads} heads of {head_dim}")), desc, slots);
            }
            NodeOp::KvStore { k, v, layer } => {
                let (group, place) = graph.group_of(*layer);
                let layout = self.options.kv_layout(graph, group);
                let desc = kv_store::Desc { layout, group, layer: place };
                let slots = kv_store::Slots { k: self.slot(*k), v: self.slot(*v), fit: self.options.key_fit(*layer) };
                let fitted = self.options.key_fitting(*layer).map_or(String::new(), |fitting| {
                    let (with_mean, pairs) = fitting.num_pairs();
                    format!(", {with_mean} of {pairs} pairs of keys without their mean")
                });
                let shape = format!(
                    "{} heads, k {} {}, v {} {}{fitted}",
                    layout.num_kv_heads,
                    layout.head_dim_k,
                    layout.k.name(),
                    layout.head_dim_v,
                    layout.v.name()
                );
                self.push::<KvStore>(label(shape), desc, slots);
            }
            NodeOp::Attention { q, layer, out } => self.attention(label(String::new()), *q, *layer, *out),
            NodeOp::Glu { gate, up, activation, out } => {
                let (width, rows) = (graph.values[gate.0].width, self.rows(*gate));
                let desc = glu::Desc { width, activation: *activation };
                let slots = glu::Slots { gate: self.slot(*gate), up: self.slot(*up), out: self.slot(*out), rows };
                self.push::<Glu>(label(format!("{width} {activation:?}")), desc, slots);
            }
            NodeOp::Add { x, y } => {
                let width = graph.values[x.0].width;
                let slots = add::Slots { x: self.slot(*x), y: self.slot(*y), rows: self.rows(*x) };
                self.push::<Add>(label(format!("{width}")), add::Desc { width }, slots);
            }
            NodeOp::Gather { x, out } => {
                let width = graph.values[x.0].width;
                let slots = gather::Slots { x: self.slot(*x), out: self.slot(*out) };
                self.push::<Gather>(label(format!("{width}")), gather::Desc { width }, slots);
            }
            NodeOp::Softcap { x, cap } => {
                let width = graph.values[x.0].width;
                let slots = softcap::Slots { x: self.slot(*x), rows: self.rows(*x) };
                self.push::<Softcap>(label(format!("{width}, cap {cap}")), softcap::Desc { width, cap: *cap }, slots);
            }
        }
    }

    fn matmul(&mut self, index: usize, node: &Node, x: ValueId, weight: &Matrix, bias: Option<&Vector>, out: ValueId) {
        let (rows, place) = (self.rows(x), self.places.nodes[index]);
        let Some(desc) = self.places.matmuls[index] else { return };
        let mut touches = Touches { reads: vec![self.value(x)], writes: vec![self.value(out)] };
        let copy = desc.input.codes().and_then(|codes| Some((codes, *self.places.copies.get(&(x.0, codes))?)));
        let x_slot = match copy {
            Some((codes, copy)) => {
                if self.quantized.insert((x.0, codes)) {
                    let width = self.graph.values[x.0].width;
                    let name = format!("{}.{}", self.graph.values[x.0].name, codes.name());
                    let touches = Touches { reads: vec![self.value(x)], writes: vec![self.copy(x, codes, copy)] };
                    let shape = format!("{width}");
                    let label = Label { name: &name, output: None, shape, touches, place, bound: false };
                    let slots = quantize::Slots { x: self.slot(x), out: copy, rows };
                    self.push::<Quantize>(label, quantize::Desc { width, codes }, slots);
                }
                touches.reads = vec![self.copy(x, codes, copy)];
                copy
            }
            None => self.slot(x),
        };
        let slots = matmul::Slots {
            weight: self.weights.address(weight, desc.form),
            bias: bias.map_or(Weight(std::ptr::null()), address),
            x: x_slot,
            out: self.slot(out),
            rows,
        };
        let (dtype, input, form) = (weight.dtype, desc.input, desc.form.name());
        let shape = format!("{} x {} {dtype}, {form}, input {input:?}", weight.rows, weight.columns);
        let (name, bound) = (&node.name, desc.form == Form::Tiles);
        self.push::<Matmul>(Label { name, output: Some(out), shape, touches, place, bound }, desc, slots);
    }

    fn attention(&mut self, label: Label<'_>, q: ValueId, layer: u32, out: ValueId) {
        let desc = attention_desc(self.graph, layer, self.options);
        let reach = if desc.window > 0 { format!(", window {}", desc.window) } else { String::new() };
        let layout = &desc.layout;
        let shape = format!("{} heads on {} of {}{reach}", desc.num_heads, layout.num_kv_heads, layout.head_dim_k);
        let (scratch, fit) = (self.places.attention_scratch, self.options.key_fit(layer));
        let slots = attention::Slots { q: self.slot(q), out: self.slot(out), scratch, fit };
        self.push::<Attention>(Label { shape, ..label }, desc, slots);
    }

    /// Chooses the kernel and appends the step.
    fn push<O: Op>(&mut self, label: Label<'_>, desc: O::Desc, slots: O::Slots) {
        let choice = self.choose::<O>(&label, &desc);
        let place = choice.variant.place();
        self.touches.push((place, label.touches));
        self.info.push(StepInfo {
            name: label.name.to_owned(),
            op: O::KIND,
            shape: label.shape,
            variant: choice.variant.id,
            place,
            technique: choice.technique,
            exactness: choice.variant.exactness,
            reason: choice.reason,
            runner_up: choice.runner_up,
            output: label.output.map(|value| (value, self.slot(value))),
        });
        self.steps.push(Box::new(Step::<O> { desc, slots, variant: choice.variant }));
    }

    /// The kernel for a step where it is to be computed; what the GPU has no kernel for goes to the CPU, unless it works on
    /// what the GPU alone has.
    fn choose<O: Op>(&mut self, label: &Label<'_>, desc: &O::Desc) -> Choice<O> {
        let (options, policy) = (self.options, &self.options.policy);
        let Some(offload) = options.offload.as_ref().filter(|_| label.place == Place::Cuda) else {
            return choose::<O>(desc, &options.hardware, policy);
        };
        let choice = choose::<O>(desc, &offload.hardware, policy);
        if choice.variant.place() == Place::Cuda {
            return choice;
        }
        if label.bound {
            let what = format!("{} {} ({})", O::KIND.name(), label.name, label.shape);
            self.refused.get_or_insert(Error::Offload { what });
        }
        let fallback = choose::<O>(desc, &options.hardware, policy);
        Choice { reason: format!("no kernel for the GPU; on the CPU {}", fallback.reason), ..fallback }
    }

    /// A value in the arena.
    fn value(&self, value: ValueId) -> Transfer {
        let row_bytes = 4 * self.graph.values[value.0].width;
        Transfer { slot: self.slot(value), row_bytes, rows: self.rows(value) }
    }

    /// What a value became in fewer bits.
    fn copy(&self, value: ValueId, codes: Codes, slot: Slot) -> Transfer {
        let row_bytes = codes.row_bytes(self.graph.values[value.0].width);
        Transfer { slot, row_bytes, rows: self.rows(value) }
    }

    fn slot(&self, value: ValueId) -> Slot {
        self.places.slots[value.0]
    }

    fn rows(&self, value: ValueId) -> RowSet {
        self.graph.values[value.0].rows
    }
}

fn address(vector: &Vector) -> Weight {
    Weight(vector.as_ptr().cast())
}
