//! The file of base distributions that llama.cpp calls `--kl-divergence-base`: read, written, and safe to open whatever
//! it holds. Called by [`super::perplexity()`] (writes) and [`super::divergence()`] (reads).
//!
//! ```text
//! "_logits_"  i32 context  i32 vocab_size  i32 num_chunks  i32 tokens[num_chunks × context]
//! then, for each scored position of each chunk, one row:
//!     f32 scale  f32 min_log_prob  u16 step[vocab_size, rounded up to even]
//! ```
//! all little-endian, with `log p(i) = scale × step[i] + min_log_prob`. Tokens are those of the text, before BOS takes the
//! place of each chunk's first. Probabilities below `exp(-16)` of the largest are stored as if they were that.

use super::{Chunking, softmax::Normaliser};
use crate::Error;
use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"_logits_";

/// How far below the largest logit a distribution is still told apart.
const LOGIT_RANGE: f32 = 16.0;

/// The largest step.
const STEPS: f32 = 65535.0;

/// Bytes of a row: two floats and one step per entry, the number of steps rounded up to even.
fn row_bytes(vocab_size: usize) -> usize {
    8 + 2 * vocab_size.next_multiple_of(2)
}

/// Writes the file, row by row.
pub struct BaseWriter<W> {
    out: W,
    row: Vec<u8>,
}

impl<W: Write> BaseWriter<W> {
    /// Writes everything that stands before the rows; `tokens` are whole chunks.
    pub fn begin(mut out: W, context: usize, vocab_size: usize, tokens: &[u32]) -> Result<Self, Error> {
        let count = |what: &str, count: usize| {
            i32::try_from(count).map_err(|_| Error::BadBase(format!("{what} of {count} does not fit the format")))
        };
        out.write_all(MAGIC)?;
        for number in [
            count("a context", context)?,
            count("a vocabulary", vocab_size)?,
            count("a number of chunks", tokens.len() / context.max(1))?,
        ] {
            out.write_all(&number.to_le_bytes())?;
        }
        for token in tokens {
            out.write_all(&token.to_le_bytes())?;
        }
        Ok(Self { out, row: Vec::with_capacity(row_bytes(vocab_size)) })
    }

    /// Writes one scored position.
    pub(super) fn row(&mut self, logits: &[f32], normaliser: &Normaliser) -> Result<(), Error> {
        let max = normaliser.max;
        let min = logits.iter().copied().fold(max, f32::min).max(max - LOGIT_RANGE);
        let scale = (max - min) / STEPS;
        let min_log_prob = min - max - normaliser.log_sum_exp as f32;
        self.row.clear();
        self.row.extend(scale.to_le_bytes());
        self.row.extend(min_log_prob.to_le_bytes());
        let per_step = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        for logit in logits {
            let step = if *logit > min { (per_step * (logit - min)).round_ties_even().min(STEPS) } else { 0.0 };
            self.row.extend((step as u16).to_le_bytes());
        }
        self.row.resize(row_bytes(logits.len()), 0);
        self.out.write_all(&self.row)?;
        Ok(())
    }

    /// Hands everything to the operating system.
    pub fn finish(mut self) -> Result<(), Error> {
        self.out.flush()?;
        Ok(())
    }
}

/// Reads the file, row by row.
pub struct BaseReader<R> {
    input: R,
    context: usize,
    vocab_size: usize,
    tokens: Vec<u32>,
    row: Vec<u8>,
}

impl<R: Read> BaseReader<R> {
    /// Reads everything that stands before the rows. `len_bytes` is the length of the file: whatever its head claims,
    /// nothing is allocated that such a file could not fill.
    pub fn open(mut input: R, len_bytes: u64) -> Result<Self, Error> {
        let mut magic = [0; 8];
        read(&mut input, &mut magic, "the head")?;
        if &magic != MAGIC {
            return Err(Error::BadBase("not such a file: it does not begin with `_logits_`".into()));
        }
        let mut count = |what: &str, least: i32| {
            let mut bytes = [0; 4];
            read(&mut input, &mut bytes, what)?;
            let count = i32::from_le_bytes(bytes);
            let fits = usize::try_from(count).ok().filter(|_| count >= least);
            fits.ok_or_else(|| Error::BadBase(format!("{what} is {count}, which cannot be")))
        };
        let context = count("the context", super::LEAST_CONTEXT as i32)?;
        let vocab_size = count("the vocabulary size", 1)?;
        let num_chunks = count("the number of chunks", 1)?;

        let chunking = Chunking { context, max_chunks: None, bos: None };
        let chunk_bytes = 4 * context as u128 + chunking.num_scored() as u128 * row_bytes(vocab_size) as u128;
        let due = 20 + num_chunks as u128 * chunk_bytes;
        if u128::from(len_bytes) != due {
            let what = format!("{num_chunks} chunks of {context} tokens with {vocab_size} entries take {due} bytes");
            return Err(Error::BadBase(format!("{what}, the file has {len_bytes}")));
        }

        let mut bytes = vec![0; 4 * context * num_chunks];
        read(&mut input, &mut bytes, "the tokens")?;
        let tokens: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        super::check_tokens(&tokens, vocab_size)?;
        Ok(Self { input, context, vocab_size, tokens, row: vec![0; row_bytes(vocab_size)] })
    }

    /// Tokens in a chunk.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Entries in a row.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The text that was scored, whole chunks.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Reads the next scored position's log-probabilities into `log_probs`.
    pub fn row(&mut self, log_probs: &mut Vec<f32>) -> Result<(), Error> {
        read(&mut self.input, &mut self.row, "a row")?;
        let float =
            |at: usize| f32::from_le_bytes([self.row[at], self.row[at + 1], self.row[at + 2], self.row[at + 3]]);
        let (scale, min_log_prob) = (float(0), float(4));
        if !(scale.is_finite() && scale >= 0.0 && min_log_prob.is_finite()) {
            let what = format!("a row has the scale {scale} and the least log-probability {min_log_prob}");
            return Err(Error::BadBase(what));
        }
        let steps = self.row[8..8 + 2 * self.vocab_size].chunks_exact(2);
        log_probs.clear();
        log_probs.extend(steps.map(|step| scale * f32::from(u16::from_le_bytes([step[0], step[1]])) + min_log_prob));
        Ok(())
    }
}

/// Fills `bytes`, and says what was being read when the file ends early.
fn read(input: &mut impl Read, bytes: &mut [u8], what: &str) -> Result<(), Error> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::BadBase(format!("the file ends within {what}")),
        _ => Error::Io(error),
    })
}
