//! What one step computes: the rows of every sequence that takes part, and the cache copies that come first.
//!
//! Filled by the scheduler (or directly by `perplexity`, `bench` and the C API), read by the runner.
//! One `Batch` is reused for all steps, so nothing is allocated once it has grown to its usual size.

/// Names a sequence in the KV cache: an index chosen by the caller, below the cache's `max_sequences`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SeqId(pub u32);

/// Which rows of a span are to yield logits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// No row: a prefill chunk that is not the last.
    None,
    /// The last row: decoding, or the end of a prompt.
    Last,
    /// Every row: perplexity, verification of drafted tokens.
    All,
}

/// The rows of one sequence: contiguous in the batch, at consecutive positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The sequence.
    pub seq: SeqId,
    /// Index of its first row in `tokens` and `positions`.
    pub first_row: u32,
    /// Number of its rows.
    pub num_rows: u32,
    /// Tokens of this sequence that are in the cache before this step; the first row attends to these
    /// and itself, the second to one more, and so on.
    pub context: u32,
}

impl Span {
    /// The rows as indices into the batch.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.first_row as usize..(self.first_row + self.num_rows) as usize
    }
}

/// A move of up to one block of cached tokens inside one group, for every layer and KV head of it.
///
/// Copies of a shared block before it is written, and context shifts, are both lists of these. The
/// runner applies them **in order, before it computes any row** of the step: a later move may overwrite
/// what an earlier one has read. `src` and `dst` may be the same block with overlapping tokens
/// (`memmove`), or the very same tokens when only a rotation is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCopy {
    /// Index of the group in the cache.
    pub group: u32,
    /// Table entry (first physical block of the run) that is read.
    pub src: u32,
    /// First token read, within the block.
    pub src_offset: u32,
    /// Table entry that is written.
    pub dst: u32,
    /// First token written, within the block.
    pub dst_offset: u32,
    /// Number of tokens, at most a block.
    pub num_tokens: u32,
    /// How far the tokens' positions move; keys are stored after RoPE, so they are rotated by this
    /// many further positions (negative after a context shift, zero for a plain copy).
    pub shift: i32,
}

/// The work of one step. See the field documentation for the order of rows.
#[derive(Clone, Default, Debug)]
pub struct Batch {
    /// Token id of each row.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<u32>,
    /// The sequences, in the order of their rows; they cover all rows without gaps.
    pub spans: Vec<Span>,
    /// Rows that yield logits, ascending; the runner returns one row of logits for each.
    pub output_rows: Vec<u32>,
    /// Cache moves to be made, in order, before the rows are computed.
    pub copies: Vec<BlockCopy>,
    /// To be computed on the exact plan: a sequence is prefilled again because numbers went wrong.
    pub exact: bool,
    /// Of each output row nobody asks more than its most likely token: a runner that can find it where the logits are need
    /// not hand them out.
    pub greedy: bool,
}

impl Batch {
    /// An empty batch with room for that many rows and sequences.
    pub fn with_capacity(num_rows: usize, num_sequences: usize) -> Self {
        Batch {
            tokens: Vec::with_capacity(num_rows),
            positions: Vec::with_capacity(num_rows),
            spans: Vec::with_capacity(num_sequences),
            output_rows: Vec::with_capacity(num_rows),
            copies: Vec::with_capacity(num_sequences),
            exact: false,
            greedy: false,
        }
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.spans.clear();
        self.output_rows.clear();
        self.copies.clear();
        self.exact = false;
        self.greedy = false;
    }

    /// Adds the next tokens of a sequence, the first of them at `first_position`, which is also the
    /// number of tokens that the cache holds of it. A sequence is added at most once per step; without
    /// tokens nothing is added.
    pub fn push(&mut self, seq: SeqId, tokens: &[u32], first_position: u32, outputs: Outputs) {
        if tokens.is_empty() {
            return;
        }
        debug_assert!(self.spans.iter().all(|span| span.seq != seq), "sequence twice in a batch");
        let first_row = self.tokens.len() as u32;
        let num_rows = tokens.len() as u32;
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(first_position..first_position + num_rows);
        self.spans.push(Span { seq, first_row, num_rows, context: first_position });
        match outputs {
            Outputs::None => {}
            Outputs::Last => self.output_rows.push(first_row + num_rows - 1),
            Outputs::All => self.output_rows.extend(first_row..first_row + num_rows),
        }
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is nothing to compute (there may still be copies to make).
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_contiguous_and_the_asked_rows_yield_logits() {
        let mut batch = Batch::with_capacity(8, 3);
        batch.push(SeqId(2), &[10, 11], 5, Outputs::None);
        batch.push(SeqId(0), &[20], 9, Outputs::Last);
        batch.push(SeqId(1), &[], 9, Outputs::All);
        batch.push(SeqId(3), &[30, 31, 32], 0, Outputs::All);
        assert_eq!(batch.tokens, [10, 11, 20, 30, 31, 32]);
        assert_eq!(batch.positions, [5, 6, 9, 0, 1, 2]);
        assert_eq!(batch.output_rows, [2, 3, 4, 5]);
        assert_eq!(batch.spans.len(), 3);
        assert_eq!(batch.spans[2], Span { seq: SeqId(3), first_row: 3, num_rows: 3, context: 0 });
        assert_eq!(batch.spans[0].rows(), 0..2);
        batch.clear();
        assert!(batch.is_empty() && batch.spans.is_empty() && batch.output_rows.is_empty());
    }
}
