//! Ends an answer by what its text looks like or how long it takes: llama-server's `n_indent` and
//! `t_max_predict_ms`, made for completing code. Wrapped around the text of a request that asks for either.

use std::time::{Duration, Instant};

use engine::TokenText;
use engine::request::Detokenize;

/// Where a [`engine::sequence::FinishReason::Stop`] points that a limit of the text has caused, not a stop string.
pub const TEXT_LIMIT: u32 = u32::MAX;

/// Text that ends at a line indented less than `min_indent`, or, after `most_ms`, at the end of a line.
pub struct LimitedText {
    text: TokenText,
    min_indent: usize,
    most: Option<Duration>,
    /// When the first token came.
    began: Option<Instant>,
    /// Blanks of the line that has just begun; `None` within a line, and in the first one.
    indent: Option<usize>,
}

impl LimitedText {
    pub fn new(text: TokenText, min_indent: usize, most_ms: Option<u64>) -> Self {
        LimitedText { text, min_indent, most: most_ms.map(Duration::from_millis), began: None, indent: None }
    }

    /// Where in `piece` a line begins that is indented too little.
    fn outdent(&mut self, piece: &str) -> Option<usize> {
        for (at, letter) in piece.char_indices() {
            match (self.indent, letter) {
                (Some(blanks), ' ' | '\t') => self.indent = Some(blanks + 1),
                (Some(blanks), _) if blanks < self.min_indent => return Some(at),
                (_, '\n') => self.indent = Some(0),
                (_, _) => self.indent = None,
            }
        }
        None
    }
}

impl Detokenize for LimitedText {
    fn push(&mut self, token: u32, piece: &mut String) -> Option<u32> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let stopped = self.text.push(token, piece);
        if self.min_indent > 0
            && let Some(at) = self.outdent(piece)
        {
            piece.truncate(at);
            return Some(TEXT_LIMIT);
        }
        let is_late = self.most.is_some_and(|most| began.elapsed() > most);
        stopped.or((is_late && piece.contains('\n')).then_some(TEXT_LIMIT))
    }

    fn finish(&mut self, piece: &mut String) {
        self.text.finish(piece);
    }
}
