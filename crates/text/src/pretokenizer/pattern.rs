//! A small regular-expression engine for pre-tokenizer patterns, called by
//! [`super::PreTokenizer`] alone.
//!
//! The patterns of the table are regular expressions over *classes* of code points: the reference
//! replaces every code point beyond ASCII by one stand-in per Unicode category (white space by
//! U+000B) and then searches with an ordinary regex engine. Doing the same on the fly needs no
//! copy of the text, and a set of characters is two words of ASCII bits, a few class bits and, in
//! the rare pattern without categories, explicit ranges.
//!
//! Semantics: leftmost match, first alternative that matches, greedy loops with backtracking over
//! single characters. Two restrictions keep matching free of deep recursion and of exponential
//! time; no pattern of the table can tell the difference (the tests compare with a full engine):
//! a repeated *group* never gives back an iteration, and recursion goes over the items of one
//! alternative, never over the text.

mod parse;
mod set;

use set::Set;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    alternatives: Vec<Sequence>,
    /// For each ASCII byte, and last for all other leading bytes: a bit for each alternative that
    /// can begin there.
    first: [u32; 129],
}

/// Items that must match one after the other.
type Sequence = Vec<Item>;

#[derive(Clone, Debug)]
enum Item {
    /// `set{min,max}`: greedy, gives back characters when what follows needs them.
    Run { set: Set, min: u32, max: u32 },
    /// `(?:a|b){min,max}`: greedy, keeps what it took.
    Group { alternatives: Vec<Sequence>, min: u32, max: u32 },
    /// `(?=a|b)` or `(?!a|b)`.
    Ahead { alternatives: Vec<Sequence>, negative: bool },
}

impl Pattern {
    /// Compiles `regex`; `Err` says what the engine does not know. Only the table calls this.
    pub(crate) fn new(regex: &str) -> Result<Self, String> {
        let alternatives = parse::parse(regex)?;
        if alternatives.len() > 32 {
            return Err(format!("{} alternatives, at most 32 are supported", alternatives.len()));
        }
        let mut first = [0u32; 129];
        for (index, sequence) in alternatives.iter().enumerate() {
            let (set, nullable) = first_of(sequence);
            for (byte, bits) in first.iter_mut().enumerate() {
                let can = if byte < 128 { set.has_ascii(byte as u8) } else { set.beyond_ascii() };
                if nullable || can {
                    *bits |= 1 << index;
                }
            }
        }
        Ok(Pattern { alternatives, first })
    }

    /// Cuts `text` at every match: calls `emit(start, end)` for each match and for each stretch
    /// between matches, in order, so that the pieces add up to the text.
    pub(crate) fn split(&self, text: &[u8], mut emit: impl FnMut(usize, usize)) {
        let (mut at, mut gap) = (0, 0);
        while at < text.len() {
            match self.match_at(text, at) {
                Some(end) if end > at => {
                    if gap < at {
                        emit(gap, at);
                    }
                    emit(at, end);
                    (at, gap) = (end, end);
                }
                _ => at = next(text, at),
            }
        }
        if gap < text.len() {
            emit(gap, text.len());
        }
    }

    /// The end of the match that begins at `at`.
    #[inline]
    fn match_at(&self, text: &[u8], at: usize) -> Option<usize> {
        let mut candidates = self.first[usize::from(text[at].min(128))];
        while candidates != 0 {
            let index = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if let Some(end) = match_sequence(&self.alternatives[index], text, at) {
                return Some(end);
            }
        }
        None
    }
}

fn match_any(alternatives: &[Sequence], text: &[u8], at: usize) -> Option<usize> {
    alternatives.iter().find_map(|sequence| match_sequence(sequence, text, at))
}

fn match_sequence(items: &[Item], text: &[u8], mut at: usize) -> Option<usize> {
    for (index, item) in items.iter().enumerate() {
        match item {
            Item::Run { set, min, max } => {
                let (mut end, mut count) = set.run(text, at, *max);
                if count < *min {
                    return None;
                }
                let rest = &items[index + 1..];
                if rest.is_empty() {
                    return Some(end);
                }
                if count == *min {
                    at = end;
                    continue;
                }
                loop {
                    if let Some(matched) = match_sequence(rest, text, end) {
                        return Some(matched);
                    }
                    if count == *min {
                        return None;
                    }
                    end = previous(text, end);
                    count -= 1;
                }
            }
            Item::Group { alternatives, min, max } => {
                let mut count = 0;
                while count < *max {
                    match match_any(alternatives, text, at) {
                        Some(end) if end > at => at = end,
                        _ => break,
                    }
                    count += 1;
                }
                if count < *min {
                    return None;
                }
            }
            Item::Ahead { alternatives, negative } => {
                if match_any(alternatives, text, at).is_some() == *negative {
                    return None;
                }
            }
        }
    }
    Some(at)
}

/// The characters a match of `items` can begin with, and whether it can be empty.
fn first_of(items: &[Item]) -> (Set, bool) {
    let mut first = Set::default();
    for item in items {
        let nullable = match item {
            Item::Run { set, min, .. } => {
                first = first.or(set);
                *min == 0
            }
            Item::Group { alternatives, min, .. } => {
                let mut nullable = *min == 0;
                for sequence in alternatives {
                    let (set, empty) = first_of(sequence);
                    first = first.or(&set);
                    nullable |= empty;
                }
                nullable
            }
            Item::Ahead { .. } => true,
        };
        if !nullable {
            return (first, false);
        }
    }
    (first, true)
}

#[inline]
fn next(text: &[u8], at: usize) -> usize {
    at + crate::unicode::decode(text, at).1
}

#[inline]
fn previous(text: &[u8], mut at: usize) -> usize {
    at -= 1;
    while at > 0 && text[at] & 0xc0 == 0x80 {
        at -= 1;
    }
    at
}
