//! Many requests on real kernels, with the tiny models of `fixtures/`: whatever is computed beside a
//! request, shared with it, taken from it and cancelled around it, its answer is the one it gets alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chaski::{Llm, Options, PlanKind};
use engine::observer::{Observer, StepReport};
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Params, Sampler, VocabInfo};
use engine::stream::{Event, EventStream};

/// Tokens that the whole cache holds.
const CONTEXT: u32 = 256;
const NUM_NEW: u32 = 40;

fn open(name: &str, plan: PlanKind, batch_invariant: bool, cache_prompts: bool) -> Llm {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(format!("{name}.gguf"));
    let options = Options {
        plan,
        threads: 2,
        context: CONTEXT,
        ubatch: 48,
        num_sequences: 5,
        kv_unified: true,
        cache_prompts,
        batch_invariant,
        ..Options::default()
    };
    Llm::open(&path, &options).unwrap()
}

/// Prompts of 10 to 129 tokens that begin alike, in pairs for different stretches.
fn prompts(vocab_size: usize) -> Vec<Vec<u32>> {
    let token = |index: usize, salt: usize| ((index * 7 + index * index * salt) % vocab_size) as u32;
    let prompt = |number: usize| {
        let (shared, len) = (16 * (number % 5), 10 + 17 * (number * 5 % 8));
        (0..len).map(|index| token(index, if index < shared { 1 } else { number + 2 })).collect()
    };
    (0..14).map(prompt).collect()
}

fn request(llm: &Llm, prompt: &[u32], seed: usize) -> Request {
    let mut params = Params::default();
    params.parse("seed", &seed.to_string()).unwrap();
    let num_tokens = llm.vocab_size();
    let vocab = VocabInfo { num_tokens, end_of_generation: &[], suppressed: &[], breakers: &[] };
    Request {
        prompt: prompt.to_vec(),
        sampler: Sampler::new(&params, &vocab, 0).unwrap(),
        detokenizer: Box::new(NoText),
        constraint: None,
        stop_tokens: Arc::from([]),
        max_new_tokens: Some(NUM_NEW),
        when_full: WhenFull::Stop,
        cache_prompt: true,
        report: Report::default(),
    }
}

/// The answer and the number of prompt tokens that were cached.
fn answer(stream: &mut EventStream) -> (Vec<u32>, u32) {
    let mut tokens = Vec::new();
    while let Some(event) = stream.try_next() {
        match event {
            Event::Token { token, .. } => tokens.push(token),
            Event::Finished { usage, .. } => return (tokens, usage.num_cached),
            other => panic!("{other:?}"),
        }
    }
    panic!("the answer has no end");
}

struct Preemptions(Arc<AtomicU32>);

impl Observer for Preemptions {
    fn step(&mut self, report: &StepReport) {
        self.0.fetch_add(report.num_preempted, Ordering::Relaxed);
        assert!(report.kv_used_bytes <= report.kv_bytes, "{report:?}");
    }
}

fn company_changes_nothing(name: &str, plan: PlanKind, batch_invariant: bool) {
    let mut llm = open(name, plan, batch_invariant, false);
    let prompts = prompts(llm.vocab_size());
    let mut alone = Vec::new();
    for (seed, prompt) in prompts.iter().enumerate() {
        let request = request(&llm, prompt, seed);
        let mut stream = llm.engine().submit(request).unwrap();
        llm.engine().run_until_idle();
        alone.push(answer(&mut stream).0);
    }

    let mut llm = open(name, plan, batch_invariant, true);
    let num_preempted = Arc::new(AtomicU32::new(0));
    llm.engine().set_observer(Some(Box::new(Preemptions(num_preempted.clone()))));
    let mut streams = Vec::new();
    for (seed, prompt) in prompts.iter().enumerate() {
        let request = request(&llm, prompt, seed);
        let stream = llm.engine().submit(request).unwrap();
        (0..seed % 4).for_each(|_| llm.engine().step());
        streams.push(stream);
    }
    streams[6].cancel();
    llm.engine().run_until_idle();
    let mut num_cached = 0;
    for (number, stream) in streams.iter_mut().enumerate() {
        let (tokens, cached) = answer(stream);
        let expected = if number == 6 { &alone[number][..tokens.len()] } else { &alone[number][..] };
        assert_eq!(tokens, expected, "{name}: request {number}, {cached} tokens from the cache");
        num_cached += cached;
    }
    assert!(num_cached > 0 && num_preempted.load(Ordering::Relaxed) > 0, "nothing shared or nobody preempted");
    let cache = llm.engine().cache();
    cache.audit().unwrap();
    assert_eq!(cache.used_bytes(), 0, "all blocks are free again");
}

#[test]
fn company_changes_no_answer_under_batch_invariant_kernels() {
    for name in ["llama", "gemma3", "gemma2", "qwen2"] {
        company_changes_nothing(name, PlanKind::Baseline, true);
        company_changes_nothing(name, PlanKind::Exact, true);
    }
}

/// The references compute every row by itself.
#[test]
fn company_changes_no_answer_under_the_reference_plan() {
    for name in ["llama", "gemma3"] {
        company_changes_nothing(name, PlanKind::Reference, false);
    }
}

#[test]
fn what_can_never_fit_is_refused_with_numbers() {
    let mut llm = open("llama", PlanKind::Baseline, false, true);
    let request = request(&llm, &[1; 256], 0);
    let refused = llm.engine().submit(request).err().unwrap().to_string();
    assert!(refused.contains("256 tokens") && refused.contains("--kv-memory"), "{refused}");
}
