//! The pattern engine against a full regex engine, on every pattern of the table.

use super::pattern::Pattern;
use super::table::ROWS;
use super::{Pass, PreTokenizer};
use crate::unicode::{self, Class};
use fancy_regex::Regex;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Stand-in characters for the classes, in private use.
fn stand_in(class: u8) -> char {
    char::from_u32(0xe000 + u32::from(class)).expect("private use")
}

/// The text as the reference's patterns see it: one character for each, white space as U+000B, and
/// for patterns with `\p{…}` a stand-in for each class.
fn collapse(text: &str, by_classes: bool) -> String {
    let seen = |c: char| match (c.is_ascii(), unicode::class_of(c as u32)) {
        (true, _) => c,
        (false, class) if class == Class::Space as u8 => '\u{b}',
        (false, class) if by_classes => stand_in(class),
        (false, _) => c,
    };
    text.chars().map(seen).collect()
}

/// The regular expression over such texts.
fn collapse_regex(regex: &str) -> String {
    let letter = format!("{}{}A-Za-z", stand_in(2), stand_in(6));
    let classes = [
        (r"\p{N}", format!("{}0-9", stand_in(1))),
        (r"\p{L-Han}", format!("{}A-Za-z", stand_in(2))),
        (r"\p{Lu}", letter.clone()),
        (r"\p{Ll}", letter.clone()),
        (r"\p{Lt}", letter.clone()),
        (r"\p{Lm}", letter.clone()),
        (r"\p{Lo}", letter.clone()),
        (r"\p{L}", letter),
        (r"\p{M}", stand_in(3).to_string()),
        (r"\p{P}", format!(r"{}!-#%-*,-/:-;?-@\[-\]_\{{\}}", stand_in(4))),
        (r"\p{S}", format!(r"{}\$\+<->\^`\|\~", stand_in(5))),
        (r"\p{Han}", format!("{}{}", stand_in(6), stand_in(7))),
    ];
    let (mut out, mut rest, mut inside) = (String::new(), regex, false);
    while let Some(c) = rest.chars().next() {
        if let Some((name, members)) = classes.iter().find(|(name, _)| rest.starts_with(name)) {
            out += &if inside { members.clone() } else { format!("[{members}]") };
            rest = &rest[name.len()..];
            continue;
        }
        let escaped = c == '\\';
        let len = if escaped { 2 } else { c.len_utf8() };
        // In a set of the Rust dialect these mean something, in ours and the reference's nothing.
        if inside && matches!(c, '[' | '&' | '~') {
            out.push('\\');
        }
        inside = match c {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        out += &rest[..len];
        rest = &rest[len..];
    }
    out
}

struct Case {
    regex: &'static str,
    ours: Pattern,
    theirs: Regex,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let passes = ROWS.iter().flat_map(|row| row.passes);
    let regexes: BTreeSet<&str> =
        passes.filter_map(|pass| if let Pass::Regex(regex) = pass { Some(*regex) } else { None }).collect();
    let case = |regex| Case {
        regex,
        ours: Pattern::new(regex).unwrap_or_else(|error| panic!("{regex}: {error}")),
        theirs: Regex::new(&collapse_regex(regex)).unwrap_or_else(|error| panic!("{regex}: {error}")),
    };
    regexes.into_iter().map(case).collect()
});

/// Lengths of the pieces, in characters.
fn ours(case: &Case, text: &str) -> Vec<usize> {
    let mut pieces = Vec::new();
    case.ours.split(text.as_bytes(), |from, to| pieces.push(text[from..to].chars().count()));
    pieces
}

fn theirs(case: &Case, text: &str) -> Vec<usize> {
    let seen = collapse(text, case.regex.contains(r"\p{"));
    let (mut pieces, mut at) = (Vec::new(), 0);
    let mut push = |part: &str| {
        if !part.is_empty() {
            pieces.push(part.chars().count())
        }
    };
    for found in case.theirs.find_iter(&seen) {
        let found = found.expect("a match");
        push(&seen[at..found.start()]);
        push(&seen[found.start()..found.end()]);
        at = found.end();
    }
    push(&seen[at..]);
    pieces
}

/// Text in which every class and every character that some pattern names is likely.
fn any_text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "'s",
        "'LL",
        "'re",
        "'x",
        "<sentinel:12>",
        "IMGIMGABZ",
        "IMGIMGABCDEZ",
        "\r\n",
        " \n \n",
        "    ",
        "ab",
        "Ab",
        "aB",
        "123",
        "1234",
    ]);
    let piece = prop_oneof![
        4 => "[ \ta-cA-C0-2.,!?'/<$+_()|\r\n\u{b}]{1,3}",
        4 => "[éÉ中々漢가ひカٱ٣½Ⅷ\u{301}\u{94d}\u{3000}\u{a0}\u{85}。，、‘“€Ω😀\u{200b}\u{e123}\u{fa6e}ｱ～ไﬀ۔]{1,3}",
        2 => words.prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pieces_are_those_of_the_regex(text in any_text()) {
        for case in CASES.iter() {
            prop_assert_eq!(ours(case, &text), theirs(case, &text), "{:?} by {}", text, case.regex);
        }
    }

    #[test]
    fn words_add_up_to_the_text(text in any_text()) {
        for row in ROWS {
            let mut joined = Vec::new();
            let pre_tokenizer = PreTokenizer::new(row.passes).expect("patterns of the table compile");
            pre_tokenizer.split(text.as_bytes(), &mut |word| joined.extend_from_slice(word));
            prop_assert_eq!(&joined[..], text.as_bytes(), "{:?}", row.names);
        }
    }
}

fn words(passes: &[Pass], text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let pre_tokenizer = PreTokenizer::new(passes).expect("passes compile");
    pre_tokenizer.split(text.as_bytes(), &mut |word| words.push(String::from_utf8_lossy(word).into_owned()));
    words
}

#[test]
fn passes_that_are_no_patterns() {
    let cases: [(&[Pass], &str, &[&str]); 6] = [
        (&[Pass::TrailingSpace], "a b \u{3000}\n", &["a b", " \u{3000}\n"]),
        (&[Pass::TrailingSpace], "  ", &["  "]),
        (&[Pass::Thousands], "a1234 123", &["a1", "234", " 123"]),
        (&[Pass::Thousands], "12345678x½½½½", &["12", "345", "678", "x½", "½½½"]),
        (&[Pass::ThousandsAscii], "1234567", &["1", "234", "567"]),
        (&[Pass::ThousandsAscii], "a123456b12", &["a", "123", "456b12"]),
    ];
    for (passes, text, expected) in cases {
        assert_eq!(words(passes, text), expected, "{passes:?} {text:?}");
    }
}

#[test]
fn names_stand_in_one_row() {
    let names: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
}
