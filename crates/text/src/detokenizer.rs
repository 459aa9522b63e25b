//! [`Detokenizer`]: text out of a stream of tokens. A token may end in the middle of a character;
//! what comes out is always whole characters. Called by `engine` for every sequence.

use crate::Tokenizer;

/// Joins the pieces of tokens and gives out text as soon as its characters are whole. Bytes that
/// are no UTF-8 come out as U+FFFD, at once when it is certain that nothing can complete them.
///
/// ```
/// let mut detokenizer = text::Detokenizer::new(false);
/// assert_eq!(detokenizer.push_bytes(b"caf\xc3"), "caf");
/// assert_eq!(detokenizer.push_bytes(b"\xa9!"), "é!");
/// assert_eq!(detokenizer.push_bytes(b"\xf0\x9f"), "");
/// assert_eq!(detokenizer.flush(), "\u{fffd}");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    special: bool,
    /// The beginning of a character: at most three bytes between calls.
    held: Vec<u8>,
    text: String,
}

impl Detokenizer {
    /// Of a new sequence; `special` says whether control tokens are spelled.
    pub fn new(special: bool) -> Self {
        Detokenizer { special, ..Self::default() }
    }

    /// Takes the next token and gives the text that is now whole (often one word, sometimes
    /// nothing).
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> &str {
        let piece = tokenizer.piece(id, self.special);
        self.push_bytes(&piece)
    }

    /// As [`Detokenizer::push`], for bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> &str {
        self.held.extend_from_slice(bytes);
        self.text.clear();
        let mut start = 0;
        loop {
            let (valid, error) = match std::str::from_utf8(&self.held[start..]) {
                Ok(valid) => (valid, None),
                Err(error) => {
                    let valid = self.held.get(start..start + error.valid_up_to()).unwrap_or_default();
                    (std::str::from_utf8(valid).unwrap_or_default(), Some(error))
                }
            };
            self.text.push_str(valid);
            start += valid.len();
            match error.map(|error| error.error_len()) {
                Some(Some(len)) => {
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    start += len;
                }
                // The rest is the beginning of a character, or nothing.
                _ => break,
            }
        }
        self.held.drain(..start);
        &self.text
    }

    /// Ends the sequence: a character that never became whole comes out as U+FFFD.
    pub fn flush(&mut self) -> &str {
        self.text.clear();
        if !std::mem::take(&mut self.held).is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn invalid_bytes_come_out_as_soon_as_they_are_certain() {
        let mut detokenizer = Detokenizer::new(false);
        assert_eq!(detokenizer.push_bytes(b"\xe2\x82"), "");
        assert_eq!(detokenizer.push_bytes(b"a"), "\u{fffd}a");
        assert_eq!(detokenizer.push_bytes(b"\xff\xe2"), "\u{fffd}");
        assert_eq!(detokenizer.push_bytes(b"\x82\xac"), "€");
        assert_eq!(detokenizer.flush(), "");
    }

    proptest! {
        /// However a text is cut, the same comes out as from Rust's own decoder at once.
        #[test]
        fn equals_lossy_decoding(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..6),
                "[aé€😀]{0,3}".prop_map(String::into_bytes),
            ], 0..8),
            step in 1usize..5,
        ) {
            let bytes = parts.concat();
            let mut detokenizer = Detokenizer::new(false);
            let mut text = String::new();
            for chunk in bytes.chunks(step) {
                text.push_str(detokenizer.push_bytes(chunk));
            }
            text.push_str(detokenizer.flush());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
