//! The scheduler alone: budget, order, fairness and bookkeeping after every step, under random loads,
//! random answers, cancellations and caches that are too small for all.

use engine::Error;
use engine::batch::{Batch, SeqId};
use engine::cache::{CacheLimits, KvCache, KvGroup};
use engine::request::WhenFull;
use engine::scheduler::{Rules, Scheduler, Ticket};
use engine::sequence::{FinishReason, Sequence, Status};
use proptest::prelude::*;
use std::sync::Arc;

const CONTEXT: u32 = 40;
const EOS: u32 = 99;

fn group(window: Option<u32>) -> KvGroup {
    KvGroup {
        layers: vec![0],
        num_kv_heads: 2,
        head_dim_k: 8,
        head_dim_v: 8,
        k_bytes: 16,
        v_bytes: 16,
        window,
        block_size: 4,
    }
}

#[derive(Clone, Debug)]
struct Load {
    groups: Vec<KvGroup>,
    prefixes: bool,
    max_rows: u32,
    num_sequences: u32,
    total_tokens: u32,
    fixed_chunks: bool,
    requests: Vec<Asked>,
}

#[derive(Clone, Debug)]
struct Asked {
    at_step: u32,
    prompt_len: u32,
    max_new_tokens: Option<u32>,
    shift: bool,
    cancel_at: Option<u32>,
}

fn load() -> impl Strategy<Value = Load> {
    let asked = (
        0..30u32,
        1..CONTEXT,
        prop::option::of(0..50u32),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.1, 0..40u32),
    )
        .prop_map(|(at_step, prompt_len, max_new_tokens, shift, cancel_at)| Asked {
            at_step,
            prompt_len,
            // An endless answer would never let the test end.
            max_new_tokens: if shift { max_new_tokens.or(Some(90)) } else { max_new_tokens },
            shift,
            cancel_at,
        });
    let groups =
        prop_oneof![Just(vec![group(None)]), Just(vec![group(None), group(Some(10))]), Just(vec![group(Some(7))]),];
    let switches = (any::<bool>(), any::<bool>());
    (groups, switches, 1..24u32, 1..6u32, CONTEXT..CONTEXT * 3, prop::collection::vec(asked, 1..10)).prop_map(
        |(groups, (prefixes, fixed_chunks), max_rows, num_sequences, total_tokens, requests)| Load {
            groups,
            prefixes,
            max_rows,
            num_sequences,
            total_tokens,
            fixed_chunks,
            requests,
        },
    )
}

/// A sequence in the queue or in the cache, in the order of arrival.
struct Live {
    ticket: Ticket,
    arrival: usize,
    /// Steps in a row, as the oldest of all, without a row.
    num_passed_over: u32,
}

fn sampling(scheduler: &Scheduler) -> Vec<Ticket> {
    scheduler.outputs().iter().filter(|output| output.samples).map(|output| output.ticket).collect()
}

fn check_step(scheduler: &Scheduler, cache: &KvCache, batch: &Batch, load: &Load, live: &[Live]) {
    cache.audit().unwrap();
    assert!(batch.num_rows() as u32 <= load.max_rows, "the budget is kept");
    assert_eq!(batch.spans.len(), scheduler.in_step().len());
    assert_eq!(batch.output_rows.len(), scheduler.outputs().len());
    let mut next_row = 0;
    let mut outputs = scheduler.outputs().iter().zip(&batch.output_rows);
    for (span, &ticket) in batch.spans.iter().zip(scheduler.in_step()) {
        let sequence = scheduler.sequence(ticket);
        assert_eq!(span.first_row, next_row);
        next_row += span.num_rows;
        assert_eq!(span.context, cache.len(span.seq).unwrap(), "the cache knows what came before");
        assert_eq!(span.context, sequence.num_computed());
        for (offset, row) in span.rows().enumerate() {
            let position = span.context as usize + offset;
            assert_eq!((batch.positions[row], batch.tokens[row]), (position as u32, sequence.tokens()[position]));
        }
        if (span.context + span.num_rows) as usize == sequence.tokens().len() {
            assert_eq!(
                outputs.next().map(|(output, row)| (output.ticket, *row)),
                Some((ticket, next_row - 1)),
                "the last row of all its tokens yields logits"
            );
        }
    }
    assert_eq!(outputs.next(), None);
    assert_eq!(next_row as usize, batch.num_rows());

    // In the cache are the oldest, in order; each that decodes is in the step.
    let arrival = |ticket: &Ticket| live.iter().find(|live| live.ticket == *ticket).unwrap().arrival;
    let running: Vec<_> = scheduler.running().iter().map(arrival).collect();
    let oldest: Vec<_> = live.iter().map(|live| live.arrival).take(running.len()).collect();
    assert_eq!(running, oldest);
    assert_eq!(live.len(), running.len() + scheduler.num_waiting());
    for ticket in scheduler.running() {
        let sequence = scheduler.sequence(*ticket);
        assert_eq!(sequence.status(), Status::Running);
        assert!(sequence.num_pending() != 1 || scheduler.in_step().contains(ticket), "who decodes gets a row");
    }
}

fn run(load: &Load) {
    let limits = CacheLimits {
        context: CONTEXT,
        num_sequences: load.num_sequences,
        total_tokens: load.total_tokens.into(),
        step_tokens: load.max_rows,
    };
    let mut cache = KvCache::new(load.groups.clone(), limits).unwrap();
    if load.prefixes {
        cache.share_prefixes().unwrap();
    }
    let rules = Rules::of(&limits);
    let mut scheduler = Scheduler::new(if load.fixed_chunks { rules.with_fixed_chunks() } else { rules });
    let mut batch = Batch::default();
    let mut live: Vec<Live> = Vec::new();
    let mut ended = 0;
    let mut state = 1u32;
    let mut step = 0;
    while ended < load.requests.len() {
        step += 1;
        assert!(step < 5000, "some sequence never ends");
        for (arrival, asked) in load.requests.iter().enumerate() {
            if asked.at_step + 1 == step {
                let prompt = (0..asked.prompt_len).map(|token| token % 3).collect();
                let when_full = if asked.shift { WhenFull::Shift { keep: 3 } } else { WhenFull::Stop };
                let sequence = Sequence::new(prompt, Arc::from([EOS]), asked.max_new_tokens, when_full);
                let ticket = scheduler.add(sequence).unwrap();
                live.push(Live { ticket, arrival, num_passed_over: 0 });
            }
        }
        for live in &live {
            if load.requests[live.arrival].cancel_at == Some(step) {
                scheduler.finish(live.ticket, FinishReason::Aborted, &mut cache);
            }
        }
        let forget = |scheduler: &mut Scheduler, live: &mut Vec<Live>, ended: &mut usize| {
            while let Some((ticket, sequence)) = scheduler.pop_finished() {
                let asked = &load.requests[live.iter().find(|live| live.ticket == ticket).unwrap().arrival];
                let Status::Finished(reason) = sequence.status() else { panic!("{:?}", sequence.status()) };
                let most = asked.max_new_tokens.unwrap_or(u32::MAX).min(if asked.shift { 90 } else { CONTEXT });
                assert!(sequence.num_generated() <= most);
                match reason {
                    FinishReason::Length => assert_eq!(Some(sequence.num_generated()), asked.max_new_tokens),
                    FinishReason::ContextFull => {
                        assert_eq!(sequence.tokens().len() as u32, CONTEXT, "ended before the context was full");
                    }
                    FinishReason::Eos => assert_eq!(sequence.tokens().last(), Some(&EOS)),
                    _ => {}
                }
                live.retain(|live| live.ticket != ticket);
                *ended += 1;
            }
        };
        forget(&mut scheduler, &mut live, &mut ended);
        let num_running = scheduler.running().len() as u32;
        scheduler.schedule(&mut cache, &mut batch);
        if scheduler.num_preempted() > 0 {
            let left = scheduler.running().len() as u32 + scheduler.num_preempted();
            assert_eq!(left, num_running, "nobody is let in while others are turned out");
        }
        forget(&mut scheduler, &mut live, &mut ended);
        check_step(&scheduler, &cache, &batch, load, &live);
        if let Some(oldest) = live.first_mut() {
            let placed = scheduler.in_step().contains(&oldest.ticket);
            oldest.num_passed_over = if placed { 0 } else { oldest.num_passed_over + 1 };
            assert!(oldest.num_passed_over <= 1, "the oldest gets on, at the latest after it has been preempted");
        }
        scheduler.commit(&mut cache, &batch).unwrap();
        for ticket in sampling(&scheduler) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let token = if state >> 24 < 8 { EOS } else { state >> 28 };
            let reason = if scheduler.sequence(ticket).is_complete() {
                Some(FinishReason::Length)
            } else {
                scheduler.append(ticket, token)
            };
            if let Some(reason) = reason {
                scheduler.finish(ticket, reason, &mut cache);
            }
        }
        forget(&mut scheduler, &mut live, &mut ended);
    }
    assert!(scheduler.is_idle());
    cache.audit().unwrap();
    for index in 0..load.groups.len() {
        assert_eq!(cache.free_runs(index), cache.num_runs(index), "nothing leaked");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_load_is_served_in_order_within_the_budget(load in load()) {
        run(&load);
    }
}

#[test]
fn a_prompt_that_cannot_be_served_is_refused() {
    let rules = Rules { max_waiting: 1, ..Rules::of(&CacheLimits::full(CONTEXT, 2, 8)) };
    let mut scheduler = Scheduler::new(rules);
    let sequence = |num_prompt: u32| Sequence::new(vec![1; num_prompt as usize], Arc::from([]), None, WhenFull::Stop);
    assert_eq!(scheduler.add(sequence(0)), Err(Error::EmptyPrompt));
    assert_eq!(scheduler.add(sequence(CONTEXT)), Err(Error::PromptTooLong { num_prompt: 40, context: 40 }));
    (0..3).for_each(|_| assert!(scheduler.add(sequence(CONTEXT - 1)).is_ok()));
    assert_eq!(scheduler.add(sequence(1)), Err(Error::QueueFull { num_waiting: 3, max_waiting: 1 }));
}

#[test]
fn a_cache_that_others_have_filled_ends_a_sequence_instead_of_waiting_for_ever() {
    let limits = CacheLimits { context: CONTEXT, num_sequences: 2, total_tokens: CONTEXT.into(), step_tokens: 8 };
    let mut cache = KvCache::new(vec![group(None)], limits).unwrap();
    cache.create(SeqId(1)).unwrap();
    cache.reserve(SeqId(1), CONTEXT, &mut Vec::new()).unwrap();
    let mut scheduler = Scheduler::new(Rules::of(&limits));
    let ticket = scheduler.add(Sequence::new(vec![1; 9], Arc::from([]), None, WhenFull::Stop)).unwrap();
    scheduler.schedule(&mut cache, &mut Batch::default());
    let (popped, sequence) = scheduler.pop_finished().unwrap();
    assert_eq!((popped, sequence.status()), (ticket, Status::Finished(FinishReason::ContextFull)));
    assert!(scheduler.is_idle());
}

/// Prefill goes on in chunks beside a sequence that decodes.
#[test]
fn chunks_of_a_prompt_share_the_step_with_decoding() {
    let mut cache = KvCache::new(vec![group(None)], CacheLimits::full(CONTEXT, 2, 8)).unwrap();
    let mut scheduler = Scheduler::new(Rules::of(cache.limits()));
    let mut batch = Batch::default();
    let sequence = |num_prompt| Sequence::new(vec![1; num_prompt], Arc::from([]), None, WhenFull::Stop);
    let first = scheduler.add(sequence(3)).unwrap();
    let second = scheduler.add(sequence(17)).unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        scheduler.schedule(&mut cache, &mut batch);
        seen.push(batch.spans.iter().map(|span| span.num_rows).collect::<Vec<_>>());
        scheduler.commit(&mut cache, &batch).unwrap();
        sampling(&scheduler).into_iter().for_each(|ticket| assert_eq!(scheduler.append(ticket, 5), None));
    }
    assert_eq!(seen, [vec![3, 5], vec![1, 7], vec![1, 5], vec![1, 1]]);
    assert_eq!((scheduler.sequence(first).num_generated(), scheduler.sequence(second).num_generated()), (4, 2));
}

/// The more streams wait for a step, the less of a prompt it computes, but never so little that it crawls.
#[test]
fn a_long_prompt_leaves_the_streams_their_pace() {
    let limits = CacheLimits::full(4096, 10, 512);
    let rules = Rules::of(&limits);
    let rows: Vec<u32> = [0, 1, 3, 7, 8, 100].map(|num_decoding| rules.prompt_rows(num_decoding)).to_vec();
    assert_eq!(rows, [512, 255, 125, 57, 56, 32]);
    assert_eq!(Rules { max_rows: 16, ..rules }.prompt_rows(3), 16);
    assert_eq!(rules.with_fixed_chunks().prompt_rows(8), 64, "room for a whole one");

    let mut cache = KvCache::new(vec![group(None)], limits).unwrap();
    let (mut scheduler, mut batch) = (Scheduler::new(rules), Batch::default());
    let sequence = |num_prompt| Sequence::new(vec![1; num_prompt], Arc::from([]), None, WhenFull::Stop);
    let mut step = |scheduler: &mut Scheduler| {
        scheduler.schedule(&mut cache, &mut batch);
        scheduler.commit(&mut cache, &batch).unwrap();
        sampling(scheduler).into_iter().for_each(|ticket| assert_eq!(scheduler.append(ticket, 5), None));
        let rows: Vec<u32> = batch.spans.iter().map(|span| span.num_rows).collect();
        assert_eq!(scheduler.num_prompt_rows(&batch), rows.iter().filter(|&&rows| rows > 1).sum::<u32>());
        rows
    };
    (0..8).for_each(|_| assert!(scheduler.add(sequence(10)).is_ok()));
    assert_eq!(step(&mut scheduler), [10; 8]);
    scheduler.add(sequence(3000)).unwrap();
    scheduler.add(sequence(30)).unwrap();
    for _ in 0..3000 / 56 {
        assert_eq!(step(&mut scheduler), [[1; 8].as_slice(), &[56]].concat(), "strictly in order of arrival");
    }
    assert_eq!(step(&mut scheduler), [[1; 8].as_slice(), &[32, 24]].concat());
}
