//! `chaski techniques`: the catalogue, and what becomes of each technique on this machine; the same rows for `explain`.

use std::io::Write;

use engine::technique::{Knob, Resolved, State, Technique};
use serde_json::{Value, json};

use crate::open;
use crate::settings::{Format, Settings};

/// Holds the switches against catalogue and machine before anything is done, whatever the command.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    if !settings.load.techniques.is_empty() {
        resolve(settings)?;
    }
    Ok(())
}

/// Prints the catalogue.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let all = resolve(settings)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if settings.output.format == Format::Json {
        let list: Vec<Value> = all.iter().map(entry).collect();
        writeln!(out, "{:#}", Value::from(list))?;
        return Ok(out.flush()?);
    }
    if all.is_empty() {
        writeln!(out, "no techniques in this build")?;
    }
    for (index, resolved) in all.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        describe(&mut out, resolved)?;
    }
    Ok(out.flush()?)
}

/// A row for each technique: what became of it and why.
pub fn standings(out: &mut impl Write, all: &[Resolved]) -> std::io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let width = all.iter().map(|resolved| resolved.technique.id.len()).max().unwrap_or(0);
    writeln!(out, "\ntechniques")?;
    for Resolved { technique, state, reason, .. } in all {
        writeln!(out, "  {:width$}  {:9}  {reason}", technique.id, state.name())?;
    }
    Ok(())
}

/// The same as JSON.
pub fn standing(resolved: &Resolved) -> Value {
    json!({
        "technique": resolved.technique.id,
        "state": resolved.state.name(),
        "reason": resolved.reason,
    })
}

/// The catalogue as a page of docs/generated: what is the same on every machine.
pub fn markdown(catalogue: &[&Technique]) -> String {
    let mut page = String::from(
        "# Techniques\n\nThe folders of `crates/techniques/src`, as `chaski techniques` lists them. \
         `--technique ID=on|off|auto[,KNOB=VALUE…]` switches one; \
         `auto` switches it on where it is stable and can run.\n\n\
         | technique | what it does | papers | stage | exactness | needs | conflicts | provides |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for technique in catalogue {
        page += &format!(
            "| [`{id}`](../../crates/techniques/src/{id}/README.md) | {} | {} | {} | {} | {} | {} | {} |\n",
            technique.summary,
            technique.papers.join(", "),
            technique.stage.name(),
            technique.exactness,
            technique.needs_text(),
            conflicts(technique),
            provides(technique).join(", "),
            id = technique.id,
        );
    }
    if catalogue.iter().any(|technique| !technique.knobs.is_empty()) {
        page += "\n## Knobs\n\n| technique | knob | range | default | what it does |\n|---|---|---|---|---|\n";
    }
    for technique in catalogue {
        for Knob { name, help, kind } in technique.knobs {
            let (range, default) = (kind.range(), kind.default());
            page += &format!("| `{}` | `{name}` | {range} | {default} | {help} |\n", technique.id);
        }
    }
    page
}

fn resolve(settings: &Settings) -> anyhow::Result<Vec<Resolved>> {
    let options = open::options(&settings.load)?;
    Ok(options.resolve().map_err(chaski::Error::Technique)?)
}

fn describe(out: &mut impl Write, resolved: &Resolved) -> std::io::Result<()> {
    let technique = resolved.technique;
    writeln!(out, "{}  {}", technique.id, technique.title)?;
    let state = format!("{}: {}", resolved.state.name(), resolved.reason);
    let rows = [
        ("state", state),
        ("what", technique.summary.to_owned()),
        ("papers", technique.papers.join(", ")),
        ("stage", technique.stage.name().to_owned()),
        ("exactness", technique.exactness.to_string()),
        ("needs", technique.needs_text()),
        ("conflicts", conflicts(technique)),
        ("provides", provides(technique).join(", ")),
    ];
    for (name, text) in rows {
        writeln!(out, "  {name:10} {text}")?;
    }
    for knob in technique.knobs {
        let now = resolved.knobs.value(knob);
        let now = if now == knob.kind.default() { String::new() } else { format!(", now {now}") };
        let (default, range) = (knob.kind.default(), knob.kind.range());
        writeln!(out, "  knob       {}: {} ({range}; default {default}{now})", knob.name, knob.help)?;
    }
    Ok(())
}

fn entry(resolved: &Resolved) -> Value {
    let technique = resolved.technique;
    let knob = |knob: &Knob| {
        json!({
            "name": knob.name,
            "help": knob.help,
            "range": knob.kind.range(),
            "default": knob.kind.default().to_string(),
            "value": resolved.knobs.value(knob).to_string(),
        })
    };
    json!({
        "id": technique.id,
        "title": technique.title,
        "summary": technique.summary,
        "papers": technique.papers,
        "stage": technique.stage.name(),
        "exactness": technique.exactness.to_string(),
        "needs": technique.needs_text(),
        "conflicts": technique.conflicts,
        "provides": provides(technique),
        "knobs": technique.knobs.iter().map(knob).collect::<Vec<_>>(),
        "state": resolved.state.name(),
        "on": resolved.state == State::On,
        "reason": resolved.reason,
    })
}

fn conflicts(technique: &Technique) -> String {
    if technique.conflicts.is_empty() { "none".to_owned() } else { technique.conflicts.join(", ") }
}

fn provides(technique: &Technique) -> Vec<String> {
    let variants = technique.variants().map(|extra| extra.variant.id().to_owned());
    let forms = technique.sampler_forms().map(|form| format!("sampler {}", form.id));
    let codec =
        technique.kv_codec().map(|codec| format!("cache of {} keys, {} values", codec.k.name(), codec.v.name()));
    let repack = technique.repack().map(|form| format!("weights on a GPU in {}", form.name()));
    variants.chain(forms).chain(codec).chain(repack).collect()
}
