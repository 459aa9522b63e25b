//! What the bookkeeping of a step costs: no allocation once the sequences are in, and microseconds.

use engine::batch::Batch;
use engine::cache::{CacheLimits, KvCache, KvGroup};
use engine::request::WhenFull;
use engine::scheduler::{Rules, Scheduler};
use engine::sequence::{FinishReason, Sequence};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; a counter is all that is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this layout, as `alloc` passes everything on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as for `dealloc`, and the caller vouches for `size`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn group(window: Option<u32>) -> KvGroup {
    KvGroup {
        layers: (0..16).collect(),
        num_kv_heads: 4,
        head_dim_k: 64,
        head_dim_v: 64,
        k_bytes: 128,
        v_bytes: 128,
        window,
        block_size: 16,
    }
}

/// Runs until every sequence has its tokens; returns allocations, and the time of the median step in ns.
fn run(num_sequences: u32, context: u32, total_tokens: u64, prefixes: bool, when_full: WhenFull) -> (u64, u64) {
    let limits = CacheLimits { context, num_sequences, total_tokens, step_tokens: 512 };
    let mut cache = KvCache::new(vec![group(None), group(Some(512))], limits).unwrap();
    if prefixes {
        cache.share_prefixes().unwrap();
    }
    let mut scheduler = Scheduler::new(Rules::of(&limits));
    let mut batch = Batch::with_capacity(512, num_sequences as usize);
    // A shift reports about two copies for each block of each group.
    batch.copies.reserve((4 * context / 16 * num_sequences) as usize);
    for index in 0..num_sequences {
        let prompt = (0..700).map(|token| token % (50 + index)).collect();
        scheduler.add(Sequence::new(prompt, Arc::from([]), Some(3000), when_full)).unwrap();
    }
    let mut times = Vec::with_capacity(1 << 20);
    let before = ALLOCATIONS.get();
    while !scheduler.is_idle() {
        let begin = Instant::now();
        scheduler.schedule(&mut cache, &mut batch);
        scheduler.commit(&mut cache, &batch).unwrap();
        for index in 0..scheduler.outputs().len() {
            let ticket = scheduler.outputs()[index].ticket;
            if scheduler.append(ticket, index as u32).is_some() {
                scheduler.finish(ticket, FinishReason::Length, &mut cache);
            }
        }
        times.push(begin.elapsed().as_nanos() as u64);
    }
    let allocations = ALLOCATIONS.get() - before;
    times.sort_unstable();
    (allocations, times[times.len() / 2])
}

#[test]
fn a_step_allocates_nothing_and_costs_microseconds() {
    let shift = WhenFull::Shift { keep: 4 };
    for (what, num_sequences, context, total_tokens, prefixes, when_full) in [
        ("one sequence", 1, 4096, 4096, false, WhenFull::Stop),
        ("one sequence, prefixes shared", 1, 4096, 4096, true, WhenFull::Stop),
        ("one sequence, shifted", 1, 1024, 1024, false, shift),
        ("16 sequences, preempted", 16, 4096, 20_000, true, WhenFull::Stop),
        ("16 sequences, shifted", 16, 1024, 16_384, false, shift),
    ] {
        let (allocations, median_ns) = run(num_sequences, context, total_tokens, prefixes, when_full);
        println!("{what}: {allocations} allocations, {:.2} us in the median step", median_ns as f64 / 1e3);
        assert_eq!(allocations, 0, "{what}");
        assert!(median_ns < 5_000 * u64::from(num_sequences), "{what}: {median_ns} ns");
    }
}
