//! The physical blocks of one cache group: which runs are free, and how many share the others.

/// Runs of consecutive physical blocks with a reference count each.
///
/// A run is named by its first physical block, which is what block tables hold.
#[derive(Clone, Debug)]
pub struct BlockPool {
    run_len: u32,
    /// Free runs as a stack; the lowest come first, so that one sequence lies contiguously.
    free: Vec<u32>,
    /// References to each run, by `entry / run_len`.
    refs: Vec<u32>,
}

impl BlockPool {
    /// A pool of `num_runs` free runs of `run_len` blocks.
    pub fn new(num_runs: u32, run_len: u32) -> Self {
        let free = (0..num_runs).rev().map(|run| run * run_len).collect();
        BlockPool { run_len, free, refs: vec![0; num_runs as usize] }
    }

    /// Takes a free run; its only reference is the caller's.
    pub fn allocate(&mut self) -> Option<u32> {
        let entry = self.free.pop()?;
        *self.count(entry) = 1;
        Some(entry)
    }

    /// Adds a reference to a run in use.
    pub fn share(&mut self, entry: u32) {
        let count = self.count(entry);
        debug_assert!(*count > 0, "sharing the free run {entry}");
        *count += 1;
    }

    /// Drops a reference; the last one frees the run.
    pub fn release(&mut self, entry: u32) {
        let count = self.count(entry);
        debug_assert!(*count > 0, "releasing the free run {entry}");
        *count -= 1;
        if *count == 0 {
            self.free.push(entry);
        }
    }

    /// References to a run.
    pub fn refs(&self, entry: u32) -> u32 {
        self.refs[(entry / self.run_len) as usize]
    }

    /// Runs that are free.
    pub fn num_free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Runs, free or not.
    pub fn num_runs(&self) -> u32 {
        self.refs.len() as u32
    }

    fn count(&mut self, entry: u32) -> &mut u32 {
        debug_assert_eq!(entry % self.run_len, 0, "{entry} is not the first block of a run");
        &mut self.refs[(entry / self.run_len) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_free_again_after_its_last_reference() {
        let mut pool = BlockPool::new(2, 6);
        let (first, second) = (pool.allocate(), pool.allocate());
        assert_eq!((first, second, pool.allocate()), (Some(0), Some(6), None));
        pool.share(6);
        pool.release(6);
        assert_eq!((pool.num_free(), pool.refs(6)), (0, 1));
        pool.release(6);
        assert_eq!((pool.num_free(), pool.refs(6)), (1, 0));
        assert_eq!(pool.allocate(), Some(6));
    }
}
