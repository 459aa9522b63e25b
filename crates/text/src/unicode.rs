//! Code points and their classes, as the reference tokenizer sees them. Called by the
//! pre-tokenizer's patterns (classes), and by the tokenizer when a text is not valid UTF-8.

mod ranges;

use std::borrow::Cow;
use std::sync::OnceLock;

/// What a code point from U+0080 up is to a pre-tokenizer pattern.
///
/// ASCII needs no class: patterns hold a bit for each of its 128 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// Controls, unassigned and private code points, separators that are no white space.
    Other = 0,
    Number = 1,
    Letter = 2,
    Mark = 3,
    Punctuation = 4,
    Symbol = 5,
    /// A letter of the Han blocks; matches whatever `Letter` matches, but can be told apart.
    HanLetter = 6,
    /// A code point of the Han blocks that is not assigned.
    HanOther = 7,
    /// White space. The reference's patterns see every such code point as U+000B.
    Space = 8,
}

/// The class of a code point that is not ASCII.
#[inline]
pub(crate) fn class_of(code: u32) -> u8 {
    static CLASSES: OnceLock<Box<[u8]>> = OnceLock::new();
    let classes = CLASSES.get_or_init(|| {
        let mut classes = vec![0u8; 0x11_0000].into_boxed_slice();
        let ends = ranges::RANGES[1..].iter().map(|next| next >> 4).chain([0x11_0000]);
        for (entry, end) in ranges::RANGES.iter().zip(ends) {
            classes[(entry >> 4) as usize..end as usize].fill((entry & 15) as u8);
        }
        classes
    });
    classes.get(code as usize).copied().unwrap_or(Class::Other as u8)
}

/// The code point that starts at `at` and its length in bytes.
///
/// Texts reach this after [`well_formed`], so the leading byte decides alone. Surrogates may
/// occur: the reference lets them pass in their three-byte form.
#[inline]
pub(crate) fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let tail = |i: usize| u32::from(text.get(at + i).copied().unwrap_or(0) & 0x3f);
    let lead = u32::from(text[at]);
    match lead {
        0..0x80 => (lead, 1),
        0x80..0xe0 => ((lead & 0x1f) << 6 | tail(1), 2),
        0xe0..0xf0 => ((lead & 0x0f) << 12 | tail(1) << 6 | tail(2), 3),
        _ => ((lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
    }
}

/// Appends the UTF-8 form of `code`; surrogates take the three bytes their number asks for.
pub(crate) fn encode(code: u32, out: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
    match code {
        0..0x80 => out.push(code as u8),
        0x80..0x800 => out.extend([0xc0 | (code >> 6) as u8, tail(0)]),
        0x800..0x1_0000 => out.extend([0xe0 | (code >> 12) as u8, tail(6), tail(0)]),
        _ => out.extend([0xf0 | (code >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}

/// The text as the reference's byte-level tokenizers read it.
///
/// Valid UTF-8 is left alone. Otherwise a byte that starts no sequence becomes U+FFFD, while
/// overlong forms are shortened and surrogates kept: the reference checks only the shape of a
/// sequence. (Sequences beyond U+10FFFF stop the reference; here they become U+FFFD.)
pub(crate) fn well_formed(text: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(text).is_ok() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < text.len() {
        let len = match text[at] {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => 0,
        };
        let sequence = text.get(at..at + len).filter(|_| len > 0);
        let shaped = sequence.is_some_and(|s| s[1..].iter().all(|byte| byte & 0xc0 == 0x80));
        if !shaped {
            encode(0xfffd, &mut out);
            at += 1;
            continue;
        }
        let (code, _) = decode(text, at);
        encode(if code > 0x10_ffff { 0xfffd } else { code }, &mut out);
        at += len;
    }
    Cow::Owned(out)
}

/// Calls `each` for every stretch of `text` without white space, lower-cased if asked.
pub(crate) fn for_each_unspaced(text: &[u8], lowercase: bool, mut each: impl FnMut(&[u8])) {
    let (mut stretch, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let (code, len) = decode(text, at);
        at += len;
        if is_space(code) {
            each(&stretch);
            stretch.clear();
        } else {
            let lower = char::from_u32(code).and_then(|c| c.to_lowercase().next()).map_or(code, u32::from);
            encode(if lowercase { lower } else { code }, &mut stretch);
        }
    }
    each(&stretch);
}

/// White space, as the reference and Unicode see it.
pub(crate) fn is_space(code: u32) -> bool {
    match code {
        9..=13 | 32 => true,
        0..128 => false,
        _ => class_of(code) == Class::Space as u8,
    }
}

/// The length of the character that `lead` starts, as the reference guesses it from one byte.
#[inline]
pub(crate) fn len_from_lead(lead: u8) -> usize {
    match lead {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_known_code_points() {
        for (c, class) in [
            ('é', Class::Letter),
            ('٣', Class::Number),
            ('²', Class::Number),
            ('\u{301}', Class::Mark),
            ('…', Class::Punctuation),
            ('€', Class::Symbol),
            ('漢', Class::HanLetter),
            ('\u{3000}', Class::Space),
            ('\u{85}', Class::Space),
            ('\u{200b}', Class::Other),
            ('\u{e000}', Class::Other),
            ('\u{fa6e}', Class::HanOther),
            ('\u{10ffff}', Class::Other),
        ] {
            assert_eq!(class_of(c as u32), class as u8, "{c:?}");
        }
        assert_eq!(class_of(u32::MAX), Class::Other as u8);
    }

    #[test]
    fn every_char_survives_encode_and_decode() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32).step_by(7) {
            let mut bytes = Vec::new();
            encode(c as u32, &mut bytes);
            assert_eq!(bytes, c.to_string().as_bytes());
            assert_eq!(decode(&bytes, 0), (c as u32, bytes.len()));
        }
    }

    #[test]
    fn malformed_sequences_become_replacement_characters() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"a\xffb", "a\u{fffd}b".as_bytes()),
            (b"\xe2\x82", "\u{fffd}\u{fffd}".as_bytes()),
            (b"\xc0\x80", b"\0"),
            (b"\xed\xa0\x80", b"\xed\xa0\x80"),
            (b"\xf7\xbf\xbf\xbf", "\u{fffd}".as_bytes()),
            (b"ok \xf0\x9f\x98\x80\x80", "ok 😀\u{fffd}".as_bytes()),
        ];
        for (input, expected) in cases {
            assert_eq!(well_formed(input).as_ref(), expected, "{input:?}");
        }
    }
}
