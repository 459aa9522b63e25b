//! Do tokens come out as often as the request's chain would have them? Pearson's chi-square over bins of at least 5
//! expected draws, seeds fixed; the expected distribution is worked out here in f64 with a full sort.

use super::chain_and_forms;
use super::rows::{Lcg, like_a_model};
use engine::sampler::Candidates;

/// Filters and temperature of a chain in llama.cpp's order; 0 or 1 switches one off.
#[derive(Clone, Copy)]
struct Setting {
    text: &'static str,
    k: usize,
    p: f64,
    min_p: f64,
    temperature: f64,
}

const SETTINGS: [Setting; 4] = [
    Setting { text: "", k: 40, p: 0.95, min_p: 0.05, temperature: 0.8 },
    Setting { text: "samplers=top_p;temperature temperature=1.2", k: 0, p: 0.95, min_p: 0.0, temperature: 1.2 },
    Setting { text: "samplers=min_p;temperature", k: 0, p: 1.0, min_p: 0.05, temperature: 0.8 },
    Setting { text: "samplers=temperature temperature=1.5", k: 0, p: 1.0, min_p: 0.0, temperature: 1.5 },
];

/// The distribution over the vocabulary, by definition.
fn distribution(row: &[f32], setting: &Setting) -> Vec<f64> {
    let mut sorted: Vec<(usize, f64)> = row.iter().map(|&logit| f64::from(logit)).enumerate().collect();
    sorted.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    if setting.k > 0 {
        sorted.truncate(setting.k);
    }
    let best = sorted[0].1;
    let total: f64 = sorted.iter().map(|(_, logit)| (logit - best).exp()).sum();
    let mut sum = 0.0;
    let nucleus = sorted.iter().position(|(_, logit)| {
        sum += (logit - best).exp() / total;
        sum >= setting.p
    });
    if setting.p < 1.0 {
        sorted.truncate(nucleus.map_or(sorted.len(), |last| last + 1));
    }
    sorted.retain(|(_, logit)| (logit - best).exp() >= setting.min_p);
    let total: f64 = sorted.iter().map(|(_, logit)| ((logit - best) / setting.temperature).exp()).sum();
    let mut all = vec![0.0; row.len()];
    for (token, logit) in sorted {
        all[token] = ((logit - best) / setting.temperature).exp() / total;
    }
    all
}

/// The statistic in standard deviations from its mean; infinite when a token without probability was drawn.
fn chi_square(counts: &[usize], expected: &[f64]) -> f64 {
    let draws = counts.iter().sum::<usize>() as f64;
    let (mut statistic, mut bins, mut rare) = (0.0, 0.0f64, (0.0, 0.0));
    for (&count, &p) in counts.iter().zip(expected) {
        if p == 0.0 && count > 0 {
            return f64::INFINITY;
        }
        rare = (rare.0 + count as f64, rare.1 + p * draws);
        if rare.1 >= 5.0 {
            statistic += (rare.0 - rare.1).powi(2) / rare.1;
            bins += 1.0;
            rare = (0.0, 0.0);
        }
    }
    (statistic - (bins - 1.0)) / (2.0 * (bins - 1.0)).sqrt()
}

#[test]
fn tokens_come_as_often_as_they_should() {
    for (num_tokens, draws) in [(111, 20_000), (32_000, 2_000)] {
        for setting in &SETTINGS {
            let row = like_a_model(11, num_tokens);
            let (_, mut forms) = chain_and_forms(&format!("seed=1 {}", setting.text), num_tokens);
            let form = &mut forms.last_mut().expect("one at least").1;
            let mut candidates = Candidates::new(num_tokens);
            let mut counts = vec![0; num_tokens];
            for _ in 0..draws {
                let token = form.sample(&mut candidates, &row).unwrap().token;
                counts[token as usize] += 1;
                form.accept(token);
            }
            let off = chi_square(&counts, &distribution(&row, setting));
            assert!(off < 4.0, "`{}`, {num_tokens} tokens: {off} standard deviations off", setting.text);

            // The statistic can tell: the same draws do not pass for another temperature.
            let other = Setting { temperature: setting.temperature * 1.25, ..*setting };
            let off = chi_square(&counts, &distribution(&row, &other));
            assert!(off > 6.0, "`{}`, {num_tokens} tokens: only {off} off another temperature", setting.text);
        }
    }
}

/// Every row another position: the tokens of a flat row are spread evenly over blocks and within them.
#[test]
fn a_flat_row_is_drawn_from_evenly() {
    let num_tokens = 3_000;
    let (_, mut forms) = chain_and_forms("samplers= seed=5", num_tokens);
    let form = &mut forms.last_mut().expect("one at least").1;
    let mut candidates = Candidates::new(num_tokens);
    let mut counts = vec![0; num_tokens];
    for _ in 0..30_000 {
        let token = form.sample(&mut candidates, &vec![Lcg(1).unit(); num_tokens]).unwrap().token;
        counts[token as usize] += 1;
        form.accept(token);
    }
    let off = chi_square(&counts, &vec![1.0 / num_tokens as f64; num_tokens]);
    assert!(off.abs() < 4.0, "{off} standard deviations off");
}
