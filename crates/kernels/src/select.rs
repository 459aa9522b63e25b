//! The one place where a variant is chosen. Called while a plan is built, never in the step loop.

use device::Hardware;

use crate::op::Op;
use crate::variant::{Exactness, Variant};

/// What a plan may use.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Variants less exact than this are out.
    pub weakest: Exactness,
    /// Ids that must be chosen wherever they can run, most wanted first.
    pub pinned: Vec<String>,
}

impl Policy {
    /// Only the references and what equals them bit for bit.
    pub fn reference() -> Self {
        Self { weakest: Exactness::Bitwise, pinned: Vec::new() }
    }

    /// Only variants that compute in f32: the judge of accuracy.
    pub fn exact() -> Self {
        Self { weakest: Exactness::Reordered { ulp: u32::MAX }, pinned: Vec::new() }
    }

    /// The best variants up to rounded ones, no technique: what speed-ups are quoted against.
    pub fn baseline() -> Self {
        Self { weakest: Exactness::Rounded { rel_ppb: u32::MAX }, pinned: Vec::new() }
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
    /// Why it.
    pub reason: String,
    /// The best of the others, if any could run.
    pub runner_up: Option<&'static str>,
}

/// Picks the variant for `desc`: the first pinned one that can run, else the first in preference
/// order. The reference always can, so there is always a choice.
pub fn choose<O: Op>(desc: &O::Desc, hardware: &Hardware, policy: &Policy) -> Choice<O> {
    let mut dropped = Vec::new();
    let mut candidates: Vec<&'static Variant<O>> = Vec::new();
    for &variant in O::VARIANTS {
        match refusal(variant, desc, hardware, policy) {
            None => candidates.push(variant),
            Some(why) => dropped.push(format!("{} {why}", variant.id)),
        }
    }
    let reference = O::VARIANTS[O::VARIANTS.len() - 1];
    let pinned = policy.pinned.iter().find_map(|id| candidates.iter().position(|variant| variant.id == id));
    let index = pinned.unwrap_or(0);
    let variant = candidates.get(index).copied().unwrap_or(reference);
    let runner_up = candidates.iter().find(|other| other.id != variant.id).map(|other| other.id);
    let mut reason = if pinned.is_some() { "pinned" } else { "first in preference order" }.to_owned();
    if !dropped.is_empty() {
        reason = format!("{reason}; not: {}", dropped.join(", "));
    }
    Choice { variant, reason, runner_up }
}

/// Whether something better than the reference can run this problem: what a planner asks before it brings
/// activations into the form that the problem wants.
pub fn beats_reference<O: Op>(desc: &O::Desc, hardware: &Hardware, policy: &Policy) -> bool {
    choose::<O>(desc, hardware, policy).variant.id != O::VARIANTS[O::VARIANTS.len() - 1].id
}

/// Why `variant` is out of the question, if it is.
fn refusal<O: Op>(variant: &Variant<O>, desc: &O::Desc, hardware: &Hardware, policy: &Policy) -> Option<String> {
    if !(variant.accepts)(desc) {
        return Some("(shape)".to_owned());
    }
    if let Some(missing) = variant.needs.iter().find(|&&feature| !hardware.has(feature)) {
        return Some(format!("(needs {})", missing.name()));
    }
    (!policy.allows(variant.exactness)).then(|| format!("({})", variant.exactness))
}
