//! Problems for `attention`.

use super::{Arena, Bounds, Case, Conform, Output, Place, Random, Values, cache};
use crate::kv::fit::KeyFitting;
use crate::kv::{KvLayout, KvType, hadamard};
use crate::op::Rows;
use crate::ops::Attention;
use crate::ops::attention::reference::{attend, first_visible};
use crate::ops::attention::{Desc, Slots, scratch_bytes};

/// Tokens in the cache before the step and rows in it, per sequence.
type Batch = &'static [(usize, usize)];

const SHORT: [Batch; 2] = [&[(70, 1)], &[(20, 37)]];
const RAGGED: [Batch; 6] = [
    &[(1023, 1)],
    &[(0, 64)],
    &[(11, 3), (250, 2), (0, 5)],
    &[(128, 1), (127, 1), (129, 1)],
    &[(190, 70)],
    &[(64, 7), (0, 90), (513, 1)],
];
/// Types of keys and values that lose more than half precision does.
const LOSSY: [(KvType, KvType); 5] = [
    (KvType::Bf16, KvType::Bf16),
    (KvType::Q8, KvType::Q8),
    (KvType::Q4, KvType::Q4),
    (KvType::Q8, KvType::Q4),
    (KvType::Q4, KvType::Q8),
];
const IDLE: [Batch; 2] = [&[(9, 0)], &[(30, 0), (5, 1), (8, 0), (0, 20)]];
const LONG: [Batch; 3] = [&[(700, 1)], &[(0, 150)], &[(300, 40), (1000, 2)]];

impl Conform for Attention {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        let plain = Problem::default();
        let lengths: [Batch; 14] = [
            &[(0, 1)],
            &[(1, 1)],
            &[(15, 1)],
            &[(16, 1)],
            &[(17, 2)],
            &[(300, 1)],
            &[(777, 3)],
            &[(2000, 1)],
            &[(0, 17)],
            &[(0, 130)],
            &[(77, 33)],
            &[(500, 65)],
            &[(5, 1), (900, 1), (64, 1), (0, 1)],
            &[(30, 1), (0, 40), (100, 3), (63, 9)],
        ];
        for batch in lengths {
            for (num_heads, num_kv_heads) in [(2, 2), (9, 3), (8, 1)] {
                plain
                    .with(|p| (p.batch, p.num_heads, p.num_kv_heads) = (batch, num_heads, num_kv_heads))
                    .check(random, check);
            }
        }
        // Head dimensions of both matrices, both types, blocks of more than 16 tokens.
        for (dim_k, dim_v) in
            [(16, 16), (24, 40), (64, 64), (80, 80), (96, 96), (128, 128), (256, 256), (72, 20), (192, 128)]
        {
            for batch in SHORT {
                plain.with(|p| (p.dim_k, p.dim_v, p.batch) = (dim_k, dim_v, batch)).check(random, check);
            }
        }
        for (k, v) in [(KvType::F32, KvType::F32), (KvType::F16, KvType::F32), (KvType::F32, KvType::Bf16)] {
            for batch in SHORT {
                plain.with(|p| (p.k, p.v, p.block_size, p.batch) = (k, v, 64, batch)).check(random, check);
            }
        }
        for (k, v) in LOSSY {
            for batch in SHORT.into_iter().chain(LONG) {
                plain.with(|p| (p.k, p.v, p.batch, p.leaning) = (k, v, batch, true)).check(random, check);
            }
            plain.with(|p| (p.k, p.v) = (k, v)).check_type(random, check);
            if k.is_quantized() {
                plain.with(|p| (p.k, p.v, p.fitted) = (k, v, true)).check_type(random, check);
            }
        }
        for block_size in [32, 8] {
            plain.with(|p| (p.block_size, p.batch) = (block_size, &[(70, 1), (20, 37)])).check(random, check);
        }
        for window in [1, 7, 16, 100, 512] {
            for batch in LONG {
                plain.with(|p| (p.window, p.batch) = (window, batch)).check(random, check);
            }
        }
        for softcap in [0.5, 50.0] {
            for batch in LONG {
                plain.with(|p| (p.softcap, p.batch) = (softcap, batch)).check(random, check);
            }
        }
        // Not Huge: scores beyond the range of f32 have no weights.
        for values in [Values::Zero, Values::Tiny, Values::Wild] {
            for batch in SHORT {
                plain
                    .with(|p| (p.values, p.k, p.v, p.batch) = (values, KvType::F32, KvType::F32, batch))
                    .check(random, check);
            }
        }
        // 20 query heads to a KV head: more than one pass of a decode kernel takes.
        plain.with(|p| (p.num_heads, p.batch) = (60, &[(50, 1), (3, 4)])).check(random, check);
        // Nothing to do for a sequence; a broken one beside others.
        for batch in IDLE {
            plain.with(|p| p.batch = batch).check(random, check);
        }
        plain.with(|p| (p.batch, p.broken) = (&[(40, 1), (0, 30), (63, 1), (300, 9)], true)).check(random, check);
        for _ in 0..60 {
            Problem::random(random).check(random, check);
        }
        // The same data in the uniform and in the headwise form.
        for batch in LONG {
            for headwise in [false, true] {
                let seed = random.clone();
                plain.with(|p| (p.headwise, p.batch) = (headwise, batch)).check(&mut seed.clone(), check);
                *random = if headwise { Random::new(random.bits()) } else { seed };
            }
        }
    }
}

/// A problem before its data are made.
#[derive(Clone, Copy, Debug)]
struct Problem {
    batch: &'static [(usize, usize)],
    num_heads: usize,
    num_kv_heads: usize,
    dim_k: usize,
    dim_v: usize,
    k: KvType,
    v: KvType,
    block_size: usize,
    window: u32,
    softcap: f32,
    values: Values,
    /// Whether the first sequence holds infinities and NaNs.
    broken: bool,
    headwise: bool,
    /// Whether keys are fitted to their codes.
    fitted: bool,
    /// Whether an error that all keys have shows.
    leaning: bool,
}

impl Default for Problem {
    fn default() -> Self {
        Problem {
            batch: &[],
            num_heads: 9,
            num_kv_heads: 3,
            dim_k: 64,
            dim_v: 64,
            k: KvType::F16,
            v: KvType::F16,
            block_size: 16,
            window: 0,
            softcap: 0.0,
            values: Values::Normal,
            broken: false,
            headwise: false,
            fitted: false,
            leaning: false,
        }
    }
}

impl Problem {
    /// Anything that a model may have.
    fn random(random: &mut Random) -> Self {
        let num_kv_heads = 1 + random.below(4);
        let types = [KvType::F16, KvType::F32, KvType::Bf16, KvType::Q8, KvType::Q4];
        let k = random.pick(&types);
        let kin: Vec<KvType> = types.into_iter().filter(|v| v.is_quantized() == k.is_quantized()).collect();
        let granule = random.pick(&[8, 16]);
        Problem {
            batch: random.pick(&RAGGED),
            num_kv_heads,
            num_heads: num_kv_heads * (1 + random.below(8)),
            dim_k: granule * (1 + random.below(128 / granule)),
            dim_v: granule * (1 + random.below(128 / granule)),
            k,
            v: random.pick(&kin),
            block_size: random.pick(&[16, 32, 64]),
            window: random.pick(&[0, 0, 3, 33, 200]),
            softcap: random.pick(&[0.0, 0.0, 20.0]),
            headwise: false,
            fitted: k.is_quantized() && random.pick(&[false, true]),
            ..Problem::default()
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// What may go wrong in one type and not in another.
    fn check_type(&self, random: &mut Random, check: &mut dyn FnMut(Case<Attention>)) {
        for batch in RAGGED.into_iter().chain(SHORT).chain(LONG) {
            for (num_heads, num_kv_heads) in [(2, 2), (8, 2), (8, 1)] {
                self.with(|p| (p.batch, p.num_heads, p.num_kv_heads) = (batch, num_heads, num_kv_heads))
                    .check(random, check);
            }
        }
        for (dim_k, dim_v) in [(16, 16), (24, 40), (80, 80), (96, 96), (128, 128), (256, 256), (192, 128)] {
            for batch in SHORT {
                self.with(|p| (p.dim_k, p.dim_v, p.batch) = (dim_k, dim_v, batch)).check(random, check);
            }
        }
        for batch in LONG {
            self.with(|p| (p.block_size, p.batch) = (64, batch)).check(random, check);
            self.with(|p| (p.window, p.batch) = (100, batch)).check(random, check);
            self.with(|p| (p.softcap, p.batch) = (20.0, batch)).check(random, check);
            for headwise in [false, true] {
                let seed = random.clone();
                self.with(|p| (p.headwise, p.batch) = (headwise, batch)).check(&mut seed.clone(), check);
                *random = if headwise { Random::new(random.bits()) } else { seed };
            }
        }
        for values in [Values::Zero, Values::Tiny] {
            self.with(|p| (p.values, p.batch) = (values, SHORT[1])).check(random, check);
        }
        self.with(|p| (p.batch, p.broken) = (&[(40, 1), (0, 30), (63, 1), (300, 9)], true)).check(random, check);
    }

    fn check(&self, random: &mut Random, check: &mut dyn FnMut(Case<Attention>)) {
        let layout = KvLayout {
            k: self.k,
            v: self.v,
            head_dim_k: self.dim_k,
            head_dim_v: self.dim_v,
            num_kv_heads: self.num_kv_heads,
            block_size: self.block_size,
        };
        let num_rows = self.batch.iter().map(|&(_, rows)| rows).sum();
        let desc = Desc {
            layout,
            group: 0,
            layer: 1,
            num_heads: self.num_heads,
            scale: 1.0 / (self.dim_k as f32).sqrt(),
            softcap: self.softcap,
            window: self.window,
            rows: Rows::of(num_rows),
        };
        let mut q = random.values(self.values, num_rows * self.num_heads * self.dim_k);
        let values = |sequence| if self.broken && sequence == 0 { Values::Broken } else { self.values };
        let fitting = self.fitted.then(|| cache::fitting(&layout, random));
        let fit = fitting.as_ref().map(KeyFitting::key_fit);
        let mut tokens = cache::tokens(&layout, self.batch, values, random);
        if self.leaning {
            // A query that is the same in every rotated dimension: what all codes of a key have in common adds up.
            let part = 1 << self.dim_k.trailing_zeros();
            let rotated = |i: usize| if i.is_multiple_of(part) { (part as f32).sqrt() } else { 0.0 };
            q.iter_mut().enumerate().for_each(|(i, q)| *q = rotated(i));
            cache::lean(&layout, &mut tokens);
        }
        let cache = cache::Contents::new(layout, fit, self.batch, self.window, tokens, self.headwise, random);
        let mut arena = Arena::default();
        let num_outputs = num_rows * self.num_heads * self.dim_v;
        let scratch = scratch_bytes(&desc, num_rows);
        let terms = terms(&desc, &cache, &q);
        let (q, out) = (arena.input(&q), arena.output(num_outputs * 4));
        let slots = Slots { q, out, scratch: arena.output(scratch), fit };
        let mut case = Case::new(format!("{self:?}"), desc, slots, arena);
        case.num_rows = num_rows;
        let anything = Output { place: Place::Arena, at: slots.scratch.0, bounds: Bounds::Any(scratch) };
        let bounds = Bounds::Vectors(terms, self.dim_v);
        case.outputs = vec![Output { place: Place::Arena, at: slots.out.0, bounds }, anything];
        case.cache = cache.cache;
        case.same_as_before = self.headwise;
        case.fitting = fitting;
        check(case);
    }
}

/// Per output `Σ p |v|`, times what an error of one unit in the largest score does to a weight.
fn terms(desc: &Desc, contents: &cache::Contents, q: &[f32]) -> Vec<f32> {
    let (dim_k, dim_v) = (desc.layout.head_dim_k, desc.layout.head_dim_v);
    let mut terms = vec![0f32; q.len() / dim_k * dim_v];
    for (query, (q, terms)) in q.chunks_exact(dim_k).zip(terms.chunks_exact_mut(dim_v)).enumerate() {
        let (row, head) = (query / desc.num_heads, query % desc.num_heads);
        let (keys, values, position) = contents.before(row, head / (desc.num_heads / desc.layout.num_kv_heads));
        let first = first_visible(desc, position);
        let (keys, values) = (&keys[first * dim_k..][..(position + 1 - first) * dim_k], &values[first * dim_v..]);
        let mut values = values[..(position + 1 - first) * dim_v].to_vec();
        // A rotated value has its errors before it is rotated back, which spreads them over the whole part.
        let rotated = desc.layout.v.is_quantized();
        if rotated {
            values.chunks_exact_mut(dim_v).for_each(hadamard);
        }
        values.iter_mut().for_each(|value| *value = value.abs());
        attend(desc, q, keys, &values, terms);
        if rotated {
            let part = 1 << dim_v.trailing_zeros();
            for terms in terms.chunks_exact_mut(part) {
                let sum: f32 = terms.iter().sum();
                terms.fill(sum / (part as f32).sqrt());
            }
        }
        let size = |key: &[f32]| -> f32 { q.iter().zip(key).map(|(q, k)| (q * k * desc.scale).abs()).sum() };
        let largest = keys.chunks_exact(dim_k).map(size).fold(0f32, f32::max);
        terms.iter_mut().for_each(|terms| *terms *= 1.0 + largest);
    }
    terms
}
