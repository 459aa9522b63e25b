//! What holds for every technique without being told: its data makes sense, its variants pass the conformance
//! suite. Run with `-- --nocapture` to see what ran; what this machine cannot run is named, not counted.

use std::collections::BTreeSet;

use device::{Hardware, Pool};
use engine::technique::Technique;
use kernels::conformance::check_extra;
use kernels::table::OPS;
use techniques::CATALOG;

fn variant_ids(technique: &Technique) -> Vec<&'static str> {
    technique.variants().map(|extra| extra.variant.id()).collect()
}

#[test]
fn every_variant_conforms() {
    let mut pools = [1, 2].map(|workers| Pool::new(workers).unwrap());
    let variants: Vec<_> = CATALOG.iter().flat_map(|technique| technique.variants()).collect();
    let variants: Vec<_> = variants.iter().map(|extra| extra.variant).collect();
    let verdicts = check_extra(&Hardware::probe(), &mut pools, &variants, 2026).unwrap();
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    assert_eq!(verdicts.len(), variants.len(), "a variant of an op that the table does not list");
    assert!(verdicts.iter().all(|verdict| verdict.missing.is_some() || verdict.passed()));
}

#[test]
fn names_are_unique() {
    let ids: BTreeSet<_> = CATALOG.iter().map(|technique| technique.id).collect();
    assert_eq!(ids.len(), CATALOG.len());
    let mut variants: Vec<_> = CATALOG.iter().flat_map(|technique| variant_ids(technique)).collect();
    variants.extend(OPS.iter().flat_map(|op| (op.variants)()).map(|row| row.id));
    let distinct: BTreeSet<_> = variants.iter().collect();
    assert_eq!(distinct.len(), variants.len());
}

#[test]
fn a_technique_is_as_exact_as_the_weakest_it_provides() {
    for technique in CATALOG {
        for extra in technique.variants() {
            let (id, exactness) = (extra.variant.id(), extra.variant.exactness());
            assert!(exactness <= technique.exactness, "{}: {id} is only {exactness}", technique.id);
        }
    }
}

#[test]
fn what_it_says_of_itself_is_whole() {
    let ids: Vec<_> = CATALOG.iter().map(|technique| technique.id).collect();
    for technique in CATALOG {
        let id = technique.id;
        assert!(!technique.title.is_empty() && !technique.summary.is_empty() && !technique.papers.is_empty(), "{id}");
        assert!(!technique.provides.is_empty(), "{id} provides nothing");
        assert!(technique.conflicts.iter().all(|other| ids.contains(other) && *other != id), "{id}");
        for knob in technique.knobs {
            let default = knob.kind.default();
            assert_eq!(knob.kind.parse(&default.to_string()), Some(default), "{id}: {}", knob.name);
        }
    }
}
