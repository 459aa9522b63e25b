//! A row of logits as the sweeps see it: read where the model left it. Blocks in which the chain changed a logit
//! are copies; all others are the model's own memory, divided by the temperature as they are read.

use super::cpu::{BLOCK, Scale, Sweep, weight};
use engine::sampler::exp::mass;
use engine::sampler::{Candidates, Editable};

/// Says that a block has no copy.
const OWN: u32 = u32::MAX;

/// What is known of the row in work. Kept from row to row for its buffers.
#[derive(Debug, Clone)]
pub struct Work {
    sweep: Sweep,
    copy_of: Vec<u32>, // [num_blocks], number of the block's copy
    copied: Vec<u32>,  // blocks that have copies, by number of the copy
    copies: Vec<f32>,  // [copied, BLOCK], divided
    maxima: Vec<f32>,  // [num_blocks], divided
    raw: Vec<f32>,     // [num_blocks], as the row has them; -infinity where there is a copy
    masses: Vec<u64>,  // [num_blocks]
    spare: Vec<f32>,   // scratch of `Row::nth_maximum`
}

impl Work {
    /// Buffers for rows of this length.
    pub fn new(num_tokens: usize, sweep: Sweep) -> Self {
        let num_blocks = num_tokens.div_ceil(BLOCK);
        Self {
            sweep,
            copy_of: vec![OWN; num_blocks],
            copied: Vec::new(),
            copies: Vec::new(),
            maxima: vec![0.0; num_blocks],
            raw: vec![0.0; num_blocks],
            masses: vec![0; num_blocks],
            spare: Vec::with_capacity(num_blocks),
        }
    }
}

/// One row in work.
pub struct Row<'a> {
    logits: &'a [f32],
    divisor: f32,
    work: &'a mut Work,
}

impl<'a> Row<'a> {
    /// The row as the model left it.
    pub fn new(logits: &'a [f32], work: &'a mut Work) -> Self {
        for block in work.copied.drain(..) {
            work.copy_of[block as usize] = OWN;
        }
        work.copies.clear();
        Self { logits, divisor: 1.0, work }
    }

    /// Divides all logits, once at most.
    pub fn divide(&mut self, divisor: f32) {
        self.work.copies.iter_mut().for_each(|logit| *logit /= divisor);
        self.divisor = divisor;
    }

    /// The largest logit of every block. `None` when one of them is NaN or +infinity, or all are -infinity.
    pub fn measure(&mut self) -> Option<f32> {
        let (sweep, logits) = (self.work.sweep, self.logits);
        let mut bad = sweep.maxima(logits, &mut self.work.raw);
        for (max, raw) in self.work.maxima.iter_mut().zip(&self.work.raw) {
            *max = raw / self.divisor;
        }
        for nth in 0..self.work.copied.len() {
            let block = self.work.copied[nth] as usize;
            let mut max = [0.0];
            bad |= sweep.maxima(self.block(block).0, &mut max);
            (self.work.maxima[block], self.work.raw[block]) = (max[0], f32::NEG_INFINITY);
        }
        let max = self.work.maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (!bad && max.is_finite()).then_some(max)
    }

    /// The n-th largest of the block maxima, n ≥ 1: at least n logits reach it. The smallest where there are fewer.
    pub fn nth_maximum(&mut self, n: usize) -> f32 {
        let Work { maxima, spare, .. } = &mut *self.work;
        spare.clear();
        spare.extend_from_slice(maxima);
        let n = n.clamp(1, spare.len()) - 1;
        *spare.select_nth_unstable_by(n, |a, b| b.total_cmp(a)).1
    }

    /// The sum of the masses of all logits, in units of 2^-40.
    pub fn total(&mut self, max: f32) -> u64 {
        let Work { sweep, raw, masses, .. } = &mut *self.work;
        let sweep = *sweep;
        sweep.masses(self.logits, Scale { divisor: self.divisor, max }, raw, masses);
        for nth in 0..self.work.copied.len() {
            let block = self.work.copied[nth] as usize;
            let mut sum = [0];
            let (values, divisor) = self.block(block);
            sweep.masses(values, Scale { divisor, max }, &self.work.maxima[block..=block], &mut sum);
            self.work.masses[block] = sum[0];
        }
        self.work.masses.iter().sum()
    }

    /// Fills the list with all logits that are at least `floor`; of those equal to it, the first `ties`.
    pub fn gather(&self, floor: f32, ties: usize, candidates: &mut Candidates) {
        candidates.clear();
        let mut ties_left = ties;
        for (number, _) in self.work.maxima.iter().enumerate().filter(|(_, max)| **max >= floor) {
            let (values, divisor) = self.block(number);
            for (word, mut bits) in self.work.sweep.at_least(values, divisor, floor).into_iter().enumerate() {
                while bits != 0 {
                    let at = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let logit = values[at] / divisor;
                    if logit == floor {
                        if ties_left == 0 {
                            continue;
                        }
                        ties_left -= 1;
                    }
                    candidates.push((number * BLOCK + at) as u32, logit);
                }
            }
        }
    }

    /// The first token at which the running sum of masses exceeds `target`; call `total` first.
    pub fn crossing(&self, target: u64, max: f32) -> Option<(u32, f32, f32)> {
        let mut running = 0;
        for (number, &sum) in self.work.masses.iter().enumerate() {
            if running + sum <= target {
                running += sum;
                continue;
            }
            let (values, divisor) = self.block(number);
            for (at, &logit) in values.iter().enumerate() {
                let weight = weight(logit, Scale { divisor, max });
                running += mass(weight);
                if running > target {
                    return Some(((number * BLOCK + at) as u32, logit / divisor, weight));
                }
            }
        }
        None
    }

    fn copy(&mut self, number: usize) {
        let start = number * BLOCK;
        let values = &self.logits[start..self.logits.len().min(start + BLOCK)];
        let Work { copy_of, copied, copies, .. } = &mut *self.work;
        copy_of[number] = copied.len() as u32;
        copied.push(number as u32);
        copies.extend(values.iter().map(|logit| logit / self.divisor));
        copies.resize(copied.len() * BLOCK, f32::NEG_INFINITY);
    }

    /// The values of a block, and what they are still to be divided by.
    fn block(&self, number: usize) -> (&[f32], f32) {
        let start = number * BLOCK;
        let len = BLOCK.min(self.logits.len() - start);
        match self.work.copy_of[number] {
            OWN => (&self.logits[start..start + len], self.divisor),
            copy => (&self.work.copies[copy as usize * BLOCK..][..len], 1.0),
        }
    }
}

impl Editable for Row<'_> {
    fn change(&mut self, token: u32, change: &dyn Fn(f32) -> f32) {
        let token = token as usize;
        if token >= self.logits.len() {
            return;
        }
        let number = token / BLOCK;
        if self.work.copy_of[number] == OWN {
            self.copy(number);
        }
        let at = self.work.copy_of[number] as usize * BLOCK + token % BLOCK;
        self.work.copies[at] = change(self.work.copies[at]);
    }
}
