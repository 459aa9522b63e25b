//! Every architecture against llama.cpp, on the tiny random models of `fixtures/`: the interpreter, the
//! three plans in one batch and token by token, each op of the plans against the interpreter, and
//! sixteen tokens of greedy continuation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chaski::{Llm, Options, PlanKind};
use device::{Feature, Hardware, Isa, Mapping, Pool};
use engine::batch::{Batch, Outputs, SeqId};
use kernels::{Executor, KvType, Policy, Program, Record, Rows, SequenceView, StepInputs};
use model::graph::NodeOp;
use model::plan::{KeyFittings, worth_repacking};
use model::rope::Overrides;
use model::{Graph, Hparams, Interpreter, Plan, PlanOptions, Weights};

/// Context llama.cpp ran with.
const CONTEXT: u32 = 256;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".logits").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 10, "fixtures are missing: {names:?}");
    names
}

fn json(name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(fixtures().join(name)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = value.as_array().or_else(|| value["tokens"].as_array()).unwrap();
    list.iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// llama.cpp's logits, one row per token.
fn expected(name: &str, rows: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(fixtures().join(format!("{name}.logits"))).unwrap();
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&raw| f32::from_le_bytes(raw)).collect();
    values.chunks_exact(values.len() / rows).map(<[f32]>::to_vec).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Where llama.cpp itself rounded activations (to 8 bits, to f16), its logits are no closer to the truth.
fn least_cosine(name: &str) -> f64 {
    match name {
        "llama-q8_0" => 0.999,
        "llama-f16" => 0.9999,
        _ => 0.99999,
    }
}

fn open(name: &str, plan: PlanKind, isa: Isa) -> Llm {
    let options = Options { plan, isa: Some(isa), threads: 2, context: CONTEXT, ..Options::default() };
    Llm::open(&fixtures().join(format!("{name}.gguf")), &options).unwrap()
}

fn load(name: &str) -> (Arc<Weights>, Arc<Graph>) {
    let weights =
        Arc::new(Weights::new(vec![Mapping::open(&fixtures().join(format!("{name}.gguf"))).unwrap()]).unwrap());
    let hparams = Hparams::read(&weights.gguf().metadata, &Overrides::default()).unwrap();
    let graph = Arc::new(Graph::build(&hparams, &weights, CONTEXT).unwrap());
    (weights, graph)
}

/// The same with every matrix of a product laid out anew that can be.
fn load_repacked(name: &str) -> (Arc<Weights>, Arc<Graph>) {
    let mut weights = Weights::new(vec![Mapping::open(&fixtures().join(format!("{name}.gguf"))).unwrap()]).unwrap();
    let hparams = Hparams::read(&weights.gguf().metadata, &Overrides::default()).unwrap();
    let graph = Graph::build(&hparams, &weights, CONTEXT).unwrap();
    let matrices: Vec<_> = graph
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            NodeOp::Matmul { weight, .. } => Some(*weight),
            _ => None,
        })
        .collect();
    let mut told = (0, 0);
    weights.repack(&matrices, &mut Pool::new(2).unwrap(), &mut |done, total| told = (done, total)).unwrap();
    let memory = weights.memory();
    assert_eq!(told, (memory.repacked_file_bytes, memory.repacked_file_bytes));
    assert_eq!(memory.num_repacked, matrices.len(), "{name}");
    (Arc::new(weights), Arc::new(graph))
}

#[test]
fn weights_are_repacked_where_a_kernel_gains_and_memory_allows() {
    let (_, graph) = load("llama-q8_0");
    let gains = |hardware: &Hardware, policy: Policy| worth_repacking(&graph, hardware, &policy, None).len();
    let native = Hardware::probe();
    assert_eq!(gains(&native, Policy::exact()), 0);
    assert_eq!(gains(&native.clone().capped(Isa::Scalar), Policy::baseline()), 0);
    if native.has(Feature::Avx512Vnni) {
        assert!(gains(&native, Policy::baseline()) > 0);
    }
    assert_eq!(gains(&Hardware { memory_bytes: 1000, ..native }, Policy::baseline()), 0);
}

#[test]
fn floats_are_copied_where_memory_comes_in_huge_pages() {
    let (_, graph) = load("llama-f16");
    let copies = |huge_pages, memory_bytes| {
        let hardware = Hardware { huge_pages, memory_bytes, ..Hardware::probe() };
        worth_repacking(&graph, &hardware, &Policy::baseline(), None).len()
    };
    assert!(copies(true, 0) > 0);
    assert_eq!(copies(false, 0), 0);
    assert_eq!(copies(true, 1000), 0);
}

#[test]
fn the_interpreter_computes_what_llama_cpp_computes() {
    let tokens = json("tokens.json");
    for name in names() {
        let (weights, graph) = load(&name);
        let mut interpreter = Interpreter::new(&graph, &weights);
        for (position, (&token, expected)) in tokens.iter().zip(expected(&name, tokens.len())).enumerate() {
            let cosine = cosine(interpreter.push(token), &expected);
            assert!(cosine >= least_cosine(&name), "{name}, position {position}: cosine {cosine}");
        }
    }
}

#[test]
fn plans_agree_with_llama_cpp_in_one_batch_and_token_by_token() {
    let tokens = json("tokens.json");
    for name in names() {
        for (plan, isa) in [
            (PlanKind::Reference, Isa::Native),
            (PlanKind::Exact, Isa::Native),
            (PlanKind::Exact, Isa::Avx2),
            (PlanKind::Exact, Isa::Scalar),
            (PlanKind::Baseline, Isa::Native),
            (PlanKind::Baseline, Isa::Avx512),
            (PlanKind::Baseline, Isa::Avx2),
        ] {
            // Float weights run in f32 under every plan; only the f16 cache rounds, and attention in bfloat16
            // where the machine has it. A wrong detail of a model gives less than 0.993.
            let least = match (plan, isa) {
                (PlanKind::Baseline, Isa::Native) => least_cosine(&name).min(0.9993),
                (PlanKind::Baseline, _) => least_cosine(&name).min(0.9999),
                _ => least_cosine(&name),
            };
            let mut llm = open(&name, plan, isa);
            let vocab_size = llm.vocab_size();
            let expected = expected(&name, tokens.len());
            let check = |position: usize, logits: &[f32], how: &str| {
                let cosine = cosine(logits, &expected[position]);
                assert!(cosine >= least, "{name}, {plan:?} {isa:?}, {how}, position {position}: cosine {cosine}");
            };
            let mut batch = Batch::default();
            batch.push(SeqId(0), &tokens, 0, Outputs::All);
            let logits = llm.step(&batch).unwrap().to_vec();
            logits.chunks_exact(vocab_size).enumerate().for_each(|(at, logits)| check(at, logits, "one batch"));
            llm.truncate(SeqId(0), 0).unwrap();
            for (position, token) in tokens.iter().enumerate() {
                batch.clear();
                batch.push(SeqId(0), &[*token], position as u32, Outputs::Last);
                check(position, llm.step(&batch).unwrap(), "token by token");
            }
        }
    }
}

#[test]
fn every_op_of_a_plan_agrees_with_the_interpreter() {
    let tokens = json("tokens.json");
    for name in names() {
        let native = Hardware::probe();
        let avx2 = || Hardware::probe().capped(Isa::Avx2);
        // On AVX2 the plain integer kernel takes weights in either form; equally good ones go to those laid out anew.
        for (policy, least, hardware, repacked) in [
            (Policy::exact(), 0.999_999, native.clone(), false),
            (Policy::baseline(), 0.99, native, false),
            (Policy::exact(), 0.999_999, avx2(), true),
            (Policy::baseline(), 0.99, avx2(), true),
        ] {
            let (weights, graph) = if repacked { load_repacked(&name) } else { load(&name) };
            let options = PlanOptions {
                hardware,
                policy,
                rows: Rows::One,
                max_rows: 1,
                max_outputs: 1,
                k: KvType::F32,
                v: KvType::F32,
                block_size: 16,
                key_fittings: KeyFittings::default(),
                kept: Arc::default(),
                offload: None,
            };
            let Plan { program, info, .. } = Plan::build(&graph, &weights, &options).unwrap();
            let Program { steps, arena_bytes, max_rows, max_outputs, vocab_size, .. } = program;
            let single = |step| {
                let (segments, results, graphs) = Default::default();
                let record = Record::default();
                Program {
                    steps: vec![step],
                    segments,
                    results,
                    graphs,
                    arena_bytes,
                    max_rows,
                    max_outputs,
                    vocab_size,
                    logits: None,
                    record,
                }
            };
            let programs: Vec<Program> = steps.into_iter().map(single).collect();
            let mut executor = Executor::new(Pool::new(2).unwrap(), arena_bytes).unwrap();
            let runs: Vec<u32> = graph.groups.iter().map(|g| (g.layers.len() * g.num_kv_heads) as u32).collect();
            for (index, group) in graph.groups.iter().enumerate() {
                let layout = options.kv_layout(&graph, index as u32);
                executor.add_group(layout, group.layers.len(), 2 * runs[index] as usize).unwrap();
            }
            let mut interpreter = Interpreter::new(&graph, &weights);
            for (position, &token) in tokens.iter().enumerate() {
                let mut truth = Vec::new();
                interpreter.push_observed(token, &mut |value, row| truth.push((value, row.to_vec())));
                let mut truth = truth.into_iter();
                let tables: Vec<u32> = runs.iter().flat_map(|&run| [0, run]).collect();
                let views: Vec<Vec<SequenceView>> = (0..runs.len())
                    .map(|group| {
                        vec![SequenceView {
                            table_start: 2 * group,
                            table_len: 2,
                            first_logical: 0,
                            context: position as u32,
                            first_row: 0,
                            num_rows: 1,
                        }]
                    })
                    .collect();
                let inputs = StepInputs {
                    tokens: &[token],
                    positions: &[position as u32],
                    output_rows: &[0],
                    tables: &tables,
                    views: &views,
                    best_only: false,
                };
                for (program, step) in programs.iter().zip(&info) {
                    executor.run(program, &inputs).unwrap();
                    let Some((value, slot)) = step.output else { continue };
                    let (expected_value, expected) = truth.next().unwrap();
                    assert_eq!(value, expected_value, "{name}: {} writes another value", step.name);
                    let cosine = cosine(executor.values(slot, expected.len()).unwrap(), &expected);
                    let (op, variant) = (&step.name, step.variant);
                    assert!(cosine >= least, "{name}, position {position}, {op} ({variant}): cosine {cosine}");
                }
                assert!(truth.next().is_none(), "{name}: the plan has fewer ops than the graph");
            }
        }
    }
}

#[test]
fn greedy_continuations_are_llama_cpps() {
    let tokens = json("tokens.json");
    for name in names().into_iter().filter(|name| name != "llama-q8_0") {
        let mut llm = open(&name, PlanKind::Exact, Isa::Native);
        let argmax =
            |logits: &[f32]| (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
        let mut batch = Batch::default();
        batch.push(SeqId(0), &tokens, 0, Outputs::Last);
        let mut next = argmax(llm.step(&batch).unwrap());
        let mut found = vec![next];
        let expected = json(&format!("{name}.greedy.json"));
        while found.len() < expected.len() {
            batch.clear();
            batch.push(SeqId(0), &[next], (tokens.len() + found.len() - 1) as u32, Outputs::Last);
            next = argmax(llm.step(&batch).unwrap());
            found.push(next);
        }
        assert_eq!(found, expected, "{name}");
    }
}
