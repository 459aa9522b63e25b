//! One model in many tensor types, made with llama.cpp's own llama-quantize. Called by `peers` for its group of types.
//!
//! All matrices of a file have its type. Most layers are left out: what is compared are kernels, and a matrix of the tenth
//! layer takes as long as one of the first.

use super::chaski::{Chaski, Model};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What llama-quantize calls those types that need no importance matrix.
const TYPES: &[&str] = &[
    "F32",
    "F16",
    "BF16",
    "Q8_0",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q2_K",
    "Q3_K_S",
    "Q4_K_S",
    "Q5_K_S",
    "Q6_K",
    "IQ4_NL",
    "IQ4_XS",
    "IQ3_S",
    "TQ1_0",
    "TQ2_0",
    "MXFP4_MOE",
    "Q1_0",
    "Q2_0",
];

/// Layers that stay.
const NUM_LAYERS: u64 = 4;

/// The model in each type, in the order of [`TYPES`]; those that cannot be made are named and left out.
pub fn make(chaski: &Chaski, quantize: &Path, model: &Model) -> Result<Vec<Model>> {
    let folder = super::cache()?.join("types");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let layers = num_layers(chaski, model)?;
    let pruned: Vec<String> = (NUM_LAYERS..layers).map(|layer| layer.to_string()).collect();
    let mut models = Vec::new();
    for name in TYPES {
        let file = folder.join(format!("{}-{NUM_LAYERS}-layers-{name}.gguf", model.name));
        if !file.exists() {
            // Renamed when it is complete, so that a file that is there is whole.
            let arriving = file.with_extension("arriving");
            let mut command = Command::new(quantize);
            command.args(["--allow-requantize", "--pure"]);
            if !pruned.is_empty() {
                command.args(["--prune-layers", &pruned.join(",")]);
            }
            let output = command.arg(&model.file).arg(&arriving).arg(name).output();
            let output = output.with_context(|| format!("cannot start {}", quantize.display()))?;
            if !output.status.success() {
                eprintln!("types: llama-quantize makes no {name} of {}; left out", model.name);
                continue;
            }
            fs::rename(&arriving, &file).with_context(|| format!("cannot make {}", file.display()))?;
        }
        let name = format!("{} {name}", model.name);
        models.push(Model { name, file: file.to_string_lossy().into_owned() });
    }
    Ok(models)
}

fn num_layers(chaski: &Chaski, model: &Model) -> Result<u64> {
    let shown = chaski.ask_json(&["inspect", "-m", &model.file, "-o", "json"])?;
    let metadata = &shown["metadata"];
    let architecture = metadata["general.architecture"].as_str().unwrap_or("");
    let layers = metadata[format!("{architecture}.block_count")].as_u64();
    layers.with_context(|| format!("{}: no number of layers", model.name))
}
