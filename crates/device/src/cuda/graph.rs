//! Recorded work that is started with one call, and moments on the device's clock.

use cudarc::driver::sys::{self, CUevent, CUevent_record_flags, CUgraphExec, CUstream, CUstreamCaptureMode};

use super::error::{CudaError, check};

/// Work that was recorded on a stream. Made by [`super::Queue::record`].
#[derive(Debug)]
pub struct Graph(CUgraphExec);

// SAFETY: a handle that may be used from any thread with the context current.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `enqueue` puts on `stream`.
    ///
    /// # Safety
    /// Nobody else may use the stream meanwhile.
    pub(super) unsafe fn record(
        stream: CUstream,
        enqueue: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<Self, CudaError> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let (mut graph, mut exec) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the stream is idle as far as this thread is concerned; the graph is destroyed below.
        unsafe {
            check("cuStreamBeginCapture", sys::cuStreamBeginCapture_v2(stream, mode))?;
            let enqueued = enqueue();
            let ended = check("cuStreamEndCapture", sys::cuStreamEndCapture(stream, &mut graph));
            let made = enqueued
                .and(ended)
                .and_then(|()| check("cuGraphInstantiate", sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0)));
            if !graph.is_null() {
                let _ = sys::cuGraphDestroy(graph);
            }
            made.map(|()| Self(exec))
        }
    }

    /// # Safety
    /// The stream must live, and so must all that the recorded work uses.
    pub(super) unsafe fn launch(&self, stream: CUstream) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.0, stream) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once, destroyed once; the driver waits for a replay that is under way.
        let _ = unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

/// A moment between two pieces of work on a device. Made by [`super::Queue::mark`].
#[derive(Debug)]
pub struct Event(CUevent);

impl Event {
    /// # Safety
    /// The stream must live; null for an event that is never reached.
    pub(super) unsafe fn record(stream: CUstream) -> Result<Self, CudaError> {
        if stream.is_null() {
            return Ok(Self(std::ptr::null_mut()));
        }
        let mut event = std::ptr::null_mut();
        // SAFETY: the caller's promise; the event is destroyed when this is dropped.
        unsafe {
            check("cuEventCreate", sys::cuEventCreate(&mut event, 0))?;
            let event = Self(event);
            check("cuEventRecord", sys::cuEventRecord(event.0, stream))?;
            Ok(event)
        }
    }

    /// A moment inside of work that is being recorded, reached whenever that is replayed.
    ///
    /// # Safety
    /// The stream must live and be recording.
    pub(super) unsafe fn inside(stream: CUstream) -> Result<Self, CudaError> {
        let mut event = std::ptr::null_mut();
        let flags = CUevent_record_flags::CU_EVENT_RECORD_EXTERNAL as u32;
        // SAFETY: the caller's promise; the event is destroyed when this is dropped.
        unsafe {
            check("cuEventCreate", sys::cuEventCreate(&mut event, 0))?;
            let event = Self(event);
            check("cuEventRecordWithFlags", sys::cuEventRecordWithFlags(event.0, stream, flags))?;
            Ok(event)
        }
    }

    /// Waits until it is reached.
    ///
    /// # Errors
    /// When the device is lost.
    pub(super) fn wait(&self) -> Result<(), CudaError> {
        if self.0.is_null() {
            return Ok(());
        }
        // SAFETY: the event lives.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0) })
    }

    /// Microseconds from `earlier` to this, once both are reached: after [`super::Queue::synchronize`].
    ///
    /// # Errors
    /// When one of them is not reached yet.
    pub fn us_since(&self, earlier: &Event) -> Result<f64, CudaError> {
        let mut ms = 0f32;
        if !self.0.is_null() && !earlier.0.is_null() {
            // SAFETY: both events live.
            check("cuEventElapsedTime", unsafe { sys::cuEventElapsedTime_v2(&mut ms, earlier.0, self.0) })?;
        }
        Ok(f64::from(ms) * 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: created once, destroyed once.
            let _ = unsafe { sys::cuEventDestroy_v2(self.0) };
        }
    }
}
