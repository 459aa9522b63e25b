//! Byte-pair encoding by rank: the words of a pre-tokenizer are built up from their bytes (or
//! characters), each time joining the neighbours whose merge stands first in the file's list.
//! Called by [`crate::Tokenizer`].

mod merges;

use crate::Error;
use crate::chain::{Chain, NONE};
use crate::index::MOST_STRINGS;
use crate::pretokenizer::{PreRow, PreTokenizer, Spelling};
use crate::unicode;
use crate::vocab::{Vocab, check_size};
use crate::whole::WholeWords;
use gguf::Metadata;
use merges::Merges;
use std::borrow::Cow;

/// The encoder of one vocabulary.
pub(crate) struct Bpe {
    row: &'static PreRow,
    pre_tokenizer: PreTokenizer,
    merges: Merges,
    /// The symbol of each single byte (byte-level) or of each ASCII character.
    byte_symbols: [u32; 256],
    /// The token that stands for a byte nothing else covers.
    fallback: [Option<u32>; 256],
    whole: WholeWords,
    /// Words are the stretches between white space, which itself is dropped.
    drops_space: bool,
    lowercase: bool,
}

impl Bpe {
    pub(crate) fn new(vocab: &Vocab, row: &'static PreRow, metadata: &Metadata) -> Result<Self, Error> {
        let key = "tokenizer.ggml.merges";
        let merges = match metadata.strings(key)? {
            Some(list) => {
                // A merge may mention three strings that are no tokens.
                check_size(key, list, MOST_STRINGS / 3)?;
                Merges::new(vocab, list)
            }
            None if vocab.pre() == "kimi-k2" => Merges::default(),
            None => return Err(Error::MissingKey { key }),
        };
        let byte_level = vocab.is_byte_level();
        let symbol = |byte: u8| match byte_level || byte < 128 {
            true => merges.symbol(vocab, &[byte]).unwrap_or(NONE),
            false => NONE,
        };
        let fallback = |byte: u8| match byte_level {
            true => vocab.word(&[byte]).filter(|_| byte.is_ascii_graphic()),
            false => vocab.word(format!("<0x{byte:02X}>").as_bytes()),
        };
        let pre_tokenizer =
            PreTokenizer::new(row.passes).map_err(|reason| Error::Pattern { name: vocab.pre().into(), reason })?;
        Ok(Bpe {
            row,
            pre_tokenizer,
            byte_symbols: std::array::from_fn(|byte| symbol(byte as u8)),
            fallback: std::array::from_fn(|byte| fallback(byte as u8)),
            whole: WholeWords::new(vocab.len()),
            merges,
            drops_space: vocab.model() == "whitespace",
            lowercase: metadata.opt_bool("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(false),
        })
    }

    /// Appends the tokens of `text`, in which no special token is looked for.
    pub(crate) fn encode(&self, vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
        let text = match self.row.spelling.escapes_spaces() {
            true => Cow::Owned(crate::spm::escape_spaces(text)),
            false => Cow::Borrowed(text),
        };
        let text = unicode::well_formed(&text);
        let mut chain = Chain::default();
        let mut encode = |text: &[u8]| {
            self.pre_tokenizer.split(text, &mut |word| self.encode_word(vocab, word, &mut chain, out));
        };
        match self.drops_space {
            false => encode(&text),
            true => unicode::for_each_unspaced(&text, self.lowercase, encode),
        }
    }

    fn encode_word(&self, vocab: &Vocab, word: &[u8], chain: &mut Chain, out: &mut Vec<u32>) {
        let Some(token) = vocab.word(word) else {
            return self.merge_word(vocab, word, chain, out);
        };
        let newlines = self.row.spelling == Spelling::Utf8SpacesNewlines;
        match self.row.ignore_merges || newlines && word.iter().all(|&byte| byte == b'\n') {
            true => out.push(token),
            false => self.whole.push(token, out, |out| self.merge_word(vocab, word, chain, out)),
        }
    }

    fn merge_word(&self, vocab: &Vocab, word: &[u8], chain: &mut Chain, out: &mut Vec<u32>) {
        chain.clear();
        if vocab.is_byte_level() {
            word.iter().for_each(|&byte| chain.push(self.byte_symbols[usize::from(byte)], 1));
        } else {
            let mut at = 0;
            while at < word.len() {
                let end = (at + unicode::len_from_lead(word[at])).min(word.len());
                let symbol = match end - at {
                    1 => self.byte_symbols[usize::from(word[at])],
                    _ => self.merges.symbol(vocab, &word[at..end]).unwrap_or(NONE),
                };
                chain.push(symbol, end - at);
                at = end;
            }
        }
        chain.join(|left, right| self.merges.get(left.symbol, right.symbol));
        for node in chain.live() {
            if (node.symbol as usize) < vocab.len() {
                out.push(node.symbol);
            } else {
                let bytes = &word[node.start as usize..(node.start + node.len) as usize];
                out.extend(bytes.iter().filter_map(|&byte| self.fallback[usize::from(byte)]));
            }
        }
    }
}
