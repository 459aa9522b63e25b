//! A model as a list of operations on named values, in execution order. Built once per model; read by
//! the planner, which chooses kernels and places, and by the interpreter, which chooses nothing.

use kernels::ops::glu::Activation;
use kernels::ops::rope::Pairing;
use kernels::{Place, RowSet};

use crate::blocks;
use crate::weights::{Matrix, Vector};
use crate::{Error, Hparams, Weights};

/// Index of a value in [`Graph::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub usize);

/// An intermediate matrix of f32.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name for `explain` and comparisons, as `blk.3.attn_norm`.
    pub name: String,
    /// Values per row.
    pub width: usize,
    /// Its rows.
    pub rows: RowSet,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name for `explain`; that of its weight where it has one.
    pub name: String,
    /// What it does.
    pub op: NodeOp,
}

/// What a node does. Fields called `x` that are not read elsewhere are changed in place.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the ops of `kernels::ops` document their operands
pub enum NodeOp {
    Embed { table: Matrix, scale: f32, out: ValueId },
    RopeTable { inv_freq: Vector, magnitude: f32, out: ValueId },
    Norm { x: ValueId, weight: Vector, groups: usize, eps: f32, out: ValueId },
    Matmul { x: ValueId, weight: Matrix, bias: Option<Vector>, out: ValueId },
    Rope { x: ValueId, table: ValueId, num_heads: usize, pairing: Pairing },
    KvStore { k: ValueId, v: ValueId, layer: u32 },
    Attention { q: ValueId, layer: u32, out: ValueId },
    Glu { gate: ValueId, up: ValueId, activation: Activation, out: ValueId },
    Add { x: ValueId, y: ValueId },
    Gather { x: ValueId, out: ValueId },
    Softcap { x: ValueId, cap: f32 },
}

/// Layers whose keys and values have the same form and reach, cached together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvGroup {
    /// Model layers, ascending.
    pub layers: Vec<u32>,
    /// KV heads per layer.
    pub num_kv_heads: usize,
    /// Keys a query sees; 0 for all.
    pub window: u32,
    /// Who computes these layers and holds their cache.
    pub place: Place,
}

/// A model, ready to be planned or interpreted.
pub struct Graph {
    /// The model's numbers.
    pub hparams: Hparams,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Context it was built for (LongRoPE chooses its factors by it).
    pub context: u32,
    /// All values.
    pub values: Vec<Value>,
    /// All operations, in order.
    pub nodes: Vec<Node>,
    /// Groups of the KV cache.
    pub groups: Vec<KvGroup>,
    /// What the output projection reads, `[num_outputs, hidden_size]`: the last layer, normalised.
    pub hidden: ValueId,
    /// The result, `[num_outputs, vocab_size]`.
    pub logits: ValueId,
}

impl Graph {
    /// Builds the graph of the model in `weights` for a context of `context` tokens.
    ///
    /// # Errors
    /// Names the tensor that is missing or of the wrong shape.
    pub fn build(hparams: &Hparams, weights: &Weights, context: u32) -> Result<Self, Error> {
        let mut builder = Builder::new(hparams, weights, context);
        let (table, vocab_size) = blocks::embedding(&mut builder)?;
        let mut x = builder.value("embd", hparams.hidden_size);
        let scale = hparams.embed_scale;
        builder.push("token_embd.weight", NodeOp::Embed { table, scale, out: x });
        for layer in 0..hparams.layers.len() as u32 {
            x = blocks::layer(&mut builder, layer, x)?;
        }
        let (hidden, logits) = blocks::logits(&mut builder, x, &table)?;
        let Builder { values, nodes, groups, .. } = builder;
        Ok(Self { hparams: hparams.clone(), vocab_size, context, values, nodes, groups, hidden, logits })
    }

    /// Gives the layers from `first_layer` on to the GPU: groups of the cache that have layers on both sides part.
    pub fn offload(&mut self, first_layer: u32) {
        let groups = std::mem::take(&mut self.groups);
        for group in groups {
            let (gpu, cpu): (Vec<u32>, Vec<u32>) = group.layers.iter().partition(|&&layer| layer >= first_layer);
            for (layers, place) in [(cpu, Place::Cpu), (gpu, Place::Cuda)] {
                if !layers.is_empty() {
                    self.groups.push(KvGroup { layers, place, ..group.clone() });
                }
            }
        }
    }

    /// Group of a model layer, and the layer's place in it.
    ///
    /// # Panics
    /// When the model has no such layer: graphs are built and read by the number of layers they have.
    pub fn group_of(&self, layer: u32) -> (u32, u32) {
        for (index, group) in self.groups.iter().enumerate() {
            if let Ok(place) = group.layers.binary_search(&layer) {
                return (index as u32, place as u32);
            }
        }
        unreachable!("every layer is in a group")
    }

    /// The keys of a model layer.
    pub fn keys(&self, layer: u32) -> Option<ValueId> {
        self.nodes.iter().find_map(|node| match node.op {
            NodeOp::KvStore { k, layer: of, .. } if of == layer => Some(k),
            _ => None,
        })
    }

    /// The queries of a model layer.
    pub fn queries(&self, layer: u32) -> Option<ValueId> {
        self.nodes.iter().find_map(|node| match node.op {
            NodeOp::Attention { q, layer: of, .. } if of == layer => Some(q),
            _ => None,
        })
    }

    /// How the keys of a model layer are rotated: inverse frequencies and pairing.
    pub fn key_rotation(&self, layer: u32) -> Option<(&Vector, Pairing)> {
        let keys = self.keys(layer)?;
        let (table, pairing) = self.nodes.iter().find_map(|node| match node.op {
            NodeOp::Rope { x, table, pairing, .. } if x == keys => Some((table, pairing)),
            _ => None,
        })?;
        self.nodes.iter().find_map(|node| match &node.op {
            NodeOp::RopeTable { inv_freq, out, .. } if *out == table => Some((inv_freq, pairing)),
            _ => None,
        })
    }
}

impl NodeOp {
    /// The value this node produces or changes; none for `KvStore`.
    pub fn output(&self) -> Option<ValueId> {
        match *self {
            NodeOp::Embed { out, .. }
            | NodeOp::RopeTable { out, .. }
            | NodeOp::Norm { out, .. }
            | NodeOp::Matmul { out, .. }
            | NodeOp::Attention { out, .. }
            | NodeOp::Glu { out, .. }
            | NodeOp::Gather { out, .. } => Some(out),
            NodeOp::Rope { x, .. } | NodeOp::Add { x, .. } | NodeOp::Softcap { x, .. } => Some(x),
            NodeOp::KvStore { .. } => None,
        }
    }

    /// The values this node reads.
    pub fn inputs(&self) -> Vec<ValueId> {
        match *self {
            NodeOp::Embed { .. } | NodeOp::RopeTable { .. } => Vec::new(),
            NodeOp::Norm { x, .. }
            | NodeOp::Matmul { x, .. }
            | NodeOp::Gather { x, .. }
            | NodeOp::Softcap { x, .. } => vec![x],
            NodeOp::Rope { x, table, .. } => vec![x, table],
            NodeOp::KvStore { k, v, .. } => vec![k, v],
            NodeOp::Attention { q, .. } => vec![q],
            NodeOp::Glu { gate, up, .. } => vec![gate, up],
            NodeOp::Add { x, y } => vec![x, y],
        }
    }
}

/// A graph under construction; `blocks` adds to it.
pub(crate) struct Builder<'a> {
    pub(crate) hparams: &'a Hparams,
    pub(crate) weights: &'a Weights,
    pub(crate) context: u32,
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) groups: Vec<KvGroup>,
    /// Rows of the values to come: all tokens, until the last layer narrows them to the outputs.
    pub(crate) rows: RowSet,
    /// Frequencies in use and the table made of each.
    pub(crate) rope_tables: Vec<(Vector, f32, ValueId)>,
}

impl<'a> Builder<'a> {
    fn new(hparams: &'a Hparams, weights: &'a Weights, context: u32) -> Self {
        Self {
            hparams,
            weights,
            context,
            values: Vec::new(),
            nodes: Vec::new(),
            groups: Vec::new(),
            rows: RowSet::Tokens,
            rope_tables: Vec::new(),
        }
    }

    /// A new value of the current rows.
    pub(crate) fn value(&mut self, name: impl Into<String>, width: usize) -> ValueId {
        self.values.push(Value { name: name.into(), width, rows: self.rows });
        ValueId(self.values.len() - 1)
    }

    /// Appends an operation.
    pub(crate) fn push(&mut self, name: impl Into<String>, op: NodeOp) {
        self.nodes.push(Node { name: name.into(), op });
    }

    /// `weight[name] · x`, with the bias of the same name if the file has one.
    pub(crate) fn linear(&mut self, prefix: &str, x: ValueId, n: usize) -> Result<ValueId, Error> {
        let weight = self.weights.matrix(&format!("{prefix}.weight"), n, self.values[x.0].width)?;
        let bias = self.weights.opt_vector(&format!("{prefix}.bias"), n)?;
        Ok(self.project(prefix, x, weight, bias))
    }

    /// `weight · x + bias`.
    pub(crate) fn project(&mut self, name: &str, x: ValueId, weight: Matrix, bias: Option<Vector>) -> ValueId {
        let out = self.value(name, weight.rows);
        self.push(format!("{name}.weight"), NodeOp::Matmul { x, weight, bias, out });
        out
    }

    /// RMS norm of whole rows with the weight called `prefix.weight`.
    pub(crate) fn norm(&mut self, prefix: &str, x: ValueId) -> Result<ValueId, Error> {
        let width = self.values[x.0].width;
        let out = self.value(prefix, width);
        self.norm_into(prefix, x, 1, out)?;
        Ok(out)
    }

    /// RMS norm over `groups` parts of each row, into `out`, which may be `x`.
    pub(crate) fn norm_into(&mut self, prefix: &str, x: ValueId, groups: usize, out: ValueId) -> Result<(), Error> {
        let name = format!("{prefix}.weight");
        let weight = self.weights.vector(&name, self.values[x.0].width / groups)?;
        let eps = self.hparams.norm_eps;
        self.push(name, NodeOp::Norm { x, weight, groups, eps, out });
        Ok(())
    }
}
