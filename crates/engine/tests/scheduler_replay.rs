//! The whole step loop with a made-up model that reads its keys through the block tables: whatever the
//! batch, the chunks, the preemptions and the copies, every request gets the tokens it would get alone
//! from plain vectors. Then what happens when things go wrong.

use engine::Error;
use engine::batch::Batch;
use engine::cache::{CacheLimits, KvCache, KvGroup};
use engine::engine::{Engine, Logits, StepRunner};
use engine::handle::spawn;
use engine::observer::{Observer, StepReport};
use engine::request::{Constrain, Detokenize, NoText, Report, Request, WhenFull};
use engine::sampler::{Candidates, Params, Sampler, TokenSet, VocabInfo, logprobs};
use engine::scheduler::Rules;
use engine::sequence::FinishReason;
use engine::stream::{Event, EventStream};
use proptest::prelude::*;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

const CONTEXT: u32 = 48;
const VOCAB: usize = 24;
const EOS: u32 = 23;

fn group(window: Option<u32>, block_size: u32) -> KvGroup {
    KvGroup {
        layers: vec![0, 1],
        num_kv_heads: 2,
        head_dim_k: 8,
        head_dim_v: 8,
        k_bytes: 16,
        v_bytes: 16,
        window,
        block_size,
    }
}

fn mix(state: u64, value: u64) -> u64 {
    let mixed = (state ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// One "layer": the key of a token and what it attends to, in one group.
fn key(group: usize, token: u32, attended: u64) -> u64 {
    mix(mix(group as u64 + 1, token.into()), attended)
}

fn logits(state: u64) -> impl Iterator<Item = f32> {
    (0..VOCAB).map(move |token| (mix(state, token as u64) % 1000) as f32 / 200.0)
}

/// Keys with the position that they are rotated to, by (group, table entry, offset).
#[derive(Default)]
struct Fake {
    storage: HashMap<(u32, u32, u32), (u64, i64)>,
    logits: Vec<f32>,
    num_steps: u32,
    fail_at: Option<(u32, bool)>,
    /// Keys depend on how rows are cut into steps, as the rounding of real kernels does.
    by_span: bool,
}

impl StepRunner for Fake {
    fn step(&mut self, batch: &Batch, cache: &KvCache) -> Result<Logits<'_>, Error> {
        self.num_steps += 1;
        match self.fail_at {
            Some((step, true)) if step == self.num_steps => panic!("out of order"),
            Some((step, false)) if step == self.num_steps => return Err(Error::Step("device lost".into())),
            _ => {}
        }
        for copy in &batch.copies {
            let slot = |entry, offset| (copy.group, entry, offset);
            let tokens = 0..copy.num_tokens;
            let read: Vec<_> = tokens.map(|token| self.storage[&slot(copy.src, copy.src_offset + token)]).collect();
            for (token, (value, position)) in (copy.dst_offset..).zip(read) {
                self.storage.insert(slot(copy.dst, token), (value, position + i64::from(copy.shift)));
            }
        }
        self.logits.clear();
        for span in &batch.spans {
            for row in span.rows() {
                let (token, position) = (batch.tokens[row], batch.positions[row]);
                let mut state = u64::from(token);
                for (index, group) in cache.groups().enumerate() {
                    let view = cache.view(span.seq, index).unwrap();
                    let slot = |position: u32| {
                        let entry = view.table[(position / view.block_size) as usize];
                        (index as u32, entry, position % view.block_size)
                    };
                    let mut attended = 0;
                    for before in group.window_start(position)..position {
                        let (value, rotated) = self.storage[&slot(before)];
                        assert_eq!(rotated, i64::from(before), "a key at the wrong position");
                        attended = mix(attended, value);
                    }
                    let cut = if self.by_span { u64::from(span.context) << 32 | u64::from(span.num_rows) } else { 0 };
                    let value = key(index, token, attended) ^ cut;
                    self.storage.insert(slot(position), (value, position.into()));
                    state = mix(state, value);
                }
                if batch.output_rows.contains(&(row as u32)) {
                    self.logits.extend(logits(state));
                }
            }
        }
        Ok(Logits { values: &self.logits, vocab_size: VOCAB, hidden: &[], best: &[] })
    }

    fn vocab_size(&self) -> usize {
        VOCAB
    }
}

/// Allows other tokens at each place; its masks come early or late.
struct Turns(u32);

impl Constrain for Turns {
    fn allowed(&mut self, tokens: &mut TokenSet) -> Result<(), String> {
        if self.0 % 3 == 1 {
            std::thread::sleep(std::time::Duration::from_micros(30));
        }
        tokens.assign(&[0x924924 << (self.0 % 3) | 1 << EOS]);
        Ok(())
    }

    fn accept(&mut self, _: u32) -> Result<(), String> {
        self.0 += 1;
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Asked {
    prompt: Vec<u32>,
    seed: u32,
    max_new_tokens: u32,
    shift: bool,
    after_steps: usize,
    /// Whether the tokens of the prompt are to be scored.
    scored: bool,
    /// Whether the answer must keep to [`Turns`].
    constrained: bool,
}

/// Computes the next token of a sequence whose keys are plain vectors; gives the state that makes its logits.
fn compute(groups: &[KvGroup], keys: &mut [Vec<u64>], token: u32) -> u64 {
    let mut state = u64::from(token);
    for (index, group) in groups.iter().enumerate() {
        let from = group.window_start(keys[index].len() as u32) as usize;
        let value = key(index, token, keys[index][from..].iter().fold(0, |sum, &value| mix(sum, value)));
        keys[index].push(value);
        state = mix(state, value);
    }
    state
}

impl Asked {
    fn sampler(&self) -> Sampler {
        let mut params = Params::default();
        params.parse("seed", &self.seed.to_string()).unwrap();
        params.parse("repeat_penalty", "1.2").unwrap();
        let vocab = VocabInfo { num_tokens: VOCAB, end_of_generation: &[EOS], suppressed: &[], breakers: &[] };
        Sampler::new(&params, &vocab, 0).unwrap()
    }

    fn when_full(&self) -> WhenFull {
        if self.shift { WhenFull::Shift { keep: 3 } } else { WhenFull::Stop }
    }

    fn request(&self) -> Request {
        Request {
            prompt: self.prompt.clone(),
            sampler: self.sampler(),
            detokenizer: Box::new(NoText),
            constraint: self.constrained.then(|| Box::new(Turns(0)) as _),
            stop_tokens: Arc::from([EOS]),
            max_new_tokens: Some(self.max_new_tokens),
            when_full: self.when_full(),
            cache_prompt: true,
            report: Report { prompt_scores: self.scored.then_some(2), ..Report::default() },
        }
    }

    /// The scores of the prompt's tokens, from plain vectors.
    fn scores_alone(&self, groups: &[KvGroup]) -> Vec<f32> {
        let mut keys: Vec<Vec<u64>> = vec![Vec::new(); groups.len()];
        let mut candidates = Candidates::new(VOCAB);
        let pairs = self.prompt.windows(2).filter(|_| self.scored);
        pairs
            .map(|pair| {
                let row: Vec<f32> = logits(compute(groups, &mut keys, pair[0])).collect();
                logprobs(&mut candidates, &row, pair[1], 0, &mut Vec::new()).unwrap()
            })
            .collect()
    }

    /// What plain vectors give: llama.cpp's rules, nothing paged, nothing shared.
    fn alone(&self, groups: &[KvGroup]) -> Vec<u32> {
        let (mut sampler, mut candidates) = (self.sampler(), Candidates::new(VOCAB));
        sampler.accept_all(&self.prompt);
        let mut keys: Vec<Vec<u64>> = vec![Vec::new(); groups.len()];
        let mut pending = self.prompt.clone();
        let mut answer = Vec::new();
        while (answer.len() as u32) < self.max_new_tokens {
            let len = keys[0].len();
            if len + pending.len() >= CONTEXT as usize {
                if !self.shift {
                    break;
                }
                let discarded = (len - 3) / 2;
                keys.iter_mut().for_each(|keys| drop(keys.drain(3..3 + discarded)));
            }
            let state = pending.drain(..).fold(0, |_, token| compute(groups, &mut keys, token));
            let row: Vec<f32> = logits(state).collect();
            let sampled = if self.constrained {
                let mut allowed = TokenSet::default();
                Turns(answer.len() as u32).allowed(&mut allowed).unwrap();
                sampler.sample_within(&mut candidates, &row, &allowed)
            } else {
                sampler.sample(&mut candidates, &row)
            };
            let token = sampled.unwrap().token;
            sampler.accept(token);
            answer.push(token);
            pending.push(token);
            if token == EOS {
                break;
            }
        }
        answer
    }
}

fn asked(shift: bool) -> impl Strategy<Value = Asked> {
    let some = || prop::bool::weighted(0.3);
    (prop::collection::vec(0..3u32, 1..30), any::<u32>(), 0..80u32, 0..20usize, some(), some()).prop_map(
        move |(prompt, seed, max_new_tokens, after_steps, scored, constrained)| Asked {
            prompt,
            seed,
            max_new_tokens,
            shift,
            after_steps,
            scored,
            constrained,
        },
    )
}

fn tokens_of(stream: &mut EventStream) -> (Vec<u32>, Event) {
    let (tokens, _, last) = all_of(stream);
    (tokens, last)
}

/// Tokens, scores of the prompt and the last event.
fn all_of(stream: &mut EventStream) -> (Vec<u32>, Vec<f32>, Event) {
    let (mut tokens, mut told) = (Vec::new(), Vec::new());
    loop {
        match stream.try_next().expect("every stream ends with an event that says so") {
            Event::Token { token, .. } => tokens.push(token),
            Event::Prompt { scores, .. } => {
                assert!(tokens.is_empty(), "the prompt comes before the answer");
                told.extend(scores.iter().map(|score| score.score));
            }
            last => return (tokens, told, last),
        }
    }
}

struct Reports(Sender<StepReport>);

impl Observer for Reports {
    fn step(&mut self, report: &StepReport) {
        self.0.send(*report).unwrap();
    }
}

/// Serves all requests, each submitted after so many steps. Returns the number of preemptions.
fn serve(groups: &[KvGroup], prefixes: bool, limits: CacheLimits, requests: &[Asked]) -> u32 {
    let mut cache = KvCache::new(groups.to_vec(), limits).unwrap();
    if prefixes {
        cache.share_prefixes().unwrap();
    }
    let mut engine = Engine::new(Fake::default(), cache);
    let (sender, reports) = channel();
    engine.set_observer(Some(Box::new(Reports(sender))));
    let mut streams: Vec<Option<EventStream>> = requests.iter().map(|_| None).collect();
    let mut step = 0;
    while !engine.is_idle() || streams.iter().any(Option::is_none) {
        for (asked, stream) in requests.iter().zip(&mut streams) {
            if asked.after_steps == step {
                *stream = Some(engine.submit(asked.request()).unwrap());
            }
        }
        engine.step();
        step += 1;
    }
    for (asked, stream) in requests.iter().zip(&mut streams) {
        let (tokens, scores, last) = all_of(stream.as_mut().unwrap());
        assert_eq!(tokens, asked.alone(groups), "{last:?}");
        assert_eq!(scores, asked.scores_alone(groups), "{last:?}");
        let Event::Finished { reason, usage, .. } = last else { panic!("{last:?}") };
        assert_eq!(usage.num_generated as usize, tokens.len());
        match reason {
            FinishReason::Eos => assert_eq!(tokens.last(), Some(&EOS)),
            FinishReason::Length => assert_eq!(tokens.len() as u32, asked.max_new_tokens),
            FinishReason::ContextFull => assert_eq!(tokens.len() + asked.prompt.len(), CONTEXT as usize),
            other => panic!("{other:?}"),
        }
    }
    engine.cache().audit().unwrap();
    for index in 0..groups.len() {
        assert_eq!(engine.cache().free_runs(index), engine.cache().num_runs(index), "nothing leaked");
    }
    reports.try_iter().map(|report| report.num_preempted).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn answers_do_not_depend_on_company(
        requests in prop::collection::vec(asked(false), 1..7),
        layout in 0..4usize,
        prefixes in any::<bool>(),
        max_rows in 1..40u32,
        num_sequences in 1..6u32,
        total_tokens in CONTEXT..CONTEXT * 3,
    ) {
        let groups = match layout {
            0 => vec![group(None, 4)],
            1 => vec![group(None, 4), group(Some(6), 4)],
            2 => vec![group(Some(9), 4)],
            _ => vec![group(None, 16), group(Some(17), 16)],
        };
        let limits = CacheLimits {
            context: CONTEXT,
            num_sequences,
            total_tokens: total_tokens.into(),
            step_tokens: max_rows,
        };
        serve(&groups, prefixes, limits, &requests);
    }

    /// Whatever is preempted, cancelled and shared meanwhile.
    #[test]
    fn with_fixed_chunks_even_rounding_does_not_depend_on_company(
        requests in prop::collection::vec(asked(false), 1..7),
        cancelled in any::<u8>(),
        windowed in any::<bool>(),
        max_rows in 1..40u32,
        num_sequences in 1..6u32,
        total_tokens in CONTEXT..CONTEXT * 3,
    ) {
        let groups = if windowed { vec![group(None, 4), group(Some(6), 4)] } else { vec![group(None, 4)] };
        let limits =
            CacheLimits { context: CONTEXT, num_sequences, total_tokens: total_tokens.into(), step_tokens: max_rows };
        let engine = |prefixes: bool| {
            let mut cache = KvCache::new(groups.clone(), limits).unwrap();
            if prefixes {
                cache.share_prefixes().unwrap();
            }
            let runner = Fake { by_span: true, ..Fake::default() };
            Engine::with_rules(runner, cache, Rules::of(&limits).with_fixed_chunks())
        };
        let mut company = engine(true);
        let mut streams: Vec<Option<EventStream>> = requests.iter().map(|_| None).collect();
        let mut step = 0;
        while !company.is_idle() || streams.iter().any(Option::is_none) {
            for (index, (asked, stream)) in requests.iter().zip(&mut streams).enumerate() {
                if asked.after_steps == step {
                    *stream = Some(company.submit(asked.request()).unwrap());
                }
                if let Some(stream) = stream && cancelled >> index & 1 == 1 && asked.after_steps + 7 == step {
                    stream.cancel();
                }
            }
            company.step();
            step += 1;
        }
        for (asked, stream) in requests.iter().zip(&mut streams) {
            let (tokens, _) = tokens_of(stream.as_mut().unwrap());
            let mut alone = engine(false);
            let mut stream = alone.submit(asked.request()).unwrap();
            alone.run_until_idle();
            let expected = tokens_of(&mut stream).0;
            assert_eq!(tokens, expected[..tokens.len()]);
        }
        company.cache().audit().unwrap();
    }

    /// With room for all, so that no shifted sequence has to be computed anew.
    #[test]
    fn a_shifted_context_goes_on_as_in_plain_vectors(
        requests in prop::collection::vec(asked(true), 1..5),
        windowed in any::<bool>(),
        prefixes in any::<bool>(),
        max_rows in 6..40u32,
    ) {
        let groups = if windowed { vec![group(None, 4), group(Some(6), 4)] } else { vec![group(None, 5)] };
        serve(&groups, prefixes, CacheLimits::full(CONTEXT, 5, max_rows), &requests);
    }
}

#[test]
fn preemption_replays_the_same_tokens() {
    let limits = CacheLimits { context: CONTEXT, num_sequences: 4, total_tokens: CONTEXT.into(), step_tokens: 16 };
    let asked = |seed| Asked {
        prompt: vec![1, 2, seed % 3],
        seed,
        max_new_tokens: 40,
        shift: false,
        after_steps: 0,
        scored: seed % 2 == 0,
        constrained: false,
    };
    // Seeds whose answers are long enough to get in each other's way.
    let groups = [group(None, 4)];
    let long: Vec<_> = (0..200).map(asked).filter(|asked| asked.alone(&groups).len() > 30).take(4).collect();
    assert!(serve(&groups, false, limits, &long) > 0, "nobody was preempted, so nothing was tested");
}

fn engine_with(fail_at: Option<(u32, bool)>) -> Engine<Fake> {
    let cache = KvCache::new(vec![group(None, 4)], CacheLimits::full(CONTEXT, 2, 16)).unwrap();
    Engine::new(Fake { fail_at, ..Fake::default() }, cache)
}

fn long_request(groups: &[KvGroup]) -> Asked {
    let asked = |seed| Asked {
        prompt: vec![0, 1, 2],
        seed,
        max_new_tokens: 20,
        shift: false,
        after_steps: 0,
        scored: false,
        constrained: false,
    };
    (0..500).map(asked).find(|asked| asked.alone(groups).len() == 20).unwrap()
}

#[test]
fn a_failing_or_panicking_step_fails_its_sequences_only() {
    for panics in [false, true] {
        let mut engine = engine_with(Some((3, panics)));
        let asked = long_request(&[group(None, 4)]);
        let mut streams: Vec<_> = (0..3).map(|_| engine.submit(asked.request()).unwrap()).collect();
        engine.run_until_idle();
        for stream in &mut streams[..2] {
            let (tokens, last) = tokens_of(stream);
            assert_eq!(tokens.len(), 2);
            let expected = if panics { "out of order" } else { "device lost" };
            assert_eq!(last, Event::Failed(Error::Step(expected.into())));
        }
        assert_eq!(tokens_of(&mut streams[2]).0, asked.alone(&[group(None, 4)]), "the third was not in the step");
        engine.cache().audit().unwrap();
        assert_eq!(engine.cache().free_runs(0), engine.cache().num_runs(0));
    }
}

#[test]
fn a_cancelled_request_ends_and_the_others_go_on() {
    let mut engine = engine_with(None);
    let asked = long_request(&[group(None, 4)]);
    let (mut cancelled, mut kept, dropped) = (
        engine.submit(asked.request()).unwrap(),
        engine.submit(asked.request()).unwrap(),
        engine.submit(asked.request()).unwrap(),
    );
    (0..5).for_each(|_| engine.step());
    cancelled.cancel();
    drop(dropped);
    engine.run_until_idle();
    let (tokens, last) = tokens_of(&mut cancelled);
    assert_eq!(tokens.len(), 5);
    assert!(matches!(last, Event::Finished { reason: FinishReason::Aborted, .. }), "{last:?}");
    assert_eq!(tokens_of(&mut kept).0.len(), 20);
    assert_eq!(engine.cache().free_runs(0), engine.cache().num_runs(0));
}

/// Says each token as a letter; stops at a letter; holds every letter back until the next.
#[derive(Default)]
struct Letters {
    stop: Option<char>,
    held: String,
}

impl Detokenize for Letters {
    fn push(&mut self, token: u32, piece: &mut String) -> Option<u32> {
        let letter = char::from(b'a' + token as u8);
        piece.push_str(&std::mem::take(&mut self.held));
        let stops = self.stop == Some(letter);
        if !stops {
            self.held.push(letter);
        }
        stops.then_some(0)
    }

    fn finish(&mut self, piece: &mut String) {
        piece.push_str(&std::mem::take(&mut self.held));
    }
}

#[test]
fn text_comes_whole_and_ends_before_a_stop_string() {
    let asked = long_request(&[group(None, 4)]);
    let letter = |&token: &u32| char::from(b'a' + token as u8);
    let expected: String = asked.alone(&[group(None, 4)]).iter().map(letter).collect();
    let stop = expected.chars().find(|&letter| expected.find(letter) > Some(4)).unwrap();
    for (stop, reason) in [(None, FinishReason::Length), (Some(stop), FinishReason::Stop(0))] {
        let mut engine = engine_with(None);
        let detokenizer = Box::new(Letters { stop, ..Letters::default() });
        let (mut text, mut end) = (String::new(), None);
        let request = Request { detokenizer, ..asked.request() };
        engine
            .answer(request, |event| {
                match event {
                    Event::Token { piece, .. } => text.push_str(&piece),
                    Event::Prompt { .. } | Event::Embedding(_) => panic!("nobody asked for it"),
                    Event::Finished { reason, .. } => end = Some(reason),
                    Event::Failed(error) => panic!("{error}"),
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(end, Some(reason));
        let until = stop.map_or(expected.len(), |stop| expected.find(stop).unwrap());
        assert_eq!(text, expected[..until]);
    }
}

#[test]
fn an_answer_can_be_broken_off() {
    let mut engine = engine_with(None);
    let mut events = Vec::new();
    let request = long_request(&[group(None, 4)]).request();
    let stop_at_third = |event| {
        events.push(event);
        if events.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    engine.answer(request, stop_at_third).unwrap();
    assert_eq!(events.len(), 4);
    assert!(matches!(events[3], Event::Finished { reason: FinishReason::Aborted, .. }));
    assert!(engine.is_idle());
}

#[test]
fn requests_that_make_no_sense_are_refused_by_name() {
    let mut engine = engine_with(None);
    let asked = long_request(&[group(None, 4)]);
    let refused = engine.submit(Request { prompt: Vec::new(), ..asked.request() }).err();
    assert_eq!(refused, Some(Error::EmptyPrompt));
    let refused = engine.submit(Request { prompt: vec![0; 48], ..asked.request() }).err();
    assert_eq!(refused, Some(Error::PromptTooLong { num_prompt: 48, context: 48 }));
    // A sampler that has no token left fails its own sequence.
    let mut params = Params::default();
    (0..VOCAB).for_each(|token| params.parse("logit_bias", &format!("{token}-inf")).unwrap());
    let vocab = VocabInfo { num_tokens: VOCAB, end_of_generation: &[EOS], suppressed: &[], breakers: &[] };
    if let Ok(sampler) = Sampler::new(&params, &vocab, 0) {
        let mut stream = engine.submit(Request { sampler, ..asked.request() }).unwrap();
        engine.run_until_idle();
        assert!(
            matches!(tokens_of(&mut stream), (tokens, Event::Failed(_) | Event::Finished { .. }) if tokens.len() <= 20)
        );
    }
}

#[test]
fn an_engine_on_its_own_thread_answers_through_its_handle() {
    let asked = long_request(&[group(None, 4)]);
    let expected = asked.alone(&[group(None, 4)]);
    let (handle, thread) = spawn(engine_with(None)).unwrap();
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let (handle, asked) = (handle.clone(), asked.clone());
            std::thread::spawn(move || {
                let events = handle.submit(asked.request()).unwrap();
                events
                    .filter_map(|event| if let Event::Token { token, .. } = event { Some(token) } else { None })
                    .collect()
            })
        })
        .collect();
    for client in clients {
        let tokens: Vec<u32> = client.join().unwrap();
        assert_eq!(tokens, expected);
    }
    let refused = handle.submit(Request { prompt: Vec::new(), ..asked.request() }).unwrap().next();
    assert_eq!(refused, Some(Event::Failed(Error::EmptyPrompt)));
    drop(handle);
    assert!(thread.join().unwrap().is_idle());
}

/// A constraint whose masks come when the test lets them.
struct Gate {
    open: std::sync::mpsc::Receiver<Result<(), String>>,
}

impl Constrain for Gate {
    fn allowed(&mut self, tokens: &mut TokenSet) -> Result<(), String> {
        tokens.assign(&[1 << 5]);
        self.open.recv().unwrap_or(Ok(()))
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        assert_eq!(token, 5);
        Ok(())
    }
}

#[test]
fn a_mask_that_is_late_holds_up_nobody_else() {
    let groups = [group(None, 4)];
    let mut engine = engine_with(None);
    let asked = long_request(&groups);
    let (open, gate) = channel();
    let constraint: Option<Box<dyn Constrain>> = Some(Box::new(Gate { open: gate }));
    let mut late = engine.submit(Request { constraint, max_new_tokens: Some(2), ..asked.request() }).unwrap();
    let mut other = engine.submit(asked.request()).unwrap();
    // The other one is answered to its end while the first mask is not there.
    let mut other_tokens = Vec::new();
    while other_tokens.len() < 20 {
        engine.step();
        other_tokens.extend(std::iter::from_fn(|| other.try_next()).filter_map(|event| match event {
            Event::Token { token, .. } => Some(token),
            _ => None,
        }));
    }
    assert_eq!(other_tokens, asked.alone(&groups));
    assert!(late.try_next().is_none() && !engine.is_idle());
    open.send(Ok(())).unwrap();
    open.send(Ok(())).unwrap();
    engine.run_until_idle();
    assert_eq!(tokens_of(&mut late).0, [5, 5]);

    // What its parser cannot do any more is told; a client that goes away is not waited for.
    let (open, gate) = channel();
    let constraint: Option<Box<dyn Constrain>> = Some(Box::new(Gate { open: gate }));
    let mut failing = engine.submit(Request { constraint, ..asked.request() }).unwrap();
    open.send(Err("too much".into())).unwrap();
    engine.run_until_idle();
    assert_eq!(tokens_of(&mut failing).1, Event::Failed(Error::Constraint("too much".into())));
    let (_open, gate) = channel();
    let constraint: Option<Box<dyn Constrain>> = Some(Box::new(Gate { open: gate }));
    let gone = engine.submit(Request { constraint, ..asked.request() }).unwrap();
    let mut other = engine.submit(asked.request()).unwrap();
    engine.step();
    drop(gone);
    engine.run_until_idle();
    assert_eq!(tokens_of(&mut other).0, asked.alone(&groups));
    assert_eq!(engine.cache().free_runs(0), engine.cache().num_runs(0));
}
