//! The random draws: do tokens come out as often as the distribution says, and from nothing but seed and position?

use crate::reference::{self, List};
use crate::{Lcg, left, sampler};
use engine::sampler::Candidates;

/// Draws at `count` positions of one sequence: how often each token came.
fn counts(text: &str, row: &[f32], count: usize) -> Vec<usize> {
    let mut chain = sampler(text, row.len(), &[], &[]);
    let mut candidates = Candidates::new(row.len());
    let mut counts = vec![0; row.len()];
    for _ in 0..count {
        let token = chain.sample(&mut candidates, row).unwrap().token;
        counts[token as usize] += 1;
        chain.accept(token);
    }
    counts
}

/// Pearson's statistic in standard deviations from its mean, over bins with at least 5 expected draws.
fn chi_square(counts: &[usize], expected: &[f64]) -> f64 {
    let total = counts.iter().sum::<usize>() as f64;
    let (mut statistic, mut bins, mut rare) = (0.0, 0.0f64, (0.0, 0.0));
    let mut bin = |count: f64, want: f64| {
        statistic += (count - want).powi(2) / want;
        bins += 1.0;
    };
    for (&count, &p) in counts.iter().zip(expected) {
        match p * total {
            0.0 => assert_eq!(count, 0, "a token without probability was drawn"),
            want if want < 5.0 => rare = (rare.0 + count as f64, rare.1 + want),
            want => bin(count as f64, want),
        }
    }
    if rare.1 > 0.0 {
        bin(rare.0, rare.1);
    }
    let freedom = bins - 1.0;
    (statistic - freedom) / (2.0 * freedom).sqrt()
}

fn over_vocabulary(list: &List, len: usize) -> Vec<f64> {
    let mut all = vec![0.0; len];
    for (&(token, _), p) in list.iter().zip(reference::probabilities(list)) {
        all[token as usize] = p;
    }
    all
}

#[test]
fn tokens_come_as_often_as_they_should() {
    for seed in [1, 2, 3] {
        let row = Lcg(seed).row(300);
        let all: List = (0..).zip(row.iter().copied()).collect();
        let kept = reference::top_p(&reference::top_k(&all, 40), 0.95, 0).unwrap();
        let kept = reference::min_p(&kept, 0.05, 0).unwrap();
        let expected = over_vocabulary(&reference::temperature(&kept, 0.8, 0.0, 1.0), row.len());
        let drawn = counts(&format!("seed={seed}"), &row, 20_000);
        let off = chi_square(&drawn, &expected);
        assert!(off < 4.0, "seed {seed}: {off} standard deviations off");

        // The test can tell: a slightly different temperature does not pass for this one.
        let other = over_vocabulary(&reference::temperature(&kept, 0.9, 0.0, 1.0), row.len());
        assert!(chi_square(&drawn, &other) > 6.0);
    }
}

#[test]
fn a_whole_vocabulary_is_drawn_from_evenly() {
    for (len, draws) in [(111, 20_000), (32_000, 3_000)] {
        let drawn = counts("samplers=; seed=5", &vec![0.25; len], draws);
        let bin = len.div_ceil(50); // 32 000 tokens would leave less than one draw each
        let pooled: Vec<usize> = drawn.chunks(bin).map(|chunk| chunk.iter().sum()).collect();
        let expected: Vec<f64> = drawn.chunks(bin).map(|chunk| chunk.len() as f64 / len as f64).collect();
        let off = chi_square(&pooled, &expected);
        assert!(off.abs() < 4.0, "{len} tokens: {off}");
    }
}

#[test]
fn xtc_tosses_its_coin_as_often_as_asked_and_apart_from_the_draw() {
    let row = [2.0, 2.0, 0.0, 0.0];
    let probability = 0.3;
    let drawn = counts(&format!("samplers=xtc seed=9 xtc_probability={probability} xtc_threshold=0.2"), &row, 100_000);
    // Tokens 0 and 1 are above the threshold; when the coin falls, token 0 goes.
    let list: List = (0..).zip(row).collect();
    let (all, without) = (over_vocabulary(&list, 4), over_vocabulary(&list[1..].to_vec(), 4));
    let expected: Vec<f64> = all.iter().zip(without).map(|(a, b)| a * (1.0 - probability) + b * probability).collect();
    let off = chi_square(&drawn, &expected);
    assert!(off < 4.0, "{off}: {drawn:?}");
}

#[test]
fn the_seed_and_the_position_decide() {
    let row = vec![0.0; 1000];
    let draw = |text: &str| {
        let mut chain = sampler(text, row.len(), &[], &[]);
        let mut candidates = Candidates::new(row.len());
        let step = |_| {
            let token = chain.sample(&mut candidates, &row).unwrap().token;
            chain.accept(token);
            token
        };
        (0..50).map(step).collect::<Vec<u32>>()
    };
    let first = draw("samplers=; seed=1");
    assert_eq!(first, draw("samplers=; seed=1"));
    assert_ne!(first, draw("samplers=; seed=2"));
    let mut distinct = first.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > 40, "positions share their draws: {first:?}");
    // Switching a stage on that changes nothing leaves the draws alone.
    assert_eq!(first, draw("samplers=top_k;top_p;min_p seed=1 top_k=1000 top_p=0.99999 min_p=0.5 min_keep=1000"));
    // 42 is the random seed that `sampler` gives.
    for random in ["seed=-1", "seed=4294967295", ""] {
        assert_eq!(draw(&format!("samplers=; {random}")), draw("samplers=; seed=42"));
    }
}

/// Many requests share one candidate list, in any order: each draws what it would draw alone.
#[test]
fn the_company_in_the_batch_does_not_matter() {
    let row = Lcg(77).row(500);
    let mut shared = Candidates::new(row.len());
    let mut chains: Vec<_> =
        (0..8).map(|seed| sampler(&format!("seed={seed} temperature=2"), row.len(), &[], &[])).collect();
    let mut alone = chains.clone();
    for round in 0..20 {
        let mut together = vec![0; chains.len()];
        for turn in 0..chains.len() {
            let at = (turn * 3 + round) % chains.len();
            together[at] = chains[at].sample(&mut shared, &row).unwrap().token;
            chains[at].accept(together[at]);
        }
        for (at, chain) in alone.iter_mut().enumerate() {
            let token = chain.sample(&mut Candidates::new(row.len()), &row).unwrap().token;
            assert_eq!(token, together[at], "sequence {at}, round {round}");
            chain.accept(token);
        }
    }
}

#[test]
fn temperature_zero_is_greedy_and_takes_the_first_of_equals() {
    let mut row = Lcg(4).row(2000);
    for at in [1500, 70, 900] {
        row[at] = 30.0;
    }
    for text in ["temperature=0", "temperature=-3", "samplers=temperature temperature=0", "mirostat=2 temperature=0"] {
        let mut candidates = Candidates::new(row.len());
        let mut chain = sampler(text, row.len(), &[], &[]);
        for _ in 0..5 {
            let sampled = chain.sample(&mut candidates, &row).unwrap();
            assert_eq!((sampled.token, sampled.probability), (70, 1.0), "{text}");
            chain.accept(sampled.token);
        }
    }
}

/// Mirostat drives the mean surprise of what it draws to tau, whatever it starts from.
#[test]
fn mirostat_holds_the_surprise() {
    let row = Lcg(8).row(2000);
    for version in [1, 2] {
        for tau in [2.0, 3.5] {
            let text = format!("samplers=; mirostat={version} mirostat_tau={tau} temperature=1 seed=6");
            let mut chain = sampler(&text, row.len(), &[], &[]);
            let mut candidates = Candidates::new(row.len());
            let mut surprises = Vec::new();
            for _ in 0..1500 {
                let sampled = chain.sample(&mut candidates, &row).unwrap();
                surprises.push(-sampled.probability.log2());
                chain.accept(sampled.token);
            }
            let mean = surprises[500..].iter().sum::<f32>() / 1000.0;
            assert!((mean - tau).abs() < 0.15, "{text}: {mean}");
        }
    }
}

/// Adaptive-p steers the average probability (before its transform) towards the target; left alone it would be 0.31.
#[test]
fn adaptive_p_holds_the_probability() {
    let row: Vec<f32> = (0..6).map(|token| -(token as f32) * 0.6).collect();
    let plain = reference::probabilities(&(0..).zip(row.iter().copied()).collect());
    let mean = |target: f32| {
        let drawn = counts(&format!("samplers=adaptive_p adaptive_target={target} seed=3"), &row, 3000);
        drawn.iter().zip(&plain).map(|(&count, p)| count as f64 * p).sum::<f64>() / 3000.0
    };
    for target in [0.2, 0.4] {
        assert!((mean(target) - f64::from(target)).abs() < 0.03, "{target}: {}", mean(target));
    }
    // Negative: the plain draw.
    let off = counts("samplers=adaptive_p adaptive_target=-1 seed=3", &row, 3000);
    assert_eq!(off, counts("samplers=; seed=3", &row, 3000));
}

/// Step by step: the aim is twice the target less the running average, the logits follow the distance to it.
#[test]
fn adaptive_p_follows_its_formula() {
    let row = [1.0f32, 0.5, 0.0, -1.0];
    let plain = reference::probabilities(&(0..).zip(row).collect());
    let (target, decay): (f64, f64) = (0.3, 0.8);
    let mut chain =
        sampler(&format!("samplers=adaptive_p adaptive_target={target} adaptive_decay={decay}"), 4, &[], &[]);
    let mut candidates = Candidates::new(4);
    let (mut sum, mut weight) = (target / (1.0 - decay), 1.0 / (1.0 - decay));
    for step in 0..30 {
        let sampled = chain.sample(&mut candidates, &row).unwrap();
        let aim = (2.0 * target - sum / weight).clamp(0.0, 1.0);
        for (&(token, logit), p) in left(&candidates).iter().zip(&plain) {
            let distance = (p - aim).abs() / 0.3;
            let want = 5.0 - 10.0 * distance * distance / (1.0 + distance);
            assert!((f64::from(logit) - want).abs() < 1e-4, "step {step}, token {token}: {logit}, expected {want}");
        }
        // Every third token is forced, not drawn: it must not count.
        if step % 3 == 2 {
            chain.accept((sampled.token + 1) % 4);
        } else {
            chain.accept(sampled.token);
            (sum, weight) = (plain[sampled.token as usize] + decay * sum, 1.0 + decay * weight);
        }
    }
}

/// Whatever it is named between, adaptive-p comes last.
#[test]
fn adaptive_p_selects_at_the_end() {
    let row = Lcg(12).row(100);
    let outcome = |samplers: &str| {
        let mut candidates = Candidates::new(row.len());
        let text = format!("samplers={samplers} top_k=7 adaptive_target=0.2 seed=1");
        sampler(&text, row.len(), &[], &[]).sample(&mut candidates, &row).unwrap();
        left(&candidates)
    };
    assert_eq!(outcome("adaptive_p;top_k"), outcome("top_k;adaptive_p"));
    assert_eq!(outcome("adaptive_p;top_k").len(), 7);
}
