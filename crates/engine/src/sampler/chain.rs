//! The chain of one request: built from its parameters, fed a row of logits per step, told every accepted token.

use super::registry::stage_by_name;
use super::stage::{ChainStep, Effect, Setup, Stage, StageSpec, Step, VocabInfo};
use super::{
    Candidates, Error, Kind, ParamSpec, Params, TokenSet, adaptive_p, draw, logit_bias, mirostat, temperature,
};
use crate::technique::{ActiveForm, FormSetup, RowSampler};

/// llama.cpp's order. Logit bias goes before it, the draw after it.
const DEFAULT_ORDER: &[&str] =
    &["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"];

/// Parameters of the chain as a whole.
pub(super) const STAGE: StageSpec = StageSpec {
    name: "chain",
    letter: None,
    aliases: &[],
    params: &[&SAMPLERS, &SAMPLER_SEQ, &MIN_KEEP],
    build: |_| Ok(None),
};

pub(super) const SAMPLERS: ParamSpec = ParamSpec {
    field: "samplers",
    flags: &["--samplers"],
    kind: Kind::Stages { default: DEFAULT_ORDER },
    help: "samplers in their order of application, separated by `;`",
    group: "sampling",
};

const SAMPLER_SEQ: ParamSpec = ParamSpec {
    field: "sampler_seq",
    flags: &["--sampler-seq", "--sampling-seq"],
    kind: Kind::StageLetters,
    help: "the same order as one letter per sampler, e.g. edskypmxt",
    group: "sampling",
};

const MIN_KEEP: ParamSpec = ParamSpec {
    field: "min_keep",
    flags: &[],
    kind: Kind::Int { min: 0, max: i32::MAX as i64, default: 0 },
    help: "tokens that top-p, min-p, typical and XTC keep at least",
    group: "sampling",
};

/// The sampler of one sequence. Small and cheap to clone; the big buffers are in [`Candidates`].
#[derive(Debug, Clone)]
pub struct Sampler {
    stages: Vec<(&'static str, Box<dyn Stage>)>,
    history: Vec<u32>,
    seed: u64,
    num_tokens: usize,
    /// A technique's form that does the first stages in another way.
    form: Option<(&'static str, Box<dyn RowSampler>)>,
    refusals: Vec<(&'static str, String)>,
}

/// The outcome of [`Sampler::sample`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// Its probability among the candidates that the chain left.
    pub probability: f32,
}

impl Sampler {
    /// Builds the chain. `random_seed` is taken when the parameters ask for a random one (the default).
    pub fn new(params: &Params, vocab: &VocabInfo, random_seed: u64) -> Result<Self, Error> {
        let mut sampler = Self {
            stages: Vec::new(),
            history: Vec::new(),
            seed: draw::seed(params).unwrap_or(random_seed),
            num_tokens: vocab.num_tokens,
            form: None,
            refusals: Vec::new(),
        };
        let min_keep = params.int(&MIN_KEEP) as usize;
        for spec in plan(params) {
            if let Some(stage) = (spec.build)(&Setup { params, vocab, min_keep })? {
                sampler.stages.push((spec.name, stage));
            }
        }
        Ok(sampler)
    }

    /// As [`Sampler::new`]; the first of the techniques' `forms` that can begin this chain does so.
    ///
    /// # Errors
    /// As the chain's: a form neither adds to what is wrong with the parameters nor hides it.
    pub fn with_forms(
        params: &Params,
        vocab: &VocabInfo,
        random_seed: u64,
        forms: &[ActiveForm],
    ) -> Result<Self, Error> {
        let mut sampler = Self::new(params, vocab, random_seed)?;
        let chain: Vec<(&str, Effect)> = sampler.stages.iter().map(|(name, stage)| (*name, stage.effect())).collect();
        for active in forms {
            let setup = FormSetup {
                chain: &chain,
                num_tokens: vocab.num_tokens,
                hardware: &active.hardware,
                knobs: &active.knobs,
            };
            match (active.form.compile)(&setup) {
                Ok(form) => {
                    sampler.form = Some((active.technique, form));
                    break;
                }
                Err(why) => sampler.refusals.push((active.technique, why)),
            }
        }
        Ok(sampler)
    }

    /// The same chain, drawing by another seed.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Makes room to accept this many further tokens without allocating.
    pub fn reserve(&mut self, num_tokens: usize) {
        self.history.reserve(num_tokens);
        for (_, stage) in &mut self.stages {
            stage.reserve(num_tokens);
        }
    }

    /// Picks the next token from a row of logits `[num_tokens]`. The sampler learns of it only through
    /// [`Self::accept`]; sampling the same row again gives the same token.
    pub fn sample(&mut self, candidates: &mut Candidates, logits: &[f32]) -> Result<Sampled, Error> {
        self.pick(candidates, logits, None)
    }

    /// The same among some tokens only: for all stages of the chain there are no others.
    pub fn sample_within(
        &mut self,
        candidates: &mut Candidates,
        logits: &[f32],
        allowed: &TokenSet,
    ) -> Result<Sampled, Error> {
        self.pick(candidates, logits, Some(allowed))
    }

    fn pick(
        &mut self,
        candidates: &mut Candidates,
        logits: &[f32],
        allowed: Option<&TokenSet>,
    ) -> Result<Sampled, Error> {
        if logits.len() != self.num_tokens {
            return Err(Error::RowLength { len: logits.len(), num_tokens: self.num_tokens });
        }
        let step = Step { history: &self.history, seed: self.seed };
        let mut chain = ChainStep { stages: &mut self.stages, step };
        // Forms read the row as the model left it.
        let form = self.form.as_mut().map(|(_, form)| form).filter(|_| allowed.is_none());
        let begun = form.and_then(|form| form.narrow(logits, &mut chain, candidates).then_some(form.num_stages()));
        if begun.is_none() {
            candidates.load(logits)?;
            allowed.iter().for_each(|allowed| candidates.restrict(allowed));
        }
        for (_, stage) in self.stages.iter_mut().skip(begun.unwrap_or(0)) {
            stage.apply(candidates, &step);
        }
        let selected = candidates.selected().ok_or(Error::NothingLeft { num_tokens: self.num_tokens })?;
        Ok(Sampled { token: candidates.ids()[selected], probability: candidates.probability(selected) })
    }

    /// Whether the chain always picks the most likely token, the first of equal ones: temperature 0 among stages that never
    /// drop it.
    pub fn is_greedy(&self) -> bool {
        let effects = || self.stages.iter().map(|(_, stage)| stage.effect());
        let keeps = |effect| {
            matches!(
                effect,
                Effect::TopK(_) | Effect::TopP { .. } | Effect::MinP { .. } | Effect::Temperature(_) | Effect::Draw
            )
        };
        effects().all(keeps) && effects().any(|effect| matches!(effect, Effect::Temperature(t) if t <= 0.0))
    }

    /// Appends a token to the sequence: of the prompt, sampled, or forced.
    pub fn accept(&mut self, token: u32) {
        for (_, stage) in &mut self.stages {
            stage.accept(token, self.history.len());
        }
        self.history.push(token);
    }

    /// Appends several tokens.
    pub fn accept_all(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&token| self.accept(token));
    }

    /// Takes back the last `n` tokens: the sampler is as if they had never been accepted.
    pub fn rollback(&mut self, n: usize) -> Result<(), Error> {
        let accepted = self.history.len();
        let left = accepted.checked_sub(n).ok_or(Error::RollbackTooFar { asked: n, accepted })?;
        self.history.truncate(left);
        for (_, stage) in &mut self.stages {
            stage.rollback(left);
        }
        Ok(())
    }

    /// Takes back all tokens.
    pub fn reset(&mut self) {
        self.history.clear();
        for (_, stage) in &mut self.stages {
            stage.rollback(0);
        }
    }

    /// All tokens accepted so far.
    pub fn history(&self) -> &[u32] {
        &self.history
    }

    /// The seed in use.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// From now on every candidate that the chain leaves is to be found in the list after a draw. A technique's form
    /// may list only the token that it drew, so it gives way.
    pub fn list_candidates(&mut self) {
        if let Some((technique, _)) = self.form.take() {
            self.refusals.push((technique, "the candidates of the draw are asked for".to_owned()));
        }
    }

    /// The technique that begins the chain; `None` where the chain does it all itself.
    pub fn technique(&self) -> Option<&'static str> {
        self.form.as_ref().map(|(technique, _)| *technique)
    }

    /// How many stages, from the first on, the technique does.
    pub fn num_begun(&self) -> usize {
        self.form.as_ref().map_or(0, |(_, form)| form.num_stages())
    }

    /// Techniques whose form cannot begin this request's chain, each with the stage that forbids it.
    pub fn refusals(&self) -> &[(&'static str, String)] {
        &self.refusals
    }

    /// Names of the stages that are on, in order.
    pub fn stages(&self) -> impl Iterator<Item = &'static str> {
        self.stages.iter().map(|(name, _)| *name)
    }
}

/// The stages of the chain, in order; those that their parameters switch off drop out when built.
fn plan(params: &Params) -> Vec<&'static StageSpec> {
    let mut plan = vec![&logit_bias::STAGE];
    if mirostat::version(params) > 0 {
        plan.extend([&temperature::PLAIN, &mirostat::STAGE]);
        return plan;
    }
    let order = params.texts(&SAMPLERS);
    let (selecting, narrowing): (Vec<_>, Vec<_>) =
        order.iter().filter_map(|name| stage_by_name(name)).partition(|spec| spec.name == adaptive_p::STAGE.name);
    plan.extend(narrowing);
    // Wherever adaptive-p was named, it picks the token: it stands last, in place of the draw.
    plan.push(if selecting.is_empty() { &draw::STAGE } else { &adaptive_p::STAGE });
    plan
}
