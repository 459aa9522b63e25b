//! From tokens to what the client reads: the model's tokenizer and stop strings behind [`Detokenize`].

use crate::request::Detokenize;
use std::sync::Arc;
use text::{Detokenizer, StopStrings, Tokenizer};

/// Whole characters out of tokens, up to the first stop string.
pub struct TokenText {
    tokenizer: Arc<Tokenizer>,
    detokenizer: Detokenizer,
    stops: StopStrings,
}

impl TokenText {
    /// For one request. `special`: control tokens are spelled out.
    pub fn new(tokenizer: Arc<Tokenizer>, special: bool, stops: StopStrings) -> Self {
        TokenText { tokenizer, detokenizer: Detokenizer::new(special), stops }
    }
}

impl Detokenize for TokenText {
    fn push(&mut self, token: u32, piece: &mut String) -> Option<u32> {
        let stop = self.stops.push(self.detokenizer.push(&self.tokenizer, token));
        piece.push_str(&stop.text);
        stop.stopped.map(|index| index as u32)
    }

    fn finish(&mut self, piece: &mut String) {
        let stop = self.stops.push(self.detokenizer.flush());
        piece.push_str(&stop.text);
        piece.push_str(&self.stops.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::Encode;

    /// The pieces of a text without its last `cut` tokens, and whether a stop string ended it.
    fn spell(text: &str, cut: usize, stops: &[&str]) -> (Vec<String>, bool) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/llama.gguf");
        let model = gguf::Gguf::parse(&std::fs::read(file).unwrap()).unwrap();
        let tokenizer = Arc::new(Tokenizer::from_metadata(&model.metadata).unwrap());
        let tokens = tokenizer.encode(text, Encode::TEXT);
        let mut voice = TokenText::new(tokenizer, false, StopStrings::new(stops.iter().copied()));
        let mut pieces = Vec::new();
        for &token in &tokens[..tokens.len() - cut] {
            let mut piece = String::new();
            let stopped = voice.push(token, &mut piece).is_some();
            pieces.push(piece);
            if stopped {
                return (pieces, true);
            }
        }
        let mut rest = String::new();
        voice.finish(&mut rest);
        pieces.push(rest);
        (pieces, false)
    }

    #[test]
    fn characters_come_whole() {
        let (pieces, stopped) = spell("né 😀", 0, &[]);
        assert_eq!((pieces.concat().as_str(), stopped), ("né 😀", false));
        assert!(pieces.len() > 5 && pieces.iter().any(|piece| piece == "😀"), "{pieces:?}");
        assert_eq!(spell("n😀", 1, &[]).0.concat(), "n\u{fffd}");
    }

    #[test]
    fn a_stop_string_and_what_follows_are_left_out() {
        let (pieces, stopped) = spell("one two END three", 0, &["END"]);
        assert_eq!((pieces.concat().as_str(), stopped), ("one two ", true));
        assert_eq!(spell("one two EN", 0, &["END"]).0.concat(), "one two EN");
    }
}
