//! The oracle: runs a graph one token at a time with the plain references, in f32, over dense keys and
//! values. No plan, no arena, no cache blocks, no choice. For tiny models and up to some 64 tokens.

use kernels::ops::{attention, embed, glu, matmul, norm, rope, rope_table, softcap};
use kernels::packed::Form;
use kernels::{KvLayout, KvType, RowSet, Rows};

use crate::graph::{Graph, NodeOp, ValueId};
use crate::weights::{Matrix, Weights};

/// A graph being interpreted; remembers the keys and values of all tokens so far.
pub struct Interpreter<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    /// Per layer, `[tokens, num_kv_heads * head_dim]`.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    /// Every value of the graph for the last token.
    rows: Vec<Vec<f32>>,
    num_tokens: usize,
}

impl<'a> Interpreter<'a> {
    /// Starts an empty sequence.
    pub fn new(graph: &'a Graph, weights: &'a Weights) -> Self {
        let num_layers = graph.hparams.layers.len();
        let rows = graph.values.iter().map(|value| vec![0f32; value.width]).collect();
        Self {
            graph,
            weights,
            keys: vec![Vec::new(); num_layers],
            values: vec![Vec::new(); num_layers],
            rows,
            num_tokens: 0,
        }
    }

    /// Appends one token and returns its logits, `[vocab_size]`. `token` must be below the vocabulary size.
    pub fn push(&mut self, token: u32) -> &[f32] {
        self.push_observed(token, &mut |_, _| {})
    }

    /// The same; `observe` sees every value right after a node wrote it, in the order of the nodes.
    pub fn push_observed(&mut self, token: u32, observe: &mut dyn FnMut(ValueId, &[f32])) -> &[f32] {
        for node in &self.graph.nodes {
            self.node(&node.op, token);
            if let Some(out) = node.op.output() {
                observe(out, &self.rows[out.0]);
            }
        }
        self.num_tokens += 1;
        &self.rows[self.graph.logits.0]
    }

    fn node(&mut self, op: &NodeOp, token: u32) {
        let graph = self.graph;
        match op {
            NodeOp::Embed { table, scale, out } => {
                let desc = embed::Desc {
                    table: table.dtype,
                    form: Form::Rows,
                    width: table.columns,
                    row_bytes: table.row_bytes,
                    scale: *scale,
                };
                let bytes = self.weights.matrix_bytes(table);
                let row = &bytes[token as usize * table.row_bytes..][..table.row_bytes];
                embed::reference::embed(&desc, row, &mut self.rows[out.0]);
            }
            NodeOp::RopeTable { inv_freq, magnitude, out } => {
                let desc = rope_table::Desc { rotary_dim: 2 * inv_freq.len(), magnitude: *magnitude };
                rope_table::reference::rope_table(&desc, self.num_tokens as u32, inv_freq, &mut self.rows[out.0]);
            }
            NodeOp::Norm { x, weight, groups, eps, out } => {
                let desc = norm::Desc { width: weight.len(), groups: *groups, eps: *eps };
                let mut values = self.rows[x.0].clone();
                for part in values.chunks_exact_mut(weight.len()) {
                    norm::reference::norm(&desc, weight, part);
                }
                self.rows[out.0] = values;
            }
            NodeOp::Matmul { x, weight, bias, out } => {
                let mut product = self.product(weight, &self.rows[x.0]);
                if let Some(bias) = bias {
                    product.iter_mut().zip(bias.iter()).for_each(|(value, bias)| *value += bias);
                }
                self.rows[out.0] = product;
            }
            NodeOp::Rope { x, table, num_heads, pairing } => {
                let (head_dim, rotary_dim) = (graph.values[x.0].width / num_heads, graph.values[table.0].width);
                let desc = rope::Desc { head_dim, num_heads: *num_heads, rotary_dim, pairing: *pairing };
                let table = self.rows[table.0].clone();
                for head in self.rows[x.0].chunks_exact_mut(head_dim) {
                    rope::reference::rope(&desc, &table, head);
                }
            }
            NodeOp::KvStore { k, v, layer } => {
                self.keys[*layer as usize].extend_from_slice(&self.rows[k.0]);
                self.values[*layer as usize].extend_from_slice(&self.rows[v.0]);
            }
            NodeOp::Attention { q, layer, out } => self.attention(*q, *layer, *out),
            NodeOp::Glu { gate, up, activation, out } => {
                let desc = glu::Desc { width: graph.values[gate.0].width, activation: *activation };
                let pairs = self.rows[gate.0].iter().zip(&self.rows[up.0]);
                self.rows[out.0] = pairs.map(|(&gate, &up)| glu::reference::glu(&desc, gate, up)).collect();
            }
            NodeOp::Add { x, y } => {
                let sums = self.rows[x.0].iter().zip(&self.rows[y.0]).map(|(x, y)| x + y).collect();
                self.rows[x.0] = sums;
            }
            NodeOp::Gather { x, out } => self.rows[out.0] = self.rows[x.0].clone(),
            NodeOp::Softcap { x, cap } => {
                let desc = softcap::Desc { width: graph.values[x.0].width, cap: *cap };
                softcap::reference(&desc, &mut self.rows[x.0]);
            }
        }
        debug_assert!(op.output().is_none_or(|out| self.rows[out.0].len() == graph.values[out.0].width));
    }

    fn product(&self, weight: &Matrix, x: &[f32]) -> Vec<f32> {
        let mut decoded = vec![0f32; weight.columns];
        let rows = self.weights.matrix_bytes(weight).chunks_exact(weight.row_bytes);
        rows.map(|row| {
            // Types and lengths were checked when the matrix was found.
            if gguf::decode(weight.dtype, row, &mut decoded).is_err() {
                decoded.fill(f32::NAN);
            }
            matmul::reference::dot(x, &decoded)
        })
        .collect()
    }

    fn attention(&mut self, q: ValueId, layer: u32, out: ValueId) {
        let (hparams, numbers) = (&self.graph.hparams, &self.graph.hparams.layers[layer as usize]);
        let (dim_k, dim_v, kv_heads) = (hparams.head_dim_k, hparams.head_dim_v, numbers.num_kv_heads);
        let layout = KvLayout {
            k: KvType::F32,
            v: KvType::F32,
            head_dim_k: dim_k,
            head_dim_v: dim_v,
            num_kv_heads: kv_heads,
            block_size: 1,
        };
        let desc = attention::Desc {
            layout,
            group: 0,
            layer: 0,
            num_heads: numbers.num_heads,
            scale: numbers.query_scale,
            softcap: numbers.softcap,
            window: numbers.window,
            rows: Rows::One,
        };
        let first = attention::reference::first_visible(&desc, self.num_tokens);
        let of_head = |all: &[f32], head: usize, dim: usize| -> Vec<f32> {
            all.chunks_exact(kv_heads * dim)
                .skip(first)
                .flat_map(|token| &token[head * dim..][..dim])
                .copied()
                .collect()
        };
        let mut result = vec![0f32; numbers.num_heads * dim_v];
        for (head, result) in result.chunks_exact_mut(dim_v).enumerate() {
            let kv_head = head / (numbers.num_heads / kv_heads);
            let keys = of_head(&self.keys[layer as usize], kv_head, dim_k);
            let values = of_head(&self.values[layer as usize], kv_head, dim_v);
            attention::reference::attend(&desc, &self.rows[q.0][head * dim_k..][..dim_k], &keys, &values, result);
        }
        debug_assert!(self.graph.values[out.0].rows == RowSet::Tokens);
        self.rows[out.0] = result;
    }
}
