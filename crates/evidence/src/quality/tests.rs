//! Tests of scoring and of the file of base distributions, on made-up logits.

use super::*;
use proptest::prelude::*;

const VOCAB: usize = 37;

/// A source whose logits are a fixed function of the two tokens up to a position, so that BOS can be seen.
struct Synthetic {
    sharpness: f32,
    evaluated: Vec<Vec<u32>>,
}

impl Synthetic {
    fn new(sharpness: f32) -> Self {
        Self { sharpness, evaluated: Vec::new() }
    }

    fn logits(&self, before: u32, token: u32) -> Vec<f32> {
        let mut state = u64::from(before) << 32 | u64::from(token) | 1 << 60;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..VOCAB).map(|_| self.sharpness * next()).collect()
    }
}

impl LogitsSource for Synthetic {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn eval_chunk(
        &mut self,
        tokens: &[u32],
        first_scored: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.evaluated.push(tokens.to_vec());
        for position in first_scored..tokens.len() {
            let before = position.checked_sub(1).map_or(0, |before| tokens[before]);
            sink(position, &self.logits(before, tokens[position]));
        }
        Ok(())
    }
}

fn text(len: usize) -> Vec<u32> {
    (0..len).map(|at| (at * at * 7 + at) as u32 % VOCAB as u32).collect()
}

fn chunking(context: usize) -> Chunking {
    Chunking { context, max_chunks: None, bos: None }
}

/// The base file of a synthetic source over a text, and the perplexity told while it was written.
fn base(sharpness: f32, context: usize, tokens: &[u32]) -> (Vec<u8>, Perplexity) {
    let mut file = Vec::new();
    let mut source = Synthetic::new(sharpness);
    let found = perplexity(&mut source, tokens, &chunking(context), Some(&mut file), &mut |_, _| {});
    (file, found.unwrap())
}

fn open(file: &[u8]) -> Result<BaseReader<&[u8]>, Error> {
    BaseReader::open(file, file.len() as u64)
}

#[test]
fn uniform_logits_have_the_perplexity_of_the_vocabulary() {
    let found = perplexity(&mut Synthetic::new(0.0), &text(50), &chunking(10), None, &mut |_, _| {}).unwrap();
    assert!((found.value - VOCAB as f64).abs() < 1e-9);
    // Of each ten tokens the positions 5 to 8 are scored.
    assert_eq!((found.num_chunks, found.num_scored), (5, 20));
    assert!(found.uncertainty < 1e-6);
}

#[test]
fn perplexity_is_the_exponential_of_the_mean_negative_log_likelihood() {
    let tokens = text(64);
    let mut source = Synthetic::new(5.0);
    let mut heard = Vec::new();
    let chunks = Chunking { context: 16, max_chunks: Some(3), bos: Some(1) };
    let found = perplexity(&mut source, &tokens, &chunks, None, &mut |chunk, ppl| heard.push((chunk, ppl))).unwrap();

    let mut nll = Vec::new();
    for chunk in tokens.chunks(16).take(3) {
        for position in 8..15 {
            let logits = source.logits(chunk[position - 1], chunk[position]);
            let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            nll.push(sum.ln() - f64::from(logits[chunk[position + 1] as usize]));
        }
    }
    let mean = nll.iter().sum::<f64>() / nll.len() as f64;
    let variance = nll.iter().map(|nll| (nll - mean).powi(2)).sum::<f64>() / nll.len() as f64;
    assert!((found.value / mean.exp() - 1.0).abs() < 1e-6);
    let uncertainty = (variance / (nll.len() as f64 - 1.0)).sqrt() * mean.exp();
    assert!((found.uncertainty / uncertainty - 1.0).abs() < 1e-5);
    assert_eq!(heard.len(), 3);
    assert_eq!(heard[2], (3, found.value));
    // BOS stands first in what was evaluated, whatever the text holds there.
    assert!(
        source.evaluated.iter().zip(tokens.chunks(16)).all(|(seen, chunk)| seen[0] == 1 && seen[1..] == chunk[1..])
    );
}

#[test]
fn the_last_line_is_that_of_llama_perplexity() {
    let found = Perplexity { value: 23.58996, uncertainty: 1.352_104, num_scored: 10, num_chunks: 1 };
    assert_eq!(found.to_string(), "Final estimate: PPL = 23.5900 +/- 1.35210");
}

#[test]
fn texts_and_contexts_that_cannot_be_scored_are_refused() {
    let score = |tokens: &[u32], context| {
        perplexity(&mut Synthetic::new(1.0), tokens, &chunking(context), None, &mut |_, _| {}).unwrap_err().to_string()
    };
    assert!(score(&text(31), 16).contains("31 tokens"));
    assert!(score(&text(31), 2).contains("context of 2"));
    assert!(score(&[0, 1, VOCAB as u32, 3, 4, 5, 6, 7], 4).contains("token 2 is 37"));
}

/// A source that hands on what it is told to, whatever the tokens.
struct Scripted(Vec<(usize, Vec<f32>)>);

impl LogitsSource for Scripted {
    fn vocab_size(&self) -> usize {
        2
    }

    fn eval_chunk(
        &mut self,
        _: &[u32],
        _: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.iter().for_each(|(position, row)| sink(*position, row));
        if self.0.is_empty() { Err("the model broke".into()) } else { Ok(()) }
    }
}

#[test]
fn a_source_that_misbehaves_is_named() {
    let score = |rows: Vec<(usize, Vec<f32>)>| {
        perplexity(&mut Scripted(rows), &[0; 12], &chunking(6), None, &mut |_, _| {}).unwrap_err().to_string()
    };
    assert_eq!(score(vec![]), "chunk 1: the model broke");
    assert!(score(vec![(3, vec![0.0, f32::NAN])]).contains("chunk 1, position 3"));
    assert!(score(vec![(3, vec![0.0, f32::INFINITY])]).contains("NaN or infinity"));
    assert!(score(vec![(3, vec![f32::NEG_INFINITY; 2])]).contains("NaN or infinity"));
    assert!(score(vec![(3, vec![0.0; 3])]).contains("expected 2 logits at position 3, got 3"));
    assert!(score(vec![(3, vec![0.0; 2])]).contains("expected 2 logits at position 4, got 0"));
    assert!(score(vec![(4, vec![0.0; 2])]).contains("expected 2 logits at position 3, got 0"));
}

#[test]
fn the_base_file_keeps_tokens_and_distributions() {
    let tokens = text(40);
    let (file, _) = base(30.0, 10, &tokens);
    let mut reader = open(&file).unwrap();
    assert_eq!((reader.context(), reader.vocab_size(), reader.tokens()), (10, VOCAB, tokens.as_slice()));
    let (mut log_probs, source) = (Vec::new(), Synthetic::new(30.0));
    for chunk in tokens.chunks(10) {
        for position in 5..9 {
            reader.row(&mut log_probs).unwrap();
            let logits = source.logits(chunk[position - 1], chunk[position]);
            let max = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
            for (stored, logit) in log_probs.iter().zip(&logits) {
                let truth = (logit - max).max(-16.0) - sum.ln();
                assert!((stored - truth).abs() <= 0.51 * 16.0 / 65535.0 + 1e-5, "{stored} for {truth}");
            }
        }
    }
    assert!(reader.row(&mut log_probs).unwrap_err().to_string().contains("ends within a row"));
}

#[test]
fn a_flat_row_is_stored_with_scale_zero() {
    let (file, found) = base(0.0, 10, &text(20));
    let mut log_probs = Vec::new();
    open(&file).unwrap().row(&mut log_probs).unwrap();
    assert!(log_probs.iter().all(|p| (f64::from(*p) + (VOCAB as f64).ln()).abs() < 1e-6));
    assert!((found.value - VOCAB as f64).abs() < 1e-4);
}

#[test]
fn a_source_does_not_diverge_from_itself() {
    let (file, told) = base(12.0, 20, &text(400));
    let mut chunks = 0;
    let heard = &mut |chunk, _: &Running| chunks = chunk;
    let report = divergence(&mut Synthetic::new(12.0), &mut open(&file).unwrap(), None, heard).unwrap();
    assert_eq!((chunks, report.num_scored), (20, 180));
    // What the steps of the file lose.
    assert!(report.running.kld.value.abs() < 1e-5, "{}", report.running);
    assert!(report.running.same_top.value > 0.99);
    assert!((report.running.perplexity.value / told.value - 1.0).abs() < 1e-5);
    assert!((report.perplexity_base.value / told.value - 1.0).abs() < 1e-4);
    assert!(report.correlation > 0.9999);
}

#[test]
fn divergence_is_what_the_formula_says() {
    let tokens = text(400);
    let (file, _) = base(6.0, 20, &tokens);
    let report = divergence(&mut Synthetic::new(4.0), &mut open(&file).unwrap(), None, &mut |_, _| {}).unwrap();

    let log_softmax = |logits: Vec<f32>| {
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        logits.into_iter().map(|logit| f64::from(logit) - sum.ln()).collect::<Vec<f64>>()
    };
    let (plan, truth) = (Synthetic::new(4.0), Synthetic::new(6.0));
    let (mut kld, mut p_diff, mut same) = (Vec::new(), Vec::new(), 0);
    for chunk in tokens.chunks(20) {
        for position in 10..19 {
            let q = log_softmax(plan.logits(chunk[position - 1], chunk[position]));
            let p = log_softmax(truth.logits(chunk[position - 1], chunk[position]));
            kld.push(p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>());
            let next = chunk[position + 1] as usize;
            p_diff.push(q[next].exp() - p[next].exp());
            let top = |row: &[f64]| (0..VOCAB).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            same += usize::from(top(&q) == top(&p));
        }
    }
    let count = kld.len() as f64;
    assert!((report.running.kld.value / (kld.iter().sum::<f64>() / count) - 1.0).abs() < 1e-3);
    let rms = (p_diff.iter().map(|p| p * p).sum::<f64>() / count).sqrt();
    assert!((report.running.p_diff_rms.value / rms - 1.0).abs() < 1e-3);
    assert!((report.running.same_top.value - same as f64 / count).abs() < 1e-9);
    kld.sort_by(f64::total_cmp);
    assert!((f64::from(report.kld_percentiles.at(1.0)) / kld[kld.len() - 1] - 1.0).abs() < 1e-3);
    assert!((f64::from(report.kld_percentiles.median()) / (0.5 * (kld[89] + kld[90])) - 1.0).abs() < 1e-3);
    for line in ["Mean PPL(Q)                   : ", "Mean    KLD: ", "99.9%   KLD: ", "RMS Δp    : ", "Same top p: "]
    {
        assert!(report.to_string().contains(line), "{report}");
    }
}

#[test]
fn another_vocabulary_is_refused() {
    let (file, _) = base(6.0, 20, &text(40));
    let error = divergence(&mut Scripted(vec![]), &mut open(&file).unwrap(), None, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "base distributions have 37 vocabulary entries, the model has 2");
}

#[test]
fn damaged_heads_are_refused_by_name() {
    let (file, _) = base(6.0, 10, &text(20));
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut damaged = file.clone();
        change(&mut damaged);
        open(&damaged).err().expect("accepted").to_string()
    };
    assert!(refused(&|file| file[0] = b'x').contains("does not begin"));
    assert!(refused(&|file| file[8..12].copy_from_slice(&(-1i32).to_le_bytes())).contains("the context is -1"));
    assert!(refused(&|file| file[8..12].copy_from_slice(&i32::MAX.to_le_bytes())).contains("take"));
    assert!(refused(&|file| file[12..16].fill(0)).contains("the vocabulary size is 0"));
    assert!(refused(&|file| file[16..20].copy_from_slice(&i32::MAX.to_le_bytes())).contains("take"));
    assert!(refused(&|file| file[20..24].fill(0xff)).contains("token 0"));
    assert!(refused(&|file| file.truncate(7)).contains("ends within the head"));
    // The scale of the first row becomes NaN.
    let mut damaged = file.clone();
    let rows = 20 + 4 * 20;
    damaged[rows..rows + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = open(&damaged).unwrap().row(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("scale NaN"), "{error}");
}

proptest! {
    #[test]
    fn a_file_cut_anywhere_is_an_error(cut in 0usize..1000) {
        let (file, _) = base(6.0, 10, &text(20));
        let cut = cut % file.len();
        prop_assert!(open(&file[..cut]).is_err());
    }

    #[test]
    fn whatever_stands_in_a_file_it_does_not_panic(at in 0usize..2000, bytes in prop::collection::vec(any::<u8>(), 1..8)) {
        let (mut file, _) = base(6.0, 10, &text(20));
        let at = at % file.len();
        let end = (at + bytes.len()).min(file.len());
        file[at..end].copy_from_slice(&bytes[..end - at]);
        if let Ok(mut reader) = open(&file) {
            let _ = divergence(&mut Synthetic::new(6.0), &mut reader, Some(1), &mut |_, _| {});
        }
    }
}
