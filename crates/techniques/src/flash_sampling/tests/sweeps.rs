//! The sweeps in vectors against the plain ones, and the search for the edge against a sort.

use super::rows::{self, Lcg};
use crate::flash_sampling::cpu::{BLOCK, Scale, Sweep};
use crate::flash_sampling::threshold::keep_best;
use device::Hardware;
use engine::sampler::Candidates;
use engine::sampler::exp::mass;

#[test]
fn vectors_agree_with_plain_code() {
    let sweeps: Vec<Sweep> = Sweep::able(&Hardware::probe()).collect();
    let plain = *sweeps.last().expect("plain code runs anywhere");
    for len in [1, 15, 16, 17, 255, 256, 257, 1_000, 5_000] {
        for (kind, row) in rows::all(len.max(3)) {
            let num_blocks = row.len().div_ceil(BLOCK);
            for sweep in &sweeps {
                let (mut want, mut got) = (vec![0.0; num_blocks], vec![0.0; num_blocks]);
                let bad = plain.maxima(&row, &mut want);
                assert_eq!(sweep.maxima(&row, &mut got), bad, "{sweep:?} {kind} {len}");
                if bad {
                    continue;
                }
                assert_eq!(got, want, "{sweep:?} {kind} {len}");
                for divisor in [1.0, 0.7, 1e-38] {
                    let max = want.iter().copied().fold(f32::NEG_INFINITY, f32::max) / divisor;
                    let scale = Scale { divisor, max };
                    let (mut want_sums, mut sums) = (vec![0; num_blocks], vec![1; num_blocks]);
                    if max.is_finite() {
                        plain.masses(&row, scale, &want, &mut want_sums);
                        sweep.masses(&row, scale, &want, &mut sums);
                        assert_eq!(sums, want_sums, "{sweep:?} {kind} {len} / {divisor}");
                        assert!(sums.iter().sum::<u64>() >= mass(1.0), "the best token weighs 1");
                    }
                    for block in row.chunks(BLOCK) {
                        for floor in [max, max - 3.0, block[0] / divisor, f32::NEG_INFINITY] {
                            let want = plain.at_least(block, divisor, floor);
                            assert_eq!(sweep.at_least(block, divisor, floor), want, "{sweep:?} {kind} {len}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_edge_is_where_a_sort_has_it() {
    let mut lcg = Lcg(3);
    for len in [1, 2, 40, 300, 4_000] {
        for (kind, row) in rows::all(len.max(3)) {
            let list: Vec<(u32, f32)> = (0..).zip(row).filter(|(_, logit)| logit.abs() < f32::INFINITY).collect();
            let mut sorted = list.clone();
            sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
            for _ in 0..6 {
                let (least, p) = (1 + lcg.below(len), lcg.unit());
                for weighed in [false, true] {
                    let mut candidates = Candidates::new(len.max(3));
                    candidates.clear();
                    list.iter().for_each(|&(token, logit)| candidates.push(token, logit));
                    let total = if weighed && candidates.weigh() { candidates.total() } else { 0 };
                    let enough =
                        |number, sum| number >= least && (!weighed || sum as f64 >= f64::from(p) * total as f64);
                    let weights: Vec<(u32, u64)> =
                        candidates.ids().iter().copied().zip(candidates.weights().iter().map(|&w| mass(w))).collect();
                    keep_best(&mut candidates, weighed, enough);

                    let mut running = 0;
                    let mut kept = Vec::new();
                    for &(token, _) in &sorted {
                        kept.push(token);
                        let of = weights.binary_search_by_key(&token, |(token, _)| *token).unwrap();
                        running += if weighed { weights[of].1 } else { 0 };
                        if enough(kept.len(), running) {
                            break;
                        }
                    }
                    kept.sort_unstable();
                    assert_eq!(candidates.ids(), kept, "{kind}, {len}: {least} and {p}, weighed {weighed}");
                }
            }
        }
    }
}
