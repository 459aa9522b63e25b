//! The inputs of a step on their way to the device: one piece of memory on either side, laid out alike, so that one copy
//! carries them. Filled by [`super::DeviceSide::begin`].

use device::cuda::{CudaError, Memory, Pinned, Queue};

use crate::launch::KvView;

/// Tokens, positions, output rows, views and tables: one piece on either side, copied at once.
pub struct Inputs {
    pub host: Pinned,
    pub device: Memory,
    num_rows: usize,
    num_views: usize,
    num_entries: usize,
}

/// Byte offsets of the inputs.
pub struct InputPlaces {
    pub tokens: usize,
    pub positions: usize,
    pub output_rows: usize,
    pub views: usize,
    pub tables: usize,
    end: usize,
}

impl Inputs {
    /// Room for so many rows, views and entries of tables.
    pub fn new(queue: &Queue, num_rows: usize, num_views: usize, num_entries: usize) -> Result<Self, CudaError> {
        let bytes = places(num_rows, num_views, num_entries).end;
        let (host, device) = (queue.pinned(bytes)?, queue.memory(bytes, "inputs of a step")?);
        Ok(Self { host, device, num_rows, num_views, num_entries })
    }

    /// Grows where a step has more of something. Returns whether the inputs have moved.
    pub fn make_room(&mut self, queue: &Queue, rows: usize, views: usize, entries: usize) -> Result<bool, CudaError> {
        if rows <= self.num_rows && views <= self.num_views && entries <= self.num_entries {
            return Ok(false);
        }
        let grown = |had: usize, needed: usize| if needed > had { needed.next_power_of_two() } else { had };
        let (rows, views) = (grown(self.num_rows, rows), grown(self.num_views, views));
        *self = Inputs::new(queue, rows, views, grown(self.num_entries, entries))?;
        Ok(true)
    }

    /// Where things lie.
    pub fn places(&self) -> InputPlaces {
        places(self.num_rows, self.num_views, self.num_entries)
    }

    /// Puts bytes at a place of the host's side.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        self.host.as_mut_slice()[at..][..bytes.len()].copy_from_slice(bytes);
    }
}

fn places(num_rows: usize, num_views: usize, num_entries: usize) -> InputPlaces {
    let rows = (4 * num_rows).next_multiple_of(16);
    let views = 3 * rows;
    let tables = views + num_views * size_of::<KvView>();
    InputPlaces { tokens: 0, positions: rows, output_rows: 2 * rows, views, tables, end: tables + 4 * num_entries }
}
