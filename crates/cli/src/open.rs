//! Opens the model that the settings describe. The one place where settings become the library's options.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use chaski::{Llm, Options, PlanKind, Shape};
use gguf::DType;
use kernels::KvType;

use crate::gpu;
use crate::log::Log;
use crate::repack_bar::RepackBar;
use crate::settings::{GpuAsked, Load, Plan, Settings};
use crate::{source, units};

/// The chosen model, fetched if need be.
pub fn llm(settings: &Settings, log: &mut Log) -> anyhow::Result<Llm> {
    llm_at(&source::resolve(&settings.model)?, &settings.load, log)
}

/// The library's options.
pub fn options(load: &Load) -> anyhow::Result<Options> {
    let (kv_type_k, kv_type_v) = load.kv_types();
    if load.plan != Plan::Baseline && (kv_type_k, kv_type_v) != (KvType::F32, KvType::F32) {
        bail!("-ctk and -ctv: the exact and the reference plan cache f32 only; leave them out");
    }
    let options = Options {
        plan: match load.plan {
            Plan::Baseline => PlanKind::Baseline,
            Plan::Exact => PlanKind::Exact,
            Plan::Reference => PlanKind::Reference,
        },
        isa: load.isa,
        repack: load.repack,
        gpu_layers: load.gpu_layers,
        threads: threads(load),
        context: load.context,
        batch: load.batch,
        ubatch: load.ubatch.min(load.batch),
        kv_type_k,
        kv_type_v,
        batch_invariant: load.batch_invariant,
        num_sequences: load.num_sequences,
        kv_unified: load.kv_unified,
        kv_memory: load.kv_memory,
        cache_prompts: load.cache_prompts,
        max_waiting: load.max_waiting,
        watch: load.watch,
        inject: load.inject.clone(),
        rope: load.rope,
        techniques: load.techniques.clone(),
        ..Options::default()
    };
    let storing = options.resolve().map_err(chaski::Error::Technique)?.into_iter().find(|t| t.active_codec().is_some());
    if let (Some(storing), true) = (storing, load.kv_type_k.is_some() || load.kv_type_v.is_some()) {
        bail!("-ctk and -ctv: {} stores keys and values in its own way; leave them out", storing.technique.id);
    }
    Ok(options)
}

/// The model in this file.
pub fn llm_at(path: &Path, load: &Load, log: &mut Log) -> anyhow::Result<Llm> {
    let begin = Instant::now();
    let options = options(load)?;
    let mut bar = RepackBar::new();
    let gpu = gpu::find(load, log);
    let llm = Llm::open_on(path, &options, gpu, &mut |done, total| bar.show(done, total))?;
    bar.clear();
    Ok(told(llm, &path.display().to_string(), begin, &options, log))
}

/// A model of this shape, on the GPU; `None` where there is none.
pub fn shape(shape: &Shape, mix: DType, load: &Load, log: &mut Log) -> anyhow::Result<Option<Llm>> {
    let begin = Instant::now();
    let options = options(load)?;
    let Some(gpu) = gpu::find(&Load { gpu_asked: GpuAsked::Command, ..load.clone() }, log) else { return Ok(None) };
    Ok(Some(told(Llm::open_shape(shape, mix, &options, gpu)?, shape.name, begin, &options, log)))
}

/// Says in the log how a model was opened.
fn told(mut llm: Llm, name: &str, begin: Instant, options: &Options, log: &mut Log) -> Llm {
    log.trace(format_args!(
        "{name}: loaded in {:.3} s, {} threads, context {}",
        begin.elapsed().as_secs_f64(),
        options.threads,
        llm.context()
    ));
    tell_notices(&mut llm, log);
    let (on_gpu, all) = llm.gpu_layers();
    if on_gpu > 0 {
        let mib = llm.gpu_weight_bytes() as f64 / f64::from(1 << 20);
        log.info(format_args!("offloaded {on_gpu}/{all} layers to the GPU, {mib:.0} MiB of weights"));
    }
    let (bytes, token_bytes) = llm.kv_bytes();
    log.trace(format_args!("KV cache: {}, {token_bytes} bytes per token", units::bytes(bytes)));
    if let (with_mean, pairs @ 1..) = llm.fitted_pairs() {
        log.trace(format_args!("keys: stored without the mean of {with_mean} of {pairs} pairs of channels"));
    }
    for resolved in llm.techniques() {
        let (id, state) = (resolved.technique.id, resolved.state.name());
        log.trace(format_args!("technique {id}: {state} ({})", resolved.reason));
    }
    llm
}

/// Says what the watch over numbers saw: every step that was redone, what is off now, and why.
pub fn tell_notices(llm: &mut Llm, log: &mut Log) {
    let notices = llm.take_notices();
    if notices.is_empty() {
        return;
    }
    let name = llm
        .metadata()
        .opt_str("general.name")
        .ok()
        .flatten()
        .map_or_else(|| "the model".into(), |name| units::shown(name, 60));
    for notice in notices {
        log.warning(format_args!("{name}: {notice}"));
    }
}

/// The number of threads asked for, else one per physical core.
pub fn threads(load: &Load) -> usize {
    if load.threads == 0 { device::Hardware::probe().num_cores } else { load.threads }
}
