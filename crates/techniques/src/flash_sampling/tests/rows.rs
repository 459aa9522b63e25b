//! Rows of logits: like a model's, and as odd as they come.

/// A small generator: all that rows need is variety.
pub struct Lcg(pub u32);

impl Lcg {
    /// Between 0 and 1.
    pub fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f32) as usize).min(n - 1)
    }
}

/// A normal body (deviation 2.5) and a few tokens far above it.
pub fn like_a_model(seed: u32, len: usize) -> Vec<f32> {
    let mut lcg = Lcg(seed);
    let mut row: Vec<f32> = (0..len).map(|_| ((0..6).map(|_| lcg.unit()).sum::<f32>() - 3.0) * 3.5).collect();
    for _ in 0..30 {
        let token = lcg.below(len);
        row[token] = 8.0 + lcg.unit() * 8.0;
    }
    row
}

/// Every kind of row, by name.
pub fn all(len: usize) -> Vec<(&'static str, Vec<f32>)> {
    let mut lcg = Lcg(7);
    let one_at = |at: usize, rest: f32, value: f32| {
        let mut row = vec![rest; len];
        row[at] = value;
        row
    };
    let mut some_excluded = like_a_model(3, len);
    some_excluded.iter_mut().step_by(3).for_each(|logit| *logit = f32::NEG_INFINITY);
    let mut tie_at_the_edge = like_a_model(5, len);
    tie_at_the_edge.iter_mut().skip(17).step_by(29).for_each(|logit| *logit = 9.0);
    vec![
        ("model", like_a_model(1, len)),
        ("model, flat", like_a_model(2, len).iter().map(|logit| logit * 0.2).collect()),
        ("steps", like_a_model(4, len).iter().map(|logit| logit.round()).collect()),
        ("ties", tie_at_the_edge),
        ("wide", (0..len).map(|_| (lcg.unit() - 0.5) * 2e5).collect()),
        ("huge", (0..len).map(|_| (lcg.unit() - 0.5) * f32::MAX).collect()),
        ("subnormal", (0..len).map(|_| f32::from_bits((lcg.unit() * 8_388_607.0) as u32)).collect()),
        ("zeros", (0..len).map(|at| if at % 2 == 0 { 0.0 } else { -0.0 }).collect()),
        ("equal", vec![-3.25; len]),
        ("one hot, first", one_at(0, -1e30, 12.0)),
        ("one hot, last", one_at(len - 1, -40.0, 12.0)),
        ("one left", one_at(len / 2, f32::NEG_INFINITY, 1.0)),
        ("ascending", (0..len).map(|at| at as f32 * 1e-3).collect()),
        ("excluded", some_excluded),
        ("none left", vec![f32::NEG_INFINITY; len]),
        ("nan", one_at(len - 2, 1.0, f32::NAN)),
        ("infinite", one_at(len / 3, 1.0, f32::INFINITY)),
    ]
}
