//! The chain of one request: built from its parameters, fed a row of logits per step, told every accepted token.

use super::registry::stage_by_name;
use super::stage::{Setup, Stage, StageSpec, Step, VocabInfo};
use crate::technique::{ActiveForm, RowSampler};

use super::{Candidates, Error, Kind, ParamSpec, Params, adaptive_p, draw, logit_bias, mirostat, temperature};

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
    /// Takes the place of the stages, where a technique's form can do what they do.
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

    /// As [`Sampler::new`]; the first of the techniques' `forms` that can do the whole chain takes its place.
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
        for active in forms {
            match (active.form.compile)(params, vocab, &active.knobs) {
                Ok(form) => {
                    sampler.form = Some((active.technique, form));
                    break;
                }
                Err(why) => sampler.refusals.push((active.technique, why)),
            }
        }
        Ok(sampler)
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
        if logits.len() != self.num_tokens {
            return Err(Error::RowLength { len: logits.len(), num_tokens: self.num_tokens });
        }
        if let Some((_, form)) = &mut self.form {
            return form.sample(logits, &self.history, self.seed);
        }
        candidates.load(logits)?;
        let step = Step { history: &self.history, seed: self.seed };
        for (_, stage) in &mut self.stages {
            stage.apply(candidates, &step);
        }
        let selected = candidates.selected().ok_or(Error::NothingLeft { num_tokens: self.num_tokens })?;
        Ok(Sampled { token: candidates.ids()[selected], probability: candidates.probability(selected) })
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

    /// The technique that picks the tokens; `None` where the chain does.
    pub fn technique(&self) -> Option<&'static str> {
        self.form.as_ref().map(|(technique, _)| *technique)
    }

    /// Techniques whose form cannot do this request's chain, each with the stage that forbids it.
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
