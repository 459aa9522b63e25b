//! Sets of characters, the atoms of a pattern.

use crate::unicode::{self, Class};

/// Every class a code point beyond ASCII can be matched by (white space goes by U+000B).
const ALL_CLASSES: u16 = 0xff;
/// How the reference's patterns see white space beyond ASCII.
const SPACE_STAND_IN: u8 = 0x0b;

/// A set of characters: bits for ASCII, bits for classes, and explicit ranges beyond ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    ascii: [u64; 2],
    /// One bit for each [`Class`] but `Space`.
    classes: u16,
    /// Inclusive ranges of code points ≥ 0x80. A pattern has either classes or ranges.
    ranges: Vec<(u32, u32)>,
    /// The ranges are what the set does *not* hold.
    outside_ranges: bool,
}

impl Set {
    /// `\s`, `\d` and `\p{…}`, by the letter or the name in braces.
    pub(super) fn named(name: &str) -> Option<Set> {
        let bit = |class: Class| 1u16 << class as u16;
        let letter = bit(Class::Letter) | bit(Class::HanLetter);
        let (ascii, classes): (&str, u16) = match name {
            "s" => ("\t-\r - ", 0),
            "d" => ("0-9", 0),
            "N" => ("0-9", bit(Class::Number)),
            // The reference knows no finer letters than L.
            "L" | "Lu" | "Ll" | "Lt" | "Lm" | "Lo" => ("A-Za-z", letter),
            "M" => ("", bit(Class::Mark)),
            "P" => ("!-#%-*,-/:-;?-@[-]_-_{-{}-}", bit(Class::Punctuation)),
            "S" => ("$-$+-+<->^-^`-`|-|~-~", bit(Class::Symbol)),
            "Han" => ("", bit(Class::HanLetter) | bit(Class::HanOther)),
            "L-Han" => ("A-Za-z", bit(Class::Letter)),
            _ => return None,
        };
        let mut set = Set { classes, ..Set::default() };
        for range in ascii.as_bytes().chunks(3) {
            set.insert(u32::from(range[0]), u32::from(range[2]));
        }
        Some(set)
    }

    pub(super) fn single(c: char) -> Set {
        let mut set = Set::default();
        set.insert(c as u32, c as u32);
        set
    }

    pub(super) fn insert(&mut self, from: u32, to: u32) {
        for code in from..=to.min(127) {
            self.ascii[(code >> 6) as usize] |= 1 << (code & 63);
        }
        if to > 127 {
            self.ranges.push((from.max(128), to));
        }
    }

    pub(super) fn or(&self, other: &Set) -> Set {
        let mut both = self.clone();
        for (mine, theirs) in both.ascii.iter_mut().zip(other.ascii) {
            *mine |= theirs;
        }
        both.classes |= other.classes;
        if self.outside_ranges || other.outside_ranges {
            // Only `first_of` unites complements; a set that is too large is right there.
            both.ranges.clear();
            both.outside_ranges = true;
        } else {
            both.ranges.extend(&other.ranges);
        }
        both
    }

    /// The characters in both sets; only for sets without ranges.
    pub(super) fn and(&self, other: &Set) -> Option<Set> {
        let plain = |set: &Set| set.ranges.is_empty();
        (plain(self) && plain(other)).then(|| Set {
            ascii: [self.ascii[0] & other.ascii[0], self.ascii[1] & other.ascii[1]],
            classes: self.classes & other.classes,
            ranges: Vec::new(),
            outside_ranges: self.outside_ranges && other.outside_ranges,
        })
    }

    pub(super) fn complement(self) -> Set {
        Set {
            ascii: self.ascii.map(|bits| !bits),
            classes: !self.classes & ALL_CLASSES,
            ranges: self.ranges,
            outside_ranges: !self.outside_ranges,
        }
    }

    /// Settles whether the pattern goes by classes or by ranges, as the reference does for a
    /// whole pattern at once: by classes if any `\p{…}` occurs in it.
    pub(super) fn by_classes(&mut self, by_classes: bool) {
        if by_classes {
            self.ranges.clear();
            self.outside_ranges = false;
        } else {
            self.classes = 0;
        }
    }

    #[inline]
    pub(super) fn has_ascii(&self, byte: u8) -> bool {
        self.ascii[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
    }

    /// Whether some character beyond ASCII may be in the set.
    pub(super) fn beyond_ascii(&self) -> bool {
        self.classes != 0 || self.outside_ranges || !self.ranges.is_empty() || self.has_ascii(SPACE_STAND_IN)
    }

    fn has_beyond(&self, code: u32) -> bool {
        let class = unicode::class_of(code);
        if class == Class::Space as u8 {
            return self.has_ascii(SPACE_STAND_IN);
        }
        if self.classes >> class & 1 != 0 {
            return true;
        }
        let within = |&(from, to): &(u32, u32)| (from..=to).contains(&code);
        (self.outside_ranges || !self.ranges.is_empty()) && self.ranges.iter().any(within) != self.outside_ranges
    }

    /// How far at most `max` characters of the set reach from `at`: (end, number of characters).
    #[inline]
    pub(super) fn run(&self, text: &[u8], mut at: usize, max: u32) -> (usize, u32) {
        let mut count = 0;
        while count < max {
            match text.get(at) {
                Some(&byte) if byte < 128 => {
                    if !self.has_ascii(byte) {
                        break;
                    }
                    at += 1;
                }
                Some(_) => {
                    let (code, len) = unicode::decode(text, at);
                    if !self.has_beyond(code) {
                        break;
                    }
                    at = (at + len).min(text.len());
                }
                None => break,
            }
            count += 1;
        }
        (at, count)
    }
}
