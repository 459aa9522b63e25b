//! [`Tokenizer`]: text to token ids and back, with the ids and bytes llama.cpp gives. Called by
//! `engine` (prompts), `evidence` (perplexity) and the program.

use crate::bpe::Bpe;
use crate::special::{Fragment, Specials};
use crate::spm::{self, Spm};
use crate::vocab::{Attributes, Method, Vocab};
use crate::{Error, alphabet, clean};
use std::borrow::Cow;
use std::fmt;

/// Longer texts are encoded in parts: places in a part are counted in 32 bits, and spaces may take
/// three bytes.
const LONGEST_PART: usize = 1 << 30;

/// How a text is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Put BOS before and EOS after the text where the model wants them.
    pub add_special: bool,
    /// Take the spellings of control tokens (`<|im_end|>`) in the text for these tokens. Never
    /// for text from strangers.
    pub parse_special: bool,
}

impl Encode {
    /// A whole prompt: begin-of-text added, control tokens recognised.
    pub const PROMPT: Self = Self { add_special: true, parse_special: true };
    /// Text inside a prompt, where nothing is more than text.
    pub const TEXT: Self = Self { add_special: false, parse_special: false };
}

/// How ids are turned back into one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detokenize {
    /// Leave out a leading BOS and a trailing EOS that [`Encode::add_special`] would have added.
    pub remove_special: bool,
    /// Spell control tokens instead of leaving them out.
    pub unparse_special: bool,
}

/// The tokenizer of one model. It is shared freely among threads.
pub struct Tokenizer {
    vocab: Vocab,
    encoder: Encoder,
    /// Spaces are spelled `▁`.
    escapes_spaces: bool,
    all_specials: Specials,
    user_specials: Specials,
}

enum Encoder {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
}

impl Tokenizer {
    /// The tokenizer that a model file carries in its metadata.
    pub fn from_metadata(metadata: &gguf::Metadata) -> Result<Self, Error> {
        let (mut vocab, method) = Vocab::from_metadata(metadata)?;
        let (encoder, escapes_spaces, newline) = match method {
            Method::Bpe(row) => {
                let bpe = Bpe::new(&vocab, row, metadata)?;
                let mut ids = Vec::new();
                bpe.encode(&vocab, b"\n", &mut ids);
                (Encoder::Bpe(Box::new(bpe)), row.spelling.escapes_spaces(), ids.first().copied())
            }
            Method::Spm => {
                let spm = Spm::new(&vocab);
                let newline = spm.byte(b'\n');
                (Encoder::Spm(Box::new(spm)), true, newline)
            }
        };
        vocab.set_newline(newline);
        let all_specials = Specials::new(&vocab, true);
        let user_specials = Specials::new(&vocab, false);
        Ok(Tokenizer { vocab, encoder, escapes_spaces, all_specials, user_specials })
    }

    /// The tokens.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// The ids of `text`, which need not be UTF-8.
    pub fn encode(&self, text: impl AsRef<[u8]>, how: Encode) -> Vec<u32> {
        let (text, vocab) = (text.as_ref(), &self.vocab);
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        if how.add_special && vocab.add_bos {
            ids.extend(vocab.special().bos);
        }
        let mut after_special = true;
        for part in text.chunks(LONGEST_PART) {
            self.encode_part(part, how.parse_special, &mut after_special, &mut ids);
        }
        if how.add_special && vocab.add_eos {
            ids.extend(vocab.special().eos);
        }
        ids
    }

    fn encode_part(&self, text: &[u8], parse_special: bool, after_special: &mut bool, ids: &mut Vec<u32>) {
        let vocab = &self.vocab;
        let specials = if parse_special { &self.all_specials } else { &self.user_specials };
        for fragment in specials.partition(vocab, text) {
            match (fragment, &self.encoder) {
                (Fragment::Token(id), _) => ids.push(id),
                (Fragment::Text(from, to), Encoder::Bpe(bpe)) => bpe.encode(vocab, &text[from..to], ids),
                (Fragment::Text(from, to), Encoder::Spm(spm)) => {
                    let prefix: &[u8] = if vocab.add_space_prefix && *after_special { b" " } else { b"" };
                    spm.encode(vocab, &[prefix, &text[from..to]].concat(), ids);
                }
            }
            *after_special = matches!(fragment, Fragment::Token(_));
        }
    }

    /// The bytes of one token, which may be part of a character. Control tokens are empty unless
    /// `special`, and so is an id out of range.
    pub fn piece(&self, id: u32, special: bool) -> Cow<'_, [u8]> {
        let text = self.vocab.text(id).unwrap_or_default();
        let attributes = self.vocab.attributes(id);
        let marks = Attributes::CONTROL.or(Attributes::UNKNOWN);
        if attributes.has_any(marks.or(Attributes::USER_DEFINED)) {
            return Cow::Borrowed(if special || !attributes.has_any(marks) { text } else { b"" });
        }
        if attributes.is_normal() {
            return match self.vocab.words().get(id) {
                Some([]) => Cow::Owned(alphabet::decode_marked(text)),
                Some(word) if !self.escapes_spaces => Cow::Borrowed(word),
                _ => Cow::Owned(spm::unescape_spaces(text)),
            };
        }
        match byte_value(text) {
            Some(byte) if attributes.is_byte() => Cow::Owned(vec![byte]),
            _ => Cow::Borrowed(b""),
        }
    }

    /// The text of `ids`, without the space that encoding put in front. Not every id sequence is
    /// UTF-8.
    pub fn detokenize(&self, ids: &[u32], how: Detokenize) -> Result<Vec<u8>, Error> {
        let vocab = &self.vocab;
        let mut ids = ids;
        let mut strip_space = vocab.add_space_prefix;
        let (removes_bos, removes_eos) = (how.remove_special && vocab.add_bos, how.remove_special && vocab.add_eos);
        if removes_bos
            && let [first, rest @ ..] = ids
            && vocab.special().bos == Some(*first)
        {
            strip_space = false;
            ids = rest;
        }
        if removes_eos
            && let [rest @ .., last] = ids
            && vocab.special().eos == Some(*last)
        {
            ids = rest;
        }
        let mut text = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            if id as usize >= vocab.len() {
                return Err(Error::TokenId { id, num_tokens: vocab.len() });
            }
            let piece = self.piece(id, how.unparse_special);
            let space = std::mem::take(&mut strip_space) && piece.starts_with(b" ");
            text.extend_from_slice(&piece[usize::from(space)..]);
        }
        if vocab.clean_spaces {
            clean::clean_spaces(&mut text);
        }
        Ok(text)
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vocab = &self.vocab;
        write!(f, "Tokenizer({} {}, {} tokens)", vocab.model(), vocab.pre(), vocab.len())
    }
}

/// The byte that `<0xXX>` spells.
fn byte_value(text: &[u8]) -> Option<u8> {
    let hex = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}
