//! The catalogue of research techniques: one folder each, one line each here, in order of preference. What a
//! technique is stands in `engine::technique`; `chaski` hands this list to whatever opens a model.
#![deny(unsafe_code)]

mod flash_sampling;
mod marlin;
mod sage_attention;

use engine::technique::Technique;

/// Every technique.
pub const CATALOG: &[&Technique] = &[&flash_sampling::TECHNIQUE, &sage_attention::TECHNIQUE, &marlin::TECHNIQUE];
