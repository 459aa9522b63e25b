//! What the technique loses, measured against attention in f64 over the vectors before they were stored. Conformance
//! (`tests/catalogue.rs`) holds the kernel to the reference on every shape; these hold it to figures, on the inputs that
//! such schemes are known to fail on.
#![cfg(target_arch = "x86_64")]

use device::Hardware;
use kernels::conformance::{Random, Values, attend_with, captured};
use kernels::ops::Attention;
use kernels::ops::attention::Desc;
use kernels::ops::attention::reference::{attend, first_visible};
use kernels::{KvLayout, KvType, Rows, Variant};

use super::cpu::AVX512VNNI;

/// Bounds of products in bytes with a maximum per chunk of keys.
const LEAST_COSINE: f64 = 0.999;
const MOST_L1: f64 = 0.02;

/// One sequence: the last `num_rows` of its tokens ask.
#[derive(Clone, Debug)]
struct Problem {
    dim: usize,
    num_heads: usize,
    num_kv_heads: usize,
    num_keys: usize,
    num_rows: usize,
    window: u32,
    softcap: f32,
    /// `[num_rows, num_heads, dim]`.
    q: Vec<f32>,
    /// `[num_keys, num_kv_heads, dim]`.
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Problem {
    fn gaussian(seed: u64, dim: usize, heads: (usize, usize), (num_rows, num_keys): (usize, usize)) -> Self {
        let mut random = Random::new(seed);
        let (num_heads, num_kv_heads) = heads;
        let mut normal = |len: usize| random.values(Values::Normal, len * dim);
        let (q, keys, values) =
            (normal(num_rows * num_heads), normal(num_keys * num_kv_heads), normal(num_keys * num_kv_heads));
        Problem { dim, num_heads, num_kv_heads, num_keys, num_rows, window: 0, softcap: 0.0, q, keys, values }
    }

    fn desc(&self, kv_type: KvType) -> Desc {
        let (dim, num_kv_heads) = (self.dim, self.num_kv_heads);
        let layout =
            KvLayout { k: kv_type, v: kv_type, head_dim_k: dim, head_dim_v: dim, num_kv_heads, block_size: 16 };
        Desc {
            layout,
            group: 0,
            layer: 0,
            num_heads: self.num_heads,
            scale: 1.0 / (dim as f32).sqrt(),
            softcap: self.softcap,
            window: self.window,
            rows: Rows::of(self.num_rows),
        }
    }

    /// Some rows, the first and the last among them.
    fn sample(&self) -> Vec<usize> {
        let step = self.num_rows.div_ceil(12);
        (0..self.num_rows).step_by(step).chain([self.num_rows - 1]).collect()
    }

    /// The outputs of [`Problem::sample`].
    fn truth(&self) -> Vec<f32> {
        let (dim, desc) = (self.dim, self.desc(KvType::F32));
        let mut all = Vec::new();
        for row in self.sample() {
            let position = self.num_keys - self.num_rows + row;
            let visible = first_visible(&desc, position)..position + 1;
            for head in 0..self.num_heads {
                let kv_head = head / (self.num_heads / self.num_kv_heads);
                let of = |vectors: &[f32]| -> Vec<f32> {
                    let rows = vectors.chunks_exact(dim * self.num_kv_heads);
                    let seen = rows.skip(visible.start).take(visible.len());
                    seen.flat_map(|row| row[kv_head * dim..][..dim].to_vec()).collect()
                };
                let q = &self.q[(row * self.num_heads + head) * dim..][..dim];
                let mut out = vec![0f32; dim];
                attend(&desc, q, &of(&self.keys), &of(&self.values), &mut out);
                all.extend(out);
            }
        }
        all
    }

    /// What a variant makes of [`Problem::sample`].
    fn found(&self, kv_type: KvType, variant: &'static Variant<Attention>) -> Vec<f32> {
        let out = attend_with(&self.desc(kv_type), variant, &self.q, &self.keys, &self.values, None).unwrap();
        let width = self.num_heads * self.dim;
        self.sample().into_iter().flat_map(|row| out[row * width..][..width].to_vec()).collect()
    }

    fn check(&self, label: &str) {
        self.check_within(label, LEAST_COSINE, MOST_L1);
    }

    fn check_within(&self, label: &str, least_cosine: f64, most_l1: f64) {
        let (cosine, l1) = loss(&self.truth(), &self.found(KvType::F16, &AVX512VNNI));
        println!("{label}: cosine {cosine:.6}, relative L1 {:.3} %", 100.0 * l1);
        assert!(cosine >= least_cosine && l1 <= most_l1, "{label}: cosine {cosine}, relative L1 {l1}");
    }

    /// The same with codes of the keys themselves, everything else exact.
    fn unsmoothed(&self) -> Problem {
        let mut problem = self.clone();
        for key in problem.keys.chunks_exact_mut(self.dim) {
            let mut codes = vec![0i8; self.dim];
            let scale = kernels::kv::codes(key, &mut codes);
            key.iter_mut().zip(codes).for_each(|(key, code)| *key = f32::from(code) * scale);
        }
        problem
    }
}

/// Cosine and relative L1 error.
fn loss(truth: &[f32], found: &[f32]) -> (f64, f64) {
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        truth.iter().zip(found).map(|(&truth, &found)| of(truth.into(), found.into())).sum()
    };
    let cosine = sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    (cosine, sum(&|a, b| (a - b).abs()) / sum(&|a, _| a.abs()))
}

/// Whether this machine has what the kernel needs; says so where it has not.
fn can_run() -> bool {
    let missing = AVX512VNNI.needs.iter().find(|&&feature| !Hardware::probe().has(feature));
    missing.inspect(|feature| println!("skipped: needs {}", feature.name())).is_none()
}

#[test]
fn gaussian_vectors_of_all_shapes() {
    if !can_run() {
        return;
    }
    let lengths = [(1, 1), (1, 300), (17, 17), (40, 64), (64, 64), (65, 1000), (300, 300), (300, 8192)];
    for dim in [64, 96, 128, 256] {
        for (nth, heads) in [(1, 1), (4, 1), (8, 1), (4, 2)].into_iter().enumerate() {
            for (rows, keys) in lengths {
                if keys == 8192 && (heads.0 > 4 || dim > 128) {
                    continue; // the truth takes long
                }
                let problem = Problem::gaussian((dim + nth) as u64, dim, heads, (rows, keys));
                problem.check(&format!("{heads:?} heads of {dim}, {rows} of {keys}"));
            }
        }
    }
}

#[test]
fn windows_and_soft_caps() {
    if !can_run() {
        return;
    }
    for (window, softcap) in [(7, 0.0), (100, 0.0), (512, 0.0), (0, 20.0), (0, 1.0), (300, 50.0)] {
        let mut problem = Problem::gaussian(3, 64, (4, 1), (200, 900));
        (problem.window, problem.softcap) = (window, softcap);
        // Soft caps see scores as they are: the mean's share is given back before.
        problem.keys.chunks_exact_mut(64).for_each(|key| key[9] += 10.0);
        problem.check(&format!("window {window}, cap {softcap}"));
    }
}

/// A channel of the keys that stands out by its mean alone: what softmax does not see, and codes of 8 bits must not.
#[test]
fn a_biased_channel_is_rescued_by_smoothing() {
    if !can_run() {
        return;
    }
    for sigmas in [10.0, 30.0, 50.0] {
        for dim in [64, 128] {
            let mut problem = Problem::gaussian(5, dim, (4, 2), (120, 700));
            problem.keys.chunks_exact_mut(dim).for_each(|key| {
                key[dim / 3] += sigmas;
                key[dim - 1] -= sigmas;
            });
            problem.check(&format!("bias of {sigmas}, heads of {dim}"));
            let (cosine, l1) = loss(&problem.truth(), &problem.unsmoothed().truth());
            println!("  without smoothing: cosine {cosine:.6}, relative L1 {:.3} %", 100.0 * l1);
            assert!(l1 > MOST_L1, "codes of the keys themselves lose {l1} only");
        }
    }
}

/// Heads of real models (`fixtures/attention`). The keys of the first are what smoothing is for: the largest channel is twenty
/// times the median. Most of that is a bias which RoPE turns with the position, so the mean takes away less than it does of
/// what stands still, and the bounds are wider.
#[test]
fn heads_of_real_models() {
    if !can_run() {
        return;
    }
    let heads: [(&str, usize, &[u8], f64, f64); 3] = [
        (
            "Qwen2.5-Coder-0.5B",
            64,
            include_bytes!("../../../../fixtures/attention/qwen2.5-coder-0.5b-layer0.f16"),
            0.998,
            0.08,
        ),
        ("SmolLM2-135M", 64, include_bytes!("../../../../fixtures/attention/smollm2-135m-layer12.f16"), 0.9995, 0.028),
        ("Gemma-3-270M", 256, include_bytes!("../../../../fixtures/attention/gemma-3-270m-layer5.f16"), 0.9995, 0.028),
    ];
    for (nth, (model, dim, bytes, least_cosine, most_l1)) in heads.into_iter().enumerate() {
        let [mut q, keys, values] = captured(bytes, dim);
        let q = q.split_off(64 * dim);
        let (num_keys, num_rows) = (keys.len() / dim, q.len() / dim);
        let (num_heads, num_kv_heads, window, softcap) = (1, 1, 0, 0.0);
        let problem = Problem { dim, num_heads, num_kv_heads, num_keys, num_rows, window, softcap, q, keys, values };
        problem.check_within(model, least_cosine, most_l1);
        let (cosine, l1) = loss(&problem.truth(), &problem.unsmoothed().truth());
        println!("  without smoothing: cosine {cosine:.6}, relative L1 {:.3} %", 100.0 * l1);
        assert!(nth > 0 || l1 > 4.0 * most_l1, "{model}: codes of the keys themselves lose {l1} only");
    }
}

/// One key that all queries look for, anywhere among 64 K others.
#[test]
fn a_needle_among_64k_keys() {
    if !can_run() {
        return;
    }
    let (dim, num_keys) = (64, 65_536);
    for place in [3, 30_000, 65_000] {
        let mut problem = Problem::gaussian(6, dim, (1, 1), (32, num_keys));
        let needle: Vec<f32> = problem.keys[place * dim..][..dim].to_vec();
        // The score of the needle: 20 more than what others have on average.
        let length: f32 = needle.iter().map(|x| x * x).sum();
        for q in problem.q.chunks_exact_mut(dim) {
            q.iter_mut().zip(&needle).for_each(|(q, n)| *q = 0.3 * *q + 20.0 * 8.0 / length * n);
        }
        problem.check(&format!("needle at {place}"));
        let found = problem.found(KvType::F16, &AVX512VNNI);
        let value = &problem.values[place * dim..][..dim];
        for row in found.chunks_exact(dim) {
            assert!(row.iter().zip(value).all(|(found, value)| (found - value).abs() < 0.05), "needle at {place}");
        }
    }
}

/// A peak beside a flat tail of weights that are too small for a code of their own.
#[test]
fn a_flat_tail_beside_a_peak_is_not_lost() {
    if !can_run() {
        return;
    }
    let dim = 64;
    for num_keys in [128, 1000] {
        let mut problem = Problem::gaussian(7, dim, (1, 1), (32, num_keys));
        problem.q.fill(1.0);
        for (token, key) in problem.keys.chunks_exact_mut(dim).enumerate() {
            key.fill(if token == 5 { 0.0 } else { (1.0f32 / 700.0).ln() / 8.0 });
        }
        problem.values.iter_mut().for_each(|value| *value = 1.0 + 0.3 * *value);
        problem.values[5 * dim..][..dim].fill(0.2);
        problem.check(&format!("tail of {num_keys}"));
    }
}
