//! The verdict at and around its borders.

use super::*;
use crate::measure::Summary;
use crate::quality::Quality;
use crate::report::samples_tests as samples;

const LIMITS: Limits = Limits { max_loss: 0.01, min_speedup: 0.02 };

fn speed(name: &str, low: f64, median: f64, high: f64) -> Speed {
    let speedup = Summary { low, median, high, ..samples::speed().speedup };
    Speed { name: name.into(), speedup, ..samples::speed() }
}

/// A configuration whose perplexity is larger by this share, with this standard error.
fn side(loss: f64, error: f64) -> Side {
    let log_ratio = Estimate { value: loss.ln_1p(), uncertainty: error };
    Side { quality: Some(Quality { log_ratio, ..samples::quality() }), ..Side::default() }
}

fn verdict(speed: &[Speed], b: &Side) -> Judgement {
    judge(&LIMITS, speed, [&side(0.0, 0.0), b], None, &[])
}

#[test]
fn it_pays_only_when_the_whole_interval_lies_above_the_limit() {
    let fine = side(0.001, 0.0005);
    for (low, expected) in [
        (1.0201, Verdict::Pays),
        (1.02, Verdict::DoesNotPay),
        (1.019, Verdict::DoesNotPay),
        (0.97, Verdict::DoesNotPay),
    ] {
        let told = verdict(&[speed("decode", low, 1.03, 1.04)], &fine);
        assert_eq!(told.verdict, expected, "{low}: {told:?}");
    }
    let told = verdict(&[speed("prefill", 0.99, 1.0, 1.01), speed("decode", 1.5, 1.55, 1.6)], &fine);
    assert_eq!((told.verdict, told.reasons.len()), (Verdict::Pays, 1));
    assert_eq!(told.reasons[0], "faster: decode 1.550× (1.500 to 1.600)");
}

#[test]
fn three_percent_slower_is_named() {
    let told = verdict(&[speed("prefill", 0.99, 1.0, 1.01), speed("decode", 0.962, 0.97, 0.978)], &side(0.0, 0.0));
    assert_eq!(told.verdict, Verdict::DoesNotPay);
    assert_eq!(told.reasons, ["slower: decode 0.970× (0.962 to 0.978)"]);
    // What is gained elsewhere does not make up for it, and is told as well.
    let mixed = [speed("prefill", 1.2, 1.3, 1.4), speed("decode", 0.962, 0.97, 0.978)];
    let told = verdict(&mixed, &side(0.0, 0.0));
    assert_eq!(told.verdict, Verdict::DoesNotPay);
    assert!(told.reasons[0].starts_with("slower: decode") && told.reasons[1].starts_with("faster: prefill"));
    // Within the limit it is told, and does not decide.
    let told = verdict(&[speed("prefill", 1.2, 1.3, 1.4), speed("decode", 0.975, 0.982, 0.989)], &side(0.0, 0.0));
    assert_eq!((told.verdict, told.reasons.len()), (Verdict::Pays, 2));
    // An interval that comes near 1 is not called slower.
    for row in [speed("decode", 0.9, 0.97, 0.99), speed("decode", 0.990, 0.993, 0.996)] {
        let told = verdict(&[row], &side(0.0, 0.0));
        assert_eq!(told.reasons, ["nothing is faster by +2.00 % for certain"]);
    }
}

#[test]
fn a_part_of_what_is_waited_for_does_not_decide() {
    let sampling = Speed { decides: false, ..speed("sampling", 3.0, 4.0, 5.0) };
    let told = verdict(&[sampling, speed("decode", 0.99, 1.0, 1.01)], &side(0.0, 0.0));
    assert_eq!(told.verdict, Verdict::DoesNotPay);
    assert!(told.notes[0].starts_with("sampling alone: 4.000×"), "it is told: {told:?}");
}

#[test]
fn a_loss_above_the_limit_is_unsafe_however_fast() {
    let fast = [speed("decode", 2.0, 2.1, 2.2)];
    assert_eq!(verdict(&fast, &side(0.0099, 0.0001)).verdict, Verdict::Pays);
    let told = verdict(&fast, &side(0.0101, 0.0001));
    assert_eq!(told.verdict, Verdict::Unsafe);
    assert!(told.reasons[0].starts_with("perplexity +1.01 %") && told.reasons[0].ends_with("+1.00 % is allowed"));
    assert!(told.reasons[1].starts_with("faster"), "what it would gain is told: {told:?}");
    assert_eq!(verdict(&fast, &side(f64::NAN, 0.0)).verdict, Verdict::Unsafe);
    // On which side the truth lies is uncertain: a note.
    assert_eq!(verdict(&fast, &side(0.009, 0.002)).notes.len(), 1);
    assert_eq!(verdict(&fast, &side(0.005, 0.002)).notes.len(), 0);
    // A baseline that loses as much is told too.
    let both = judge(&LIMITS, &fast, [&side(0.02, 0.0), &side(0.02, 0.0)], None, &[]);
    assert!(both.verdict == Verdict::Unsafe && both.reasons[1].contains("a loses too much as well"), "{both:?}");
}

#[test]
fn what_fails_or_loses_a_needle_is_unsafe() {
    let fast = [speed("decode", 2.0, 2.1, 2.2)];
    let broken = Side { quality: None, failure: Some("chunk 1: NaN".into()), ..Side::default() };
    let told = verdict(&fast, &broken);
    assert_eq!((told.verdict, &told.reasons[0][..]), (Verdict::Unsafe, "it failed: chunk 1: NaN"));

    let needle = |exact, a, b| Needle { position: 100, depth: 1000, exact, a, b };
    let told = |needles: &[Needle]| judge(&LIMITS, &fast, [&side(0.0, 0.0), &side(0.0, 0.0)], None, needles).verdict;
    assert_eq!(told(&[needle(true, true, false), needle(true, true, true)]), Verdict::Unsafe);
    assert_eq!(told(&[needle(true, false, false)]), Verdict::Pays, "a does not find it either");
    assert_eq!(told(&[needle(false, true, false)]), Verdict::Pays, "the model itself does not know it");
}

#[test]
fn noisier_is_named_when_it_is_certain_and_can_be_felt() {
    let with = |kld: f64| {
        let kld = Estimate { value: kld, uncertainty: 0.0 };
        Side { quality: Some(Quality { kld, ..samples::quality() }), ..Side::default() }
    };
    let told = |b: f64, excess: f64, error: f64| {
        let excess = Some(Estimate { value: excess, uncertainty: error });
        judge(&LIMITS, &[speed("decode", 1.5, 1.6, 1.7)], [&with(0.001), &with(b)], excess, &[]).reasons.join("; ")
    };
    assert!(told(0.004, 0.003, 0.0005).contains("noisier: mean KL divergence 0.004000, a has 0.001000"));
    assert!(!told(0.004, 0.003, 0.002).contains("noisier"), "not certain");
    assert!(!told(0.00105, 0.00005, 0.000001).contains("noisier"), "hardly any");
}
