//! Places for values: each gets a range of one arena for as long as it is needed, and ranges are
//! reused. Called by the planner.

use kernels::Slot;

/// One cache line; slots are multiples of it.
const LINE: usize = 64;

/// Free and used ranges of an arena that grows as needed.
#[derive(Default)]
pub(crate) struct Arena {
    /// Free ranges (offset, bytes), ascending, never adjacent.
    free: Vec<(usize, usize)>,
    bytes: usize,
}

impl Arena {
    /// Takes the smallest free range that is large enough, or grows the arena.
    pub(crate) fn take(&mut self, bytes: usize) -> Slot {
        let bytes = bytes.next_multiple_of(LINE).max(LINE);
        let fits = self.free.iter().enumerate().filter(|(_, range)| range.1 >= bytes);
        if let Some((index, &(offset, size))) = fits.min_by_key(|(_, range)| range.1) {
            if size == bytes {
                self.free.remove(index);
            } else {
                self.free[index] = (offset + bytes, size - bytes);
            }
            return Slot(offset);
        }
        let offset = match self.free.last() {
            Some(&(offset, size)) if offset + size == self.bytes => {
                self.free.pop();
                offset
            }
            _ => self.bytes,
        };
        self.bytes = offset + bytes;
        Slot(offset)
    }

    /// Gives a range back.
    pub(crate) fn release(&mut self, slot: Slot, bytes: usize) {
        let bytes = bytes.next_multiple_of(LINE).max(LINE);
        let index = self.free.partition_point(|range| range.0 < slot.0);
        self.free.insert(index, (slot.0, bytes));
        if index + 1 < self.free.len() && slot.0 + bytes == self.free[index + 1].0 {
            self.free[index].1 += self.free.remove(index + 1).1;
        }
        if index > 0 && self.free[index - 1].0 + self.free[index - 1].1 == slot.0 {
            self.free[index - 1].1 += self.free.remove(index).1;
        }
    }

    /// Bytes the arena needs.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_ranges_never_overlap_and_freed_ones_are_reused() {
        let mut arena = Arena::default();
        let mut live: Vec<(Slot, usize)> = Vec::new();
        let mut seed = 1u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let random = (seed >> 33) as usize;
            if live.len() > 8 || (!live.is_empty() && random.is_multiple_of(3)) {
                let (slot, bytes) = live.swap_remove(random % live.len());
                arena.release(slot, bytes);
            } else {
                let bytes = random % 5000 + 1;
                let slot = arena.take(bytes);
                let apart = |&(other, size): &(Slot, usize)| slot.0 + bytes <= other.0 || other.0 + size <= slot.0;
                assert!(slot.0.is_multiple_of(LINE) && live.iter().all(apart));
                live.push((slot, bytes));
            }
        }
        assert!(arena.bytes() < 20 * 5000, "{} bytes", arena.bytes());
    }
}
