//! A made-up report, for tests of the verdict and of what is shown.

use super::*;
use crate::judge::Verdict;

pub fn speed() -> Speed {
    let mut comparison = Comparison::default();
    for turn in 0..6 {
        let drift = 1.0 + 0.001 * f64::from(turn);
        let measure = |which| Ok::<f64, ()>(if which == crate::measure::Which::A { 0.3 * drift } else { 0.2 * drift });
        comparison.turn(measure).unwrap();
    }
    Speed::of("decode @ 128", 16, true, true, comparison).unwrap()
}

pub fn quality() -> Quality {
    Quality {
        num_scored: 1530,
        perplexity: 20.5,
        perplexity_exact: 20.4,
        log_ratio: Estimate { value: (20.5f64 / 20.4).ln(), uncertainty: 0.001 },
        kld: Estimate { value: 0.0031, uncertainty: 0.0001 },
        kld_p99: 0.02,
        kld_percentiles: (0..=100).map(|percent| 1e-6 * (percent as f32 / 10.0).exp2()).collect(),
        same_top: Estimate { value: 0.97, uncertainty: 0.004 },
        max_logit_error: 1.25,
    }
}

pub fn report() -> Report {
    let side = |flags: &str| Side {
        flags: flags.into(),
        techniques: vec![Standing { id: "quick".into(), state: "on".into(), reason: "asked for".into() }],
        memory: Memory { weights_bytes: 98_362_432, kv_token_bytes: 23_040, peak_bytes: None },
        quality: Some(quality()),
        failure: None,
        notices: Vec::new(),
    };
    let sampling = Speed { name: "sampling".into(), tokens: 64, is_rate: false, decides: false, ..speed() };
    Report {
        version: "0.1.0".into(),
        time: "2026-01-02 03:04".into(),
        model: Model { file: "a<b>&c.gguf".into(), bytes: 98_362_432, sha256: "00ff".into() },
        machine: Machine { cpu: "A Processor".into(), cores: 2, features: "avx2".into() },
        limits: Limits::default(),
        judgement: Judgement {
            verdict: Verdict::Pays,
            reasons: vec!["faster: decode @ 128 1.500× (1.500 to 1.500)".into()],
            notes: vec!["a note".into()],
        },
        a: side(""),
        b: side("--technique quick=on"),
        speed: vec![speed(), sampling],
        text: Text { source: "chaski's own".into(), chunks: 6, context: 512 },
        kld_excess: Some(Estimate { value: 0.0, uncertainty: 0.0 }),
        needles: vec![Needle { position: 400, depth: 4096, exact: true, a: true, b: false }],
    }
}
