//! `chaski devices`: what this machine has to compute with.

use std::io::Write;

use device::{Feature, Hardware};

use crate::settings::{Format, Settings};

/// Prints the probe of the machine.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let hardware = Hardware::probe();
    let mut out = std::io::stdout().lock();
    if settings.output.format == Format::Json {
        let features: Vec<&str> = hardware.features.iter().map(|feature| feature.name()).collect();
        let report = serde_json::json!([{
            "device": "cpu",
            "name": hardware.cpu_name,
            "num_cores": hardware.num_cores,
            "num_threads": hardware.num_threads,
            "memory_bytes": hardware.memory_bytes,
            "features": features,
        }]);
        writeln!(out, "{report:#}")?;
        return Ok(());
    }
    writeln!(out, "cpu   {}", hardware.cpu_name)?;
    writeln!(out, "      {} cores, {} threads usable", hardware.num_cores, hardware.num_threads)?;
    writeln!(out, "      {:.1} GiB of memory", hardware.memory_bytes as f64 / f64::from(1 << 30))?;
    let features: Vec<String> = Feature::ALL
        .iter()
        .map(|&feature| format!("{} {}", feature.name(), if hardware.has(feature) { "yes" } else { "no" }))
        .collect();
    writeln!(out, "      {}", features.join(", "))?;
    writeln!(out, "gpu   not used: this version computes on the CPU only")?;
    Ok(())
}
