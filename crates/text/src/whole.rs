//! What is learnt about words while encoding: whether the bytes of a token, met as a word, become
//! that token again. Most words of most texts are such tokens, so this saves most joining. Used by
//! [`crate::bpe`] and [`crate::spm`].

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const UNSEEN: u8 = 0;
const WHOLE: u8 = 1;
const SPLIT: u8 = 2;

/// One mark for each token. Threads may race to set one, always to the same.
pub(crate) struct WholeWords(Vec<AtomicU8>);

impl WholeWords {
    pub(crate) fn new(num_tokens: usize) -> Self {
        WholeWords((0..num_tokens).map(|_| AtomicU8::new(UNSEEN)).collect())
    }

    /// Appends the tokens of the word that is spelled like `token`; `join` appends them the long
    /// way, the same each time.
    #[inline]
    pub(crate) fn push(&self, token: u32, out: &mut Vec<u32>, join: impl FnOnce(&mut Vec<u32>)) {
        let mark = &self.0[token as usize];
        if mark.load(Relaxed) == WHOLE {
            return out.push(token);
        }
        let start = out.len();
        join(out);
        if mark.load(Relaxed) == UNSEEN {
            mark.store(if out[start..] == [token] { WHOLE } else { SPLIT }, Relaxed);
        }
    }
}
