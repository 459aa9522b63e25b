//! Files and figures against llama.cpp's own. The data was made with its `llama-perplexity` on `fixtures/llama.gguf`
//! (`base.kld`) and on the same model quantised to Q4_0 (`other.kld`), 16 chunks of 16 tokens; `report.txt` is what it
//! printed when it compared the second with the first.

use evidence::quality::{BaseReader, Chunking, LogitsSource, Perplexity, RUNNING_HEAD, divergence, perplexity};
use std::error::Error;

const BASE: &[u8] = include_bytes!("data/base.kld");
const OTHER: &[u8] = include_bytes!("data/other.kld");
const REPORT: &str = include_str!("data/report.txt");

fn open(file: &[u8]) -> BaseReader<&[u8]> {
    BaseReader::open(file, file.len() as u64).unwrap()
}

/// Plays back the distributions of a file: log-probabilities are logits too.
struct Replay(BaseReader<&'static [u8]>);

impl LogitsSource for Replay {
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn eval_chunk(
        &mut self,
        tokens: &[u32],
        first_scored: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut row = Vec::new();
        for position in first_scored..tokens.len() - 1 {
            self.0.row(&mut row)?;
            sink(position, &row);
        }
        Ok(())
    }
}

/// Scores what a file holds, writing it anew.
fn rescore(file: &'static [u8]) -> (Perplexity, Vec<u8>) {
    let reader = open(file);
    let (tokens, context) = (reader.tokens().to_vec(), reader.context());
    let chunking = Chunking { context, max_chunks: None, bos: None };
    let mut written = Vec::new();
    let found = perplexity(&mut Replay(reader), &tokens, &chunking, Some(&mut written), &mut |_, _| {}).unwrap();
    (found, written)
}

#[test]
fn a_file_of_llama_cpp_gives_the_perplexity_that_it_printed() {
    assert_eq!((open(BASE).context(), open(BASE).vocab_size(), open(BASE).tokens().len()), (16, 307, 256));
    for (file, value, uncertainty) in [(BASE, 797.2243, 103.07141), (OTHER, 838.1294, 107.37438)] {
        let (found, _) = rescore(file);
        assert_eq!((found.num_chunks, found.num_scored), (16, 112));
        // The file keeps log-probabilities in steps of 1.4e-4.
        assert!((found.value / value - 1.0).abs() < 2e-5, "{found}");
        assert!((found.uncertainty / uncertainty - 1.0).abs() < 2e-4, "{found}");
    }
}

#[test]
fn a_file_written_here_is_the_one_llama_cpp_wrote() {
    let (_, written) = rescore(BASE);
    let rows = 20 + 4 * 256;
    assert_eq!(written[..rows], BASE[..rows]);
    assert_eq!(written.len(), BASE.len());
    let steps =
        |row: &[u8]| row[8..].chunks_exact(2).map(|s| i32::from(s[0]) | i32::from(s[1]) << 8).collect::<Vec<_>>();
    for (ours, theirs) in written[rows..].chunks_exact(624).zip(BASE[rows..].chunks_exact(624)) {
        assert!(steps(ours).iter().zip(steps(theirs)).all(|(ours, theirs)| (ours - theirs).abs() <= 1));
    }
}

#[test]
fn the_comparison_prints_what_llama_cpp_printed() {
    let mut lines = vec![RUNNING_HEAD.to_string()];
    let heard = &mut |chunk, running: &evidence::quality::Running| lines.push(format!("{chunk:4}{running}"));
    let report = divergence(&mut Replay(open(OTHER)), &mut open(BASE), None, heard).unwrap();
    let ours = format!("{}\n\n{report}\n", lines.join("\n"));
    assert_eq!(ours.lines().count(), REPORT.lines().count());
    for (ours, theirs) in ours.lines().zip(REPORT.lines()) {
        assert!(agrees(ours, theirs), "\nours   {ours}\ntheirs {theirs}");
    }
}

/// The same line; numbers apart by no more than the steps of the file and three in the last digit printed.
fn agrees(ours: &str, theirs: &str) -> bool {
    let number = |word: &str| {
        let word = word.trim_end_matches('%');
        let decimals = word.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        Some((word.parse::<f64>().ok()?, 0.1f64.powi(decimals as i32)))
    };
    let close = |(ours, theirs): (&str, &str)| match (number(ours), number(theirs)) {
        (Some((ours, _)), Some((theirs, digit))) => (ours - theirs).abs() <= 2e-4 * theirs.abs() + 3.0 * digit,
        _ => ours == theirs,
    };
    let (a, b): (Vec<&str>, Vec<&str>) = (ours.split_whitespace().collect(), theirs.split_whitespace().collect());
    a.len() == b.len() && a.into_iter().zip(b).all(close) && shape(ours) == shape(theirs)
}

/// A line with every digit made alike, so that columns and signs are compared too.
fn shape(line: &str) -> String {
    line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}
