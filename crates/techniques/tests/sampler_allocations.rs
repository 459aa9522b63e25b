//! A sampling step of any technique's form allocates nothing once its buffers have grown.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use device::Hardware;
use engine::sampler::{Candidates, Params, Sampler, VocabInfo};
use engine::technique::{ActiveForm, Knobs};
use techniques::CATALOG;

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
    let num_tokens = 20_000;
    let vocab = VocabInfo { num_tokens, ..VocabInfo::default() };
    let mut candidates = Candidates::new(num_tokens);
    let mut num_forms = 0;
    for technique in CATALOG {
        for form in technique.sampler_forms() {
            num_forms += 1;
            for samplers in ["penalties;top_k;top_p;min_p;temperature", "penalties;top_p;temperature", "temperature"] {
                let mut params = Params::default();
                params.parse("samplers", samplers).unwrap();
                params.parse("repeat_penalty", "1.2").unwrap();
                let (knobs, hardware) = (Knobs::default(), Hardware::probe());
                let active = ActiveForm { technique: technique.id, form, knobs, hardware };
                let mut sampler = Sampler::with_forms(&params, &vocab, 3, &[active]).unwrap();
                assert_eq!(sampler.technique(), Some(technique.id), "{:?}", sampler.refusals());
                sampler.reserve(600);
                // What is drawn, and then penalised, lies within the first 2000 tokens.
                let logit = |token| if token < 2_000 { (token % 997) as f32 / 100.0 } else { -30.0 };
                let row: Vec<f32> = (0..num_tokens).map(logit).collect();
                let mut step = |count: usize| {
                    for _ in 0..count {
                        let token = sampler.sample(&mut candidates, &row).unwrap().token;
                        sampler.accept(token);
                    }
                };
                step(200);
                let before = ALLOCATIONS.get();
                assert!(before > 0, "the counter counts");
                step(200);
                assert_eq!(ALLOCATIONS.get() - before, 0, "{samplers}");
            }
        }
    }
    assert!(num_forms > 0);
}
