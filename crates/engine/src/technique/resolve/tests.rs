//! Switches against a small catalogue, and every way they can be wrong.

use device::{Feature, Hardware};
use kernels::Exactness;

use super::{State, resolve};
use crate::technique::{Knob, KnobKind, Stage, Switch, Technique};

const PLAIN: Technique = Technique {
    id: "sage_attention",
    title: "",
    papers: &[],
    stage: Stage::Preview,
    exactness: Exactness::Rounded { rel_ppb: 1 },
    summary: "",
    needs: &[],
    conflicts: &[],
    knobs: &[
        Knob { name: "rows", help: "", kind: KnobKind::Int { min: 1, max: 8, default: 2 } },
        Knob { name: "form", help: "", kind: KnobKind::Choice { values: &["int8", "fp8"], default: "int8" } },
    ],
    provides: &[],
};
const RIVAL: Technique =
    Technique { id: "int_flash", stage: Stage::Stable, conflicts: &["sage_attention"], knobs: &[], ..PLAIN };
const PICKY: Technique = Technique {
    id: "marlin",
    stage: Stage::Stable,
    needs: &[&[Feature::Avx2, Feature::Avx512Vnni], &[Feature::Avx512Bf16]],
    knobs: &[],
    ..PLAIN
};
const CATALOGUE: &[&Technique] = &[&PLAIN, &RIVAL, &PICKY];
const BASELINE: Exactness = Exactness::Rounded { rel_ppb: u32::MAX };

fn states(switches: &[&str], features: &[Feature], weakest: Exactness) -> Result<Vec<(State, String)>, String> {
    let switches: Vec<Switch> = switches.iter().map(|text| Switch::parse(text).unwrap()).collect();
    let hardware = Hardware { features: features.to_vec(), ..Hardware::probe() };
    let all = resolve(CATALOGUE, &switches, &hardware, weakest).map_err(|error| error.to_string())?;
    Ok(all.into_iter().map(|resolved| (resolved.state, resolved.reason)).collect())
}

fn refused(switches: &[&str]) -> String {
    states(switches, &[Feature::Avx2], BASELINE).unwrap_err()
}

#[test]
fn nothing_is_on_that_nobody_asked_for() {
    let found = states(&[], Feature::ALL, BASELINE).unwrap();
    assert!(found.iter().all(|(state, reason)| *state == State::Off && reason == "not asked for"), "{found:?}");
}

#[test]
fn auto_switches_on_what_is_stable_and_possible() {
    use State::{FellBack, Off, On};
    let only = |found: Vec<(State, String)>| found.iter().map(|(state, _)| *state).collect::<Vec<_>>();
    let found = states(&["all=auto"], Feature::ALL, BASELINE).unwrap();
    assert!(found[0].1.starts_with("a preview"), "{found:?}");
    assert_eq!(only(found), [FellBack, On, On]);
    let found = states(&["all=auto"], &[Feature::Avx2], BASELINE).unwrap();
    assert!(found[2].1.starts_with("needs avx512vnni or avx512bf16, which this machine"), "{found:?}");
    assert_eq!(only(found), [FellBack, On, FellBack]);
    // One of its sets is enough.
    assert_eq!(only(states(&["marlin=on"], &[Feature::Avx512Bf16], BASELINE).unwrap()), [Off, Off, On]);
    // What was asked for goes before what is automatic, and a switch of its own before one for all.
    let found = states(&["sage_attention=on", "all=auto", "marlin=off"], Feature::ALL, BASELINE).unwrap();
    assert_eq!(found[1].1, "conflicts with sage_attention, which is on");
    assert_eq!(only(found), [On, FellBack, Off]);
    // The judges' plans round nothing.
    let exact = Exactness::Reordered { ulp: u32::MAX };
    assert_eq!(only(states(&["all=auto"], Feature::ALL, exact).unwrap()), [FellBack; 3]);
}

#[test]
fn what_cannot_be_is_named_with_what_can() {
    for (switches, expected) in [
        (
            &["sage=on"][..],
            "sage: no such technique, did you mean `sage_attention`?; there are sage_attention, int_flash, marlin",
        ),
        (&["xyz=auto"], "xyz: no such technique; there are sage_attention, int_flash, marlin"),
        (&["sage_attention=on,row=2"], "sage_attention: no knob `row`, did you mean `rows`?; it has rows, form"),
        (&["int_flash=on,rows=2"], "int_flash: no knob `rows`; it has none"),
        (
            &["sage_attention=on,rows=9"],
            "sage_attention: rows: `9` is not allowed: expected a whole number from 1 to 8",
        ),
        (&["sage_attention=off,form=int4"], "sage_attention: form: `int4` is not allowed: expected int8 or fp8"),
        (&["int_flash=on", "sage_attention=on"], "sage_attention: conflicts with int_flash; switch one of them off"),
        (
            &["marlin=on"],
            "marlin: needs avx512vnni or avx512bf16, which this machine (or --isa) does not have; \
             leave it out, or give marlin=auto to do without it",
        ),
    ] {
        assert_eq!(refused(switches), expected, "{switches:?}");
    }
}
