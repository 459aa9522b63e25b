//! Reproducible random numbers for the suite (splitmix64; Steele, Lea, Flood 2014).

/// A generator; the same seed gives the same problems on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// About normally distributed, like activations.
    Normal,
    /// Zeros.
    Zero,
    /// Around 1e-20: squares underflow in f32.
    Tiny,
    /// Subnormal numbers among zeros.
    Subnormal,
    /// Around 1e20: squares overflow in f32.
    Huge,
    /// Magnitudes from 1e-6 to 1e6.
    Wild,
    /// Normal with a few infinities and NaNs.
    Broken,
}

impl Values {
    /// All of them.
    pub const ALL: [Values; 7] =
        [Values::Normal, Values::Zero, Values::Tiny, Values::Subnormal, Values::Huge, Values::Wild, Values::Broken];
}

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// One of the given.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// About normal: mean 0, variance 1.
    pub fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.unit() - 0.5).sum::<f32>() * 3f32.sqrt()
    }

    /// One value of a kind.
    pub fn value(&mut self, values: Values) -> f32 {
        match values {
            Values::Normal => self.normal(),
            Values::Zero => 0.0,
            Values::Tiny => self.normal() * 1e-20,
            Values::Subnormal if self.below(4) == 0 => f32::from_bits(self.below(1 << 23) as u32),
            Values::Subnormal => 0.0,
            Values::Huge => self.normal() * 1e20,
            Values::Wild => self.normal() * 10f32.powi(self.below(13) as i32 - 6),
            Values::Broken if self.below(100) == 0 => self.pick(&[f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
            Values::Broken => self.normal(),
        }
    }

    /// Many values of a kind.
    pub fn values(&mut self, values: Values, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value(values)).collect()
    }

    /// `0..len` in random order.
    pub fn shuffled(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for i in (1..len).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}
