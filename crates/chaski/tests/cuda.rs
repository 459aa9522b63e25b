//! Models on a GPU that is emulated: the kernels for CUDA run as C++ on the CPU (`kernels/examples/cuda`), with
//! memory of their own, so that what a plan for a GPU copies, chooses and launches is held against the plan for the CPU
//! on machines without one. Without a C++ compiler the tests say so and prove nothing.

mod emulated;

use std::ops::ControlFlow;
use std::sync::Arc;

use chaski::{Gpu, GpuLayers, Llm, Options, PlanKind};
use emulated::{emulator, fixture, gpu, has_compiler, queue};
use engine::batch::{Batch, Outputs, SeqId};
use engine::engine::StepRunner;
use engine::request::{NoText, Report, Request, Scores, WhenFull};
use engine::sampler::{Params, VocabInfo};
use engine::stream::Event;
use engine::technique::{Mode, Switch};
use kernels::KvType;
use kernels::conformance::check_best;

const PROMPT: [u32; 11] = [3, 17, 40, 8, 25, 31, 12, 9, 50, 33, 21];
const OTHER: [u32; 5] = [7, 7, 30, 2, 19];

fn open(name: &str, options: &Options, gpu: Option<Gpu>) -> Llm {
    Llm::open_on(&fixture(name), options, gpu, &mut |_, _| {}).unwrap()
}

/// Logits of steps of all kinds: a prompt, single tokens, several sequences, after tokens were taken back.
fn logits(llm: &mut Llm) -> Vec<f32> {
    let mut all = Vec::new();
    let mut step = |llm: &mut Llm, spans: &[(u32, &[u32], u32, Outputs)]| {
        let mut batch = Batch::default();
        spans.iter().for_each(|&(seq, tokens, context, outputs)| batch.push(SeqId(seq), tokens, context, outputs));
        all.extend_from_slice(llm.step(&batch).unwrap());
    };
    step(llm, &[(0, &PROMPT, 0, Outputs::All)]);
    for position in 0..4 {
        step(llm, &[(0, &[13 + position], PROMPT.len() as u32 + position, Outputs::Last)]);
    }
    step(llm, &[(0, &[5], 15, Outputs::Last), (1, &OTHER, 0, Outputs::Last)]);
    for position in 0..3 {
        step(llm, &[(0, &[1], 16 + position, Outputs::Last), (1, &[44], 5 + position, Outputs::Last)]);
    }
    llm.truncate(SeqId(0), 6).unwrap();
    step(llm, &[(0, &[9, 8, 7], 6, Outputs::Last)]);
    all
}

/// Logits after tokens were taken from the middle of a sequence: what follows moves, within a block and over its edge.
fn shifted(llm: &mut Llm) -> Vec<f32> {
    let mut batch = Batch::default();
    let tokens: Vec<u32> = (0..21).map(|i| 3 + 5 * i % 47).collect();
    llm.truncate(SeqId(1), 0).unwrap();
    batch.push(SeqId(1), &tokens, 0, Outputs::Last);
    llm.step(&batch).unwrap();
    let (runner, cache) = llm.engine().parts_mut();
    let mut copies = Vec::new();
    cache.seq_shift(SeqId(1), 4..9, &mut copies).unwrap();
    assert!(copies.len() > 1);
    runner.apply_all(&copies).unwrap();
    batch = Batch::default();
    batch.push(SeqId(1), &[11], 16, Outputs::Last);
    llm.step(&batch).unwrap().to_vec()
}

/// The largest difference, as a part of the spread of the logits.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

fn agree(name: &str, layers: GpuLayers, plan: PlanKind, allowed: f32) -> Llm {
    let options =
        Options { context: 64, num_sequences: 2, kv_unified: true, gpu_layers: layers, plan, ..Options::default() };
    let mut on_gpu = open(name, &options, Some(gpu(emulator())));
    let expected = logits(&mut open(name, &options, None));
    let found = logits(&mut on_gpu);
    let difference = difference(&expected, &found);
    assert!(difference <= allowed, "{name} {layers:?}: {difference}");
    assert!(on_gpu.take_notices().is_empty());
    on_gpu
}

#[test]
fn whole_models_agree_with_the_cpu() {
    if !has_compiler() {
        return;
    }
    for name in ["llama.gguf", "llama-q8_0.gguf", "qwen2.gguf", "gemma2.gguf"] {
        let llm = agree(name, GpuLayers::Fit, PlanKind::Exact, 1e-4);
        assert_eq!(llm.gpu_layers().0, llm.gpu_layers().1);
        assert!(llm.explain().iter().all(|row| row.variant.contains("cuda")), "{name}");
        // Weights and activations are rounded differently for many rows, in either plan.
        agree(name, GpuLayers::Fit, PlanKind::Baseline, 0.05);
    }
}

#[test]
fn the_last_layers_alone_agree_too() {
    if !has_compiler() {
        return;
    }
    for count in [1, 2] {
        let llm = agree("llama.gguf", GpuLayers::Count(count), PlanKind::Exact, 1e-4);
        assert_eq!(llm.gpu_layers().0, count);
        let places: Vec<bool> = llm.explain().iter().map(|row| row.variant.contains("cuda")).collect();
        assert!(places.contains(&true) && places.contains(&false));
    }
}

#[test]
fn weights_in_tiles_give_the_same_answers() {
    if !has_compiler() {
        return;
    }
    let plain = Options { context: 64, num_sequences: 2, kv_unified: true, ..Options::default() };
    let marlin = Switch { id: "marlin".to_owned(), mode: Mode::On, knobs: Vec::new() };
    let tiled = Options { techniques: vec![marlin], ..plain.clone() };
    let name = "llama-q8_0.gguf";
    let expected = logits(&mut open(name, &plain, None));
    for (major, kernel) in [(8, "cuda-blas"), (9, "cuda-wgmma")] {
        let mut on_gpu = open(name, &tiled, Some(Gpu::of(queue(major, emulator()))));
        let difference = difference(&expected, &logits(&mut on_gpu));
        assert!(difference <= 0.05, "{major}.0: {difference}");
        let all = on_gpu.explain();
        let mut products = all.iter().filter(|row| row.variant.starts_with("matmul"));
        assert!(products.clone().all(|row| row.variant.contains("tiles")));
        assert!(products.any(|row| row.variant.ends_with(kernel)), "{major}.0 multiplies many rows by {kernel}");
    }
}

#[test]
fn no_layers_are_no_gpu() {
    let options = Options { context: 64, gpu_layers: GpuLayers::Count(0), ..Options::default() };
    let llm = open("llama.gguf", &options, Some(gpu(emulator())));
    assert_eq!(llm.gpu_layers().0, 0);
    assert!(llm.explain().iter().all(|row| !row.variant.contains("cuda")));
}

/// Caches of every type, with tokens that move in them and are taken back: as the CPU's of the same type.
#[test]
fn caches_of_all_types_agree_with_the_cpu() {
    if !has_compiler() {
        return;
    }
    for (kv_type_k, kv_type_v) in
        [(KvType::Bf16, KvType::F16), (KvType::Q8, KvType::Q8), (KvType::Q4, KvType::Q4), (KvType::Q8, KvType::Q4)]
    {
        // The exact plan has no codes.
        let has_codes = kv_type_k.is_quantized();
        let options = Options {
            context: 64,
            num_sequences: 2,
            kv_unified: true,
            gpu_layers: GpuLayers::Fit,
            plan: if has_codes { PlanKind::Baseline } else { PlanKind::Exact },
            kv_type_k,
            kv_type_v,
            ..Options::default()
        };
        let mut on_gpu = open("llama.gguf", &options, Some(gpu(emulator())));
        let mut on_cpu = open("llama.gguf", &options, None);
        let all = |llm: &mut Llm| [logits(llm), shifted(llm)].concat();
        let difference = difference(&all(&mut on_cpu), &all(&mut on_gpu));
        // A sum in another order may choose the next code: half a step of the coarsest.
        let allowed = if has_codes { 0.05 } else { 5e-3 };
        assert!(difference <= allowed, "{} {}: {difference}", kv_type_k.name(), kv_type_v.name());
        assert!(on_gpu.explain().iter().all(|row| row.variant.contains("cuda")));
        assert_eq!(on_gpu.fitted_pairs(), on_cpu.fitted_pairs());
        assert_eq!(on_gpu.fitted_pairs().1 > 0, has_codes, "keys are fitted to codes alone");
    }
}

/// Tokens alone come back of a step that asks for no more, the same as the logits say; where logits are asked for, or the
/// CPU ends the plan, these.
#[test]
fn greedy_steps_hand_out_tokens_alone() {
    if !has_compiler() {
        return;
    }
    let verdict = check_best(&queue(8, emulator()), 1);
    assert!(verdict.passed(), "{verdict}");
    let options = Options { context: 64, num_sequences: 2, kv_unified: true, ..Options::default() };
    let mut told = open("llama.gguf", &options, Some(gpu(emulator())));
    let mut batch = Batch::default();
    batch.push(SeqId(0), &PROMPT, 0, Outputs::All);
    batch.push(SeqId(1), &OTHER, 0, Outputs::Last);
    let rows = PROMPT.len() + 1;
    let first = |row: &[f32]| row.iter().position(|x| row.iter().all(|y| x >= y)).unwrap() as u32;
    let logits = told.step(&batch).unwrap().to_vec();
    let expected: Vec<u32> = logits.chunks(logits.len() / rows).map(first).collect();
    batch.greedy = true;
    let step = |llm: &mut Llm, batch: &Batch| {
        let (runner, cache) = llm.engine().parts_mut();
        let logits = runner.step(batch, cache).unwrap();
        (logits.best.to_vec(), logits.values.len())
    };
    // The same rows again, over what they have stored.
    assert_eq!(step(&mut told, &batch), (expected, 0));
    batch.greedy = false;
    assert_eq!(step(&mut told, &batch), (Vec::new(), logits.len()));
    let mut on_cpu = open("llama.gguf", &options, None);
    on_cpu.step(&batch).unwrap();
    batch.greedy = true;
    assert_eq!(step(&mut on_cpu, &batch), (Vec::new(), logits.len()));
}

/// Answers at temperature 0 are those of a chain that sees the logits.
#[test]
fn greedy_answers_are_the_same_with_and_without_logits() {
    if !has_compiler() {
        return;
    }
    let options = Options { context: 64, num_sequences: 2, kv_unified: true, ..Options::default() };
    let mut llm = open("llama.gguf", &options, Some(gpu(emulator())));
    let vocab = VocabInfo { num_tokens: llm.vocab_size(), ..VocabInfo::default() };
    let mut answer = |scores| {
        let mut params = Params::default();
        params.parse("temperature", "0").unwrap();
        let request = Request {
            prompt: PROMPT.to_vec(),
            sampler: llm.sampler(&params, &vocab, 0).unwrap(),
            detokenizer: Box::new(NoText),
            constraint: None,
            stop_tokens: Arc::from([]),
            max_new_tokens: Some(9),
            when_full: WhenFull::Stop,
            cache_prompt: false,
            report: Report { scores, ..Report::default() },
        };
        assert!(request.sampler.is_greedy());
        let mut tokens = Vec::new();
        let note = |event| {
            tokens.extend(if let Event::Token { token, .. } = event { Some(token) } else { None });
            ControlFlow::Continue(())
        };
        llm.engine().answer(request, note).unwrap();
        tokens
    };
    let alone = answer(None);
    assert_eq!(alone, answer(Some(Scores { top: 1, after_sampling: false })));
    assert_eq!(alone.len(), 9);
}

/// Every step by itself, on the values of the CPU's plan: kernels that go together are apart here.
#[test]
fn steps_one_by_one_agree_with_the_cpu() {
    if !has_compiler() {
        return;
    }
    let options = Options { context: 64, gpu_layers: GpuLayers::Fit, plan: PlanKind::Exact, ..Options::default() };
    let (mut on_cpu, mut on_gpu) =
        (open("llama.gguf", &options, None), open("llama.gguf", &options, Some(gpu(emulator()))));
    let mut batch = Batch::default();
    batch.push(SeqId(0), &PROMPT, 0, Outputs::Last);
    let mut left: Vec<(String, Vec<f32>)> = Vec::new();
    on_cpu.trace(&batch, &mut |info, values| left.push((info.name.clone(), values.to_vec()))).unwrap();
    let mut steps = left.into_iter();
    let mut compared = 0;
    let mut look = |info: &model::StepInfo, values: &mut [f32]| {
        let Some((name, expected)) = steps.next() else { return };
        assert_eq!(name, info.name);
        assert!(difference(&expected, values) < 1e-5, "{name}");
        values.copy_from_slice(&expected);
        compared += 1;
    };
    on_gpu.trace(&batch, &mut look).unwrap();
    assert!(compared > 20, "{compared}");
}
