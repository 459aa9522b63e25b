//! The three-way comparison on made-up logits, whose divergence can be worked out by hand.

use super::*;

const VOCAB: usize = 4;

/// Every row is the exact one (`ln` of 1, 2, 3, 4 by token) with the first logit raised, or the second raised by a
/// noise of both signs.
#[derive(Clone, Copy)]
struct Off {
    first: f32,
    noise: f32,
    vocab_size: usize,
}

const EXACT: Off = Off { first: 0.0, noise: 0.0, vocab_size: VOCAB };

impl LogitsSource for Off {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn eval_chunk(
        &mut self,
        tokens: &[u32],
        first_scored: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for position in first_scored..tokens.len() {
            let mut row: Vec<f32> = (1..=self.vocab_size).map(|weight| (weight as f32).ln()).collect();
            row[0] += self.first;
            row[1] += if position % 2 == 0 { self.noise } else { -self.noise };
            sink(position, &row);
        }
        Ok(())
    }
}

fn compare(mut a: Off, mut b: Off) -> Fidelity {
    let tokens: Vec<u32> = (0..400).map(|at| at % 4).collect();
    let chunking = Chunking { context: 40, max_chunks: Some(8), bos: None };
    let mut order = Vec::new();
    let told = fidelity(&mut EXACT.clone(), &mut a, &mut b, &tokens, &chunking, &mut |name| order.push(name)).unwrap();
    assert_eq!(order[..3], [SourceName::Exact, SourceName::A, SourceName::B]);
    assert_eq!(order.len(), 24, "eight chunks, three each");
    told
}

#[test]
fn divergence_and_loss_are_those_worked_out_by_hand() {
    // The first logit raised by ln 11: the weights become 11, 2, 3, 4 of 20 instead of 1, 2, 3, 4 of 10.
    let told = compare(EXACT, Off { first: 11f32.ln(), ..EXACT });
    let (a, b) = (told.a.unwrap(), told.b.unwrap());
    assert_eq!((a.num_scored, a.kld.value, a.max_logit_error, a.same_top.value), (8 * 19, 0.0, 0.0, 1.0));
    assert_eq!((a.loss(), a.loss_interval()), (0.0, (0.0, 0.0)));
    let expected = [(0.1, 0.55), (0.2, 0.1), (0.3, 0.15), (0.4, 0.2)].map(|(p, q): (f64, f64)| p * (p / q).ln());
    assert!((b.kld.value - expected.iter().sum::<f64>()).abs() < 1e-6, "{b:?}");
    assert!((b.kld_p99 - b.kld.value).abs() < 1e-6 && b.kld_percentiles.len() == 101);
    assert!((b.max_logit_error - 11f32.ln()).abs() < 1e-6 && b.same_top.value == 0.0);
    assert!((b.log_ratio.value - (b.perplexity / b.perplexity_exact).ln()).abs() < 1e-9);
    assert!(told.kld_excess.unwrap().value > 0.3);
}

#[test]
fn more_noise_is_a_larger_divergence_for_certain() {
    let [quiet, loud] = [0.01, 0.1].map(|noise| Off { noise, ..EXACT });
    let told = compare(quiet, loud);
    let (a, b) = (told.a.unwrap(), told.b.unwrap());
    assert!(b.kld.value > 50.0 * a.kld.value && a.kld.value > 0.0, "{a:?} {b:?}");
    assert!(told.kld_excess.unwrap().interval().0 > 0.0);
    let (low, high) = b.loss_interval();
    assert!(low < b.loss() && b.loss() < high);
    assert!(compare(loud, quiet).kld_excess.unwrap().interval().1 < 0.0);
}

#[test]
fn a_configuration_that_breaks_is_a_result_and_the_other_one_stays() {
    let told = compare(EXACT, Off { first: f32::NAN, ..EXACT });
    assert!(told.a.is_ok() && told.kld_excess.is_none());
    let failure = told.b.unwrap_err().to_string();
    assert!(failure.contains("chunk 1") && failure.contains("NaN"), "{failure}");
    let other = compare(Off { vocab_size: 5, ..EXACT }, EXACT);
    assert!(other.a.unwrap_err().to_string().contains('5') && other.b.is_ok());
}

#[test]
fn an_exact_plan_that_breaks_and_a_text_that_is_too_short_are_errors() {
    let chunking = Chunking { context: 40, max_chunks: None, bos: None };
    let run = |mut exact: Off, tokens: &[u32]| {
        let told = fidelity(&mut exact, &mut EXACT.clone(), &mut EXACT.clone(), tokens, &chunking, &mut |_| {});
        told.unwrap_err().to_string()
    };
    assert!(run(Off { first: f32::NAN, ..EXACT }, &[0; 40]).contains("NaN"));
    assert!(run(EXACT, &[0; 39]).contains("39 tokens"));
    assert!(run(EXACT, &[9; 40]).contains("token 0 is 9"));
}
