//! What kernels notice of numbers that went wrong, at the cost of one comparison per row or head: a sum of
//! squares, a largest value, a total of weights that is not finite or beyond all bounds.
//!
//! A kernel raises [`Faults`] on its [`Shard`]; the walk keeps the first step that did (`Record`). What then
//! happens is the engine's business (`engine/watch`).

use std::fmt;

use device::Shard;

/// Largest size of an activation that is taken for sound, the root of the largest f32: products of larger
/// ones are infinite.
pub const LARGEST: f32 = 1.844_674_3e19;

/// Kinds of faults, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults(u32);

/// The first step of a walk that raised something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Index in the plan.
    pub step: usize,
    /// What was seen.
    pub faults: Faults,
}

impl Faults {
    /// None.
    pub const NONE: Faults = Faults(0);
    /// A value is not a number.
    pub const NAN: Faults = Faults(1);
    /// A value is infinite.
    pub const INF: Faults = Faults(2);
    /// A scale, or what it scales, is out of range.
    pub const SCALE: Faults = Faults(4);

    const ALL: [(Faults, &'static str); 3] =
        [(Faults::NAN, "NaN"), (Faults::INF, "Inf"), (Faults::SCALE, "a scale out of range")];

    /// What is wrong with a value that is not sound.
    pub fn of(value: f64) -> Faults {
        match value {
            value if value.is_nan() => Faults::NAN,
            value if value.is_infinite() => Faults::INF,
            _ => Faults::SCALE,
        }
    }

    /// What is wrong with these values, if anything: too large, infinite or no numbers.
    pub fn among(values: &[f32]) -> Faults {
        let unsound = values.iter().filter(|value| !is_sound(**value));
        unsound.fold(Faults::NONE, |faults, &value| faults.and(Faults::of(value.into())))
    }

    /// What is wrong with these logits, if anything. -Inf is fine: it rules a token out.
    pub fn in_logits(logits: &[f32]) -> Faults {
        let unsound = logits.iter().filter(|logit| logit.is_nan() || **logit == f32::INFINITY);
        unsound.fold(Faults::NONE, |faults, &logit| faults.and(Faults::of(logit.into())))
    }

    /// Whether nothing is wrong.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Both.
    pub fn and(self, other: Faults) -> Faults {
        Faults(self.0 | other.0)
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Faults {
        Faults(bits)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::ALL.iter().filter(|(fault, _)| self.0 & fault.0 != 0).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join(", "))
    }
}

/// Whether a value is one that activations may have.
pub(crate) fn is_sound(value: f32) -> bool {
    value.abs() <= LARGEST
}

/// Raises what `faults` finds, unless all is well. The search is for the rare case and may take its time.
#[inline(always)]
pub(crate) fn unless(well: bool, shard: &Shard<'_>, faults: impl FnOnce() -> Faults) {
    if !well {
        raise(shard, faults());
    }
}

#[cold]
fn raise(shard: &Shard<'_>, faults: Faults) {
    shard.raise(faults.bits());
}

/// Looks over a worker's share of the logits.
pub(crate) fn look_over(logits: &[f32], shard: &Shard<'_>) {
    const PIECE: usize = 256;
    for piece in logits[shard.range(logits.len(), PIECE)].chunks(PIECE) {
        // Without an early exit this is vector code.
        let well = piece.iter().fold(true, |well, &logit| well & (logit < f32::INFINITY));
        unless(well, shard, || Faults::in_logits(piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::Pool;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn only_nan_and_plus_infinity_are_faults_of_logits() {
        let mut pool = Pool::new(2).unwrap();
        let mut seen = |place: usize, value: f32| {
            let (mut logits, found) = (vec![1f32; 1000], AtomicU32::new(0));
            logits[place] = value;
            let look = |shard: &Shard<'_>| {
                look_over(&logits, shard);
                found.fetch_or(shard.take_raised(), Ordering::Relaxed);
            };
            pool.run(&look).unwrap();
            Faults::from_bits(found.into_inner())
        };
        for place in [0, 511, 512, 999] {
            assert_eq!(seen(place, f32::NEG_INFINITY), Faults::NONE);
            assert_eq!(seen(place, f32::MAX), Faults::NONE);
            assert_eq!(seen(place, f32::INFINITY), Faults::INF);
            assert_eq!(seen(place, f32::NAN), Faults::NAN);
        }
    }

    #[test]
    fn faults_have_names() {
        let values = [1.0, f32::NEG_INFINITY, f32::NAN, -1e30];
        assert_eq!(Faults::among(&values).to_string(), "NaN, Inf, a scale out of range");
        assert_eq!(Faults::among(&[0.0, -1e19]), Faults::NONE);
        assert_eq!(Faults::of(f64::from(LARGEST) * 2.0), Faults::SCALE);
    }
}
