//! What becomes of a GPU's faults: no driver that will do, no compiler, no memory, a kernel that does not compile, a
//! device that is lost. They are put into an emulated GPU (`kernels/examples/cuda`); where one is met there is a reason
//! that names the thing, and what can fall back does. Tests that run kernels need a C++ compiler and say so without one.

mod emulated;

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chaski::{Error, Gpu, GpuLayers, Llm, Options, PlanKind};
use device::cuda::{CudaError, Grid, Kernel, Libraries, StandIn};
use emulated::{Emulator, emulator, fixture, gpu, has_compiler, queue};
use engine::batch::{Batch, Outputs, SeqId};
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Params, Sampler, VocabInfo};
use engine::stream::{Event, EventStream};
use engine::technique::{Mode, Switch};
use engine::watch::Notice;

const PROMPT: [u32; 9] = [3, 17, 40, 8, 25, 31, 12, 9, 50];

/// An emulated GPU with faults.
struct Faulty {
    emulator: Emulator,
    free_bytes: usize,
    /// Memory for this is refused.
    refused: &'static str,
    /// This source does not compile.
    broken: &'static str,
    /// From now on every call fails.
    lost: Arc<AtomicBool>,
}

impl Faulty {
    fn sound() -> Self {
        Self { emulator: emulator(), free_bytes: usize::MAX, refused: "", broken: "", lost: Arc::default() }
    }

    fn check(&self, call: &'static str) -> Result<(), CudaError> {
        let lost = CudaError::Call { call, code: "CUDA_ERROR_ILLEGAL_ADDRESS".to_owned() };
        if self.lost.load(Ordering::Relaxed) { Err(lost) } else { Ok(()) }
    }
}

impl StandIn for Faulty {
    unsafe fn launch(&self, kernel: &Kernel<'_>, grid: Grid, args: *const c_void) -> Result<(), CudaError> {
        self.check("cuLaunchKernel")?;
        self.compile(kernel)?;
        // SAFETY: the caller's promise.
        unsafe { self.emulator.launch(kernel, grid, args) }
    }

    unsafe fn product_f16(&self, shape: [usize; 4], w: *const u16, x: *const u16, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.emulator.product_f16(shape, w, x, out) }
    }

    fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    fn take(&self, bytes: usize, purpose: &'static str) -> Result<(), CudaError> {
        let free_bytes = bytes / 2;
        if purpose == self.refused { Err(CudaError::OutOfMemory { bytes, purpose, free_bytes }) } else { Ok(()) }
    }

    fn compile(&self, kernel: &Kernel<'_>) -> Result<(), CudaError> {
        let failed =
            CudaError::Compile { kernel: kernel.source.name.to_owned(), log: "no such instruction".to_owned() };
        if kernel.source.name == self.broken { Err(failed) } else { Ok(()) }
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        self.check("cuStreamSynchronize")
    }
}

fn options(gpu_layers: GpuLayers) -> Options {
    Options { context: 64, num_sequences: 2, kv_unified: true, gpu_layers, plan: PlanKind::Exact, ..Options::default() }
}

fn open(name: &str, layers: GpuLayers, faulty: Option<Faulty>) -> Result<Llm, Error> {
    Llm::open_on(&fixture(name), &options(layers), faulty.map(gpu), &mut |_, _| {})
}

fn logits(llm: &mut Llm) -> Vec<f32> {
    let mut batch = Batch::default();
    batch.push(SeqId(0), &PROMPT, 0, Outputs::All);
    llm.step(&batch).unwrap().to_vec()
}

/// Whether a model answers as it does on the CPU.
fn assert_sound(name: &str, llm: &mut Llm) {
    let expected = logits(&mut open(name, GpuLayers::Count(0), None).unwrap());
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let found = logits(llm);
    assert_eq!(expected.len(), found.len());
    assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() <= 1e-4 * largest));
}

/// The one thing that is not used, and why.
fn fallback(llm: &mut Llm) -> (String, String) {
    let notices = llm.take_notices();
    let [Notice::Fallback { what, why }] = &notices[..] else { panic!("{notices:?}") };
    (what.clone(), why.clone())
}

fn request(llm: &Llm) -> Request {
    let vocab = VocabInfo { num_tokens: llm.vocab_size(), end_of_generation: &[], suppressed: &[], breakers: &[] };
    Request {
        prompt: PROMPT.to_vec(),
        sampler: Sampler::new(&Params::default(), &vocab, 1).unwrap(),
        detokenizer: Box::new(NoText),
        constraint: None,
        stop_tokens: Arc::from([]),
        max_new_tokens: Some(20),
        when_full: WhenFull::Stop,
        cache_prompt: true,
        report: Report::default(),
    }
}

/// Why a request failed.
fn failure(mut stream: EventStream) -> String {
    while let Some(event) = stream.try_next() {
        if let Event::Failed(error) = event {
            return error.to_string();
        }
    }
    String::new()
}

#[test]
fn a_driver_that_is_too_old_is_named_with_what_it_is_for() {
    let mut libraries = Libraries::open(&[]);
    libraries.driver = Err(CudaError::DriverTooOld { found: 11040, needed: 12000 });
    let missing = Gpu::with(&libraries, None).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(missing, "the driver is for CUDA 11.4, at least 12.0 is needed");
}

#[test]
fn a_compiler_that_is_missing_is_named_before_the_device_is_taken() {
    let mut libraries = Libraries::open(&[]);
    libraries.driver = Ok(13000);
    libraries.nvrtc = Err(CudaError::Missing { library: "libnvrtc.so.13", what_for: "the compiler of kernels" });
    let missing = Gpu::with(&libraries, None).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(missing, "libnvrtc.so.13 was not found (the compiler of kernels)");
}

#[test]
fn layers_that_have_no_room_are_refused_with_how_many_would_fit() {
    let with = |free_bytes, layers| open("llama.gguf", layers, Some(Faulty { free_bytes, ..Faulty::sound() }));
    let Err(Error::GpuMemory { needed_bytes, fits: 0, all, .. }) = with(0, GpuLayers::Count(99)) else {
        panic!("nothing fits in nothing")
    };
    let Err(error @ Error::GpuMemory { fits, .. }) = with(needed_bytes - 1, GpuLayers::Count(99)) else {
        panic!("all but one byte is not enough")
    };
    assert!(0 < fits && fits < all, "{fits} of {all}");
    let text = error.to_string();
    assert!(text.contains(&format!("-ngl {fits} would fit")) && text.contains("-ngl auto"), "{text}");
    assert_eq!(with(needed_bytes - 1, GpuLayers::Fit).unwrap().gpu_layers().0, fits);
    let mut llm = with(0, GpuLayers::Fit).unwrap();
    assert_eq!(llm.gpu_layers().0, 0);
    assert!(fallback(&mut llm).1.contains("no room"));
}

#[test]
fn memory_that_is_refused_after_all_ends_the_opening_or_leaves_all_to_the_cpu() {
    for refused in ["weights", "the KV cache", "activations", "inputs of a step"] {
        let faulty = || Some(Faulty { refused, ..Faulty::sound() });
        let error = open("llama.gguf", GpuLayers::Count(99), faulty()).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(&format!("bytes of {refused}"))), "{error:?}");
        let mut llm = open("llama.gguf", GpuLayers::Fit, faulty()).unwrap();
        assert_eq!(llm.gpu_layers().0, 0);
        let (what, why) = fallback(&mut llm);
        assert!(what == "the GPU" && why.contains(refused), "{what}: {why}");
        assert_sound("llama.gguf", &mut llm);
    }
}

#[test]
fn a_kernel_that_does_not_compile_leaves_its_steps_to_others() {
    if !has_compiler() {
        return;
    }
    for (name, broken, kernel) in
        [("llama.gguf", "fused", "what does several steps at once"), ("gemma2.gguf", "softcap", "softcap/f32/cuda")]
    {
        let mut llm = open(name, GpuLayers::Fit, Some(Faulty { broken, ..Faulty::sound() })).unwrap();
        let (what, why) = fallback(&mut llm);
        assert!(what == kernel && why.contains(broken) && why.contains("no such instruction"), "{what}: {why}");
        assert_eq!(llm.gpu_layers().0, llm.gpu_layers().1);
        assert!(llm.explain().iter().all(|row| row.variant != kernel), "{broken}");
        assert!(llm.explain().iter().any(|row| row.variant.contains("cuda")), "{broken}");
        assert_sound(name, &mut llm);
    }
}

#[test]
fn a_kernel_that_nothing_replaces_is_named_or_leaves_all_to_the_cpu() {
    let faulty = || Some(Faulty { broken: "attention", ..Faulty::sound() });
    let error = open("llama.gguf", GpuLayers::Count(99), faulty()).err().map(|error| error.to_string());
    assert!(error.as_ref().is_some_and(|error| error.contains("kernel attention does not compile")), "{error:?}");
    let mut llm = open("llama.gguf", GpuLayers::Fit, faulty()).unwrap();
    let (what, why) = fallback(&mut llm);
    assert!(what == "the GPU" && why.contains("kernel attention does not compile"), "{what}: {why}");
    assert_sound("llama.gguf", &mut llm);
}

/// Weights in tiles, on a GPU of compute capability `major`.0 where `broken` does not compile: what takes its place.
fn tiles_without(broken: &'static str, major: u32) -> String {
    let marlin = Switch { id: "marlin".to_owned(), mode: Mode::On, knobs: Vec::new() };
    let all = options(GpuLayers::Count(99));
    let options = Options { plan: PlanKind::Baseline, techniques: vec![marlin], ..all };
    let gpu = Gpu::of(queue(major, Faulty { broken, ..Faulty::sound() }));
    let mut llm = Llm::open_on(&fixture("llama-q8_0.gguf"), &options, Some(gpu), &mut |_, _| {}).unwrap();
    let what = fallback(&mut llm).0;
    let expected = logits(&mut open("llama-q8_0.gguf", GpuLayers::Count(0), None).unwrap());
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    assert!(expected.iter().zip(logits(&mut llm)).all(|(a, b)| (a - b).abs() <= 0.05 * largest));
    what
}

/// The CPU has no tiles: it multiplies by the rows of the file.
#[test]
fn products_of_tiles_whose_kernel_does_not_compile_are_the_cpus() {
    if has_compiler() {
        assert_eq!(tiles_without("matmul_one", 8), "matmul/tiles/cuda-dot");
    }
}

#[test]
fn products_of_many_rows_fall_back_to_integers() {
    if has_compiler() {
        assert_eq!(tiles_without("matmul_wide", 9), "matmul/tiles/cuda-wgmma");
    }
}

/// Tokens of an answer so far.
fn tokens(stream: &mut EventStream) -> Vec<u32> {
    let token = |event| if let Event::Token { token, .. } = event { Some(token) } else { None };
    std::iter::from_fn(|| stream.try_next()).filter_map(token).collect()
}

#[test]
fn a_request_that_is_cancelled_leaves_the_others_as_they_would_be() {
    if !has_compiler() {
        return;
    }
    let marlin = Switch { id: "marlin".to_owned(), mode: Mode::On, knobs: Vec::new() };
    let all = Options { num_sequences: 3, context: 192, ..options(GpuLayers::Count(99)) };
    let options = Options { plan: PlanKind::Baseline, techniques: vec![marlin], ..all };
    let answers = |cancelled: Option<usize>| {
        let gpu = Gpu::of(queue(9, Faulty::sound()));
        let mut llm = Llm::open_on(&fixture("llama-q8_0.gguf"), &options, Some(gpu), &mut |_, _| {}).unwrap();
        let requests = [0u32, 1, 2].map(|first| Request { prompt: [&[first], &PROMPT[..]].concat(), ..request(&llm) });
        let mut streams = requests.map(|request| llm.engine().submit(request).unwrap());
        (0..5).for_each(|_| llm.engine().step());
        if let Some(cancelled) = cancelled {
            streams[cancelled].cancel();
        }
        llm.engine().run_until_idle();
        streams.each_mut().map(tokens)
    };
    let all = answers(None);
    assert!(all.iter().all(|tokens| tokens.len() == 20), "{all:?}");
    for cancelled in 0..3 {
        let others = answers(Some(cancelled));
        assert!(others[cancelled].len() < 20 && all[cancelled].starts_with(&others[cancelled]));
        assert!((0..3).filter(|&i| i != cancelled).all(|i| others[i] == all[i]), "without {cancelled}");
    }
}

#[test]
fn a_device_that_is_lost_fails_the_requests_that_need_it() {
    if !has_compiler() {
        return;
    }
    let faulty = Faulty::sound();
    let lost = Arc::clone(&faulty.lost);
    let mut llm = open("llama.gguf", GpuLayers::Fit, Some(faulty)).unwrap();
    let running = [request(&llm), request(&llm)].map(|request| llm.engine().submit(request).unwrap());
    (0..4).for_each(|_| llm.engine().step());
    lost.store(true, Ordering::Relaxed);
    llm.engine().run_until_idle();
    let later = request(&llm);
    let later = llm.engine().submit(later).unwrap();
    llm.engine().run_until_idle();
    for stream in running.into_iter().chain([later]) {
        let why = failure(stream);
        assert!(why.contains("the GPU failed") && why.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{why}");
    }
}
