//! SentencePiece-style encoding by score: characters are joined, best-scored token first, until
//! no two neighbours make a token; what has no token is spelled in byte tokens. Called by
//! [`crate::Tokenizer`].

use crate::unicode::len_from_lead;
use crate::vocab::Vocab;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// `▁`, which stands for a space in the spelling of tokens.
pub(crate) const SPACE: &[u8] = "▁".as_bytes();

const UNSEEN: u8 = 0;
const WHOLE: u8 = 1;
const SPLIT: u8 = 2;

/// No neighbour.
const NONE: u32 = u32::MAX;

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
    /// Whether the spelling of a token, met as a word, is joined to that token.
    whole: Vec<AtomicU8>,
}

/// A stretch of the text; dead when its length is 0.
#[derive(Clone, Copy)]
struct Node {
    start: u32,
    len: u32,
    previous: u32,
    next: u32,
}

/// Two neighbours that make a token: the best score first, then the leftmost.
struct Candidate {
    score: f32,
    left: u32,
    /// Length of both together when the candidate was entered.
    len: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(self.len.cmp(&other.len))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// Working memory for one word after another.
#[derive(Default)]
struct Scratch {
    nodes: Vec<Node>,
    heap: BinaryHeap<Candidate>,
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
            whole: (0..vocab.len()).map(|_| AtomicU8::new(UNSEEN)).collect(),
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
        let mut scratch = Scratch::default();
        let mut start = 0;
        for at in memchr::memmem::find_iter(&text, SPACE).filter(|&at| at > 0) {
            let cuts = !self.before_space[usize::from(text[at - 1])] && !text[..at].ends_with(SPACE);
            if cuts && self.is_boundary(&text[start..at]) {
                self.encode_word(vocab, &text[start..at], &mut scratch, out);
                start = at;
            }
        }
        self.encode_word(vocab, &text[start..], &mut scratch, out);
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

    fn encode_word(&self, vocab: &Vocab, word: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let token = if word.len() <= self.longest { vocab.word(word) } else { None };
        let Some(token) = token else {
            return self.join_word(vocab, word, scratch, out);
        };
        let whole = &self.whole[token as usize];
        if whole.load(Relaxed) == WHOLE {
            return out.push(token);
        }
        let start = out.len();
        self.join_word(vocab, word, scratch, out);
        if whole.load(Relaxed) == UNSEEN {
            whole.store(if out[start..] == [token] { WHOLE } else { SPLIT }, Relaxed);
        }
    }

    fn join_word(&self, vocab: &Vocab, word: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { nodes, heap } = scratch;
        nodes.clear();
        heap.clear();
        let mut at = 0;
        while at < word.len() {
            let len = len_from_lead(word[at]).min(word.len() - at);
            let index = nodes.len() as u32;
            let next = if at + len == word.len() { NONE } else { index + 1 };
            nodes.push(Node { start: at as u32, len: len as u32, previous: index.wrapping_sub(1), next });
            at += len;
        }
        let candidate = |nodes: &[Node], left: u32| {
            let node = nodes[left as usize];
            let len = node.len + nodes.get(node.next as usize)?.len;
            if len as usize > self.longest {
                return None;
            }
            let token = vocab.word(&word[node.start as usize..(node.start + len) as usize])?;
            // Adding 0 makes -0 and 0 the same score.
            Some(Candidate { score: vocab.score(token) + 0.0, left, len })
        };
        heap.extend((0..nodes.len() as u32).filter_map(|left| candidate(nodes, left)));
        while let Some(Candidate { left, len, .. }) = heap.pop() {
            let node = nodes[left as usize];
            let Some(&right) = nodes.get(node.next as usize) else { continue };
            // Either side may have been joined otherwise since the candidate was entered.
            if node.len == 0 || node.len + right.len != len {
                continue;
            }
            nodes[node.next as usize].len = 0;
            nodes[left as usize] = Node { len, next: right.next, ..node };
            if let Some(after) = nodes.get_mut(right.next as usize) {
                after.previous = left;
            }
            if node.previous != NONE {
                heap.extend(candidate(nodes, node.previous));
            }
            heap.extend(candidate(nodes, left));
        }
        for node in nodes.iter().filter(|node| node.len > 0) {
            let text = &word[node.start as usize..(node.start + node.len) as usize];
            match vocab.word(text) {
                Some(token) => out.push(token),
                None => out.extend(text.iter().filter_map(|&byte| self.bytes[usize::from(byte)])),
            }
        }
    }
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
