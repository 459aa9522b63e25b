//! The physical blocks of one cache group: which runs are free, how many share the others, and which are
//! kept although nobody uses them.

/// Runs of consecutive physical blocks with a reference count each.
///
/// A run is named by its first physical block, which is what block tables hold. A published run does not
/// become free with its last reference but idle: it keeps its content until it is shared again or evicted.
#[derive(Clone, Debug)]
pub struct BlockPool {
    run_len: u32,
    /// Free runs as a stack; the lowest come first, so that one sequence lies contiguously.
    free: Vec<u32>,
    /// By number of the run.
    refs: Vec<u32>,
    published: Vec<bool>,
    idle: Queue,
}

impl BlockPool {
    /// A pool of `num_runs` free runs of `run_len` blocks.
    pub fn new(num_runs: u32, run_len: u32) -> Self {
        BlockPool {
            run_len,
            free: (0..num_runs).rev().map(|run| run * run_len).collect(),
            refs: vec![0; num_runs as usize],
            published: vec![false; num_runs as usize],
            idle: Queue::new(num_runs as usize),
        }
    }

    /// Takes a free run; its only reference is the caller's.
    pub fn allocate(&mut self) -> Option<u32> {
        let entry = self.free.pop()?;
        let run = self.number(entry);
        self.refs[run] = 1;
        Some(entry)
    }

    /// Adds a reference to a run in use, or takes an idle one into use again.
    pub fn share(&mut self, entry: u32) {
        let run = self.number(entry);
        debug_assert!(self.refs[run] > 0 || self.published[run], "sharing the free run {entry}");
        if self.refs[run] == 0 {
            self.idle.remove(run);
        }
        self.refs[run] += 1;
    }

    /// Drops a reference; with the last one the run becomes free, or idle if it is published.
    pub fn release(&mut self, entry: u32) {
        let run = self.number(entry);
        debug_assert!(self.refs[run] > 0, "releasing the free run {entry}");
        self.refs[run] -= 1;
        match (self.refs[run], self.published[run]) {
            (0, true) => self.idle.push(run),
            (0, false) => self.free.push(entry),
            _ => {}
        }
    }

    /// Keeps the content of a run in use beyond its last reference.
    pub fn publish(&mut self, entry: u32) {
        let run = self.number(entry);
        debug_assert!(self.refs[run] > 0, "publishing the free run {entry}");
        self.published[run] = true;
    }

    /// Frees the run that has been idle longest, and names it.
    pub fn evict(&mut self) -> Option<u32> {
        let run = self.idle.first()?;
        self.idle.remove(run);
        self.published[run] = false;
        let entry = run as u32 * self.run_len;
        self.free.push(entry);
        Some(entry)
    }

    /// Whether a run is the only caller's to write to.
    pub fn is_own(&self, entry: u32) -> bool {
        let run = self.number(entry);
        self.refs[run] == 1 && !self.published[run]
    }

    /// Whether a run is published.
    pub fn is_published(&self, entry: u32) -> bool {
        self.published[self.number(entry)]
    }

    /// References to a run.
    pub fn refs(&self, entry: u32) -> u32 {
        self.refs[self.number(entry)]
    }

    /// Runs that are free.
    pub fn num_free(&self) -> u32 {
        self.free.len() as u32
    }

    /// Runs that are idle.
    pub fn num_idle(&self) -> u32 {
        self.idle.len
    }

    /// Runs, whatever they are used for.
    pub fn num_runs(&self) -> u32 {
        self.refs.len() as u32
    }

    /// The place of a run among the runs of the pool.
    pub fn number(&self, entry: u32) -> usize {
        debug_assert_eq!(entry % self.run_len, 0, "{entry} is not the first block of a run");
        (entry / self.run_len) as usize
    }
}

/// Runs in the order in which they came, any of which may leave: a ring of links through a place that
/// stands for both ends.
#[derive(Clone, Debug)]
struct Queue {
    before: Vec<u32>,
    after: Vec<u32>,
    len: u32,
}

impl Queue {
    fn new(capacity: usize) -> Self {
        let end = capacity as u32;
        Queue { before: vec![end; capacity + 1], after: vec![end; capacity + 1], len: 0 }
    }

    fn end(&self) -> usize {
        self.after.len() - 1
    }

    fn first(&self) -> Option<usize> {
        Some(self.after[self.end()] as usize).filter(|&run| run != self.end())
    }

    fn push(&mut self, run: usize) {
        let end = self.end();
        let last = std::mem::replace(&mut self.before[end], run as u32);
        self.after[last as usize] = run as u32;
        (self.before[run], self.after[run]) = (last, end as u32);
        self.len += 1;
    }

    fn remove(&mut self, run: usize) {
        let (before, after) = (self.before[run], self.after[run]);
        self.after[before as usize] = after;
        self.before[after as usize] = before;
        self.len -= 1;
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

    #[test]
    fn a_published_run_stays_until_it_is_evicted_the_longest_idle_first() {
        let mut pool = BlockPool::new(4, 2);
        for entry in [0, 2, 4] {
            assert_eq!(pool.allocate(), Some(entry));
            pool.publish(entry);
            assert!(!pool.is_own(entry), "others may come to share it");
        }
        [4, 0, 2].into_iter().for_each(|entry| pool.release(entry));
        assert_eq!((pool.num_free(), pool.num_idle()), (1, 3));
        pool.share(4);
        assert_eq!((pool.refs(4), pool.num_idle()), (1, 2));
        pool.release(4);
        assert_eq!([pool.evict(), pool.evict(), pool.evict(), pool.evict()], [Some(0), Some(2), Some(4), None]);
        assert_eq!((pool.num_free(), pool.is_published(0)), (4, false));
    }
}
