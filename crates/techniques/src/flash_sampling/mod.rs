//! Sorting-free sampling: the first stages of a sampler chain in a sweep or two over the logits where the model left
//! them, instead of on a copied list of all tokens. README.md beside this file gives the idea and the figures.

mod cpu;
mod narrow;
mod row;
#[cfg(test)]
mod tests;
mod threshold;

use cpu::Sweep;
use engine::sampler::{Candidates, ChainStep, Effect};
use engine::technique::{FormSetup, Provide, RowSampler, SamplerForm, Stage, Technique};
use kernels::Exactness;
use narrow::Narrowing;
use row::{Row, Work};

/// The row of the catalogue.
pub const TECHNIQUE: Technique = Technique {
    id: "flash_sampling",
    title: "sorting-free sampling",
    papers: &["arXiv:2501.01005", "https://flashinfer.ai/2025/03/10/sampling.html"],
    stage: Stage::Stable,
    exactness: Exactness::Bitwise,
    summary: "finds what the first filter of a sampler chain keeps by threshold, without copying or sorting the logits",
    needs: &[],
    conflicts: &[],
    knobs: &[],
    provides: &[Provide::Sampler(&FORM)],
};

static FORM: SamplerForm = SamplerForm { id: "sampler/flash", compile };

fn compile(setup: &FormSetup<'_>) -> Result<Box<dyn RowSampler>, String> {
    let sweep = Sweep::able(setup.hardware).next().ok_or("no form of it runs here")?;
    Ok(Box::new(FlashSampler::new(setup.chain, setup.num_tokens, sweep)?))
}

/// The form for one chain: its leading edits and temperature, then the first stage that narrows.
#[derive(Debug, Clone)]
struct FlashSampler {
    leading: Vec<Leading>,
    narrowing: Narrowing,
    num_stages: usize,
    work: Work,
}

/// What comes before the stage that narrows; each does one stage of the chain.
#[derive(Debug, Clone, Copy)]
enum Leading {
    Edit,
    Divide(f32),
    Nothing,
}

impl FlashSampler {
    fn new(chain: &[(&'static str, Effect)], num_tokens: usize, sweep: Sweep) -> Result<Self, String> {
        let mut leading = Vec::new();
        let mut divided = false;
        for (nth, &(name, effect)) in chain.iter().enumerate() {
            let narrowing = match effect {
                Effect::Edit => {
                    leading.push(Leading::Edit);
                    continue;
                }
                Effect::TopK(k) if k >= num_tokens => {
                    leading.push(Leading::Nothing);
                    continue;
                }
                Effect::Temperature(temperature) if temperature > 0.0 && !divided => {
                    leading.push(Leading::Divide(temperature));
                    divided = true;
                    continue;
                }
                Effect::TopP { min_keep, .. } | Effect::MinP { min_keep, .. } if min_keep >= num_tokens => None,
                effect => Narrowing::of(effect),
            };
            let narrowing = narrowing.ok_or_else(|| format!("{name}: cannot be the first stage that narrows"))?;
            let (narrowing, num_narrowing) = match greedy(&chain[nth..]) {
                Some(num_stages) => (Narrowing::Best, num_stages),
                None => (narrowing, 1),
            };
            let (num_stages, work) = (nth + num_narrowing, Work::new(num_tokens, sweep));
            return Ok(Self { leading, narrowing, num_stages, work });
        }
        Err("the chain has no stage that narrows".to_owned())
    }
}

/// How many stages it takes to come down to the best token, where filters that always keep it are followed by a
/// temperature of 0.
fn greedy(chain: &[(&'static str, Effect)]) -> Option<usize> {
    let keeps_best = |effect| matches!(effect, Effect::TopK(_) | Effect::TopP { .. } | Effect::MinP { .. });
    let filters = chain.iter().take_while(|(_, effect)| keeps_best(*effect)).count();
    matches!(chain.get(filters), Some((_, Effect::Temperature(t))) if *t <= 0.0).then_some(filters + 1)
}

impl RowSampler for FlashSampler {
    fn num_stages(&self) -> usize {
        self.num_stages
    }

    fn narrow(&mut self, logits: &[f32], chain: &mut ChainStep<'_>, candidates: &mut Candidates) -> bool {
        let mut row = Row::new(logits, &mut self.work);
        for (nth, leading) in self.leading.iter().enumerate() {
            match leading {
                Leading::Edit => chain.edit(nth, &mut row),
                Leading::Divide(divisor) => row.divide(*divisor),
                Leading::Nothing => {}
            }
        }
        self.narrowing.apply(&mut row, candidates, || chain.draw_bits())
    }

    fn clone_box(&self) -> Box<dyn RowSampler> {
        Box::new(self.clone())
    }
}
