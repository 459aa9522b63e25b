//! Every variant of every op against its reference. `cargo test -p kernels --test conformance -- --nocapture`
//! prints what ran; variants that this machine cannot run are named and not counted as passed.

use device::{Hardware, Pool};
use kernels::conformance::{Conform, check};
use kernels::ops;

fn conforms<O: Conform>() {
    let mut pools = [1, 2].map(|workers| Pool::new(workers).unwrap());
    let verdicts = check::<O>(&Hardware::probe(), &mut pools, O::VARIANTS, 2026).unwrap();
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    assert!(verdicts.iter().all(|verdict| verdict.missing.is_some() || verdict.passed()));
}

#[test]
fn attention() {
    conforms::<ops::Attention>();
}

#[test]
fn matmul() {
    conforms::<ops::Matmul>();
}

#[test]
fn embed() {
    conforms::<ops::Embed>();
}

#[test]
fn norm() {
    conforms::<ops::Norm>();
}

#[test]
fn quantize() {
    conforms::<ops::Quantize>();
}

#[test]
fn rope_table() {
    conforms::<ops::RopeTable>();
}

#[test]
fn rope() {
    conforms::<ops::Rope>();
}

#[test]
fn kv_store() {
    conforms::<ops::KvStore>();
}

#[test]
fn glu() {
    conforms::<ops::Glu>();
}

#[test]
fn add() {
    conforms::<ops::Add>();
}

#[test]
fn softcap() {
    conforms::<ops::Softcap>();
}

#[test]
fn gather() {
    conforms::<ops::Gather>();
}
