//! The tokens of a model as the grammar's parser wants them: their bytes, in a tree.

use llguidance::toktrie::{TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::{Tokenizer, Vocab};

/// Marks the tokens that are no text.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

pub(super) struct Tokens {
    trie: TokTrie,
}

impl Tokens {
    pub fn new(vocab: &Vocab, tokenizer: &Tokenizer) -> Self {
        let count = vocab.len() as u32;
        let words: Vec<Vec<u8>> = (0..count).map(|id| word(vocab, tokenizer, id)).collect();
        let ends: Vec<TokenId> = vocab.eog().collect();
        let trie = TokTrie::from(&TokRxInfo::new(count, ends.first().copied().unwrap_or(u32::MAX)), &words);
        Tokens { trie: if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) } }
    }
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(text)
    }

    /// Any tokens that spell the text will do: the model chooses among them.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// The bytes of a token: none for those that must not be generated, a mark before the name of control tokens, so that
/// no text of a grammar is spelled with them.
fn word(vocab: &Vocab, tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let attributes = vocab.attributes(id);
    if attributes.is_control() || vocab.is_eog(id) {
        return [&[SPECIAL], vocab.text(id).unwrap_or_default()].concat();
    }
    let piece = tokenizer.piece(id, false).into_owned();
    // No UTF-8 has this byte, so no grammar wants it.
    if piece.first() == Some(&SPECIAL) { Vec::new() } else { piece }
}
