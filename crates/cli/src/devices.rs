//! `chaski devices`: what this machine has to compute with.

use std::io::Write;

use device::cuda::{Gpu, GpuCeilings, GpuInfo};
use device::{Ceilings, Feature, Hardware, Pool};

use crate::settings::{Format, Settings};
use crate::{ceilings, gpu};

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
        let mut report = vec![serde_json::json!({
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
        })];
        report.extend(gpu_report());
        writeln!(out, "{:#}", serde_json::Value::from(report))?;
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
    for line in gpu_lines() {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The GPUs, or one entry that says why there is none.
fn gpu_report() -> Vec<serde_json::Value> {
    let libraries = gpu::libraries();
    let why = |missing: Option<String>| missing.map_or(serde_json::Value::Null, Into::into);
    let found = match Gpu::list(&libraries) {
        Err(missing) => return vec![serde_json::json!({ "device": "cuda", "missing": missing.to_string() })],
        Ok(found) => found,
    };
    let entry = |(index, info): (usize, &GpuInfo)| {
        serde_json::json!({
            "device": format!("cuda{index}"),
            "name": info.name,
            "compute_capability": info.arch.to_string(),
            "num_multiprocessors": info.num_sms,
            "memory_bytes": info.memory_bytes,
            "missing": why(libraries.nvrtc.as_ref().err().map(ToString::to_string)),
        })
    };
    found.iter().enumerate().map(entry).collect()
}

/// What there is of GPUs, what is missing, and what follows.
fn gpu_lines() -> Vec<String> {
    let libraries = gpu::libraries();
    let mut lines = Vec::new();
    match Gpu::list(&libraries) {
        Err(missing) => lines.push(format!("gpu   none: {missing}")),
        Ok(found) if found.is_empty() => lines.push("gpu   none: the driver lists no device".to_owned()),
        Ok(found) => lines.extend(found.iter().enumerate().flat_map(|(index, info)| {
            let gib = info.memory_bytes as f64 / f64::from(1 << 30);
            let (arch, sms) = (info.arch, info.num_sms);
            let name = &info.name;
            let line =
                format!("gpu   CUDA{index}: {name}, compute capability {arch}, {sms} multiprocessors, {gib:.1} GiB");
            let reaches = ceilings::of_gpu(name).map(|Ceilings { read_gbps, f32_gflops, .. }| {
                format!("      reaches {read_gbps:.0} GB/s reading memory, {f32_gflops:.0} GFLOP/s with halves")
            });
            std::iter::once(line).chain(reaches)
        })),
    }
    if let Ok(version) = libraries.driver {
        lines.push(format!("      driver for CUDA {}.{}", version / 1000, version % 1000 / 10));
    }
    lines.push(match &libraries.nvrtc {
        Ok((major, minor)) => format!("      NVRTC {major}.{minor} compiles kernels"),
        Err(missing) => format!("      no kernels: {missing}"),
    });
    if let Err(missing) = &libraries.cublaslt {
        lines.push(format!("      prompts without matrix units: {missing}"));
    }
    let able = libraries.driver.is_ok() && libraries.nvrtc.is_ok();
    lines.push(
        match able {
            true => "      models go there as far as they fit; -ngl says otherwise",
            false => "      the CPU computes everything, whatever -ngl says",
        }
        .to_owned(),
    );
    lines
}

/// Measures with one worker per core, as models run, and keeps the figures.
fn measure(hardware: &Hardware) -> anyhow::Result<()> {
    let mut pool = Pool::new(hardware.num_cores)?;
    let measured = Ceilings::measure(&mut pool, hardware)?;
    ceilings::store(hardware, pool.num_workers(), &measured)?;
    if let Some((name, queue)) = gpu::queue() {
        ceilings::store_gpu(&name, &GpuCeilings::measure(&queue)?)?;
    }
    Ok(())
}
