//! A KV cache with random contents for the cases of `attention` and `kv_store`.

use std::sync::Arc;

use super::case::Cache;
use super::{Random, Values};
use crate::kv::KvLayout;
use crate::kv::fit::{Angles, KeyFit, KeyFitting};
use crate::launch::KvView;
use crate::ops::rope::Pairing;

/// Layers in the group; the cases are about the last.
pub const NUM_LAYERS: usize = 2;

/// Any way to fit the keys of a layer, with means of all sizes, for positions up to 4096.
pub fn fitting(layout: &KvLayout, random: &mut Random) -> KeyFitting {
    let (dim, pairing) = (layout.head_dim_k, random.pick(&[Pairing::Halves, Pairing::Adjacent]));
    let half = random.pick(&[dim / 2, dim / 4]);
    let frequency = |j: usize| 1e4f32.powf(-(j as f32) / half.max(1) as f32);
    let angles = Arc::new(Angles::new(&(0..half).map(frequency).collect::<Vec<f32>>(), 4096));
    let (mut means, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..layout.num_kv_heads {
        let (mut mean, mut step) = (random.values(Values::Normal, dim), vec![0.7; dim]);
        for j in 0..half {
            let (a, b) = pairing.pair(j, half);
            let (size, of_pair) = (random.pick(&[0.0, 0.0, 0.3, 1.0, 8.0]), random.pick(&[0.25, 1.0, 3.0]));
            (mean[a], mean[b], step[a], step[b]) = (mean[a] * size, mean[b] * size, of_pair, of_pair);
        }
        means.extend(mean);
        steps.extend(step);
    }
    KeyFitting::new(dim, pairing, &angles, &means, &steps)
}

/// Keys and values of all tokens of a sequence and head, those of the step included.
pub type Token = (Vec<f32>, Vec<f32>);

/// What a cache is to hold, by sequence and head. `batch` has, per sequence, tokens before the step and rows of the step;
/// `values` says what each is filled with.
pub fn tokens(
    layout: &KvLayout,
    batch: &[(usize, usize)],
    values: impl Fn(usize) -> Values,
    random: &mut Random,
) -> Vec<Vec<Token>> {
    let mut tokens = Vec::new();
    for (sequence, &(context, rows)) in batch.iter().enumerate() {
        let mut vectors = |dim: usize| random.values(values(sequence), dim * (context + rows));
        let heads = (0..layout.num_kv_heads).map(|_| (vectors(layout.head_dim_k), vectors(layout.head_dim_v)));
        tokens.push(heads.collect());
    }
    tokens
}

/// Makes every other key small, and its value the opposite of its neighbour's: scores that are all off in proportion to the size
/// of their keys, which softmax would hardly notice of keys alike, show in what comes out.
pub fn lean(layout: &KvLayout, tokens: &mut [Vec<Token>]) {
    for (keys, values) in tokens.iter_mut().flatten() {
        keys.chunks_exact_mut(layout.head_dim_k).step_by(2).flatten().for_each(|key| *key *= 0.05);
        for (i, value) in values.chunks_exact_mut(layout.head_dim_v).enumerate() {
            let side = if i % 2 == 0 { -1.0 } else { 1.0 };
            value.iter_mut().for_each(|value| *value = side + 0.1 * *value);
        }
    }
}

/// A cache and the values that were put into its last layer, decoded again.
pub struct Contents {
    /// The cache: blocks in random order, poison wherever no token is.
    pub cache: Cache,
    layout: KvLayout,
    fit: Option<KeyFit>,
    /// Per sequence and head.
    tokens: Vec<Vec<Token>>,
}

impl Contents {
    /// A cache that holds [`tokens`], which become keys by way of `fit`; `batch` as there. Blocks that no row can see through
    /// the window are not there.
    pub fn new(
        layout: KvLayout,
        fit: Option<KeyFit>,
        batch: &[(usize, usize)],
        window: u32,
        tokens: Vec<Vec<Token>>,
        headwise: bool,
        random: &mut Random,
    ) -> Self {
        let heads = layout.num_kv_heads;
        let first_block = |context: usize| {
            let first = if window == 0 { 0 } else { (context + 1).saturating_sub(window as usize) };
            first / layout.block_size
        };
        let widths: Vec<usize> = batch
            .iter()
            .map(|&(context, rows)| (context + rows).div_ceil(layout.block_size) - first_block(context))
            .collect();
        let num_runs: usize = widths.iter().sum::<usize>() + 1;
        let run_len = NUM_LAYERS * heads;
        let storage = vec![0xff; num_runs * run_len * layout.block_bytes()];
        let order = random.shuffled(if headwise { num_runs * run_len } else { num_runs });
        let mut free = order.into_iter().map(|block| block as u32);
        let mut cache = Cache { storage, ..Cache::default() };
        let mut first_row = 0;
        for (&(context, num_rows), &width) in batch.iter().zip(&widths) {
            let view = |table: &[u32], lengths: &[u32]| KvView {
                table: table.as_ptr(),
                lengths: if headwise { lengths.as_ptr() } else { std::ptr::null() },
                layer_stride: if headwise { (heads * width) as u32 } else { 0 },
                head_stride: if headwise { width as u32 } else { 0 },
                layer_step: if headwise { 0 } else { heads as u32 },
                head_step: if headwise { 0 } else { 1 },
                first_logical: first_block(context) as u32,
                // The headwise form has its own lengths.
                context: if headwise { u32::MAX } else { context as u32 },
                first_row,
                num_rows: num_rows as u32,
            };
            let table: Vec<u32> = if headwise {
                free.by_ref().take(run_len * width).collect()
            } else {
                free.by_ref().take(width).map(|run| run * run_len as u32).collect()
            };
            let lengths = vec![context as u32; run_len];
            cache.views.push(view(&table, &lengths));
            cache.tables.extend([table, lengths]);
            first_row += num_rows as u32;
        }
        let mut contents = Contents { cache, layout, fit, tokens };
        contents.store();
        contents
    }

    /// Puts the tokens into the blocks that the views name, and takes back what the codec left of them.
    fn store(&mut self) {
        let (layout, mut mean) = (&self.layout, vec![0f32; self.layout.head_dim_k]);
        for (view, heads) in self.cache.views.iter().zip(&mut self.tokens) {
            for (head, (keys, values)) in heads.iter_mut().enumerate() {
                let tokens = keys.chunks_exact_mut(layout.head_dim_k).zip(values.chunks_exact_mut(layout.head_dim_v));
                for (token, (key, value)) in tokens.enumerate() {
                    let logical = (token / layout.block_size) as u32;
                    if logical < view.first_logical {
                        continue;
                    }
                    let slot = token % layout.block_size;
                    // SAFETY: the tables cover every logical block from the first on, and the storage
                    // every physical one.
                    unsafe {
                        let block = view.physical(NUM_LAYERS as u32 - 1, head as u32, logical);
                        let storage = self.cache.storage.as_mut_ptr();
                        let (keys, values) = (storage.add(layout.keys_at(block)), storage.add(layout.values_at(block)));
                        layout.keys().encode(keys, slot, key);
                        layout.values().encode(values, slot, value);
                        layout.keys().decode(keys, slot, key);
                        layout.values().decode(values, slot, value);
                        if let Some(fit) = &self.fit {
                            fit.restore(head, token, key, &mut mean);
                        }
                    }
                }
            }
        }
    }

    /// Byte offset of the block that holds a row.
    pub fn block_at(&self, row: usize, head: usize) -> usize {
        let (_, _, position) = self.before(row, head);
        let mut views = self.cache.views.iter();
        let own = views.find(|view| row < (view.first_row + view.num_rows) as usize);
        let logical = (position / self.layout.block_size) as u32;
        // SAFETY: the tables cover the positions of all rows.
        let block = own.map_or(0, |view| unsafe { view.physical(NUM_LAYERS as u32 - 1, head as u32, logical) });
        block * self.layout.block_bytes()
    }

    /// Keys and values of one head for the sequence of `row`, and the row's position.
    pub fn before(&self, row: usize, head: usize) -> (&[f32], &[f32], usize) {
        let mut views = self.cache.views.iter().zip(&self.tokens);
        let own = views.find(|(view, _)| row < (view.first_row + view.num_rows) as usize);
        let Some((view, heads)) = own else { return (&[], &[], 0) };
        let (keys, values) = &heads[head];
        let tokens = keys.len() / self.layout.head_dim_k;
        (keys, values, tokens - view.num_rows as usize + row - view.first_row as usize)
    }
}
