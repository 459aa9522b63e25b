//! What a research technique is: const data that says where it comes from, how exact it is, what it needs,
//! and what it puts into the engine. **Every hook point stands in this file** ([`Provide`]).
//!
//! One folder of the `techniques` crate holds one [`Technique`]; its `CATALOG` lists them. Whoever opens a
//! model hands over such a list and the user's [`Switch`]es; [`resolve`] says which of them are on, and why.
//! With all of them off the plan is the baseline plan, step by step.

mod knob;
mod resolve;
mod switch;

use std::fmt;

use device::{Feature, Hardware};
use kernels::packed::Form;
use kernels::{AnyVariant, Exactness, Extra, KvType};

use crate::sampler::{Candidates, ChainStep, Effect};

pub use knob::{Knob, KnobKind, KnobValue, Knobs};
pub use resolve::{Resolved, State, resolve};
pub use switch::{Mode, Switch, SwitchError};

/// A technique as data.
#[derive(Debug)]
pub struct Technique {
    /// Its name, that of its folder: `--technique ID=on`.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Where it comes from: `arXiv:2410.02367`, or the address of a text.
    pub papers: &'static [&'static str],
    /// How far it is.
    pub stage: Stage,
    /// The weakest of what it provides; the exact plan refuses whatever rounds.
    pub exactness: Exactness,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Sets of CPU features; a machine that has all of one set will do. Empty: every machine will.
    pub needs: &'static [&'static [Feature]],
    /// Ids of techniques that cannot be on beside it. One of the two need name the other.
    pub conflicts: &'static [&'static str],
    /// What can be set: `--technique ID=on,KNOB=VALUE`.
    pub knobs: &'static [Knob],
    /// What it puts in.
    pub provides: &'static [Provide],
}

/// How far a technique is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Works, and may change; `auto` leaves it off.
    Preview,
    /// `auto` switches it on where it can run.
    Stable,
}

impl Stage {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Preview => "preview",
            Stage::Stable => "stable",
        }
    }
}

/// The hook points: all that a technique can put into the engine.
#[derive(Debug)]
pub enum Provide {
    /// A way to run an op. Wherever it accepts the problem it comes before the baseline's variants.
    Variant(&'static dyn AnyVariant),
    /// A way to do the first stages of a sampler chain; comes before the chain's own wherever it can.
    Sampler(&'static SamplerForm),
    /// How keys and values are stored. Two techniques that say so exclude each other.
    KvCodec(KvCodec),
    /// How weights that a GPU reads are laid out when a model is opened, where their type has that form.
    Repack(Form),
}

/// The element types of the KV cache while a technique is on, in place of what the plan is used to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvCodec {
    /// Of keys.
    pub k: KvType,
    /// Of values.
    pub v: KvType,
}

/// A way to do the first stages of a request's sampler chain on a row of logits as the model left it.
pub struct SamplerForm {
    /// Its name.
    pub id: &'static str,
    /// Makes the form for one request, or says which stage of its chain it cannot do.
    pub compile: fn(&FormSetup<'_>) -> Result<Box<dyn RowSampler>, String>,
}

impl fmt::Debug for SamplerForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// What a sampler form is made from.
#[derive(Debug)]
pub struct FormSetup<'a> {
    /// The stages of the request's chain that are on, in order, the draw last.
    pub chain: &'a [(&'static str, Effect)],
    /// Length of a row of logits.
    pub num_tokens: usize,
    /// The machine.
    pub hardware: &'a Hardware,
    /// The technique's knobs.
    pub knobs: &'a Knobs,
}

/// The form of one request. All that it knows of the sequence it asks the chain, so that taking tokens back needs
/// nothing of it.
pub trait RowSampler: fmt::Debug + Send {
    /// How many stages it does, from the first on; the chain's own do the rest.
    fn num_stages(&self) -> usize;

    /// Leaves in `candidates` what those stages of the chain would leave of `logits`, `[num_tokens]`; where the draw is
    /// among them, the token alone will do. False leaves this row to the chain, which also finds the words for what
    /// is wrong with it.
    fn narrow(&mut self, logits: &[f32], chain: &mut ChainStep<'_>, candidates: &mut Candidates) -> bool;

    /// A copy that goes its own way.
    fn clone_box(&self) -> Box<dyn RowSampler>;
}

impl Clone for Box<dyn RowSampler> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

/// A sampler form that is on.
#[derive(Clone, Debug)]
pub struct ActiveForm {
    /// The technique it belongs to.
    pub technique: &'static str,
    /// The form.
    pub form: &'static SamplerForm,
    /// The technique's knobs.
    pub knobs: Knobs,
    /// The machine.
    pub hardware: Hardware,
}

impl Technique {
    /// What `hardware` lacks for it: `avx512vnni`, or `avx2 or avx512bf16` where either would do.
    pub fn missing(&self, hardware: &Hardware) -> Option<String> {
        let lacks = |set: &&'static [Feature]| {
            let names: Vec<_> = set.iter().filter(|&&feature| !hardware.has(feature)).map(|f| f.name()).collect();
            names.join(" and ")
        };
        let missing: Vec<String> = self.needs.iter().map(lacks).collect();
        let runs = missing.is_empty() || missing.iter().any(String::is_empty);
        (!runs).then(|| missing.join(" or "))
    }

    /// What it needs, readable: `any CPU`, `avx2 and avx512bf16`, `avx2 or …`.
    pub fn needs_text(&self) -> String {
        let all = |set: &&'static [Feature]| set.iter().map(|f| f.name()).collect::<Vec<_>>().join(" and ");
        let sets: Vec<String> = self.needs.iter().map(all).collect();
        if sets.iter().all(String::is_empty) { "any CPU".to_owned() } else { sets.join(" or ") }
    }

    /// The variants it provides, most wanted first.
    pub fn variants(&self) -> impl Iterator<Item = Extra> {
        self.provides.iter().filter_map(|provide| match provide {
            Provide::Variant(variant) => Some(Extra { technique: self.id, variant: *variant }),
            _ => None,
        })
    }

    /// Whether the CPU alone can run some of what it provides.
    pub fn is_of_cpu(&self) -> bool {
        self.variants().any(|extra| !extra.variant.needs().contains(&Feature::Cuda))
    }

    /// The sampler forms it provides.
    pub fn sampler_forms(&self) -> impl Iterator<Item = &'static SamplerForm> {
        self.provides.iter().filter_map(|provide| match provide {
            Provide::Sampler(form) => Some(*form),
            _ => None,
        })
    }

    /// How it stores keys and values, if it does so in its own way.
    pub fn kv_codec(&self) -> Option<KvCodec> {
        self.provides.iter().find_map(|provide| match provide {
            Provide::KvCodec(codec) => Some(*codec),
            _ => None,
        })
    }

    /// How it lays out the weights that a GPU reads, if it does.
    pub fn repack(&self) -> Option<Form> {
        self.provides.iter().find_map(|provide| match provide {
            Provide::Repack(form) => Some(*form),
            _ => None,
        })
    }

    /// Whether the two cannot be on together.
    pub fn conflicts_with(&self, other: &Technique) -> bool {
        let both_store = self.kv_codec().is_some() && other.kv_codec().is_some();
        let both_lay_out = self.repack().is_some() && other.repack().is_some();
        both_store || both_lay_out || self.conflicts.contains(&other.id) || other.conflicts.contains(&self.id)
    }
}
