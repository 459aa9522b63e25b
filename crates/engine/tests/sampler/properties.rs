//! Laws that hold for the whole chain, whatever the row and the parameters.

use crate::{Lcg, left, sampler, survivors};
use engine::sampler::Candidates;
use proptest::prelude::*;

/// A chain in random order with random parameters, as text.
fn chain() -> impl Strategy<Value = String> {
    let order = Just(vec!["top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]).prop_shuffle();
    (order, 0usize..=7, -1i32..200, 0f32..=1.0, 0f32..=1.0, 0f32..=1.0, 0f32..0.6, 0.1f32..2.0, 0usize..5).prop_map(
        |(order, stages, k, top_p, min_p, typical, threshold, temperature, min_keep)| {
            format!(
                "samplers={} top_k={k} top_p={top_p} min_p={min_p} typical_p={typical} top_n_sigma=1.5 \
                 xtc_probability=0.5 xtc_threshold={threshold} temperature={temperature} min_keep={min_keep}",
                order[..stages].join(";")
            )
        },
    )
}

fn row() -> impl Strategy<Value = Vec<f32>> {
    (any::<u32>(), prop_oneof![1usize..300, Just(111), Just(32_000)], 0..3).prop_map(|(seed, len, kind)| {
        let mut lcg = Lcg(seed);
        match kind {
            0 => lcg.row(len),
            1 => (0..len).map(|_| (lcg.bits() % 16) as f32 / 2.0).collect(), // ties
            _ => (0..len)
                .map(|_| if lcg.bits().is_multiple_of(3) { f32::NEG_INFINITY } else { lcg.unit() })
                .chain([0.0])
                .collect(),
        }
    })
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 150,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// The chosen token is among the survivors, has weight, and the survivors' probabilities add up to 1.
    #[test]
    fn probabilities_add_up((text, row) in (chain(), row())) {
        let mut candidates = Candidates::new(row.len());
        let sampled = sampler(&text, row.len(), &[], &[]).sample(&mut candidates, &row).unwrap();
        prop_assert!(candidates.ids().windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(row[sampled.token as usize] > f32::NEG_INFINITY);
        prop_assert!(sampled.probability > 0.0);
        prop_assert_eq!(candidates.ids()[candidates.selected().unwrap()], sampled.token);
        let sum: f64 = (0..candidates.len()).map(|index| f64::from(candidates.probability(index))).sum();
        prop_assert!((sum - 1.0).abs() < 1e-4, "{} in sum", sum);
    }

    /// A list that other chains have used before gives what a fresh one gives.
    #[test]
    fn buffers_carry_nothing_over((first, second, row) in (chain(), chain(), row())) {
        let mut used = Candidates::new(row.len());
        sampler(&first, row.len(), &[], &[]).sample(&mut used, &row).unwrap();
        let mut fresh = Candidates::new(row.len());
        let mut chain = sampler(&second, row.len(), &[], &[]);
        let again = chain.sample(&mut used, &row).unwrap();
        prop_assert_eq!(chain.sample(&mut fresh, &row).unwrap(), again);
        prop_assert_eq!(left(&used), left(&fresh));
    }

    /// Which tokens survive does not depend on how the vocabulary is numbered, where no two logits tie.
    #[test]
    fn renumbering_the_vocabulary_renumbers_the_survivors((text, seed, len) in (chain(), any::<u32>(), 2usize..500)) {
        let mut lcg = Lcg(seed);
        let mut row: Vec<f32> = (0..len).map(|token| token as f32 * 0.021 - 5.0).collect();
        row.sort_by_cached_key(|_| lcg.bits());
        let turned: Vec<f32> = row.iter().rev().copied().collect();
        let logits = |row: &[f32]| {
            let mut logits: Vec<f32> = survivors(&text, row, &[], &[]).into_iter().map(|(_, logit)| logit).collect();
            logits.sort_by(f32::total_cmp);
            logits
        };
        prop_assert_eq!(logits(&row), logits(&turned));
    }

    /// The model's logits count up to a constant.
    #[test]
    fn a_constant_on_all_logits_changes_nothing((text, seed, len) in (chain(), any::<u32>(), 2usize..500)) {
        let mut lcg = Lcg(seed);
        let row: Vec<f32> = (0..len).map(|_| (lcg.bits() % 4096) as f32 / 256.0).collect(); // exact under + 64
        let moved: Vec<f32> = row.iter().map(|logit| logit + 64.0).collect();
        // A temperature in mid-chain divides the constant too, and rounds: leave it out.
        let text = text.replace("temperature;", "");
        let ids = |row: &[f32]| survivors(&text, row, &[], &[]).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        prop_assert_eq!(ids(&row), ids(&moved));
    }

    /// A wider filter keeps all that a narrower one keeps.
    #[test]
    fn wider_filters_keep_more((row, a, b) in (row(), 0f32..=1.0, 0f32..=1.0)) {
        let (narrow, wide) = (a.min(b), a.max(b));
        for (stage, field, narrow, wide) in [("top_p", "top_p", narrow, wide), ("min_p", "min_p", wide, narrow),
            ("top_k", "top_k", (narrow * 100.0).ceil() + 1.0, (wide * 100.0).ceil() + 1.0)] {
            let keep = |value: f32| survivors(&format!("samplers={stage} {field}={value}"), &row, &[], &[]);
            let (few, many) = (keep(narrow), keep(wide));
            prop_assert!(few.iter().all(|entry| many.contains(entry)), "{} {} {}", stage, narrow, wide);
        }
    }
}

/// Sizes of real vocabularies, the default chain, ties at the edge of top-k: the lowest ids win.
#[test]
fn ties_fall_to_the_lowest_ids() {
    for len in [111, 32_000, 128_256, 151_936] {
        let row: Vec<f32> = (0..len).map(|token| if token % 2 == 1 { 7.0 } else { 1.0 }).collect();
        let ids: Vec<u32> = survivors("samplers=top_k", &row, &[], &[]).iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, (0..40).map(|nth| 2 * nth + 1).collect::<Vec<u32>>());
    }
}
