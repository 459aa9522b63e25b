//! The order in which a device works: kernels, copies and recorded graphs, one after another on one stream.
//!
//! A queue without a device compiles what it is asked to launch and does nothing else: how kernels are checked on
//! machines without a GPU. A queue that *rehearses* does the same on a device, so that nothing is compiled and no
//! memory is taken once steps run.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;

use cudarc::driver::sys::{self, CUfunction, CUmodule, CUstream, CUstream_flags};

use super::blas::Blas;
use super::error::{CudaError, check};
use super::gpu::{Arch, Gpu};
use super::graph::{Event, Graph};
use super::jit::{Constant, Jit, Source, title};
use super::libraries::Libraries;
use super::memory::{Memory, Pinned};

/// Shared memory that a block may have without asking.
const SHARED_FREE: u32 = 48 << 10;

/// A kernel: an entry of a source with its constants.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// The source.
    pub source: &'static Source,
    /// Name of the `__global__` function.
    pub entry: &'static str,
    /// What the source is specialised on.
    pub constants: &'a [Constant],
}

/// How many blocks of how many threads run, each with so much shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks.
    pub blocks: [u32; 3],
    /// Threads per block.
    pub threads: u32,
    /// Bytes of shared memory whose size is not in the source.
    pub shared_bytes: u32,
}

impl Grid {
    /// A row of blocks.
    pub const fn row(blocks: u32, threads: u32) -> Self {
        Grid { blocks: [blocks, 1, 1], threads, shared_bytes: 0 }
    }
}

/// Where kernels note what they find wrong: the first finding of a run stays.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FaultPlace {
    /// One word: step from 1 in the upper half, what was seen in the lower; all ones for nothing. May be null.
    pub word: *mut u64,
    /// The step that runs, from 1.
    pub step: u64,
}

/// What the compiler told of one source with its constants.
#[derive(Clone, Debug)]
pub struct Report {
    /// Source and constants.
    pub title: String,
    /// The assembler's log.
    pub log: String,
}

/// Does what a queue is asked to launch in a device's place, on memory of the host: how kernels are tried without one.
pub trait StandIn: Send {
    /// Runs a kernel.
    ///
    /// # Errors
    /// When it does not compile or goes wrong.
    ///
    /// # Safety
    /// As [`Queue::launch`], but all addresses are the host's.
    unsafe fn launch(&self, kernel: &Kernel<'_>, grid: Grid, args: *const c_void) -> Result<(), CudaError>;

    /// Computes a product of halves: rows of `x`, rows of `w`, columns of both, values from one row of `out` to the next.
    ///
    /// # Safety
    /// As [`Queue::product_f16`], but all addresses are the host's.
    unsafe fn product_f16(&self, shape: [usize; 4], w: *const u16, x: *const u16, out: *mut f32);
}

/// A stream of work for one device, or for none.
pub struct Queue {
    jit: Jit,
    live: Option<Live>,
    stand_in: Option<Box<dyn StandIn>>,
    modules: RefCell<HashMap<ModuleKey, Module>>,
    scratch: RefCell<Option<Memory>>,
    counters: RefCell<Option<Memory>>,
    /// Scratch of a queue without a device.
    host_scratch: RefCell<Vec<u64>>,
    /// Counts how often memory moved that graphs hold addresses of.
    generation: Cell<u64>,
    recording: Cell<bool>,
    rehearsing: Cell<bool>,
    fault: Cell<FaultPlace>,
    reports: RefCell<Vec<Report>>,
}

struct Live {
    gpu: Arc<Gpu>,
    stream: CUstream,
    blas: Result<Blas, CudaError>,
    /// Whether a kernel may start before the one before it has ended: it waits itself for what it needs.
    overlaps: bool,
}

type ModuleKey = (&'static str, Vec<Constant>);

#[derive(Default)]
struct Module {
    module: Option<CUmodule>,
    entries: Vec<(&'static str, CUfunction)>,
}

// SAFETY: streams, modules and functions may be used from any thread with their context current; `&Queue` is not
// shared between threads, for it holds cells.
unsafe impl Send for Queue {}

impl Queue {
    /// A queue for a device.
    ///
    /// # Errors
    /// When the driver refuses a stream.
    pub fn new(gpu: &Arc<Gpu>, libraries: &Libraries, jit: Jit) -> Result<Self, CudaError> {
        gpu.make_current()?;
        let mut stream = std::ptr::null_mut();
        let flags = CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a context is current; the stream is destroyed when this is dropped.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        let blas = libraries.cublaslt.clone().and_then(|()| Blas::new(gpu));
        let mut queue = Self::compile_only(jit);
        let overlaps = gpu.info().arch.major >= 9;
        queue.live = Some(Live { gpu: Arc::clone(gpu), stream, blas, overlaps });
        Ok(queue)
    }

    /// A queue without a device, which compiles and does nothing else.
    pub fn compile_only(jit: Jit) -> Self {
        Self {
            jit,
            live: None,
            stand_in: None,
            modules: RefCell::default(),
            scratch: RefCell::default(),
            counters: RefCell::default(),
            host_scratch: RefCell::default(),
            generation: Cell::new(0),
            recording: Cell::new(false),
            rehearsing: Cell::new(false),
            fault: Cell::new(FaultPlace { word: std::ptr::null_mut(), step: 0 }),
            reports: RefCell::default(),
        }
    }

    /// A queue whose kernels run on the host.
    pub fn emulated(jit: Jit, stand_in: Box<dyn StandIn>) -> Self {
        let mut queue = Self::compile_only(jit);
        queue.stand_in = Some(stand_in);
        queue
    }

    /// Whether addresses are the host's.
    pub fn is_emulated(&self) -> bool {
        self.stand_in.is_some()
    }

    /// The device.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        self.live.as_ref().map(|live| &live.gpu)
    }

    /// Takes memory of the device, with undefined contents.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] with what is left; [`CudaError::NoDevice`] for a queue that only compiles.
    pub fn memory(&self, bytes: usize, purpose: &'static str) -> Result<Memory, CudaError> {
        match &self.live {
            Some(live) => Memory::on_device(&live.gpu, bytes, purpose),
            None if self.is_emulated() => Memory::on_host(bytes, purpose),
            None => Err(CudaError::NoDevice("the queue only compiles".to_owned())),
        }
    }

    /// Takes zeroed memory of the host from which copies to the device need no detour.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn pinned(&self, bytes: usize) -> Result<Pinned, CudaError> {
        self.live.as_ref().map_or_else(|| Pinned::plain(bytes), |live| Pinned::zeroed(&live.gpu, bytes))
    }

    /// Multiprocessors of the device; without one, those of an H100.
    pub fn num_sms(&self) -> u32 {
        self.gpu().map_or(132, |gpu| gpu.info().num_sms)
    }

    /// Shared memory that one block may have.
    pub fn shared_bytes(&self) -> usize {
        match self.jit.arch() {
            Arch { major: 8, minor: 0 } => 163 << 10,
            Arch { major: 9 | 10, .. } => 227 << 10,
            _ => 99 << 10,
        }
    }

    /// Whether products can be left to cuBLASLt, or why not.
    ///
    /// # Errors
    /// The reason.
    pub fn blas(&self) -> Result<(), CudaError> {
        self.live.as_ref().map_or(Ok(()), |live| live.blas.as_ref().map(|_| ()).map_err(Clone::clone))
    }

    /// From now on launches only compile and memory is only made room for.
    pub fn rehearse(&self, on: bool) {
        self.rehearsing.set(on);
    }

    /// Whether launches only compile: who chooses among kernels by the number of rows launches all of them.
    pub fn is_rehearsing(&self) -> bool {
        self.rehearsing.get()
    }

    /// What was compiled since this was last asked.
    pub fn take_reports(&self) -> Vec<Report> {
        self.reports.take()
    }

    /// Where kernels launched from now on note what they find wrong.
    pub fn set_fault_place(&self, place: FaultPlace) {
        self.fault.set(place);
    }

    /// Where kernels note what they find wrong.
    pub fn fault_place(&self) -> FaultPlace {
        self.fault.get()
    }

    /// Changes whenever addresses that a graph may hold have become invalid.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Memory that lasts until the next call, at least `bytes` bytes: what one op passes on between its kernels.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn scratch(&self, bytes: usize) -> Result<*mut u8, CudaError> {
        let Some(live) = &self.live else {
            let mut scratch = self.host_scratch.borrow_mut();
            let words = if self.is_emulated() { bytes.div_ceil(size_of::<u64>()) } else { 0 };
            let words = words.max(scratch.len());
            scratch.resize(words, u64::MAX);
            return Ok(scratch.as_mut_ptr().cast());
        };
        let mut scratch = self.scratch.borrow_mut();
        if scratch.as_ref().is_none_or(|memory| memory.len() < bytes) {
            if self.recording.get() {
                return Err(CudaError::GrewInGraph("kernel scratch"));
            }
            *scratch = None; // free first: the old one is of no use
            *scratch = Some(Memory::on_device(&live.gpu, bytes.next_multiple_of(1 << 20), "kernel scratch")?);
            self.generation.set(self.generation.get() + 1);
        }
        Ok(scratch.as_ref().map_or(std::ptr::null_mut(), Memory::as_ptr))
    }

    /// At least `len` counters that are zero; who counts with them leaves them so.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn counters(&self, len: usize) -> Result<*mut u32, CudaError> {
        if self.live.is_none() && !self.is_emulated() {
            return Ok(std::ptr::null_mut());
        }
        let mut counters = self.counters.borrow_mut();
        let bytes = len * size_of::<u32>();
        if counters.as_ref().is_none_or(|memory| memory.len() < bytes) {
            if self.recording.get() {
                return Err(CudaError::GrewInGraph("counters"));
            }
            let memory = self.memory(bytes.next_multiple_of(1 << 16), "counters")?;
            // SAFETY: it is as large.
            unsafe { self.clear(&memory) }?;
            *counters = Some(memory);
            self.generation.set(self.generation.get() + 1);
        }
        Ok(counters.as_ref().map_or(std::ptr::null_mut(), |memory| memory.as_ptr().cast()))
    }

    /// Zeroes memory, though launches only compile.
    ///
    /// # Safety
    /// As [`Queue::fill`].
    unsafe fn clear(&self, memory: &Memory) -> Result<(), CudaError> {
        let rehearsing = self.rehearsing.replace(false);
        // SAFETY: the caller's promise.
        let cleared = unsafe { self.fill(memory.as_ptr(), 0, memory.len()) };
        self.rehearsing.set(rehearsing);
        cleared
    }

    /// Enqueues a kernel. `args` is its one parameter, a `repr(C)` struct.
    ///
    /// # Errors
    /// When it does not compile or cannot be launched.
    ///
    /// # Safety
    /// The struct must be the one that the kernel declares, and what it points to must live on the device, with the
    /// sizes it tells, until the kernel is done.
    pub unsafe fn launch<T: Copy>(&self, kernel: &Kernel<'_>, grid: Grid, args: &T) -> Result<(), CudaError> {
        let idle = self.rehearsing.get() || grid.blocks.contains(&0);
        if let Some(stand_in) = &self.stand_in {
            if idle {
                return Ok(());
            }
            // SAFETY: the caller's promise.
            return unsafe { stand_in.launch(kernel, grid, std::ptr::from_ref(args).cast()) };
        }
        let function = self.function(kernel)?;
        let (Some(live), Some(function), false) = (&self.live, function, idle) else { return Ok(()) };
        let mut parameters = [std::ptr::from_ref(args).cast::<c_void>().cast_mut()];
        let [x, y, z] = grid.blocks;
        if grid.shared_bytes > SHARED_FREE {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function lives as long as its module, which this owns.
            check("cuFuncSetAttribute", unsafe {
                sys::cuFuncSetAttribute(function, attribute, grid.shared_bytes as i32)
            })?;
        }
        // SAFETY: all bytes zero are an attribute that says nothing.
        let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        attribute.id = sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attribute.value.programmaticStreamSerializationAllowed = 1;
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: grid.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: grid.shared_bytes,
            hStream: live.stream,
            attrs: &raw mut attribute,
            numAttrs: u32::from(live.overlaps),
        };
        // SAFETY: the caller's promise; parameter and attribute are copied before the call returns.
        let launched =
            unsafe { sys::cuLaunchKernelEx(&config, function, parameters.as_mut_ptr(), std::ptr::null_mut()) };
        check("cuLaunchKernel", launched)
            .map_err(|error| at(error, || format!("{}::{}", title(kernel.source, kernel.constants), kernel.entry)))
    }

    /// Enqueues `out = x wᵀ` over halves, sums and results in f32; row-major `w [n, k]`, `x [m, k]`, and
    /// `out [m, n]` with `out_stride` values from one row to the next.
    ///
    /// # Errors
    /// When cuBLASLt is missing or refuses.
    ///
    /// # Safety
    /// The addresses must hold matrices of these shapes on the device until the product is done.
    pub unsafe fn product_f16(
        &self,
        [m, n, k, out_stride]: [usize; 4],
        w: *const u16,
        x: *const u16,
        out: *mut f32,
    ) -> Result<(), CudaError> {
        if let Some(stand_in) = self.stand_in.as_ref().filter(|_| !self.rehearsing.get()) {
            // SAFETY: the caller's promise.
            unsafe { stand_in.product_f16([m, n, k, out_stride], w, x, out) };
            return Ok(());
        }
        let Some(live) = &self.live else { return Ok(()) };
        let blas = live.blas.as_ref().map_err(Clone::clone)?;
        if self.rehearsing.get() || m == 0 || n == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { blas.product_f16([m, n, k, out_stride], w, x, out, live.stream) }
    }

    /// Enqueues a copy from the host. The bytes must stay until it is done, unless they are not pinned.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `to` must have room on the device.
    pub unsafe fn upload(&self, from: &[u8], to: *mut u8) -> Result<(), CudaError> {
        if self.is_emulated() {
            // SAFETY: the caller's promise, of memory of the host.
            unsafe { std::ptr::copy(from.as_ptr(), to, from.len()) };
        }
        let Some(live) = self.live.as_ref().filter(|_| !from.is_empty() && !self.rehearsing.get()) else {
            return Ok(());
        };
        // SAFETY: the caller's promise.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(to as u64, from.as_ptr().cast(), from.len(), live.stream)
        })
    }

    /// Enqueues a copy to the host, done when the queue is waited for.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `from` must hold that many bytes on the device; nobody may look at `to` before the copy is done.
    pub unsafe fn download(&self, from: *const u8, to: &mut [u8]) -> Result<(), CudaError> {
        if self.is_emulated() {
            // SAFETY: the caller's promise, of memory of the host.
            unsafe { std::ptr::copy(from, to.as_mut_ptr(), to.len()) };
        }
        let Some(live) = self.live.as_ref().filter(|_| !to.is_empty() && !self.rehearsing.get()) else {
            return Ok(());
        };
        // SAFETY: the caller's promise.
        check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from as u64, to.len(), live.stream)
        })
    }

    /// Enqueues the filling of `bytes` bytes with `value`.
    ///
    /// # Errors
    /// When the driver refuses.
    ///
    /// # Safety
    /// `to` must have room on the device.
    pub unsafe fn fill(&self, to: *mut u8, value: u8, bytes: usize) -> Result<(), CudaError> {
        if self.is_emulated() {
            // SAFETY: the caller's promise, of memory of the host.
            unsafe { std::ptr::write_bytes(to, value, bytes) };
        }
        let Some(live) = self.live.as_ref().filter(|_| bytes > 0 && !self.rehearsing.get()) else { return Ok(()) };
        // SAFETY: the caller's promise.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to as u64, value, bytes, live.stream) })
    }

    /// Waits until all that was enqueued is done. What went wrong on the device comes to light here.
    ///
    /// # Errors
    /// When a kernel failed or the device is lost.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let Some(live) = &self.live else { return Ok(()) };
        live.gpu.make_current()?;
        // SAFETY: the stream lives as long as this.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(live.stream) })
    }

    /// Makes the calls of this thread go to the queue's device; first thing to do on a thread.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn enter(&self) -> Result<(), CudaError> {
        self.live.as_ref().map_or(Ok(()), |live| live.gpu.make_current())
    }

    /// Records what `enqueue` enqueues, without doing it. The addresses it uses must stay for as long as the graph
    /// is replayed.
    ///
    /// # Errors
    /// Those of `enqueue`, or the driver's; nothing is recorded then.
    pub fn record(&self, enqueue: impl FnOnce() -> Result<(), CudaError>) -> Result<Option<Graph>, CudaError> {
        let Some(live) = self.live.as_ref().filter(|_| !self.rehearsing.get()) else {
            return enqueue().map(|()| None);
        };
        self.recording.set(true);
        // SAFETY: the stream belongs to this queue, which is used by one thread at a time.
        let graph = unsafe { Graph::record(live.stream, enqueue) };
        self.recording.set(false);
        graph.map(Some)
    }

    /// Enqueues a recorded graph.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn replay(&self, graph: &Graph) -> Result<(), CudaError> {
        // SAFETY: the stream lives as long as this; who recorded the graph keeps its addresses.
        self.live.as_ref().map_or(Ok(()), |live| unsafe { graph.launch(live.stream) })
    }

    /// The moment at which all that was enqueued so far is done; while a graph is recorded, at each of its replays.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn mark(&self) -> Result<Event, CudaError> {
        let stream = self.live.as_ref().map_or(std::ptr::null_mut(), |live| live.stream);
        match self.recording.get() {
            // SAFETY: the stream of this queue, which is recording.
            true => unsafe { Event::inside(stream) },
            // SAFETY: a stream of this queue, or null for a queue that does nothing.
            false => unsafe { Event::record(stream) },
        }
    }

    /// Compiles and loads a kernel, once.
    fn function(&self, kernel: &Kernel<'_>) -> Result<Option<CUfunction>, CudaError> {
        let mut modules = self.modules.borrow_mut();
        let key = (kernel.source.name, kernel.constants.to_vec());
        let module = match modules.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let compiled = self.jit.compile(kernel.source, kernel.constants)?;
                let title = title(kernel.source, kernel.constants);
                let module = self.live.as_ref().map(|_| load(&compiled.cubin)).transpose();
                let module = module.map_err(|error| at(error, || title.clone()))?;
                self.reports.borrow_mut().push(Report { title, log: compiled.log });
                entry.insert(Module { module, entries: Vec::new() })
            }
        };
        let Some(handle) = module.module else { return Ok(None) };
        if let Some((_, function)) = module.entries.iter().find(|(entry, _)| *entry == kernel.entry) {
            return Ok(Some(*function));
        }
        let name = CString::new(kernel.entry).unwrap_or_default();
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded; the name is terminated.
        let found = unsafe { sys::cuModuleGetFunction(&mut function, handle, name.as_ptr()) };
        check("cuModuleGetFunction", found).map_err(|error| at(error, || kernel.entry.to_owned()))?;
        module.entries.push((kernel.entry, function));
        Ok(Some(function))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let Some(live) = &self.live else { return };
        if live.gpu.make_current().is_err() {
            return;
        }
        // SAFETY: created by this and destroyed once, after the work on it is done.
        unsafe {
            let _ = sys::cuStreamSynchronize(live.stream);
            for module in self.modules.get_mut().values().filter_map(|module| module.module) {
                let _ = sys::cuModuleUnload(module);
            }
            let _ = sys::cuStreamDestroy_v2(live.stream);
        }
    }
}

fn load(cubin: &[u8]) -> Result<CUmodule, CudaError> {
    let mut module = std::ptr::null_mut();
    // SAFETY: a context is current; the image is a whole cubin, whose size stands in its header.
    check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut module, cubin.as_ptr().cast()) })?;
    Ok(module)
}

/// Says in a failed call what it was about.
fn at(error: CudaError, what: impl FnOnce() -> String) -> CudaError {
    match error {
        CudaError::Call { call, code } => CudaError::Call { call, code: format!("{code} ({})", what()) },
        other => other,
    }
}
