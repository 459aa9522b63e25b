//! Recounts the cache: what tests ask after every operation, and a doubtful caller at any time.

use super::{FREED, Group, KvCache};

impl KvCache {
    /// Counts every reference anew and compares; the error says what does not add up.
    pub fn audit(&self) -> Result<(), String> {
        for (index, Group { spec, pool }) in self.groups.iter().enumerate() {
            let mut refs = vec![0; pool.num_runs() as usize];
            for (seq, cached) in self.sequences.iter().enumerate() {
                let table = &cached.tables[index];
                let first = (table.start / spec.block_size) as usize;
                if !cached.live && !table.entries.is_empty() {
                    return Err(format!("group {index}: free sequence {seq} holds blocks"));
                }
                if table.entries.len() < spec.blocks_for(cached.len) as usize {
                    return Err(format!("group {index}: sequence {seq} lacks blocks"));
                }
                if table.start > spec.window_start(cached.len) {
                    return Err(format!("group {index}: sequence {seq} has lost part of its window"));
                }
                for (logical, &entry) in table.entries.iter().enumerate() {
                    if (entry == FREED) != (logical < first) {
                        return Err(format!("group {index}: sequence {seq} holds the wrong side of block {first}"));
                    }
                    if entry != FREED {
                        refs[(entry / spec.run_len()) as usize] += 1;
                    }
                }
            }
            for (run, &expected) in refs.iter().enumerate() {
                let counted = pool.refs(run as u32 * spec.run_len());
                if counted != expected {
                    return Err(format!("group {index}: run {run} counts {counted} references, has {expected}"));
                }
            }
            let is_published = |run: &u32| pool.is_published(run * spec.run_len());
            let unused = || (0..pool.num_runs()).filter(|&run| refs[run as usize] == 0);
            let free = unused().filter(|run| !is_published(run)).count() as u32;
            let idle = unused().filter(is_published).count() as u32;
            if (free, idle) != (pool.num_free(), pool.num_idle()) {
                let (told_free, told_idle) = (pool.num_free(), pool.num_idle());
                return Err(format!("group {index}: {free} runs free, {idle} idle; told {told_free} and {told_idle}"));
            }
            let mut num_known = 0;
            for (run, key, name) in self.prefix.iter().flat_map(|prefix| prefix.published(index, pool)) {
                num_known += 1;
                if key != name || !pool.is_published(run) {
                    return Err(format!("group {index}: run {run} is not what the prefix index says"));
                }
            }
            let num_published = (0..pool.num_runs()).filter(is_published).count();
            if num_known != num_published {
                return Err(format!("group {index}: {num_published} runs published, {num_known} known"));
            }
        }
        Ok(())
    }
}
