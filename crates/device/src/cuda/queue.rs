//! The order in which a device works: kernels, copies and recorded graphs, one after another on one stream.
//!
//! A queue without a device compiles what it is asked to launch and does nothing else: how kernels are checked on
//! machines without a GPU. A queue that *rehearses* does the same on a device, so that nothing is compiled and no
//! memory is taken once steps run.

mod clusters;
mod figures;
mod kernel;
mod memory;
mod modules;
mod staging;

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUstream, CUstream_flags};

use self::clusters::Clusters;
use self::figures::Figures;
use self::modules::Modules;
use super::blas::Blas;
use super::error::{CudaError, check};
use super::gpu::{Arch, Gpu};
use super::graph::{Event, Graph};
use super::jit::{Jit, title};
use super::libraries::Libraries;
use super::memory::Memory;
use super::tensor_map::TensorMap;

pub use self::figures::Figure;
pub use self::kernel::{FaultPlace, Grid, Kernel, StandIn};
pub use self::modules::Report;

/// Shared memory that the system keeps of every block, and some for what a kernel's source declares.
const RESERVED_BYTES: usize = 2 << 10;

/// A stream of work for one device, or for none.
pub struct Queue {
    jit: Jit,
    live: Option<Live>,
    stand_in: Option<Box<dyn StandIn>>,
    modules: Modules,
    clusters: Clusters,
    figures: Figures,
    scratch: RefCell<Option<Memory>>,
    counters: RefCell<Option<Memory>>,
    /// Scratch of a queue without a device.
    host_scratch: RefCell<Vec<u64>>,
    /// Counts how often memory moved that graphs hold addresses of.
    generation: Cell<u64>,
    recording: Cell<bool>,
    rehearsing: Cell<bool>,
    fault: Cell<FaultPlace>,
}

struct Live {
    gpu: Arc<Gpu>,
    stream: CUstream,
    blas: Result<Blas, CudaError>,
    /// Whether a kernel may start before the one before it has ended: it waits itself for what it needs.
    overlaps: bool,
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
            modules: Modules::default(),
            clusters: Clusters::default(),
            figures: Figures::default(),
            scratch: RefCell::default(),
            counters: RefCell::default(),
            host_scratch: RefCell::default(),
            generation: Cell::new(0),
            recording: Cell::new(false),
            rehearsing: Cell::new(false),
            fault: Cell::new(FaultPlace { word: std::ptr::null_mut(), step: 0 }),
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

    /// Bytes of the device's memory that are free; without one there is no bound.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn free_bytes(&self) -> Result<usize, CudaError> {
        match (&self.live, &self.stand_in) {
            (Some(live), _) => live.gpu.free_bytes(),
            (None, Some(stand_in)) => Ok(stand_in.free_bytes()),
            (None, None) => Ok(usize::MAX),
        }
    }

    /// Multiprocessors of the device; without one, those of an H100.
    pub fn num_sms(&self) -> u32 {
        self.gpu().map_or(132, |gpu| gpu.info().num_sms)
    }

    /// Whether kernels are compiled for tensor cores that read one side out of shared memory.
    pub fn has_wgmma(&self) -> bool {
        self.jit.arch().major == 9
    }

    /// Shared memory that one block may have.
    pub fn shared_bytes(&self) -> usize {
        match self.jit.arch() {
            Arch { major: 8, minor: 0 } => 163 << 10,
            Arch { major: 9 | 10, .. } => 227 << 10,
            _ => 99 << 10,
        }
    }

    /// How many clusters of `size` blocks find room on the device at one time when a multiprocessor has room for `per_sm`
    /// such blocks. Which multiprocessors are neighbours, and so may share a cluster, differs from one device to the next.
    pub fn clusters(&self, size: usize, per_sm: usize) -> usize {
        let even = per_sm * self.num_sms() as usize / size.max(1);
        let shared_bytes = (self.shared_bytes() / per_sm.max(1)).saturating_sub(RESERVED_BYTES) as u32;
        let room =
            self.live.as_ref().and_then(|_| self.clusters.room(&self.modules, &self.jit, size as u32, shared_bytes));
        room.unwrap_or(even).min(even)
    }

    /// What the device's copy engine is told of `[rows, columns]` halves; see [`TensorMap`]. Of no matrix where nothing runs.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn map_of_halves(&self, at: *const u16, shape: [usize; 2], box_rows: usize) -> Result<TensorMap, CudaError> {
        let idle = self.live.is_none() || self.rehearsing.get() || shape.contains(&0);
        if idle { Ok(TensorMap::NONE) } else { TensorMap::of_halves(at, shape, box_rows) }
    }

    /// The same of `[rows, columns]` floats.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn map_of_floats(&self, at: *const f32, shape: [usize; 2], box_rows: usize) -> Result<TensorMap, CudaError> {
        let idle = self.live.is_none() || self.rehearsing.get() || shape.contains(&0);
        if idle { Ok(TensorMap::NONE) } else { TensorMap::of_floats(at, shape, box_rows) }
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
        self.modules.take_reports()
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
                return stand_in.compile(kernel);
            }
            // SAFETY: the caller's promise.
            return unsafe { stand_in.launch(kernel, grid, std::ptr::from_ref(args).cast()) };
        }
        let function = self.modules.function(&self.jit, kernel, self.live.is_some())?;
        let (Some(live), Some(function), false) = (&self.live, function, idle) else { return Ok(()) };
        let mut parameters = [std::ptr::from_ref(args).cast::<c_void>().cast_mut()];
        let [x, y, z] = grid.blocks;
        // What a kernel has by itself counts too.
        if grid.shared_bytes > 0 {
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
            .map_err(|error| error.about(|| format!("{}::{}", title(kernel.source, kernel.constants), kernel.entry)))
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

    /// Waits until all that was enqueued is done. What went wrong on the device comes to light here.
    ///
    /// # Errors
    /// When a kernel failed or the device is lost.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        if let Some(stand_in) = &self.stand_in {
            return stand_in.synchronize();
        }
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
            self.modules.unload();
            let _ = sys::cuStreamDestroy_v2(live.stream);
        }
    }
}
