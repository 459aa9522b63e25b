//! What the sampler remembers: accepting, taking back, starting over, cloning.

use crate::{Lcg, left, sampler};
use engine::sampler::{Candidates, Error, Sampled, Sampler};

/// Chains with every kind of memory.
const CHAINS: [&str; 6] = [
    "repeat_penalty=1.3 frequency_penalty=0.2 repeat_last_n=9 temperature=1.5",
    "dry_multiplier=0.8 dry_allowed_length=1 temperature=1.5",
    "mirostat=1 mirostat_eta=0.5 mirostat_tau=3",
    "mirostat=2 mirostat_eta=0.5 mirostat_tau=3",
    "samplers=adaptive_p;xtc adaptive_target=0.1 adaptive_decay=0.8 xtc_probability=0.5 xtc_threshold=0.05",
    "temperature=1.5",
];

const LEN: usize = 60;

fn rows(seed: u32) -> Vec<Vec<f32>> {
    let mut lcg = Lcg(seed);
    (0..24).map(|_| (0..LEN).map(|_| lcg.unit() * 5.0).collect()).collect()
}

fn generate(chain: &mut Sampler, rows: &[Vec<f32>]) -> Vec<Sampled> {
    let mut candidates = Candidates::new(LEN);
    let step = |row: &Vec<f32>| {
        let sampled = chain.sample(&mut candidates, row).unwrap();
        chain.accept(sampled.token);
        sampled
    };
    rows.iter().map(step).collect()
}

#[test]
fn rolling_back_is_as_if_it_had_not_happened() {
    for text in CHAINS {
        let (first, second) = (rows(1), rows(2));
        let mut straight = sampler(text, LEN, &[1, 2, 3, 1, 2], &[]);
        generate(&mut straight, &first[..10]);
        let mut detour = straight.clone();
        for n in [0, 1, 7, 24] {
            generate(&mut detour, &second[..n]);
            detour.rollback(n).unwrap();
            assert_eq!(detour.history(), straight.history());
        }
        assert_eq!(generate(&mut detour, &first[10..]), generate(&mut straight, &first[10..]), "{text}");
        // Into the prompt and forward again.
        detour.rollback(24 + 3).unwrap();
        detour.accept_all(&[3, 1, 2]);
        assert_eq!(
            generate(&mut detour, &first),
            generate(&mut sampler(text, LEN, &[1, 2, 3, 1, 2], &[]), &first),
            "{text}"
        );
    }
}

/// The memory matters: with another past, the same rows give other tokens (else the test above could not fail).
#[test]
fn the_past_matters() {
    for text in &CHAINS[..5] {
        let rows = rows(3);
        let mut one = sampler(text, LEN, &[], &[]);
        generate(&mut one, &rows[..12]);
        let mut other =
            sampler(text, LEN, &one.history().iter().map(|&token| (token + 7) % LEN as u32).collect::<Vec<_>>(), &[]);
        let (one, other) = (generate(&mut one, &rows[12..]), generate(&mut other, &rows[12..]));
        let probabilities = |list: &[Sampled]| list.iter().map(|sampled| sampled.probability).collect::<Vec<_>>();
        assert_ne!(probabilities(&one), probabilities(&other), "{text}");
    }
}

#[test]
fn reset_starts_over() {
    for text in CHAINS {
        let mut chain = sampler(text, LEN, &[], &[]);
        let first = generate(&mut chain, &rows(4));
        chain.reset();
        assert!(chain.history().is_empty());
        assert_eq!(generate(&mut chain, &rows(4)), first, "{text}");
    }
}

#[test]
fn a_clone_goes_its_own_way() {
    for text in CHAINS {
        let mut chain = sampler(text, LEN, &[4, 5], &[]);
        let mut copy = chain.clone();
        generate(&mut copy, &rows(5));
        assert_eq!(chain.history(), [4, 5]);
        let mut fresh = sampler(text, LEN, &[4, 5], &[]);
        assert_eq!(generate(&mut chain, &rows(6)), generate(&mut fresh, &rows(6)), "{text}");
    }
}

#[test]
fn sampling_twice_gives_the_same_and_only_accepting_moves_on() {
    for text in CHAINS {
        let (mut once, mut twice) = (sampler(text, LEN, &[], &[]), sampler(text, LEN, &[], &[]));
        let mut candidates = Candidates::new(LEN);
        for row in rows(7) {
            let other: Vec<f32> = row.iter().rev().copied().collect();
            twice.sample(&mut candidates, &other).unwrap();
            let first = twice.sample(&mut candidates, &row).unwrap();
            let second = twice.sample(&mut candidates, &row).unwrap();
            let survivors = left(&candidates);
            assert_eq!(first, second);
            assert_eq!(once.sample(&mut candidates, &row).unwrap(), second, "{text}");
            assert_eq!(left(&candidates), survivors, "{text}");
            once.accept(first.token);
            twice.accept(first.token);
        }
    }
}

#[test]
fn only_what_was_accepted_can_be_taken_back() {
    let mut chain = sampler("", LEN, &[1, 2], &[]);
    assert_eq!(chain.rollback(3), Err(Error::RollbackTooFar { asked: 3, accepted: 2 }));
    assert_eq!(chain.history(), [1, 2]);
    assert_eq!(chain.rollback(2), Ok(()));
    assert_eq!(chain.rollback(1).unwrap_err().to_string(), "cannot roll back 1 tokens: only 0 were accepted");
}
