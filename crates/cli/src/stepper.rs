//! One sequence, fed by hand: tokens in, logits out, no sampler. What `bench` times and `perplexity` scores.

use std::error::Error;

use chaski::Llm;
use engine::batch::{Batch, SeqId, Span};
use evidence::quality::LogitsSource;

/// Most bytes of logits that one step may yield: large vocabularies would fill the memory otherwise.
const MOST_LOGITS_BYTES: usize = 64 << 20;

/// The sequence.
const SEQ: SeqId = SeqId(0);

/// A loaded model with one sequence in its cache.
pub struct Stepper<'a> {
    llm: &'a mut Llm,
    batch: Batch,
    /// Most rows of a step.
    ubatch: usize,
    /// Tokens in the cache.
    len: usize,
    noise: Noise,
}

/// Random tokens, the same in every run.
pub struct Noise(u64);

impl Default for Noise {
    fn default() -> Noise {
        Noise(0x9e37_79b9_7f4a_7c15)
    }
}

impl Noise {
    /// A token of a vocabulary of that size.
    pub fn token(&mut self, vocab_size: usize) -> u32 {
        // xorshift64: any mix will do.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % vocab_size.max(1) as u64) as u32
    }
}

impl<'a> Stepper<'a> {
    /// Over an empty cache.
    pub fn new(llm: &'a mut Llm, ubatch: usize) -> anyhow::Result<Stepper<'a>> {
        let mut stepper = Stepper { llm, batch: Batch::default(), ubatch, len: 0, noise: Noise::default() };
        stepper.rewind(0)?;
        Ok(stepper)
    }

    /// The model.
    pub fn llm(&mut self) -> &mut Llm {
        self.llm
    }

    /// Keeps the first `len` tokens.
    pub fn rewind(&mut self, len: usize) -> anyhow::Result<()> {
        self.llm.truncate(SEQ, u32::try_from(len)?)?;
        self.len = len;
        Ok(())
    }

    /// Brings `len` tokens into the cache: by cutting off what is behind them, or anew where there are fewer (or a
    /// sliding window has dropped what would be needed).
    pub fn rewind_or_refill(&mut self, len: usize) -> anyhow::Result<()> {
        if self.len >= len && self.rewind(len).is_ok() {
            return Ok(());
        }
        self.rewind(0)?;
        let tokens = self.noise(len);
        self.eval(&tokens, usize::MAX, &mut |_, _| {})
    }

    /// Random tokens; BOS first where the sequence is empty and the model wants one.
    pub fn noise(&mut self, count: usize) -> Vec<u32> {
        let vocab_size = self.llm.vocab_size();
        let mut tokens: Vec<u32> = (0..count).map(|_| self.noise.token(vocab_size)).collect();
        let vocab = self.llm.tokenizer().vocab();
        if let (0, true, Some(bos), Some(first)) = (self.len, vocab.add_bos(), vocab.special().bos, tokens.first_mut())
        {
            *first = bos;
        }
        tokens
    }

    /// Appends tokens; only the last one yields logits, as for a greedy answer: a GPU finds the most likely token and hands
    /// out that alone. On the CPU they are left where they are, and nobody looks.
    pub fn eval_last(&mut self, tokens: &[u32]) -> anyhow::Result<()> {
        self.steps(tokens, tokens.len().saturating_sub(1), true, &mut |_, _| {})
    }

    /// Appends tokens, in steps of at most `ubatch` rows, and hands the logits of those from index `first_output` on to
    /// `sink`.
    pub fn eval(
        &mut self,
        tokens: &[u32],
        first_output: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> anyhow::Result<()> {
        self.steps(tokens, first_output, false, sink)
    }

    fn steps(
        &mut self,
        tokens: &[u32],
        first_output: usize,
        greedy: bool,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> anyhow::Result<()> {
        let vocab_size = self.llm.vocab_size();
        let most_outputs = (MOST_LOGITS_BYTES / (4 * vocab_size.max(1))).max(1);
        let mut done = 0;
        while done < tokens.len() {
            let mut end = tokens.len().min(done + self.ubatch);
            if end > first_output {
                end = end.min(done.max(first_output) + most_outputs);
            }
            self.fill(&tokens[done..end], first_output.saturating_sub(done));
            self.batch.greedy = greedy;
            let logits = self.llm.step(&self.batch)?;
            for (row, logits) in self.batch.output_rows.iter().zip(logits.chunks_exact(vocab_size)) {
                sink(done + *row as usize, logits);
            }
            self.len += end - done;
            done = end;
        }
        Ok(())
    }

    /// The batch of one step; rows from `first_output` on yield logits.
    fn fill(&mut self, tokens: &[u32], first_output: usize) {
        let (rows, first) = (tokens.len() as u32, self.len as u32);
        self.batch.clear();
        self.batch.tokens.extend_from_slice(tokens);
        self.batch.positions.extend(first..first + rows);
        self.batch.spans.push(Span { seq: SEQ, first_row: 0, num_rows: rows, context: first });
        self.batch.output_rows.extend((first_output.min(tokens.len()) as u32)..rows);
    }
}

impl LogitsSource for Stepper<'_> {
    fn vocab_size(&self) -> usize {
        self.llm.vocab_size()
    }

    fn eval_chunk(
        &mut self,
        tokens: &[u32],
        first_scored: usize,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.rewind(0)?;
        // Nothing follows the last token, so its logits score nothing.
        let last = tokens.len().saturating_sub(1);
        Ok(self.eval(&tokens[..last], first_scored, sink)?)
    }
}
