//! The n largest of many values, sorted, without sorting the rest. Used by `candidates`.

/// Values per block in the search.
const BLOCK: usize = 128;

/// Reusable buffers and the outcome of the last search.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranking {
    keys: Vec<u64>,   // sortable value in the high half (largest first), index in the low half
    maxima: Vec<f32>, // largest value of each block
    spare: Vec<f32>,
}

impl Ranking {
    /// Room for searches among this many values.
    pub fn new(num_values: usize) -> Self {
        let num_blocks = num_values.div_ceil(BLOCK);
        let buffer = || Vec::with_capacity(num_blocks);
        Self { keys: Vec::with_capacity(num_values), maxima: buffer(), spare: buffer() }
    }

    /// Finds the `n` largest values. Of equal ones those with the lower index; NaN is left out.
    ///
    /// The n-th largest of the block maxima is a floor under the n-th largest value, so only the few blocks that
    /// reach it are looked at; what they yield is cut to `n` by selection, then sorted.
    pub fn search(&mut self, values: &[f32], n: usize) {
        let n = n.min(values.len());
        self.maxima.clear();
        let mut floor = f32::NEG_INFINITY;
        if n > 0 && n < values.len() / BLOCK {
            self.maxima.extend(values.chunks(BLOCK).map(max));
            self.spare.clear();
            self.spare.extend_from_slice(&self.maxima);
            floor = *self.spare.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1;
        }
        self.keys.clear();
        let mut at_floor = 0; // of those equal to the floor (often -infinity) the first n are enough
        for (block, chunk) in values.chunks(BLOCK).enumerate() {
            if self.maxima.get(block).is_none_or(|&max| max >= floor) {
                let reaching = chunk.iter().enumerate().filter(|&(_, &value)| {
                    at_floor += usize::from(value == floor);
                    value > floor || value == floor && at_floor <= n
                });
                self.keys.extend(reaching.map(|(offset, &value)| key(value, block * BLOCK + offset)));
            }
        }
        if n > 0 && n < self.keys.len() {
            self.keys.select_nth_unstable(n - 1);
        }
        self.keys.truncate(n);
        self.keys.sort_unstable();
    }

    /// Their indices, largest value first.
    pub fn found(&self) -> impl Iterator<Item = usize> + use<'_> {
        self.keys.iter().map(|&key| index(key))
    }

    /// The indices of the first `n` of them in ascending order. Forgets the ranking.
    pub fn first_ascending(&mut self, n: usize) -> impl Iterator<Item = usize> + use<'_> {
        self.keys.truncate(n);
        self.keys.sort_unstable_by_key(|&key| index(key));
        self.keys.iter().map(|&key| index(key))
    }
}

/// The largest value, NaN aside; -infinity when there is none.
pub(super) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 16]; // independent lanes, so that the loop is vectorised
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, value);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |best, &value| larger(best, value))
}

/// Sorts like (value descending, index ascending).
fn key(value: f32, index: usize) -> u64 {
    let bits = (value + 0.0).to_bits(); // + 0.0: -0 ranks with 0
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(!ascending) << 32 | index as u64
}

fn index(key: u64) -> usize {
    (key & u64::from(u32::MAX)) as usize
}

#[cfg(test)]
mod tests {
    use super::{Ranking, max};

    /// Ties, both zeros, infinities and NaN, at sizes around a block and for every kind of n.
    #[test]
    fn agrees_with_a_full_sort() {
        let mut ranking = Ranking::new(5);
        let mut state = 1u32;
        for len in [0, 1, 2, 127, 128, 129, 1000, 20_000] {
            let values: Vec<f32> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    match state >> 28 {
                        0 => -0.0,
                        1 => 0.0,
                        2 => f32::NEG_INFINITY,
                        3 => f32::NAN,
                        _ => ((state >> 8) % 1000) as f32 / 8.0 - 60.0,
                    }
                })
                .collect();
            let mut sorted: Vec<usize> = (0..len).filter(|&i| !values[i].is_nan()).collect();
            sorted.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).unwrap());
            for n in [0, 1, 5, 40, 155, 156, 157, len / 2, len, len + 1] {
                let want = &sorted[..n.min(sorted.len())];
                ranking.search(&values, n);
                assert_eq!(ranking.found().collect::<Vec<_>>(), want, "{n} of {len}");
                let mut ascending = want[..want.len() / 2].to_vec();
                ascending.sort_unstable();
                assert_eq!(ranking.first_ascending(want.len() / 2).collect::<Vec<_>>(), ascending);
            }
            let largest = sorted.first().map_or(f32::NEG_INFINITY, |&i| values[i]);
            assert_eq!(max(&values), largest);
        }
    }
}
