//! Which techniques are on, and why: the user's switches held against a catalogue, a machine and a plan.

use device::Hardware;
use kernels::Exactness;

use super::{ActiveForm, Knobs, KvCodec, Mode, Stage, Switch, SwitchError, Technique};

/// What became of a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In use.
    On,
    /// Not wanted.
    Off,
    /// Wanted if possible, and not possible.
    FellBack,
}

impl State {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            State::On => "on",
            State::Off => "off",
            State::FellBack => "fell back",
        }
    }
}

/// A technique with what became of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The technique.
    pub technique: &'static Technique,
    /// What became of it.
    pub state: State,
    /// Why.
    pub reason: String,
    /// Its knobs.
    pub knobs: Knobs,
    /// The machine that it was held against.
    pub hardware: Hardware,
}

impl Resolved {
    /// The sampler forms that it puts in: none unless it is on.
    pub fn active_forms(&self) -> impl Iterator<Item = ActiveForm> {
        let forms = self.technique.sampler_forms().filter(|_| self.state == State::On);
        let (technique, knobs, hardware) = (self.technique.id, &self.knobs, &self.hardware);
        forms.map(move |form| ActiveForm { technique, form, knobs: knobs.clone(), hardware: hardware.clone() })
    }

    /// How it stores keys and values; `None` unless it is on and does so in its own way.
    pub fn active_codec(&self) -> Option<KvCodec> {
        self.technique.kv_codec().filter(|_| self.state == State::On)
    }
}

/// Says for each technique of `catalogue` whether it is on. Of several switches for one technique the last
/// counts; one for a technique counts before one for `all`. `weakest` is the least exact that the plan takes.
///
/// # Errors
/// For an unknown technique or knob, a value out of range, and for `on` where the machine, the plan or
/// another technique that is on forbids it.
pub fn resolve(
    catalogue: &[&'static Technique],
    switches: &[Switch],
    hardware: &Hardware,
    weakest: Exactness,
) -> Result<Vec<Resolved>, SwitchError> {
    if let Some(unknown) = switches.iter().find(|switch| !is_known(catalogue, &switch.id)) {
        return Err(unknown_technique(catalogue, &unknown.id));
    }
    let mut all = Vec::with_capacity(catalogue.len());
    for &technique in catalogue {
        let asked = last(switches, technique.id).or_else(|| last(switches, Switch::ALL));
        all.push(judge(technique, asked, hardware, weakest)?);
    }
    settle_conflicts(&mut all, switches)?;
    Ok(all)
}

fn is_known(catalogue: &[&'static Technique], id: &str) -> bool {
    id == Switch::ALL || catalogue.iter().any(|technique| technique.id == id)
}

fn last<'a>(switches: &'a [Switch], id: &str) -> Option<&'a Switch> {
    switches.iter().rfind(|switch| switch.id == id)
}

/// One technique by itself.
fn judge(
    technique: &'static Technique,
    asked: Option<&Switch>,
    hardware: &Hardware,
    weakest: Exactness,
) -> Result<Resolved, SwitchError> {
    let knobs = asked.map_or_else(|| Ok(Knobs::default()), |switch| knobs(technique, switch))?;
    let with = |state, reason: String| {
        Ok(Resolved { technique, state, reason, knobs: knobs.clone(), hardware: hardware.clone() })
    };
    let id = technique.id;
    let obstacle = obstacle(technique, hardware, weakest);
    match (asked.map(|switch| switch.mode), obstacle) {
        (None, _) => with(State::Off, "not asked for".to_owned()),
        (Some(Mode::Off), _) => with(State::Off, "asked to be off".to_owned()),
        (Some(Mode::On), None) => with(State::On, "asked for".to_owned()),
        (Some(Mode::On), Some(why)) => {
            Err(SwitchError(format!("{id}: {why}; leave it out, or give {id}=auto to do without it")))
        }
        (Some(Mode::Auto), Some(why)) => with(State::FellBack, why),
        (Some(Mode::Auto), None) if technique.stage == Stage::Preview => {
            with(State::FellBack, format!("a preview, not proved on this machine; {id}=on switches it on"))
        }
        (Some(Mode::Auto), None) => with(State::On, "auto: stable, and the machine has what it needs".to_owned()),
    }
}

/// What forbids the technique whatever the other techniques do.
fn obstacle(technique: &Technique, hardware: &Hardware, weakest: Exactness) -> Option<String> {
    if let Some(missing) = technique.missing(hardware) {
        return Some(format!("needs {missing}, which this machine (or --isa) does not have"));
    }
    let too_weak = technique.exactness > weakest && !rounds(weakest);
    too_weak.then(|| format!("is {}, the plan allows {weakest} at most", technique.exactness))
}

/// Whether a plan rounds already, so that techniques may cost accuracy too: the baseline does, the judges do not.
fn rounds(weakest: Exactness) -> bool {
    matches!(weakest, Exactness::Rounded { .. } | Exactness::Approximate)
}

/// Sees to it that no two techniques are on that exclude each other: an explicit `on` goes before `auto`,
/// then the catalogue's order counts.
fn settle_conflicts(all: &mut [Resolved], switches: &[Switch]) -> Result<(), SwitchError> {
    let explicit = |id: &str| last(switches, id).is_some_and(|switch| switch.mode == Mode::On);
    for at in 0..all.len() {
        for other in at + 1..all.len() {
            let (a, b) = (all[at].technique, all[other].technique);
            let both = all[at].state == State::On && all[other].state == State::On;
            if !both || !a.conflicts_with(b) {
                continue;
            }
            if explicit(a.id) && explicit(b.id) {
                return Err(SwitchError(format!("{}: conflicts with {}; switch one of them off", a.id, b.id)));
            }
            let (loser, winner) = if explicit(b.id) { (at, b.id) } else { (other, a.id) };
            all[loser].state = State::FellBack;
            all[loser].reason = format!("conflicts with {winner}, which is on");
        }
    }
    Ok(())
}

/// The knobs of a switch, held against the technique's.
fn knobs(technique: &'static Technique, switch: &Switch) -> Result<Knobs, SwitchError> {
    let mut knobs = Knobs::default();
    let id = technique.id;
    for (name, text) in &switch.knobs {
        let Some(knob) = technique.knobs.iter().find(|knob| knob.name == name) else {
            let names = technique.knobs.iter().map(|knob| knob.name);
            return Err(SwitchError(format!("{id}: no knob `{name}`{}", instead(name, names, "it has"))));
        };
        let Some(value) = knob.kind.parse(text) else {
            let range = knob.kind.range();
            return Err(SwitchError(format!("{id}: {name}: `{text}` is not allowed: expected {range}")));
        };
        knobs.set(knob, value);
    }
    Ok(knobs)
}

fn unknown_technique(catalogue: &[&'static Technique], id: &str) -> SwitchError {
    let names = catalogue.iter().map(|technique| technique.id);
    SwitchError(format!("{id}: no such technique{}", instead(id, names, "there are")))
}

/// `, did you mean …?` where a name is near, and all names.
fn instead<'a>(wrong: &str, names: impl Iterator<Item = &'a str> + Clone, have: &str) -> String {
    let near = |name: &&str| strsim::jaro_winkler(wrong, name) > 0.8 || (wrong.len() > 2 && name.contains(wrong));
    let best = names
        .clone()
        .filter(near)
        .max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)));
    let guess = best.map_or_else(String::new, |name| format!(", did you mean `{name}`?"));
    let all: Vec<&str> = names.collect();
    let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    format!("{guess}; {have} {all}")
}

#[cfg(test)]
mod tests;
