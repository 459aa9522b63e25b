//! Flags that say how the model is loaded and computed: plan, threads, context, cache, rotary embedding.

use super::{Flag, Group};
use crate::command::Commands;
use crate::settings::{GpuAsked, Plan};
use chaski::GpuLayers;
use device::Isa;
use engine::technique::Switch;
use kernels::KvType;
use model::rope::Method;

const GROUP: Group = Group::Compute;
const PLAN: Commands = Commands::WITH_PLAN;
const RESOLVED: Commands = PLAN.and(Commands::TECHNIQUES);
const SINGLE: Commands = Commands::SINGLE;
/// `ab` makes its own context.
const ONE: Commands = SINGLE.and(Commands::AB);

/// More threads than any machine we know has cores; a larger number is a typing error.
pub const MOST_THREADS: usize = 1024;
/// Largest context and batch that may be asked for; memory is the real limit, and is checked when the model is loaded.
pub const MOST_TOKENS: usize = 1 << 24;

/// More layers than any model has.
const MOST_LAYERS: u32 = 1 << 16;

const OTHER_CACHE_TYPES: &[&str] = &["q4_1", "iq4_nl", "q5_0", "q5_1"];

pub const FLAGS: &[Flag] = &[
    Flag::value(
        &["--plan"],
        "KIND",
        "baseline (fast), exact (no rounding beyond f32) or reference (plain loops, slow)",
    )
    .on(GROUP, RESOLVED)
    .set(|s, g| {
        s.load.plan = g.choice(Plan::NAMES)?;
        Ok(())
    }),
    Flag::value(&["--isa"], "NAME", "use no instruction set above this one: scalar, avx2, avx512 or native")
        .on(GROUP, RESOLVED)
        .set(|s, g| {
            s.load.isa = Some(g.choice(Isa::NAMES)?);
            Ok(())
        }),
    Flag::value(
        &["--technique"],
        "ID=on|off|auto[,KNOB=VALUE…]",
        "switch a research technique (`chaski techniques` lists them), or all=off|auto; may be given several times",
    )
    .on(GROUP, Commands::ALL)
    .set(|s, g| {
        s.load.techniques.push(Switch::parse(g.text).map_err(|problem| problem.to_string())?);
        Ok(())
    }),
    Flag::switch(
        &["--batch-invariant"],
        "give each request the same answer, bit for bit, whatever else is being served: every step uses the kernels \
         for many rows and prompts go in chunks of 64, which makes a single stream slower (default: off; then answers \
         to the same seed may part when company changes how sums are rounded)",
    )
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.batch_invariant = g.on;
        Ok(())
    }),
    Flag::value(&["-t", "--threads"], "N", "threads (default: one per physical core)")
        .env("LLAMA_ARG_THREADS")
        .on(GROUP, ONE)
        .set(|s, g| {
            s.load.threads = g.number(-1..=MOST_THREADS as i64)?.max(0) as usize;
            Ok(())
        }),
    Flag::value(&["-c", "--ctx-size"], "N", "context in tokens (default: 0, as the model was trained)")
        .env("LLAMA_ARG_CTX_SIZE")
        .on(GROUP, SINGLE)
        .set(|s, g| {
            s.load.context = g.number(0..=MOST_TOKENS as u32)?;
            Ok(())
        }),
    Flag::value(&["-b", "--batch-size"], "N", "most tokens of a prompt handed over at once (default: 2048)")
        .env("LLAMA_ARG_BATCH")
        .on(GROUP, ONE)
        .set(|s, g| {
            s.load.batch = g.number(1..=MOST_TOKENS)?;
            Ok(())
        }),
    Flag::value(&["-ub", "--ubatch-size"], "N", "most tokens computed in one step (default: 512)")
        .env("LLAMA_ARG_UBATCH")
        .on(GROUP, ONE)
        .set(|s, g| {
            s.load.ubatch = g.number(1..=MOST_TOKENS)?;
            Ok(())
        }),
    Flag::value(
        &["-ctk", "--cache-type-k"],
        "TYPE",
        "how keys are cached: f16 (default), bf16, q8_0 (8-bit codes), q4_0 (4-bit codes) or f32 (other plans)",
    )
    .env("LLAMA_ARG_CACHE_TYPE_K")
    .on(GROUP, ONE)
    .set(|s, g| {
        s.load.kv_type_k = Some(cache_type(g)?);
        Ok(())
    }),
    Flag::value(
        &["-ctv", "--cache-type-v"],
        "TYPE",
        "how values are cached: as -ctk; codes go with codes, floats with floats",
    )
    .env("LLAMA_ARG_CACHE_TYPE_V")
    .on(GROUP, ONE)
    .set(|s, g| {
        s.load.kv_type_v = Some(cache_type(g)?);
        Ok(())
    }),
    Flag::value(
        &["-fa", "--flash-attn"],
        "on|auto",
        "attention never writes out its score matrix here: on and auto mean the same",
    )
    .env("LLAMA_ARG_FLASH_ATTN")
    .on(GROUP, PLAN)
    .set(|_, g| match g.on_off_auto()? {
        Some(false) => {
            Err("off is not supported: attention has this one form; `--plan reference` computes it plainly".into())
        }
        _ => Ok(()),
    }),
    Flag::value(
        &["-ngl", "--gpu-layers", "--n-gpu-layers"],
        "N",
        "layers on the GPU, the last ones first and the output as one more: a number, all, or auto for what fits \
         (default: auto where there is a GPU whose kernels have what else is asked for, else 0)",
    )
    .env("LLAMA_ARG_N_GPU_LAYERS")
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.gpu_layers = match g.text {
            "auto" | "-1" => GpuLayers::Fit,
            "all" | "-2" => GpuLayers::Count(u32::MAX),
            _ => GpuLayers::Count(g.number(0..=MOST_LAYERS)?),
        };
        s.load.gpu_asked = if g.text == "0" { GpuAsked::No } else { GpuAsked::Flag };
        Ok(())
    }),
    Flag::value(
        &["-dev", "--device"],
        "none|CUDA0",
        "device that -ngl means: CUDA0, the first GPU; none for the CPU alone",
    )
    .env("LLAMA_ARG_DEVICE")
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.no_gpu = g.text == "none";
        g.only(&["none", "CUDA0"], "one GPU is used at most, the first: CUDA0")
    }),
    Flag::value(&["-lm", "--load-mode"], "auto|mmap", "how the file is read: always mapped")
        .env("LLAMA_ARG_LOAD_MODE")
        .on(GROUP, PLAN)
        .set(|_, g| g.only(&["auto", "mmap"], "the file is always mapped; leave it out")),
    Flag::switch(&["--mmap"], "map the file (the only way it is read)")
        .env("LLAMA_ARG_MMAP")
        .off(&["--no-mmap"])
        .on(GROUP, PLAN)
        .set(|_, g| g.must_be_on("the file is always mapped; leave it out")),
    Flag::switch(
        &["--repack"],
        "lay weights out anew, or copy them into larger pages, where a kernel gains by it; without, all are read from the mapped file",
    )
    .env("LLAMA_ARG_REPACK")
    .off(&["-nr", "--no-repack"])
    .on(GROUP, Commands::RUN.and(Commands::SERVE).and(Commands::AB).and(Commands::PERPLEXITY).and(Commands::EXPLAIN))
    .set(|s, g| {
        s.load.repack = g.on;
        Ok(())
    }),
    Flag::value(&["-np", "--parallel"], "1", "sequences decoded side by side: 1 in this command")
        .env("LLAMA_ARG_N_PARALLEL")
        .on(GROUP, Commands::RUN)
        .set(|_, g| g.only(&["1"], "`chaski run` has one conversation; leave it out")),
    Flag::value(
        &["--rope-scaling"],
        "none|linear|yarn|longrope",
        "how positions beyond the trained context are scaled (default: as the model says)",
    )
    .env("LLAMA_ARG_ROPE_SCALING_TYPE")
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.rope.method = Some(g.choice(Method::NAMES)?);
        Ok(())
    }),
    Flag::value(&["--rope-scale"], "N", "stretch the context by this factor")
        .env("LLAMA_ARG_ROPE_SCALE")
        .on(GROUP, PLAN)
        .set(|s, g| {
            s.load.rope.freq_scale = Some(1.0 / g.number(1e-6..=1e6)?);
            Ok(())
        }),
    Flag::value(&["--rope-freq-base"], "N", "base of the rotary frequencies (default: as the model says)")
        .env("LLAMA_ARG_ROPE_FREQ_BASE")
        .on(GROUP, PLAN)
        .set(|s, g| {
            s.load.rope.freq_base = Some(g.number(1.0..=1e12)?);
            Ok(())
        }),
    Flag::value(&["--rope-freq-scale"], "N", "factor of the rotary frequencies: 0.5 doubles the context")
        .env("LLAMA_ARG_ROPE_FREQ_SCALE")
        .on(GROUP, PLAN)
        .set(|s, g| {
            s.load.rope.freq_scale = Some(g.number(1e-6..=1e6)?);
            Ok(())
        }),
    Flag::value(&["--yarn-orig-ctx"], "N", "YaRN: the context the model was trained on (default: as the model says)")
        .env("LLAMA_ARG_YARN_ORIG_CTX")
        .on(GROUP, PLAN)
        .set(|s, g| {
            let context: u32 = g.number(0..=MOST_TOKENS as u32)?;
            s.load.rope.original_context = (context > 0).then_some(context);
            Ok(())
        }),
    Flag::value(
        &["--yarn-ext-factor"],
        "N",
        "YaRN: mix of extrapolation, 0 interpolates only (default: -1, as the model says)",
    )
    .env("LLAMA_ARG_YARN_EXT_FACTOR")
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.rope.extrapolation = unless_negative(g.number(-1.0..=1e3)?);
        Ok(())
    }),
    Flag::value(
        &["--yarn-attn-factor"],
        "N",
        "YaRN: factor of the attention's magnitude (default: -1, as the model says)",
    )
    .env("LLAMA_ARG_YARN_ATTN_FACTOR")
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.rope.magnitude = unless_negative(g.number(-1.0..=1e3)?);
        Ok(())
    }),
    Flag::value(&["--yarn-beta-slow"], "N", "YaRN: where interpolation ends (default: -1, as the model says)")
        .env("LLAMA_ARG_YARN_BETA_SLOW")
        .on(GROUP, PLAN)
        .set(|s, g| {
            s.load.rope.beta_slow = unless_negative(g.number(-1.0..=1e6)?);
            Ok(())
        }),
    Flag::value(&["--yarn-beta-fast"], "N", "YaRN: where interpolation begins (default: -1, as the model says)")
        .env("LLAMA_ARG_YARN_BETA_FAST")
        .on(GROUP, PLAN)
        .set(|s, g| {
            s.load.rope.beta_fast = unless_negative(g.number(-1.0..=1e6)?);
            Ok(())
        }),
    Flag::switch(&["--watch"], "redo steps whose numbers went wrong (NaN, Inf) on the exact plan (default: on)")
        .off(&["--no-watch"])
        .on(GROUP, PLAN)
        .set(|s, g| {
            s.load.watch.on = g.on;
            Ok(())
        }),
    Flag::value(
        &["--watch-limit"],
        "N",
        "redone steps after which the kernel or technique in charge of them is off for this model (default: 3)",
    )
    .on(GROUP, PLAN)
    .set(|s, g| {
        s.load.watch.limit = g.number(1..=1_000_000)?;
        Ok(())
    }),
    Flag::value(
        &["--inject"],
        "FAULT@step=N[-M],op=OP[,layer=L]",
        "make a step go wrong on purpose (nan, inf, scale, noise=SHARE, slow=PERCENT), in builds for tests only",
    )
    .on(GROUP, PLAN)
    .set(|s, g| {
        if !engine::inject::IN_THIS_BUILD {
            return Err("faults are put in only by builds with debug assertions".into());
        }
        s.load.inject.push(engine::inject::Inject::parse(g.text)?);
        Ok(())
    }),
];

/// A type of the cache by its name.
pub fn cache_type(given: &super::Given<'_>) -> Result<KvType, String> {
    if OTHER_CACHE_TYPES.contains(&given.text) {
        return Err(format!("{} is not offered; the cache holds f32, f16, bf16, q8_0 or q4_0", given.text));
    }
    given.choice(KvType::NAMES)
}

/// llama.cpp writes "not set" as a negative number.
fn unless_negative(value: f32) -> Option<f32> {
    (value >= 0.0).then_some(value)
}
