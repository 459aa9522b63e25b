//! A sampling step allocates nothing once its buffers have grown.

use engine::sampler::{Candidates, Params, Sampler, VocabInfo};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_nothing() {
    let everything = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
    let on = [("repeat_penalty", "1.1"), ("dry_multiplier", "1"), ("top_n_sigma", "2"), ("typical_p", "0.9")];
    let also_on =
        [("xtc_probability", "0.5"), ("dynatemp_range", "0.2"), ("logit_bias", "7-inf"), ("mirostat_eta", "0")];
    let chains = [
        vec![],
        vec![("samplers", everything)],
        vec![("samplers", "typ_p;top_p;min_p;xtc;temperature;penalties;dry")],
        vec![("mirostat", "1")],
        vec![("mirostat", "2")],
        vec![("samplers", "adaptive_p"), ("adaptive_target", "0.4")],
    ];
    let num_tokens = 5000;
    let vocab = VocabInfo { num_tokens, ..VocabInfo::default() };
    let mut candidates = Candidates::new(num_tokens);
    for chain in chains {
        let mut params = Params::default();
        for (field, value) in chain.iter().chain(&on).chain(&also_on) {
            params.parse(field, value).unwrap();
        }
        let mut sampler = Sampler::new(&params, &vocab, 3).unwrap();
        sampler.reserve(600);
        let row: Vec<f32> = (0..num_tokens).map(|token| (token % 997) as f32 / 100.0).collect();
        let mut step = |count: usize| {
            for _ in 0..count {
                let token = sampler.sample(&mut candidates, &row).unwrap().token;
                sampler.accept(token);
            }
        };
        step(100);
        let before = ALLOCATIONS.get();
        assert!(before > 0, "the counter counts");
        step(400);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{chain:?}");
    }
}
