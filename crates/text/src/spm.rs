//! SentencePiece-style encoding by score: characters are joined, best-scored token first, until
//! no two neighbours make a token; what has no token is spelled in byte tokens. Called by
//! [`crate::Tokenizer`].

use crate::chain::{Chain, NONE, Pair};
use crate::unicode::len_from_lead;
use crate::vocab::Vocab;
use crate::whole::WholeWords;

/// `▁`, which stands for a space in the spelling of tokens.
pub(crate) const SPACE: &[u8] = "▁".as_bytes();

/// The encoder of one vocabulary.
pub(crate) struct Spm {
    /// The token of each byte, or of what is unknown.
    bytes: [Option<u32>; 256],
    /// Length of the longest token.
    longest: usize,
    /// For the last byte of a character: whether some token has `▁` right after such a character.
    /// Where none has, joining never crosses the place before a `▁`, so that a text can be taken
    /// word by word with the same result.
    before_space: [bool; 256],
    whole: WholeWords,
}

impl Spm {
    pub(crate) fn new(vocab: &Vocab) -> Self {
        let byte = |byte: u8| {
            let spelled = vocab.word(format!("<0x{byte:02X}>").as_bytes());
            spelled.or_else(|| vocab.word(&[byte])).or(vocab.special().unk)
        };
        let mut spm = Spm {
            bytes: std::array::from_fn(|code| byte(code as u8)),
            longest: 0,
            before_space: [false; 256],
            whole: WholeWords::new(vocab.len()),
        };
        for id in 0..vocab.len() as u32 {
            let text = vocab.text(id).unwrap_or_default();
            spm.longest = spm.longest.max(text.len());
            for at in memchr::memmem::find_iter(text, SPACE).filter(|&at| at > 0) {
                if !text[..at].ends_with(SPACE) {
                    spm.before_space[usize::from(text[at - 1])] = true;
                }
            }
        }
        spm
    }

    /// The token of a byte.
    pub(crate) fn byte(&self, byte: u8) -> Option<u32> {
        self.bytes[usize::from(byte)]
    }

    /// Appends the tokens of `text`, in which no special token is looked for.
    pub(crate) fn encode(&self, vocab: &Vocab, text: &[u8], out: &mut Vec<u32>) {
        let text = escape_spaces(text);
        let mut chain = Chain::default();
        let mut start = 0;
        for at in memchr::memmem::find_iter(&text, SPACE).filter(|&at| at > 0) {
            let cuts = !self.before_space[usize::from(text[at - 1])] && !text[..at].ends_with(SPACE);
            if cuts && self.is_boundary(&text[start..at]) {
                self.encode_word(vocab, &text[start..at], &mut chain, out);
                start = at;
            }
        }
        self.encode_word(vocab, &text[start..], &mut chain, out);
    }

    /// Whether the characters of `word`, as their first bytes tell their lengths, end with it. In
    /// broken UTF-8 the last one may reach into the space that follows.
    fn is_boundary(&self, word: &[u8]) -> bool {
        let mut at = 0;
        while at < word.len() {
            at += len_from_lead(word[at]);
        }
        at == word.len()
    }

    fn encode_word(&self, vocab: &Vocab, word: &[u8], chain: &mut Chain, out: &mut Vec<u32>) {
        match if word.len() <= self.longest { vocab.word(word) } else { None } {
            Some(token) => self.whole.push(token, out, |out| self.join_word(vocab, word, chain, out)),
            None => self.join_word(vocab, word, chain, out),
        }
    }

    fn join_word(&self, vocab: &Vocab, word: &[u8], chain: &mut Chain, out: &mut Vec<u32>) {
        chain.clear();
        let mut at = 0;
        while at < word.len() {
            let len = len_from_lead(word[at]).min(word.len() - at);
            chain.push(NONE, len);
            at += len;
        }
        let text = |start: u32, len: u32| &word[start as usize..(start + len) as usize];
        chain.join(|left, right| {
            let len = left.len + right.len;
            let token = if len as usize > self.longest { None } else { vocab.word(text(left.start, len)) };
            token.map_or(Pair::NONE, |token| Pair { key: best_first(vocab.score(token)), symbol: token })
        });
        for node in chain.live() {
            let text = text(node.start, node.len);
            match if node.symbol == NONE { vocab.word(text) } else { Some(node.symbol) } {
                Some(token) => out.push(token),
                None => out.extend(text.iter().filter_map(|&byte| self.bytes[usize::from(byte)])),
            }
        }
    }
}

/// A key that orders scores from the highest to the lowest.
fn best_first(score: f32) -> u32 {
    // Adding 0 makes -0 and 0 the same score. The bits of floats ascend with positive numbers and
    // descend with negative ones.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    (!ascending).min(NONE - 1)
}

/// `text` with `▁` for every space.
pub(crate) fn escape_spaces(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len() + text.len() / 2);
    for &byte in text {
        match byte {
            b' ' => escaped.extend_from_slice(SPACE),
            byte => escaped.push(byte),
        }
    }
    escaped
}

/// `text` with a space for every `▁`.
pub(crate) fn unescape_spaces(text: &[u8]) -> Vec<u8> {
    let (mut plain, mut from) = (Vec::with_capacity(text.len()), 0);
    for at in memchr::memmem::find_iter(text, SPACE) {
        plain.extend_from_slice(&text[from..at]);
        plain.push(b' ');
        from = at + SPACE.len();
    }
    plain.extend_from_slice(&text[from..]);
    plain
}
