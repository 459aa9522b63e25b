//! How a part of a plan is run: launched step by step, replayed as a recorded graph, or timed step by step. Called by the
//! executor through [`DeviceSide::run`], in the middle of a step.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use device::Buffer;
use device::cuda::{CudaError, Graph};

use super::{DeviceSide, Segment};
use crate::launch::{Frame, Run};

/// Recorded parts of one plan.
#[derive(Debug, Default)]
pub struct Graphs(Mutex<HashMap<GraphKey, Recorded>>);

/// What a recorded part depends on besides the contents of device memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GraphKey {
    first_step: usize,
    num_rows: usize,
    num_outputs: usize,
    num_views: usize,
    generation: (u64, u64),
}

/// A part is run once as it is, so that nothing is compiled while it is recorded the second time.
#[derive(Debug)]
enum Recorded {
    SeenOnce,
    Graph(Graph),
}

/// Steps of more rows are long enough that the time to launch their kernels does not count.
const MOST_RECORDED_ROWS: usize = 128;

impl DeviceSide {
    /// Enqueues the steps of a part, after the copies of what it reads from the host's arena.
    pub(in crate::executor) fn run(
        &mut self,
        steps: &[Box<dyn Run>],
        segment: &Segment,
        graphs: &Graphs,
        frame: &Frame,
        num_views: usize,
        host_arena: &Buffer,
    ) -> Result<(), CudaError> {
        for (slot, bytes) in segment.inputs.iter().map(|transfer| transfer.range(frame)) {
            // SAFETY: the plan answers for its slots lying inside both arenas; the workers are idle.
            unsafe {
                let from = std::slice::from_raw_parts(host_arena.as_ptr().add(slot.0), bytes);
                self.queue.upload(from, self.arena.as_ptr().add(slot.0))?;
            }
        }
        if self.timing {
            return self.run_timed(steps, segment.steps.clone(), frame);
        }
        if frame.num_rows > MOST_RECORDED_ROWS {
            return self.enqueue(steps, segment.steps.clone(), frame);
        }
        let key = GraphKey {
            first_step: segment.steps.start,
            num_rows: frame.num_rows,
            num_outputs: frame.num_outputs,
            num_views,
            generation: (self.generation, self.queue.generation()),
        };
        let Ok(mut graphs) = graphs.0.lock() else { return self.enqueue(steps, segment.steps.clone(), frame) };
        match graphs.get(&key) {
            Some(Recorded::Graph(graph)) => return self.queue.replay(graph),
            Some(Recorded::SeenOnce) => {
                let graph = self.queue.record(|| self.enqueue(steps, segment.steps.clone(), frame))?;
                if let Some(graph) = graph {
                    self.queue.replay(&graph)?;
                    graphs.insert(key, Recorded::Graph(graph));
                }
                return Ok(());
            }
            None => {}
        }
        self.enqueue(steps, segment.steps.clone(), frame)?;
        // What was recorded with addresses that are no more goes.
        let generation = (self.generation, self.queue.generation());
        graphs.retain(|other, _| other.generation == generation);
        graphs.insert(GraphKey { generation, ..key }, Recorded::SeenOnce);
        Ok(())
    }

    /// Enqueues steps as a graph with a moment after each, so that the time to launch them does not count.
    fn run_timed(&mut self, steps: &[Box<dyn Run>], range: Range<usize>, frame: &Frame) -> Result<(), CudaError> {
        let mut marks = Vec::with_capacity(range.len() + 2);
        let graph = self.queue.record(|| {
            // Twice, for the time that a mark takes.
            marks.push((usize::MAX, self.queue.mark()?));
            marks.push((usize::MAX, self.queue.mark()?));
            let mut rest = range;
            while !rest.is_empty() {
                // What is one kernel is timed as the first of its steps.
                let count = self.fused(&steps[rest.clone()], frame).map_or(1, |fused| fused.len());
                self.enqueue(steps, rest.start..rest.start + count, frame)?;
                marks.push((rest.start, self.queue.mark()?));
                rest.start += count;
            }
            Ok(())
        })?;
        self.marks.append(&mut marks);
        graph.map_or(Ok(()), |graph| {
            self.queue.replay(&graph)?;
            self.queue.synchronize()
        })
    }

    /// Step and microseconds of each that was timed since this was last asked; the queue is idle.
    pub(in crate::executor) fn take_times(&mut self) -> Result<Vec<(usize, f64)>, CudaError> {
        let marks = std::mem::take(&mut self.marks);
        let (mut times, mut mark_us) = (Vec::with_capacity(marks.len()), 0.0);
        for pair in marks.windows(2) {
            let [(_, before), (step, after)] = pair else { continue };
            if pair[0].0 == usize::MAX && *step == usize::MAX {
                mark_us = after.us_since(before)?;
            } else if *step != usize::MAX {
                times.push((*step, after.us_since(before)? - mark_us));
            }
        }
        Ok(times)
    }
}
