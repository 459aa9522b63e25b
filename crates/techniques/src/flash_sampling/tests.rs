//! The form against the request's own chain: the same list, token, probability and error, whatever the row, the
//! parameters and the instruction set; the draws against the distribution; and the sweeps against plain code.

mod draws;
mod rows;
mod same;
mod sweeps;

use super::TECHNIQUE;
use device::{Hardware, Isa};
use engine::sampler::{Candidates, Params, Sampled, Sampler, VocabInfo};
use engine::technique::{ActiveForm, Knobs};

/// Vocabularies of real models, and one smaller than a block.
const VOCABULARIES: [usize; 4] = [111, 32_000, 128_256, 151_936];

/// Parameters from `field=value` words.
fn params(text: &str) -> Params {
    let mut params = Params::default();
    for word in text.split_whitespace() {
        let (field, value) = word.split_once('=').expect("field=value");
        params.parse(field, value).unwrap_or_else(|error| panic!("{word}: {error}"));
    }
    params
}

/// The request's chain, and the same begun by the technique in each instruction set of this machine.
fn chain_and_forms(text: &str, num_tokens: usize) -> (Sampler, Vec<(Isa, Sampler)>) {
    let vocab = VocabInfo { num_tokens, ..VocabInfo::default() };
    let chain = Sampler::new(&params(text), &vocab, 42).expect("valid parameters");
    let form = |&(_, isa): &(&str, Isa)| {
        let active = TECHNIQUE.sampler_forms().map(|form| ActiveForm {
            technique: TECHNIQUE.id,
            form,
            knobs: Knobs::default(),
            hardware: Hardware::probe().capped(isa),
        });
        let active: Vec<_> = active.collect();
        (isa, Sampler::with_forms(&params(text), &vocab, 42, &active).expect("valid parameters"))
    };
    (chain, Isa::NAMES.iter().map(form).collect())
}

/// Everything that a sampled row shows.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// An error by its words: NaN equals nothing.
    sampled: Result<Sampled, String>,
    /// Tokens that were left for the draw, with the bits of their logits.
    left: Vec<(u32, u32)>,
}

fn outcome(sampler: &mut Sampler, candidates: &mut Candidates, row: &[f32]) -> Outcome {
    let sampled = sampler.sample(candidates, row).map_err(|error| error.to_string());
    let left = candidates.ids().iter().zip(candidates.logits());
    let left = if sampled.is_ok() { left.map(|(&id, logit)| (id, logit.to_bits())).collect() } else { Vec::new() };
    Outcome { sampled, left }
}
