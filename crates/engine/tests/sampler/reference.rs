//! The stages written down plainly: f64, full sorts, no state. A list is (token, logit) with tokens ascending.
//!
//! `None` means that a sum lies so near its threshold that rounding may decide; the tests pass over such rows.

use engine::sampler::Breaker;

pub type List = Vec<(u32, f32)>;

/// How near a threshold is too near: f32 weights carry 24 bits.
const NEAR: f64 = 1e-6;

pub fn probabilities(list: &List) -> Vec<f64> {
    let max = list.iter().map(|&(_, logit)| f64::from(logit)).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = list.iter().map(|&(_, logit)| (f64::from(logit) - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

fn by_id(mut list: List) -> List {
    list.sort_by_key(|&(token, _)| token);
    list
}

fn best_first(list: &List) -> List {
    let mut sorted = list.clone();
    sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    sorted
}

pub fn top_k(list: &List, k: usize) -> List {
    by_id(best_first(list).into_iter().take(k).collect())
}

/// The shortest start of `sorted` whose probabilities reach p.
fn up_to(sorted: &List, list: &List, p: f32, strictly: bool, min_keep: usize) -> Option<List> {
    let all = probabilities(list);
    let of = |token: u32| all[list.iter().position(|&(other, _)| other == token).unwrap()];
    let mut sum = 0.0;
    for (nth, &(token, _)) in sorted.iter().enumerate() {
        sum += of(token);
        if nth + 1 < min_keep {
            continue;
        }
        if (sum - f64::from(p)).abs() < NEAR {
            return None;
        }
        if if strictly { sum > f64::from(p) } else { sum >= f64::from(p) } {
            return Some(by_id(sorted[..=nth].to_vec()));
        }
    }
    Some(list.clone())
}

pub fn top_p(list: &List, p: f32, min_keep: usize) -> Option<List> {
    up_to(&best_first(list), list, p, false, min_keep)
}

pub fn min_p(list: &List, p: f32, min_keep: usize) -> Option<List> {
    let sorted = best_first(list);
    let relative = |logit: f32| (f64::from(logit) - f64::from(sorted[0].1)).exp();
    if list.iter().any(|&(_, logit)| (relative(logit) - f64::from(p)).abs() < NEAR * f64::from(p)) {
        return None;
    }
    let reaching = sorted.iter().filter(|&&(_, logit)| relative(logit) > f64::from(p)).count();
    Some(by_id(sorted[..reaching.max(min_keep).min(sorted.len())].to_vec()))
}

pub fn typical(list: &List, p: f32, min_keep: usize) -> Option<List> {
    let all = probabilities(list);
    let entropy: f64 = all.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
    let mut scored: Vec<(f64, (u32, f32))> = all.iter().map(|p| (-p.ln() - entropy).abs()).zip(list.clone()).collect();
    scored.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap().then(a.1.0.cmp(&b.1.0)));
    let two_sided_tie = |pair: &[(f64, (u32, f32))]| pair[1].0 - pair[0].0 < 1e-5 && pair[0].1.1 != pair[1].1.1;
    if scored.windows(2).any(two_sided_tie) {
        return None;
    }
    up_to(&scored.into_iter().map(|(_, entry)| entry).collect(), list, p, true, min_keep)
}

pub fn top_n_sigma(list: &List, n: f32) -> Option<List> {
    let finite: Vec<f64> = list.iter().map(|&(_, logit)| f64::from(logit)).filter(|logit| logit.is_finite()).collect();
    let mean = finite.iter().sum::<f64>() / finite.len() as f64;
    let deviation = (finite.iter().map(|logit| (logit - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
    let floor = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max) - f64::from(n) * deviation;
    if finite.iter().any(|logit| (logit - floor).abs() < 1e-5) {
        return None;
    }
    Some(list.iter().copied().filter(|&(_, logit)| f64::from(logit) >= floor).collect())
}

/// With the coin fallen on "exclude".
pub fn xtc(list: &List, threshold: f32, min_keep: usize) -> Option<List> {
    let all = probabilities(list);
    if all.iter().any(|p| (p - f64::from(threshold)).abs() < NEAR) {
        return None;
    }
    let above = all.iter().filter(|&&p| p >= f64::from(threshold)).count();
    let excluded = above.saturating_sub(1);
    if list.len() - excluded < min_keep {
        return Some(list.clone());
    }
    Some(by_id(best_first(list)[excluded..].to_vec()))
}

pub fn temperature(list: &List, temperature: f32, range: f32, exponent: f32) -> List {
    let mut degree = f64::from(temperature);
    if range > 0.0 {
        if list.len() <= 1 {
            return list.clone();
        }
        let entropy: f64 = probabilities(list).iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        let (low, high) = (f64::from(temperature - range).max(0.0), f64::from(temperature + range));
        degree = low + (high - low) * (entropy / (list.len() as f64).ln()).powf(f64::from(exponent));
    }
    if degree <= 0.0 {
        return top_k(list, 1);
    }
    list.iter().map(|&(token, logit)| (token, (f64::from(logit) / degree) as f32)).collect()
}

pub fn penalties(list: &List, seen: &[u32], repeat: f32, frequency: f32, presence: f32) -> List {
    let penalise = |&(token, logit): &(u32, f32)| {
        let count = seen.iter().filter(|&&other| other == token).count() as f32;
        let scaled = if logit > 0.0 { logit / repeat } else { logit * repeat };
        (token, if count > 0.0 { scaled - (count * frequency + presence) } else { logit })
    };
    list.iter().map(penalise).collect()
}

/// Tries every token: by how many tokens would it prolong a repetition that reaches no further back than the last
/// breaker?
pub fn dry(list: &List, seen: &[u32], multiplier: f32, base: f32, allowed: usize, breakers: &[Breaker]) -> List {
    let mut unbroken = seen.len();
    'search: for start in (0..seen.len()).rev() {
        for tail_len in (0..=seen.len() - start - 1).rev() {
            let tail = &seen[start + 1..start + 1 + tail_len];
            if breakers.iter().any(|breaker| breaker.head == seen[start] && breaker.tail == tail) {
                unbroken = seen.len() - start - 1 - tail_len;
                break 'search;
            }
        }
    }
    let length_with = |token: u32| {
        let places = (1..seen.len()).filter(|&at| seen[at] == token);
        places.map(|at| (1..=at.min(unbroken)).take_while(|n| seen[at - n] == seen[seen.len() - n]).count()).max()
    };
    let penalise = |&(token, logit): &(u32, f32)| {
        let breaks = breakers.iter().any(|breaker| breaker.head == token && breaker.tail.is_empty());
        match length_with(token) {
            Some(length) if !breaks && length >= allowed && unbroken >= allowed && seen.len() > allowed => {
                (token, logit - multiplier * base.powi((length - allowed) as i32))
            }
            _ => (token, logit),
        }
    };
    list.iter().map(penalise).collect()
}
