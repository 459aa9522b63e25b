//! Where the best entries of a list end, found without sorting: a radix search over the bits of the logits that
//! counts entries and adds up masses per bucket. Called by `narrow` on what a sweep has gathered.

use engine::sampler::Candidates;
use engine::sampler::exp::mass;
use std::cell::Cell;
use std::cmp::Ordering;

/// How many bits of a distance one level looks at.
const BITS: u32 = 8;

/// Keeps the best entries up to the first at which `enough(number, summed mass)` holds; of equal ones those with the
/// lower ids come first. All of them where it never holds. Once it holds it must hold for all that is more.
/// Masses count only where `weighed`: call [`Candidates::weigh`] first.
pub fn keep_best(candidates: &mut Candidates, weighed: bool, enough: impl Fn(usize, u64) -> bool) {
    let best = order(candidates.max_logit());
    let Some(edge) = edge(candidates, best, weighed, enough) else { return };
    let ties = Cell::new(edge.ties);
    candidates.retain(|entry| match (best - order(entry.logit)).cmp(&edge.distance) {
        Ordering::Less => true,
        Ordering::Equal => ties.replace(ties.get().saturating_sub(1)) > 0,
        Ordering::Greater => false,
    });
}

/// The last entry that is kept.
struct Edge {
    /// From the best logit, in steps of the f32 format.
    distance: u32,
    /// How many entries are kept at that distance.
    ties: usize,
}

/// Each level divides the entries whose distances begin with `prefix` among buckets by their next bits, and finds the
/// bucket in which the edge lies.
fn edge(candidates: &Candidates, best: u32, weighed: bool, enough: impl Fn(usize, u64) -> bool) -> Option<Edge> {
    let (logits, weights) = (candidates.logits(), candidates.weights());
    let farthest = logits.iter().map(|&logit| best - order(logit)).max()?;
    let mut bits_left = u32::BITS - farthest.leading_zeros();
    let (mut prefix, mut above) = (0, Bucket::default());
    loop {
        let shift = bits_left.saturating_sub(BITS);
        let mut buckets = [Bucket::default(); 1 << BITS];
        for (&logit, &weight) in logits.iter().zip(weights) {
            let distance = best - order(logit);
            if u64::from(distance) >> bits_left == prefix {
                let bucket = &mut buckets[(distance >> shift) as usize % (1 << BITS)];
                bucket.number += 1;
                bucket.mass += if weighed { mass(weight) } else { 0 };
            }
        }
        let mut crossed = None;
        for (digit, bucket) in buckets.iter().enumerate() {
            if bucket.number > 0 && enough(above.number + bucket.number, above.mass + bucket.mass) {
                crossed = Some((digit, bucket));
                break;
            }
            above = Bucket { number: above.number + bucket.number, mass: above.mass + bucket.mass };
        }
        let (digit, bucket) = crossed?;
        prefix = (prefix << (bits_left - shift)) | digit as u64;
        bits_left = shift;
        if shift == 0 {
            let each = bucket.mass / bucket.number as u64; // equal logits weigh the same
            let ties = first(bucket.number, |ties| enough(above.number + ties, above.mass + ties as u64 * each));
            return Some(Edge { distance: prefix as u32, ties });
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    number: usize,
    mass: u64,
}

/// The smallest of `1..=last` for which `holds`, given that it holds for `last` and for all above the smallest.
fn first(last: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (1, last);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// Ascends with the logit.
fn order(logit: f32) -> u32 {
    let bits = (logit + 0.0).to_bits(); // + 0.0: -0 ranks with 0
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}
