//! The one place where a variant is chosen. Called while a plan is built, never in the step loop.

use device::{Feature, Hardware};

use crate::op::Op;
use crate::variant::{AnyVariant, Exactness, Place, Variant};

/// What a plan may use.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Variants less exact than this are out.
    pub weakest: Exactness,
    /// Ids that must be chosen wherever they can run, most wanted first.
    pub pinned: Vec<String>,
    /// Variants of the techniques that are on, most wanted first: they come before the op's own list.
    pub extra: Vec<Extra>,
    /// Kernels and techniques that are out because their numbers went wrong on this model.
    pub off: Vec<Off>,
}

/// A kernel or a technique that was switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Off {
    /// Id of the variant or the technique.
    pub id: &'static str,
    /// Why, in a few words.
    pub why: String,
}

/// A variant that a technique adds to its op's list.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// The technique.
    pub technique: &'static str,
    /// The variant. How exact it may be was judged when the technique was switched on.
    pub variant: &'static dyn AnyVariant,
}

impl Policy {
    /// Only the references and what equals them bit for bit.
    pub fn reference() -> Self {
        Self { weakest: Exactness::Bitwise, pinned: Vec::new(), extra: Vec::new(), off: Vec::new() }
    }

    /// Only variants that compute in f32: the judge of accuracy.
    pub fn exact() -> Self {
        Self { weakest: Exactness::Reordered { ulp: u32::MAX }, pinned: Vec::new(), extra: Vec::new(), off: Vec::new() }
    }

    /// The best variants up to rounded ones, no technique: what speed-ups are quoted against.
    pub fn baseline() -> Self {
        Self {
            weakest: Exactness::Rounded { rel_ppb: u32::MAX },
            pinned: Vec::new(),
            extra: Vec::new(),
            off: Vec::new(),
        }
    }

    /// Whether `exactness` is good enough.
    pub fn allows(&self, exactness: Exactness) -> bool {
        exactness <= self.weakest
    }
}

/// A chosen variant with the reason, and what would have come next.
pub struct Choice<O: Op> {
    /// The variant.
    pub variant: &'static Variant<O>,
    /// The technique it belongs to; `None` for those of the baseline.
    pub technique: Option<&'static str>,
    /// Why it.
    pub reason: String,
    /// The best of the others, if any could run.
    pub runner_up: Option<&'static str>,
}

/// A variant that may be chosen, and the technique that brought it.
type Candidate<O> = (&'static Variant<O>, Option<&'static str>);

/// Picks the variant for `desc`: the first pinned one that can run, else the first of a technique, else the
/// first in preference order. The reference always can, so there is always a choice.
pub fn choose<O: Op>(desc: &O::Desc, hardware: &Hardware, policy: &Policy) -> Choice<O> {
    let mut dropped = Vec::new();
    let mut candidates: Vec<Candidate<O>> = Vec::new();
    for (variant, technique) in offered::<O>(policy, place_of(hardware)) {
        let weakest = if technique.is_some() { Exactness::Approximate } else { policy.weakest };
        let off = policy.off.iter().find(|off| off.id == variant.id || technique == Some(off.id));
        match off.map(|off| format!("(off: {})", off.why)).or_else(|| refusal(variant, desc, hardware, weakest)) {
            None => candidates.push((variant, technique)),
            Some(why) => dropped.push(format!("{} {why}", variant.id)),
        }
    }
    let reference = (O::VARIANTS[O::VARIANTS.len() - 1], None);
    let pinned = policy.pinned.iter().find_map(|id| candidates.iter().position(|(variant, _)| variant.id == id));
    let (variant, technique) = candidates.get(pinned.unwrap_or(0)).copied().unwrap_or(reference);
    let runner_up = candidates.iter().find(|(other, _)| other.id != variant.id).map(|(other, _)| other.id);
    let mut reason = match (pinned, technique) {
        (Some(_), _) => "pinned".to_owned(),
        (None, Some(id)) => format!("technique {id}"),
        (None, None) => "first in preference order".to_owned(),
    };
    if !dropped.is_empty() {
        reason = format!("{reason}; not: {}", dropped.join(", "));
    }
    Choice { variant, technique, reason, runner_up }
}

/// Of several ways to put one problem, the one whose variant is wanted most; the first of equals. What a planner
/// asks before it brings activations or weights into another form. `None` when there are none.
pub fn best_way<O: Op>(ways: &[O::Desc], hardware: &Hardware, policy: &Policy) -> Option<O::Desc> {
    let place = |desc: &O::Desc| {
        let id = choose::<O>(desc, hardware, policy).variant.id;
        let pinned = policy.pinned.iter().position(|other| other == id);
        // Two keys: a pinned variant stands before all others.
        (
            pinned.unwrap_or(usize::MAX),
            // A reference that stands in for what a device lacks comes last.
            offered::<O>(policy, place_of(hardware)).position(|(variant, _)| variant.id == id).unwrap_or(usize::MAX),
        )
    };
    ways.iter().copied().min_by_key(place)
}

/// Whose variants are in question: a device is described as a machine that has CUDA.
fn place_of(hardware: &Hardware) -> Place {
    if hardware.has(Feature::Cuda) { Place::Cuda } else { Place::Cpu }
}

/// The variants of techniques, then the op's own, for one place.
fn offered<O: Op>(policy: &Policy, place: Place) -> impl Iterator<Item = Candidate<O>> {
    let typed = |extra: &Extra| Some((extra.variant.typed()?, Some(extra.technique)));
    let all = policy.extra.iter().filter_map(typed).chain(O::VARIANTS.iter().map(|&variant| (variant, None)));
    all.filter(move |(variant, _)| variant.place() == place)
}

/// Why `variant` is out of the question, if it is.
fn refusal<O: Op>(variant: &Variant<O>, desc: &O::Desc, hardware: &Hardware, weakest: Exactness) -> Option<String> {
    if !(variant.accepts)(desc) {
        return Some("(shape)".to_owned());
    }
    if let Some(missing) = variant.needs.iter().find(|&&feature| !hardware.has(feature)) {
        return Some(format!("(needs {})", missing.name()));
    }
    (variant.exactness > weakest).then(|| format!("({})", variant.exactness))
}

#[cfg(test)]
mod tests {
    use device::Isa;
    use gguf::DType;

    use super::*;
    use crate::op::Rows;
    use crate::ops::Matmul;
    use crate::ops::matmul::{Desc, Input};
    use crate::packed::Form;

    fn best(isa: Isa, policy: &Policy, ways: &[(Input, Form)]) -> (Input, Form) {
        let desc = |&(input, form)| {
            let (n, k, weight) = (64, 256, DType::Q4_K);
            Desc { weight, form, input, n, k, row_bytes: 144, bias: false, rows: Rows::One }
        };
        let ways: Vec<Desc> = ways.iter().map(desc).collect();
        let best = best_way::<Matmul>(&ways, &Hardware::probe().capped(isa), policy).unwrap();
        (best.input, best.form)
    }

    #[test]
    fn of_equal_ways_the_first_and_of_others_the_better_one_is_taken() {
        let ways = [(Input::F32, Form::Rows), (Input::F32, Form::Packed), (Input::Q8, Form::Packed)];
        assert_eq!(best(Isa::Scalar, &Policy::baseline(), &ways), ways[0]); // the reference takes all
        assert_eq!(best(Isa::Scalar, &Policy::baseline(), &ways[1..]), ways[1]);
        assert!(best_way::<Matmul>(&[], &Hardware::probe(), &Policy::baseline()).is_none());
        if Hardware::probe().has(device::Feature::Avx2) {
            assert_eq!(best(Isa::Avx2, &Policy::exact(), &ways[..2]), ways[0]); // only the reference reads bands in f32
            assert_eq!(best(Isa::Avx2, &Policy::baseline(), &ways), ways[2]);
            let pinned = Policy { pinned: vec!["matmul/f32/avx2".to_owned()], ..Policy::baseline() };
            assert_eq!(best(Isa::Avx2, &pinned, &ways), ways[0]);
        }
    }
}
