//! `chaski devices`: what this machine has to compute with.

use std::io::Write;

use device::{Ceilings, Feature, Hardware, Pool};

use crate::ceilings;
use crate::settings::{Format, Settings};

/// Prints the probe of the machine, and what it reaches at most once that was measured.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let hardware = Hardware::probe();
    if settings.measure {
        measure(&hardware)?;
    }
    let known = ceilings::stored(&hardware);
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
            "ceilings": known.map(|known| serde_json::json!({
                "read_gbps": known.read_gbps,
                "int8_gops": known.int8_gops,
                "f32_gflops": known.f32_gflops,
            })),
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
    match known {
        Some(Ceilings { read_gbps, int8_gops, f32_gflops }) => writeln!(
            out,
            "      reaches {read_gbps:.1} GB/s reading memory, {int8_gops:.0} GOPS int8, {f32_gflops:.0} GFLOP/s f32"
        )?,
        None => writeln!(out, "      what it reaches was not measured: `chaski devices --measure` does it")?,
    }
    writeln!(out, "gpu   not used: this version computes on the CPU only")?;
    Ok(())
}

/// Measures with one worker per core, as models run, and keeps the figures.
fn measure(hardware: &Hardware) -> anyhow::Result<()> {
    let mut pool = Pool::new(hardware.num_cores)?;
    let measured = Ceilings::measure(&mut pool, hardware)?;
    ceilings::store(hardware, pool.num_workers(), &measured)?;
    Ok(())
}
