//! The numerical watch on tiny random models: faults put in on purpose are found and mended, who is in charge
//! too often is switched off, and a broken file fails with an error that names the tensor.

use std::path::{Path, PathBuf};

use chaski::{Llm, Options, PlanKind};
use device::{Isa, Shard};
use engine::Error;
use engine::batch::{Batch, Outputs, SeqId};
use engine::inject::Inject;
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Params, Sampler, VocabInfo};
use engine::stream::Event;
use engine::technique::{Provide, Stage, Switch, Technique};
use engine::watch::{InCharge, Notice, WatchOptions};
use kernels::ops::{Norm, norm};
use kernels::variant::any;
use kernels::{Exactness, Launch, Variant};

const PROMPT: [u32; 11] = [3, 17, 40, 8, 25, 31, 12, 9, 50, 33, 21];
/// Tokens of an answer. The first comes out of step 1, which computes the prompt.
const ANSWER: usize = 12;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn options(inject: &[&str]) -> Options {
    let inject = inject.iter().map(|text| Inject::parse(text).unwrap()).collect();
    Options { context: 64, inject, ..Options::default() }
}

fn open(options: &Options) -> Llm {
    Llm::open(&fixture("llama.gguf"), options).unwrap()
}

/// The likeliest token at each place, and the logits it was picked from.
fn greedy(llm: &mut Llm) -> Result<Vec<(u32, Vec<f32>)>, chaski::Error> {
    let mut batch = Batch::default();
    batch.push(SeqId(0), &PROMPT, 0, Outputs::Last);
    llm.truncate(SeqId(0), 0)?;
    let mut answer = Vec::new();
    for position in PROMPT.len()..PROMPT.len() + ANSWER {
        let logits = llm.step(&batch)?.to_vec();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
        answer.push((best, logits));
        batch.clear();
        batch.push(SeqId(0), &[best], position as u32, Outputs::Last);
    }
    Ok(answer)
}

fn tokens(answer: &[(u32, Vec<f32>)]) -> Vec<u32> {
    answer.iter().map(|(token, _)| *token).collect()
}

#[test]
fn an_injected_nan_leaves_the_answer_unchanged_and_a_notice_behind() {
    let undisturbed = tokens(&greedy(&mut open(&options(&[]))).unwrap());
    let mut llm = open(&options(&["nan@step=5,op=matmul,layer=1"]));
    assert_eq!(tokens(&greedy(&mut llm).unwrap()), undisturbed);
    let notices = llm.take_notices();
    let [Notice::Redone(sight)] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((sight.step, sight.op.name(), sight.name.as_str()), (5, "matmul", "blk.1.attn_q.weight"));
    assert_eq!(sight.faults.to_string(), "NaN");
    let counts = llm.watch_counts();
    assert_eq!((counts.num_steps, counts.num_redone, counts.num_failed), (ANSWER as u64, 1, 0));
    // Without the watch the fault would have reached the answer.
    let watch = WatchOptions { on: false, ..WatchOptions::default() };
    let mut blind = open(&Options { watch, ..options(&["nan@step=5,op=matmul,layer=1"]) });
    let answer = greedy(&mut blind).unwrap();
    assert!(answer[4].1.iter().all(|logit| logit.is_nan()));
    assert_ne!(tokens(&answer), undisturbed);
    assert_eq!(blind.watch_counts().num_redone, 0);
}

#[test]
fn faults_of_every_op_are_noticed_at_once_in_prompts_and_answers() {
    let seen = [
        ("nan", &["embed", "norm", "matmul", "rope_table", "rope", "attention", "glu", "add", "gather"][..]),
        ("inf", &["embed", "norm", "matmul", "rope", "attention", "glu", "add", "gather"]),
        ("scale", &["embed", "norm", "attention", "glu", "add"]),
    ];
    let undisturbed = greedy(&mut open(&options(&[]))).unwrap();
    for plan in [PlanKind::Baseline, PlanKind::Exact] {
        for (kind, ops) in seen {
            for op in ops {
                // A scale that only an int8 copy would notice is a sound number on the exact plan.
                if kind == "scale" && plan == PlanKind::Exact && !matches!(*op, "embed" | "add") {
                    continue;
                }
                for step in [1, 3] {
                    let text = format!("{kind}@step={step},op={op}");
                    let mut llm = open(&Options { plan, ..options(&[&text]) });
                    let answer = greedy(&mut llm).unwrap();
                    let notices = llm.take_notices();
                    let [Notice::Redone(sight)] = &notices[..] else { panic!("{text}, {plan:?}: {notices:?}") };
                    assert_eq!((sight.step, sight.op.name()), (step, *op), "{text}, {plan:?}: {sight}");
                    assert!(answer.iter().all(|(_, logits)| logits.iter().all(|logit| logit.is_finite())), "{text}");
                    if plan == PlanKind::Baseline {
                        assert_eq!(tokens(&answer), tokens(&undisturbed), "{text}");
                    }
                }
            }
        }
    }
}

#[test]
fn who_is_in_charge_too_often_is_off_with_a_reason() {
    let variant = |llm: &Llm| {
        let rows = llm.explain();
        let row = rows.iter().find(|row| row.regime == "decode" && row.name == "blk.0.ffn_act").unwrap();
        (row.variant, row.reason.clone())
    };
    let watch = WatchOptions { limit: 2, ..WatchOptions::default() };
    let mut llm = open(&Options { watch, ..options(&["inf@step=3-4,op=glu"]) });
    let before = variant(&llm);
    if before.0.ends_with("/reference") {
        println!("skipped: this machine has no other kernel");
        return;
    }
    let undisturbed = tokens(&greedy(&mut open(&options(&[]))).unwrap());
    assert_eq!(tokens(&greedy(&mut llm).unwrap()), undisturbed);
    let notices = llm.take_notices();
    let [Notice::Redone(_), Notice::Redone(_), off @ Notice::Off { .. }] = &notices[..] else { panic!("{notices:?}") };
    let line =
        format!("kernel {} is off for this model: 2 steps redone, last Inf in glu blk.0.ffn_act at step 4", before.0);
    assert_eq!(off.to_string(), line);
    let after = variant(&llm);
    assert_ne!(after.0, before.0);
    assert!(after.1.contains(&format!("{} (off: Inf in blk.0.ffn_act)", before.0)), "{}", after.1);
}

#[test]
fn kernels_for_every_instruction_set_notice() {
    for isa in [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Native] {
        for op in ["embed", "matmul", "attention", "glu"] {
            let mut llm = open(&Options { isa: Some(isa), ..options(&[&format!("nan@step=2,op={op}")]) });
            let answer = greedy(&mut llm).unwrap();
            assert!(answer.iter().all(|(_, logits)| logits.iter().all(|logit| logit.is_finite())), "{isa:?} {op}");
            assert_eq!(llm.watch_counts().num_redone, 1, "{isa:?} {op}");
        }
    }
}

/// A technique whose kernel is simply wrong.
const BROKEN: Technique = Technique {
    id: "broken",
    title: "A broken technique",
    papers: &["none"],
    stage: Stage::Preview,
    exactness: Exactness::Approximate,
    summary: "Writes what is not a number.",
    needs: &[],
    conflicts: &[],
    knobs: &[],
    provides: &[Provide::Variant(&BROKEN_NORM)],
};

const BROKEN_NORM: Variant<Norm> = Variant {
    id: "norm/f32/broken",
    needs: &[],
    exactness: Exactness::Approximate,
    accepts: any,
    launch: Launch::Cpu(|desc: &norm::Desc, args: &norm::Args, shard: &Shard<'_>| {
        for group in shard.range(args.num_rows * desc.groups, 1) {
            // SAFETY: bound to live memory of the described shape; only this worker touches the group.
            unsafe { std::slice::from_raw_parts_mut(args.out.add(group * desc.width), desc.width) }.fill(f32::NAN);
        }
    }),
};

#[test]
fn a_broken_technique_harms_no_answer_and_is_off_after_three_steps() {
    let undisturbed = tokens(&greedy(&mut open(&options(&[]))).unwrap());
    let techniques = vec![Switch::parse("broken=on").unwrap()];
    let mut llm = open(&Options { catalogue: &[&BROKEN], techniques, ..options(&[]) });
    assert!(llm.explain().iter().any(|row| row.technique == Some("broken")));
    assert_eq!(tokens(&greedy(&mut llm).unwrap()), undisturbed);
    assert_eq!(llm.watch_counts().num_redone, 3);
    let notices = llm.take_notices();
    let Some(Notice::Off { sight, num_redone: 3 }) = notices.last() else { panic!("{notices:?}") };
    assert_eq!((sight.in_charge, sight.step), (InCharge::Technique("broken"), 3));
    let rows = llm.explain();
    assert!(rows.iter().all(|row| row.technique.is_none()));
    let row = rows.iter().find(|row| row.op == "norm").unwrap();
    assert!(row.reason.contains("norm/f32/broken (off: NaN in blk.0.attn_norm.weight)"), "{}", row.reason);
}

/// The fixture with the first scale of a tensor made NaN.
fn broken(tensor: &str) -> PathBuf {
    let mut bytes = std::fs::read(fixture("llama-q8_0.gguf")).unwrap();
    let gguf = gguf::Gguf::parse(&bytes).unwrap();
    let info = gguf.tensor(tensor).unwrap();
    assert_eq!(info.dtype, gguf::DType::Q8_0);
    let at = info.data(&[&bytes]).as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{tensor}.gguf"));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_broken_file_fails_with_the_name_of_the_tensor() {
    for (tensor, op) in [("blk.1.ffn_down.weight", "matmul"), ("blk.0.attn_v.weight", "matmul")] {
        let mut llm = Llm::open(&broken(tensor), &options(&[])).unwrap();
        let Err(chaski::Error::Engine(error)) = greedy(&mut llm) else { panic!("{tensor}: no error") };
        let Error::NotFinite { name, op: found, .. } = &error else { panic!("{error}") };
        assert_eq!((name.as_str(), *found), (tensor, op));
        assert_eq!(llm.watch_counts().num_failed, 1);
        assert!(error.to_string().contains("the model file is broken"), "{error}");
        // A request fails alone, and the engine goes on.
        let mut llm = Llm::open(&broken(tensor), &options(&[])).unwrap();
        for _ in 0..2 {
            let events = answer(&mut llm);
            assert!(matches!(&events[..], [Event::Failed(Error::NotFinite { .. })]), "{events:?}");
        }
    }
}

/// All events of one greedy request.
fn answer(llm: &mut Llm) -> Vec<Event> {
    let mut params = Params::default();
    params.parse("temperature", "0").unwrap();
    let vocab = VocabInfo { num_tokens: llm.vocab_size(), end_of_generation: &[], suppressed: &[], breakers: &[] };
    let request = Request {
        prompt: PROMPT.to_vec(),
        sampler: Sampler::new(&params, &vocab, 1).unwrap(),
        detokenizer: Box::new(NoText),
        constraint: None,
        stop_tokens: [].into(),
        max_new_tokens: Some(ANSWER as u32),
        when_full: WhenFull::Stop,
        cache_prompt: false,
        report: Report::default(),
    };
    let mut events = Vec::new();
    llm.engine()
        .answer(request, |event| {
            events.push(event);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    events
}

#[test]
fn over_a_lossy_cache_the_sequence_is_prefilled_again() {
    let ids = |events: &[Event]| -> Vec<u32> {
        events
            .iter()
            .filter_map(|event| if let Event::Token { token, .. } = event { Some(*token) } else { None })
            .collect()
    };
    let undisturbed = ids(&answer(&mut open(&options(&[]))));
    assert_eq!(undisturbed.len(), ANSWER);
    let watch = WatchOptions { prefill_again: true, ..WatchOptions::default() };
    for step in [1, 6] {
        let mut llm = open(&Options { watch, ..options(&[&format!("nan@step={step},op=norm")]) });
        let events = answer(&mut llm);
        assert_eq!(ids(&events), undisturbed, "step {step}");
        assert!(matches!(events.last(), Some(Event::Finished { .. })));
        // One step more: the one that computes everything again.
        let counts = llm.watch_counts();
        assert_eq!((counts.num_steps, counts.num_redone), (ANSWER as u64 + 1, 1));
        assert_eq!(llm.take_notices().len(), 1);
    }
}
