//! Each stage alone against its plain form in `reference`, over rows of every nasty kind.

use crate::reference::{self, List};
use crate::{Lcg, survivors};
use engine::sampler::Breaker;

/// Rows of 1 to 2000 tokens: model-like, flat, all equal, one-hot, with ties, with excluded tokens, subnormal, huge.
fn rows() -> Vec<Vec<f32>> {
    let mut lcg = Lcg(11);
    let mut rows =
        vec![vec![1.0], vec![0.0, -0.0], vec![3.0, 3.0, 3.0], vec![f32::NEG_INFINITY, -5.0, f32::NEG_INFINITY]];
    for len in [2, 7, 111, 500, 2000] {
        rows.push(lcg.row(len));
        rows.push((0..len).map(|_| lcg.unit() * 0.1).collect());
        rows.push(vec![-2.5; len]);
        rows.push((0..len).map(|token| if token == len / 2 { 20.0 } else { -20.0 }).collect());
        rows.push((0..len).map(|_| (lcg.bits() % 8) as f32).collect());
        rows.push(lcg.row(len).into_iter().map(|logit| if logit < -4.0 { f32::NEG_INFINITY } else { logit }).collect());
        rows.push((0..len).map(|_| f32::from_bits(lcg.bits())).collect());
        rows.push(lcg.row(len).into_iter().map(|logit| logit * 1e30).collect());
    }
    rows
}

fn list(row: &[f32]) -> List {
    (0..).zip(row.iter().copied()).collect()
}

fn finite(list: List) -> List {
    list.into_iter().filter(|(_, logit)| *logit > f32::NEG_INFINITY).collect()
}

/// Same tokens, and logits within the rounding of f32.
fn assert_same(got: &List, want: &List, what: &str) {
    let near = |a: f32, b: f32| a == b || (a - b).abs() <= 1e-5 * a.abs().max(b.abs()).max(1.0);
    let same = got.len() == want.len() && got.iter().zip(want).all(|(a, b)| a.0 == b.0 && near(a.1, b.1));
    assert!(same, "{what}\n got {got:?}\nwant {want:?}");
}

/// Runs a chain on all rows; at least `least` of them must have a certain answer.
fn check(text: &str, least: usize, want: impl Fn(&List) -> Option<List>) {
    let mut certain = 0;
    for row in rows() {
        if let Some(want) = want(&list(&row)) {
            let got = survivors(text, &row, &[], &[]);
            assert_same(&got, &finite(want), &format!("{text} on {} tokens {:?}", row.len(), &row[..row.len().min(8)]));
            certain += 1;
        }
    }
    assert!(certain >= least, "{text}: only {certain} rows had a certain answer");
}

#[test]
fn top_k() {
    for k in [1, 2, 3, 40, 111, 499, 500, 501, 5000] {
        check(&format!("samplers=top_k top_k={k}"), 44, |list| Some(reference::top_k(list, k)));
    }
    for off in ["0", "-1"] {
        check(&format!("samplers=top_k top_k={off}"), 44, |list| Some(list.clone()));
    }
}

#[test]
fn top_p() {
    for p in [1e-6, 0.1, 0.37, 0.61, 0.95, 0.9991] {
        for min_keep in [0, 1, 6, 10_000] {
            check(&format!("samplers=top_p top_p={p} min_keep={min_keep}"), 30, |list| {
                reference::top_p(list, p, min_keep)
            });
        }
    }
    check("samplers=top_p top_p=1", 44, |list| Some(list.clone()));
    check("samplers=top_p top_p=0", 44, |list| Some(reference::top_k(list, 1)));
}

#[test]
fn min_p() {
    for p in [1e-6, 0.013, 0.05, 0.51, 0.999] {
        for min_keep in [0, 1, 6, 10_000] {
            check(&format!("samplers=min_p min_p={p} min_keep={min_keep}"), 30, |list| {
                reference::min_p(list, p, min_keep)
            });
        }
    }
    check("samplers=min_p min_p=0", 44, |list| Some(list.clone()));
}

#[test]
fn typical() {
    for p in [0.11, 0.52, 0.93] {
        for min_keep in [0, 5, 10_000] {
            check(&format!("samplers=typ_p typical_p={p} min_keep={min_keep}"), 15, |list| {
                reference::typical(list, p, min_keep)
            });
        }
    }
    check("samplers=typ_p typical_p=1", 44, |list| Some(list.clone()));
}

#[test]
fn top_n_sigma() {
    for n in [0.3, 1.1, 2.7] {
        check(&format!("samplers=top_n_sigma top_n_sigma={n}"), 24, |list| reference::top_n_sigma(list, n));
    }
    for off in ["0", "-1"] {
        check(&format!("samplers=top_n_sigma top_n_sigma={off}"), 44, |list| Some(list.clone()));
    }
}

#[test]
fn xtc() {
    for threshold in [0.0007, 0.013, 0.09, 0.45] {
        for min_keep in [0, 6] {
            let text = format!("samplers=xtc xtc_probability=1 xtc_threshold={threshold} min_keep={min_keep}");
            check(&text, 30, |list| reference::xtc(list, threshold, min_keep));
        }
    }
    check("samplers=xtc xtc_probability=1 xtc_threshold=0.51", 44, |list| Some(list.clone()));
    check("samplers=xtc xtc_probability=0 xtc_threshold=0.01", 44, |list| Some(list.clone()));
}

#[test]
fn temperature() {
    for degree in [0.0, -1.0, 0.3, 0.8, 1.0, 2.5] {
        check(&format!("samplers=temperature temperature={degree}"), 44, |list| {
            Some(reference::temperature(list, degree, 0.0, 1.0))
        });
    }
}

#[test]
fn dynamic_temperature() {
    for (degree, range, exponent) in [(0.8, 0.4, 1.0), (1.0, 0.9, 2.0), (0.3, 1.0, 0.5)] {
        let text =
            format!("samplers=temperature temperature={degree} dynatemp_range={range} dynatemp_exponent={exponent}");
        // A distribution that is all but certain gives a temperature that is all but 0: not a matter of rounding.
        check(&text, 25, |list| {
            let sure = reference::probabilities(list).iter().any(|&p| p > 0.999_999);
            (!sure || list.len() == 1).then(|| reference::temperature(list, degree, range, exponent))
        });
    }
}

const HISTORY: [u32; 16] = [1, 2, 1, 6, 400, 5, 2, 1, 6, 0, 9_999, 1, 1, 2, 1, 6];

#[test]
fn penalties() {
    for (repeat, frequency, presence, last_n) in
        [(1.1, 0.0, 0.0, 64), (0.7, 0.0, 0.0, 64), (1.0, 0.3, 0.0, 5), (1.0, 0.0, -1.5, 64), (1.3, 0.1, 0.2, 9)]
    {
        let text = format!(
            "samplers=penalties repeat_penalty={repeat} frequency_penalty={frequency} presence_penalty={presence} repeat_last_n={last_n}"
        );
        let seen = &HISTORY[HISTORY.len().saturating_sub(last_n)..];
        for row in rows() {
            let want = finite(reference::penalties(&list(&row), seen, repeat, frequency, presence));
            assert_same(&survivors(&text, &row, &HISTORY, &[]), &want, &text);
        }
    }
    let row = Lcg(5).row(50);
    let off = "samplers=penalties repeat_penalty=2 repeat_last_n=0";
    assert_same(&survivors(off, &row, &HISTORY, &[]), &list(&row), off);
}

/// After top-k the ids are no longer dense: the penalties must still find their tokens.
#[test]
fn penalties_find_tokens_in_a_narrowed_list() {
    for row in rows() {
        let want = reference::penalties(&reference::top_k(&list(&row), 9), &HISTORY, 1.5, 0.5, 0.25);
        let text = "samplers=top_k;penalties top_k=9 repeat_penalty=1.5 frequency_penalty=0.5 presence_penalty=0.25";
        assert_same(&survivors(text, &row, &HISTORY, &[]), &finite(want), text);
    }
}

#[test]
fn dry() {
    let mut lcg = Lcg(3);
    let breakers = [(5, vec![]), (3, vec![4]), (3, vec![4, 1]), (2, vec![2])];
    let breakers: Vec<Breaker> = breakers.into_iter().map(|(head, tail)| Breaker { head, tail }).collect();
    let (row, mut penalised) = (vec![0.0; 8], 0);
    for round in 0..600 {
        let alphabet = 2 + round % 5;
        let history: Vec<u32> = (0..round % 40).map(|_| lcg.bits() % alphabet).collect();
        for (multiplier, base, allowed, last_n) in [(1.0, 1.75, 2, 64), (0.5, 2.0, 0, 20), (2.0, 1.0, 3, 7)] {
            let text = format!(
                "samplers=dry dry_multiplier={multiplier} dry_base={base} dry_allowed_length={allowed} dry_penalty_last_n={last_n}"
            );
            for breakers in [&breakers[..], &[]] {
                let seen = &history[history.len().saturating_sub(last_n)..];
                let want = reference::dry(&list(&row), seen, multiplier, base, allowed, breakers);
                let got = survivors(&text, &row, &history, breakers);
                assert_same(&got, &want, &format!("{text} after {history:?}, breakers {breakers:?}"));
                penalised += usize::from(want.iter().any(|&(_, logit)| logit < 0.0));
            }
        }
    }
    assert!(penalised > 1000, "only {penalised} histories had anything to penalise");
}

/// However long the repetition: a finite penalty, so that the token keeps its place among the candidates.
#[test]
fn dry_penalty_stays_finite() {
    let text = "samplers=dry dry_multiplier=1 dry_base=3 dry_penalty_last_n=4000";
    let left = survivors(text, &[0.0; 4], &[1; 4000], &[]);
    assert_eq!(left.len(), 4);
    assert!(left[1].1 < -1e37 && left[0].1 == 0.0, "{left:?}");
}

#[test]
fn breakers_are_found_where_the_text_lies_or_begins() {
    let pieces: [&[u8]; 8] = [b"a", b"x:", b":", b"y<", b"<|", b"<|e", b"|>", b"n<|end|>m"];
    let piece = |token: u32, bytes: &mut Vec<u8>| bytes.extend_from_slice(pieces[token as usize]);
    let encode = |rest: &[u8]| rest.iter().map(|&byte| u32::from(byte)).collect::<Vec<_>>();
    let text = |rest: &str| encode(rest.as_bytes());
    let texts = [":".to_owned(), "<|end|>".to_owned(), String::new()];
    let found = engine::sampler::breakers(&texts, pieces.len(), piece, encode);
    let want =
        [(1, text("")), (2, text("")), (3, text("|end|>")), (4, text("end|>")), (5, text("nd|>")), (7, text(""))];
    assert_eq!(found, want.map(|(head, tail)| Breaker { head, tail }));

    let long = ["ab".repeat(40)];
    let found = engine::sampler::breakers(&long, pieces.len(), piece, encode);
    assert_eq!(
        found,
        [Breaker { head: 0, tail: text(&"ba".repeat(10)) }],
        "40 bytes of the text, 20 tokens of the tail"
    );
}
