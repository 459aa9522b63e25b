//! Quantised weights on a GPU laid out anew when a model is opened, so that matrix products read each at its native size
//! near the memory's rate. The layout is `kernels::tiles`, the kernels that read it stand in `kernels::ops::matmul`;
//! README.md beside this file gives the idea and the figures.

use device::Feature;
use engine::technique::{Provide, Stage, Technique};
use kernels::Exactness;
use kernels::packed::Form;

/// The row of the catalogue.
pub const TECHNIQUE: Technique = Technique {
    id: "marlin",
    title: "weights in tensor-core order",
    papers: &["arXiv:2408.11743"],
    stage: Stage::Preview,
    exactness: Exactness::Rounded { rel_ppb: 1_100_000 },
    summary: "lays quantised weights on a GPU out in the order in which tensor cores take them, at their native size",
    needs: &[&[Feature::Cuda]],
    conflicts: &[],
    knobs: &[],
    provides: &[Provide::Repack(Form::Tiles)],
};
