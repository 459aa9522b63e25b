//! A toy technique added to the catalogue and taken out again: what it costs (one constant, which a real one
//! has in its folder, and one line of a list), what it gets for that, and that nothing is left of it when off.

use std::path::{Path, PathBuf};

use chaski::{Llm, Options};
use device::{Hardware, Isa, Pool, Shard};
use engine::batch::{Batch, Outputs, SeqId};
use engine::sampler::exp::mass;
use engine::sampler::{Candidates, ChainStep, Params, VocabInfo};
use engine::technique::{
    Knob, KnobKind, Knobs, KvCodec, Mode, Provide, RowSampler, SamplerForm, Stage, State, Switch, Technique,
};
use kernels::conformance::check_extra;
use kernels::ops::{Norm, norm};
use kernels::variant::any;
use kernels::{Exactness, KvType, Launch, Variant};

const TOY: Technique = Technique {
    id: "toy",
    title: "A toy",
    papers: &["none"],
    stage: Stage::Preview,
    exactness: Exactness::Approximate,
    summary: "Normalises to the weights alone, and always says the same.",
    needs: &[],
    conflicts: &[],
    knobs: &[SAYS],
    provides: &[Provide::Variant(&TOY_NORM), Provide::Sampler(&TOY_SAMPLER), Provide::KvCodec(TOY_CODEC)],
};

/// The list with the technique's one line, and the list without.
const WITH: &[&Technique] = &[&TOY];
const WITHOUT: &[&Technique] = &[];

const SAYS: Knob = Knob { name: "says", help: "the token", kind: KnobKind::Int { min: 0, max: 300, default: 7 } };

/// As if every row were ones after normalisation.
const TOY_NORM: Variant<Norm> = Variant {
    id: "norm/f32/toy",
    needs: &[],
    exactness: Exactness::Approximate,
    accepts: any,
    launch: Launch::Cpu(|desc: &norm::Desc, args: &norm::Args, shard: &Shard<'_>| {
        for group in shard.range(args.num_rows * desc.groups, 1) {
            // SAFETY: bound to live memory of the described shape; only this worker touches the group.
            unsafe { std::ptr::copy_nonoverlapping(args.weight, args.out.add(group * desc.width), desc.width) };
        }
    }),
};

/// Not what the baseline stores.
const TOY_CODEC: KvCodec = KvCodec { k: KvType::F32, v: KvType::F16 };

const TOY_SAMPLER: SamplerForm = SamplerForm {
    id: "toy",
    compile: |setup| match setup.chain.iter().any(|(name, _)| *name == "dry") {
        true => Err("dry".to_owned()),
        false => Ok(Box::new(Parrot { token: setup.knobs.int(&SAYS) as u32, num_stages: setup.chain.len() })),
    },
};

#[derive(Clone, Debug)]
struct Parrot {
    token: u32,
    num_stages: usize,
}

impl RowSampler for Parrot {
    fn num_stages(&self) -> usize {
        self.num_stages
    }

    fn narrow(&mut self, logits: &[f32], _: &mut ChainStep<'_>, candidates: &mut Candidates) -> bool {
        candidates.conclude(self.token, logits[self.token as usize], 1.0, mass(1.0));
        true
    }

    fn clone_box(&self) -> Box<dyn RowSampler> {
        Box::new(self.clone())
    }
}

fn open(catalogue: &'static [&'static Technique], switches: &[&str]) -> Result<Llm, chaski::Error> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/llama.gguf");
    let techniques = switches.iter().map(|text| Switch::parse(text).unwrap()).collect();
    Llm::open(&path, &Options { threads: 2, context: 64, catalogue, techniques, ..Options::default() })
}

/// What the program shows of the plan.
fn plan(llm: &Llm) -> Vec<String> {
    llm.explain().iter().map(|row| format!("{row:?}")).collect()
}

fn logits(llm: &mut Llm) -> Vec<u32> {
    let mut batch = Batch::default();
    batch.push(SeqId(0), &[1, 65, 300], 0, Outputs::Last);
    llm.step(&batch).unwrap().iter().map(|logit| logit.to_bits()).collect()
}

fn pick(llm: &Llm, fields: &[(&str, &str)]) -> (u32, Vec<(&'static str, String)>) {
    let mut params = Params::default();
    fields.iter().for_each(|(field, text)| params.parse(field, text).unwrap());
    let vocab = VocabInfo { num_tokens: llm.vocab_size(), ..VocabInfo::default() };
    let mut sampler = llm.sampler(&params, &vocab, 1).unwrap();
    let mut row = vec![0.0; llm.vocab_size()];
    row[42] = 100.0;
    let picked = sampler.clone().sample(&mut Candidates::new(row.len()), &row).unwrap().token;
    assert_eq!(picked, sampler.sample(&mut Candidates::new(row.len()), &row).unwrap().token);
    (picked, sampler.refusals().to_vec())
}

#[test]
fn one_line_puts_it_everywhere() {
    let mut llm = open(WITH, &["toy=on,says=9"]).unwrap();
    let rows = llm.explain();
    let norms: Vec<_> = rows.iter().filter(|row| row.op == "norm").collect();
    assert!(!norms.is_empty());
    for row in norms {
        assert_eq!((row.variant, row.technique), ("norm/f32/toy", Some("toy")));
        assert!(row.reason.starts_with("technique toy"), "{}", row.reason);
        assert!(row.runner_up.is_some_and(|id| id.starts_with("norm/f32/")), "{:?}", row.runner_up);
    }
    let mut stores = rows.iter().filter(|row| row.op == "kv_store").map(|row| row.shape.as_str());
    assert!(stores.all(|shape| shape.contains(" f32, v ") && shape.ends_with(" f16")), "{:?}", rows.last());
    assert!(rows.iter().filter(|row| row.op != "norm").all(|row| row.technique.is_none()));
    assert_eq!(llm.techniques()[0].state, State::On);
    assert_ne!(logits(&mut llm), logits(&mut open(WITHOUT, &[]).unwrap()));
    assert_eq!(pick(&llm, &[]), (9, Vec::new()));
    assert_eq!(pick(&llm, &[("temperature", "0"), ("dry_multiplier", "1")]), (42, vec![("toy", "dry".to_owned())]));
}

#[test]
fn off_it_leaves_the_baseline_as_it_is() {
    let mut without = open(WITHOUT, &[]).unwrap();
    let (expected, row) = (plan(&without), logits(&mut without));
    for switches in [&[][..], &["toy=off"], &["toy=auto"], &["all=auto"], &["toy=on", "toy=off"]] {
        let mut with = open(WITH, switches).unwrap();
        assert_eq!(plan(&with), expected, "{switches:?}");
        assert_eq!(logits(&mut with), row, "{switches:?}");
        assert_eq!(pick(&with, &[("temperature", "0")]).0, 42);
        assert_ne!(with.techniques()[0].state, State::On);
    }
    let error = open(WITHOUT, &["toy=on"]).err().unwrap().to_string();
    assert_eq!(error, "--technique toy: no such technique; there are none");
}

#[test]
fn a_judge_refuses_what_rounds() {
    let options = Options {
        plan: chaski::PlanKind::Exact,
        catalogue: WITH,
        techniques: vec![Switch::new("toy", Mode::On)],
        ..Options::default()
    };
    let error = options.resolve().unwrap_err().to_string();
    assert!(error.starts_with("toy: is approximate"), "{error}");
    let auto = Options { techniques: vec![Switch::new("toy", Mode::Auto)], ..options };
    assert_eq!(auto.resolve().unwrap()[0].state, State::FellBack);
}

#[test]
fn the_conformance_suite_takes_its_variants() {
    const LIAR: Variant<Norm> = Variant { id: "norm/f32/liar", exactness: Exactness::Reordered { ulp: 4 }, ..TOY_NORM };
    const SELECTIVE: Variant<Norm> = Variant { id: "norm/f32/selective", accepts: |_| false, ..TOY_NORM };
    const HONEST: Variant<Norm> = Variant {
        id: "norm/f32/honest",
        exactness: Exactness::Bitwise,
        launch: Launch::Cpu(|desc: &norm::Desc, args: &norm::Args, shard: &Shard<'_>| {
            for group in shard.range(args.num_rows * desc.groups, 1) {
                let at = group * desc.width;
                // SAFETY: bound to live memory of the described shape; only this worker touches the group.
                unsafe {
                    std::ptr::copy(args.x.add(at), args.out.add(at), desc.width); // may be the same place
                    let out = std::slice::from_raw_parts_mut(args.out.add(at), desc.width);
                    norm::reference::norm(desc, std::slice::from_raw_parts(args.weight, desc.width), out);
                }
            }
        }),
        ..TOY_NORM
    };
    let mut pools = [1, 2].map(|workers| Pool::new(workers).unwrap());
    let hardware = Hardware::probe().capped(Isa::Native);
    let verdicts = check_extra(&hardware, &mut pools, &[&HONEST, &LIAR, &SELECTIVE], 1).unwrap();
    let passed: Vec<_> = verdicts.iter().map(|verdict| (verdict.id, verdict.passed())).collect();
    assert_eq!(passed, [("norm/f32/honest", true), ("norm/f32/liar", false), ("norm/f32/selective", false)]);
}

#[test]
fn knobs_have_their_defaults() {
    let llm = open(WITH, &["toy=on"]).unwrap();
    assert_eq!(pick(&llm, &[]).0, 7);
    assert_eq!(Knobs::default().int(&SAYS), 7);
}
