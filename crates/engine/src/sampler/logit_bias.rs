//! Logit bias: adds to the logits of single tokens, before everything else. -infinity excludes a token; so are
//! excluded the end-of-generation tokens under `ignore_eos`, and the tokens that the model's file suppresses.

use super::stage::{Built, Editable, Effect, Setup, Stage, StageSpec, Step};
use super::{Candidates, Error, Kind, ParamSpec};

pub(super) const STAGE: StageSpec =
    StageSpec { name: "logit_bias", letter: None, aliases: &[], params: &[&LOGIT_BIAS, &IGNORE_EOS], build };

const LOGIT_BIAS: ParamSpec = ParamSpec {
    field: "logit_bias",
    flags: &["-l", "--logit-bias"],
    kind: Kind::Biases,
    help: "change the likelihood of a token: TOKEN_ID+BIAS or TOKEN_ID-BIAS, e.g. 15043+1 or 15043-inf",
    group: "sampling",
};

const IGNORE_EOS: ParamSpec = ParamSpec {
    field: "ignore_eos",
    flags: &["--ignore-eos"],
    kind: Kind::Switch,
    help: "never stop at an end-of-generation token: they get a bias of -inf",
    group: "sampling",
};

fn build(setup: &Setup) -> Built {
    let num_tokens = setup.vocab.num_tokens;
    let mut biases = setup.params.biases(&LOGIT_BIAS);
    if let Some(&(token, _)) = biases.iter().find(|(token, _)| *token as usize >= num_tokens) {
        return Err(Error::TokenOutOfVocab { what: "logit_bias", token, num_tokens });
    }
    let end: &[u32] = if setup.params.switch(&IGNORE_EOS) { setup.vocab.end_of_generation } else { &[] };
    biases.extend(end.iter().chain(setup.vocab.suppressed).map(|&token| (token, f32::NEG_INFINITY)));
    Ok((!biases.is_empty()).then(|| Box::new(LogitBias { biases }) as _))
}

#[derive(Debug, Clone)]
struct LogitBias {
    biases: Vec<(u32, f32)>,
}

impl Stage for LogitBias {
    fn apply(&mut self, candidates: &mut Candidates, step: &Step) {
        self.edit(candidates, step);
    }

    fn effect(&self) -> Effect {
        Effect::Edit
    }

    fn edit(&mut self, logits: &mut dyn Editable, _step: &Step) {
        for &(token, bias) in &self.biases {
            logits.change(token, &|logit| logit + bias);
        }
    }

    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}
