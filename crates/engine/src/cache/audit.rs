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
            let published = self.prefix.iter().flat_map(|prefix| prefix.references());
            published
                .filter(|&(group, _)| group == index)
                .for_each(|(_, run)| refs[(run / spec.run_len()) as usize] += 1);
            for (run, &expected) in refs.iter().enumerate() {
                let counted = pool.refs(run as u32 * spec.run_len());
                if counted != expected {
                    return Err(format!("group {index}: run {run} counts {counted} references, has {expected}"));
                }
            }
            let free = refs.iter().filter(|&&count| count == 0).count() as u32;
            if free != pool.num_free() {
                return Err(format!("group {index}: {} runs in the free list, {free} are free", pool.num_free()));
            }
        }
        if self.prefix.as_ref().is_some_and(|prefix| !prefix.is_ordered()) {
            return Err("the prefix index is out of order".into());
        }
        Ok(())
    }
}
