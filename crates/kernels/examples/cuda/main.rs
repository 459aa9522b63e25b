//! The kernels for CUDA devices: compiled for the architectures named, without a GPU; held against the references on
//! the one that is there; or held against them as C++ on the CPU, where a C++ compiler is.
//!
//! ```text
//! cuda compile [--libs DIR]… [--cache DIR] [--ops a,b] [--stride N] 80 89 90 120
//! cuda check [--libs DIR]… [--cache DIR] [--ops a,b] [--stride N]
//! cuda emulate [--cache DIR] [--ops a,b] [--stride N]
//! ```
//! Ends with code 1 when a kernel does not compile, spills registers or is wrong.

mod emulator;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use device::cuda::{Arch, Gpu, Jit, KernelCache, Libraries, Queue};
use device::{Hardware, Pool};
use kernels::conformance::{Verdict, check_best, check_shared, check_tiles};
use kernels::table::OPS;

/// The problems that `cargo test` checks too.
const SEED: u64 = 2026;

/// Bytes that a kernel may spill: a word or two outside its loops cost nothing.
const SPILLS_ALLOWED: u32 = 32;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let (mut folders, mut cache, mut ops, mut archs, mut stride) = (Vec::new(), None, None, Vec::new(), 1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--libs" => folders.extend(args.next().map(PathBuf::from)),
            "--cache" => cache = args.next().map(PathBuf::from),
            "--ops" => ops = args.next(),
            "--stride" => stride = args.next().and_then(|text| text.parse().ok()).unwrap_or(1),
            number => archs.extend(number.parse().map(|number: u32| Arch { major: number / 10, minor: number % 10 })),
        }
    }
    let libraries = Libraries::open(&folders);
    let wanted = |name: &str| ops.as_ref().is_none_or(|ops| ops.split(',').any(|op| op == name));
    let kernels = cache.as_deref().map(KernelCache::new);
    let result =
        match command.as_str() {
            "compile" => compile(&libraries, &kernels, &archs, stride, &wanted),
            "check" => check(&libraries, kernels, stride, &wanted),
            "emulate" => emulate(&libraries, cache.unwrap_or_else(std::env::temp_dir), stride, &wanted),
            _ => Err("usage: cuda compile|check|emulate [--libs DIR]… [--cache DIR] [--ops a,b] [--stride N] [ARCH]…"
                .to_owned()),
        };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Compiles every kernel of every conformance case, all architectures at the same time.
fn compile(
    libraries: &Libraries,
    cache: &Option<KernelCache>,
    archs: &[Arch],
    stride: usize,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<bool, String> {
    if let Err(missing) = &libraries.nvrtc {
        println!("skipped: no NVRTC ({missing})");
        return Ok(true);
    }
    let compile =
        |arch| compile_for(Queue::compile_only(Jit::new(libraries, arch, cache.clone())), arch, stride, wanted);
    std::thread::scope(|scope| {
        let running: Vec<_> = archs.iter().map(|&arch| scope.spawn(move || compile(arch))).collect();
        let all = running.into_iter().map(|one| one.join().map_err(|_| "a compilation panicked".to_owned())?);
        all.collect::<Result<Vec<bool>, String>>().map(|all| all.into_iter().all(|well| well))
    })
}

/// The same for one architecture. Says what does not compile or spills.
fn compile_for(
    queue: Queue,
    arch: Arch,
    stride: usize,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<bool, String> {
    let mut pool = Pool::new(1).map_err(|error| error.to_string())?;
    let (begin, mut num_sources, mut num_spills, mut well) = (Instant::now(), 0, 0, true);
    let mut look = |verdicts: Vec<Verdict>| {
        for verdict in verdicts {
            // A variant may need what the architecture has not.
            let looked_at = verdict.num_cases > 0 || verdict.missing.is_some() || stride > 1;
            well &= verdict.failures.is_empty() && looked_at;
            if let Some(failure) = verdict.failures.first() {
                println!("{} {}: {failure}", arch.target(), verdict.id);
            }
        }
        for report in queue.take_reports() {
            num_sources += 1;
            for bytes in spilled(&report.log).filter(|bytes| *bytes > SPILLS_ALLOWED) {
                num_spills += 1;
                println!("{} {}: {bytes} bytes of registers spilled", arch.target(), report.title);
            }
        }
    };
    if wanted("shared") {
        look(vec![check_shared(&queue)]);
    }
    for op in OPS.iter().filter(|op| wanted(op.kind.name())) {
        look((op.conform_cuda)(&queue, &mut pool, SEED, stride));
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{}: {num_sources} sources, {num_spills} kernels spill, {seconds:.1} s", arch.target());
    Ok(well && num_spills == 0)
}

/// Bytes of registers that each kernel of a source spills, by the assembler's log.
fn spilled(log: &str) -> impl Iterator<Item = u32> {
    log.lines().filter_map(|line| line.split(" bytes spill stores").next()?.rsplit([' ', ',']).next()?.parse().ok())
}

/// Holds every kernel against its reference on the first device.
fn check(
    libraries: &Libraries,
    cache: Option<KernelCache>,
    stride: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<bool, String> {
    println!("driver {:?}, NVRTC {:?}, cuBLASLt {:?}", libraries.driver, libraries.nvrtc, libraries.cublaslt);
    let gpu = match Gpu::open(libraries, 0) {
        Ok(gpu) => gpu,
        Err(missing) => {
            println!("skipped: no GPU ({missing})");
            return Ok(true);
        }
    };
    println!("{:?}", gpu.info());
    let jit = Jit::new(libraries, gpu.info().arch, cache);
    let queue = Queue::new(&gpu, libraries, jit).map_err(|error| error.to_string())?;
    if let Err(missing) = queue.blas() {
        println!("no products by cuBLASLt: {missing}");
    }
    run(&queue, stride, wanted)
}

/// Holds every kernel against its reference, as C++ on the CPU.
fn emulate(
    libraries: &Libraries,
    folder: PathBuf,
    stride: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<bool, String> {
    // The architecture whose kernels do most.
    let jit = Jit::new(libraries, Arch { major: 9, minor: 0 }, None);
    let queue = Queue::emulated(jit, Box::new(emulator::Emulator::new(folder)));
    run(&queue, stride, wanted)
}

fn run(queue: &Queue, stride: usize, wanted: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut pool = Pool::new(Hardware::probe().num_cores).map_err(|error| error.to_string())?;
    let mut well = true;
    let mut alone = Vec::new();
    if wanted("tiles") {
        alone.push(check_tiles(queue, SEED));
    }
    if wanted("shared") {
        alone.push(check_best(queue, SEED));
    }
    for verdict in alone {
        well &= verdict.passed();
        println!("{verdict}");
    }
    for op in OPS.iter().filter(|op| wanted(op.kind.name())) {
        let begin = Instant::now();
        for mut verdict in (op.conform_cuda)(queue, &mut pool, SEED, stride) {
            // A stride may pass over all cases of an op.
            let passed_over = stride > 1 && verdict.num_cases == 0;
            if passed_over {
                println!("{:32} no case at this stride", verdict.id);
                continue;
            }
            well &= verdict.missing.is_some() || verdict.passed();
            let more = verdict.failures.len().saturating_sub(6);
            verdict.failures.truncate(6);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            println!("{verdict} [{:.1} s]{more}", begin.elapsed().as_secs_f64());
        }
    }
    Ok(well)
}
