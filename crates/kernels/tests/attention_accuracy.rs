//! What attention over a cache in few bits loses, measured against f64 attention over the vectors before they were
//! stored: codes of keys, values, queries and weights together. Conformance holds the kernels to the codec; these
//! tests hold codec and kernels to the truth, on the inputs that such schemes are known to fail on.

use std::sync::Arc;

use device::Hardware;
use kernels::conformance::{Random, Values, attend_with, captured};
use kernels::ops::Attention;
use kernels::ops::attention::Desc;
use kernels::ops::attention::reference::attend;
use kernels::ops::rope::Pairing;
use kernels::{Angles, KeyFitting, KeySamples, KvLayout, KvType, Op, Rows};

/// Keys and values of one head, `[num_keys, dim]`, and the queries of its last rows, `[num_rows, dim]`.
struct Input {
    dim: usize,
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    /// How codes are fitted to the keys.
    fitting: Option<KeyFitting>,
}

impl Input {
    fn gaussian(random: &mut Random, dim: usize, num_keys: usize, num_rows: usize) -> Self {
        let mut vectors = |count: usize| random.values(Values::Normal, count * dim);
        Input { dim, q: vectors(num_rows), keys: vectors(num_keys), values: vectors(num_keys), fitting: None }
    }

    fn num_keys(&self) -> usize {
        self.keys.len() / self.dim
    }

    fn num_rows(&self) -> usize {
        self.q.len() / self.dim
    }

    fn desc(&self, kv_type: KvType) -> Desc {
        let (dim, num_kv_heads) = (self.dim, 1);
        let layout =
            KvLayout { k: kv_type, v: kv_type, head_dim_k: dim, head_dim_v: dim, num_kv_heads, block_size: 16 };
        let scale = 1.0 / (dim as f32).sqrt();
        Desc {
            layout,
            group: 0,
            layer: 0,
            num_heads: 1,
            scale,
            softcap: 0.0,
            window: 0,
            rows: Rows::of(self.num_rows()),
        }
    }

    fn truth(&self) -> Vec<f32> {
        let (dim, context) = (self.dim, self.num_keys() - self.num_rows());
        let mut out = vec![0f32; self.q.len()];
        for (row, (q, out)) in self.q.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let seen = (context + row + 1) * dim;
            attend(&self.desc(KvType::F32), q, &self.keys[..seen], &self.values[..seen], out);
        }
        out
    }

    /// What each variant that this machine can run makes of it, by id.
    fn found(&self, kv_type: KvType) -> Vec<(&'static str, Vec<f32>)> {
        let (desc, hardware) = (self.desc(kv_type), Hardware::probe());
        let can = |variant: &&&'static kernels::Variant<Attention>| {
            (variant.accepts)(&desc) && variant.needs.iter().all(|&feature| hardware.has(feature))
        };
        Attention::VARIANTS
            .iter()
            .filter(can)
            .map(|&variant| {
                let fit = self.fitting.as_ref().filter(|_| kv_type.is_quantized()).map(KeyFitting::key_fit);
                (variant.id, attend_with(&desc, variant, &self.q, &self.keys, &self.values, fit).unwrap())
            })
            .collect()
    }
}

/// `Σ |found - truth| / Σ |truth|`.
fn relative_l1(truth: &[f32], found: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f32>| values.map(f64::from).sum::<f64>();
    let error = sum(&mut truth.iter().zip(found).map(|(truth, found)| (truth - found).abs()));
    error / sum(&mut truth.iter().map(|truth| truth.abs()))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn check(label: &str, input: &Input, kv_type: KvType, most: f64) {
    let truth = input.truth();
    for (id, found) in input.found(kv_type) {
        let error = relative_l1(&truth, &found);
        println!("{label} {} {id}: {:.3} %, cosine {:.6}", kv_type.name(), 100.0 * error, cosine(&truth, &found));
        assert!(error <= most, "{label} {} {id}: {error}, more than {most}", kv_type.name());
    }
}

/// Largest error that each type may make on Gaussian vectors. That of 4 bits is the codec's own: attention in f64
/// over such codes misses by 11 to 25 %, as the vectors fall.
const TYPES: [(KvType, f64); 4] = [(KvType::F16, 0.005), (KvType::Bf16, 0.008), (KvType::Q8, 0.02), (KvType::Q4, 0.25)];

#[test]
fn gaussian_vectors_in_all_lengths() {
    let mut random = Random::new(11);
    for dim in [64, 128, 256] {
        for (num_keys, num_rows) in [(1, 1), (17, 1), (300, 1), (1000, 4), (8192, 1), (300, 300), (777, 65)] {
            let input = Input::gaussian(&mut random, dim, num_keys, num_rows);
            for (kv_type, most) in TYPES {
                check(&format!("{dim}: {num_rows} of {num_keys}"), &input, kv_type, most);
            }
        }
    }
}

/// A key with nearly all of the weight of its chunk, and many of a seven hundredth of it, whose values have a mean.
fn spike_and_tail(num_keys: usize) -> Input {
    let dim = 64;
    let mut random = Random::new(12);
    let mut input = Input::gaussian(&mut random, dim, num_keys, 1);
    let q = vec![1f32; dim];
    // score = Σ k / 8
    let level = |weight: f32| weight.ln() / 8.0;
    for (token, key) in input.keys.chunks_exact_mut(dim).enumerate() {
        key.fill(level(if token == 5 { 1.0 } else { 1.0 / 700.0 }));
    }
    input.values.iter_mut().for_each(|value| *value = 1.0 + 0.3 * *value);
    input.values[5 * dim..][..dim].iter_mut().for_each(|value| *value = 0.2);
    Input { q, ..input }
}

#[test]
fn a_flat_tail_beside_a_peak_is_not_lost() {
    for num_keys in [100, 128, 1000] {
        check(&format!("tail of {num_keys}"), &spike_and_tail(num_keys), KvType::Q8, 0.02);
    }
}

/// The form that was published (arXiv 2409.16997): weights rounded to 127 levels of the running maximum, their sum not.
#[test]
fn the_published_form_loses_the_tail() {
    let input = spike_and_tail(128);
    let truth = input.truth();
    let weights: Vec<f32> = (0..128).map(|token| if token == 5 { 1.0 } else { 1.0 / 700.0 }).collect();
    let total: f32 = weights.iter().sum();
    let sum = |i: usize| -> f32 {
        let terms = weights.iter().zip(input.values.chunks_exact(64));
        terms.map(|(weight, value)| (weight * 127.0).round() / 127.0 * value[i]).sum()
    };
    let found: Vec<f32> = (0..64).map(|i| sum(i) / total).collect();
    assert!(relative_l1(&truth, &found) > 0.3);
}

#[test]
fn a_sink_without_a_value_keeps_its_weight() {
    let dim = 64;
    let mut input = Input::gaussian(&mut Random::new(13), dim, 400, 1);
    input.q.fill(1.0);
    for (token, key) in input.keys.chunks_exact_mut(dim).enumerate() {
        key.fill(if token == 0 { 1.0 } else { 0.1 });
    }
    input.values[..dim].iter_mut().for_each(|value| *value *= 1e-4);
    check("sink", &input, KvType::Q8, 0.02);
    input.values[..dim].fill(0.0);
    check("sink of zeros", &input, KvType::Q8, 0.02);
}

#[test]
fn one_large_channel_of_values_spoils_little() {
    let mut input = Input::gaussian(&mut Random::new(14), 64, 500, 1);
    input.values.chunks_exact_mut(64).for_each(|value| value[7] *= 20.0);
    // One scale per vector: codes of the other channels are 20 times as coarse.
    check("large channel", &input, KvType::Q8, 0.05);
}

/// A head of a real model (`fixtures/attention`).
struct Captured {
    model: &'static str,
    dim: usize,
    bytes: &'static [u8],
    rope_base: f32,
    pairing: Pairing,
}

const CAPTURED: [Captured; 3] = [
    Captured {
        model: "Qwen2.5-Coder-0.5B",
        dim: 64,
        bytes: include_bytes!("../../../fixtures/attention/qwen2.5-coder-0.5b-layer0.f16"),
        rope_base: 1e6,
        pairing: Pairing::Halves,
    },
    Captured {
        model: "SmolLM2-135M",
        dim: 64,
        bytes: include_bytes!("../../../fixtures/attention/smollm2-135m-layer12.f16"),
        rope_base: 1e5,
        pairing: Pairing::Adjacent,
    },
    Captured {
        model: "Gemma-3-270M",
        dim: 256,
        bytes: include_bytes!("../../../fixtures/attention/gemma-3-270m-layer5.f16"),
        rope_base: 1e6,
        pairing: Pairing::Halves,
    },
];

impl Captured {
    /// All of it; keys fitted by what the first 128 tokens tell, or not.
    fn input(&self, fitted: bool) -> Input {
        let [q, keys, values] = captured(self.bytes, self.dim);
        let frequency = |j: usize| self.rope_base.powf(-2.0 * j as f32 / self.dim as f32);
        let inv_freq: Vec<f32> = (0..self.dim / 2).map(frequency).collect();
        let angles = Arc::new(Angles::new(&inv_freq, keys.len() / self.dim));
        let (num_tokens, head_dim, pairing) = (128, self.dim, self.pairing);
        let (of_keys, of_queries) = (&keys[..num_tokens * head_dim], &q[..num_tokens * head_dim]);
        let samples = KeySamples { keys: of_keys, queries: of_queries, num_tokens, head_dim, pairing };
        let fitting = fitted.then(|| samples.fitting(&angles, 0.05)).flatten();
        assert_eq!(fitting.is_some(), fitted);
        Input { dim: self.dim, q, keys, values, fitting }
    }
}

/// What each type may lose on heads of real models, its codes fitted to the keys. What Qwen's lose in half precision is the
/// bias of its keys, twenty times the median channel; codes do not see it any more.
#[test]
fn heads_of_real_models() {
    let bounds = [[0.037, 0.037, 0.012, 0.1], [0.006, 0.006, 0.02, 0.18], [0.004, 0.004, 0.018, 0.15]];
    for (head, bounds) in CAPTURED.iter().zip(bounds) {
        let input = head.input(true);
        for ((kv_type, _), most) in TYPES.into_iter().zip(bounds) {
            check(head.model, &input, kv_type, most);
        }
    }
}

/// Codes of keys as they are lose a bias that RoPE turns: no rotation of channels makes it small.
#[test]
fn a_bias_that_rope_turns_is_what_codes_cannot_hold() {
    let input = CAPTURED[0].input(false);
    let truth = input.truth();
    for (id, found) in input.found(KvType::Q8) {
        assert!(relative_l1(&truth, &found) > 0.2, "{id}");
    }
}
