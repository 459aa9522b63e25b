//! Pre-tokenizers: how a byte-level BPE vocabulary cuts a text into words before it merges
//! inside each word. Called by [`crate::bpe`]; the names come from `tokenizer.ggml.pre`.

mod letters;
mod pattern;
mod table;

pub(crate) use table::{PreRow, Spelling, row};

use crate::unicode;
use pattern::Pattern;

/// Every name that `tokenizer.ggml.pre` may have; the empty one is that of a file without it.
pub fn pre_tokenizers() -> impl Iterator<Item = &'static str> {
    table::ROWS.iter().flat_map(|row| row.names).copied()
}

/// One pass over the text; each pass cuts the pieces of the pass before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pass {
    /// A regular expression: cuts around every match.
    Regex(&'static str),
    /// Cuts the white space that ends a piece off it (`\s+$`, in one look).
    TrailingSpace,
    /// Cuts a run of numbers into threes counted from its end. The first cut of a run comes
    /// after its first group: what stands before the run stays joined to that group.
    Thousands,
    /// Cuts before every ASCII digit that a multiple of three digits, up to the run's end, follow.
    ThousandsAscii,
}

enum Stage {
    Pattern(Box<Pattern>),
    TrailingSpace,
    Thousands,
    ThousandsAscii,
}

/// The passes of one pre-tokenizer, compiled.
pub(crate) struct PreTokenizer {
    stages: Vec<Stage>,
}

impl PreTokenizer {
    /// Compiles `passes`; an error is a bug of the table, which its test finds.
    pub(crate) fn new(passes: &[Pass]) -> Result<Self, String> {
        let compile = |pass: &Pass| {
            Ok(match pass {
                Pass::Regex(regex) => Stage::Pattern(Box::new(Pattern::new(regex)?)),
                Pass::TrailingSpace => Stage::TrailingSpace,
                Pass::Thousands => Stage::Thousands,
                Pass::ThousandsAscii => Stage::ThousandsAscii,
            })
        };
        Ok(PreTokenizer { stages: passes.iter().map(compile).collect::<Result<_, String>>()? })
    }

    /// Calls `emit` for every word of `text`, in order; together the words are the text.
    /// `text` has gone through [`unicode::well_formed`].
    pub(crate) fn split<'t>(&self, text: &'t [u8], emit: &mut dyn FnMut(&'t [u8])) {
        run(&self.stages, text, emit);
    }
}

fn run<'t>(stages: &[Stage], text: &'t [u8], emit: &mut dyn FnMut(&'t [u8])) {
    let Some((stage, rest)) = stages.split_first() else {
        if !text.is_empty() {
            emit(text);
        }
        return;
    };
    let mut next = |from: usize, to: usize| match rest.is_empty() {
        true => emit(&text[from..to]),
        false => run(rest, &text[from..to], emit),
    };
    match stage {
        Stage::Pattern(pattern) => pattern.split(text, next),
        Stage::TrailingSpace => {
            let end = trim_end(text);
            for (from, to) in [(0, end), (end, text.len())] {
                if from < to {
                    next(from, to);
                }
            }
        }
        Stage::Thousands => cut(text, thousands(text), &mut next),
        Stage::ThousandsAscii => cut(text, thousands_ascii(text), &mut next),
    }
}

/// Emits the stretches of `text` between `cuts`, which increase.
fn cut(text: &[u8], cuts: Vec<usize>, emit: &mut dyn FnMut(usize, usize)) {
    let mut from = 0;
    for to in cuts.into_iter().chain([text.len()]) {
        if from < to {
            emit(from, to);
        }
        from = to;
    }
}

/// Where the white space begins that ends `text`.
fn trim_end(text: &[u8]) -> usize {
    let mut end = text.len();
    while end > 0 {
        let mut start = end - 1;
        while start > 0 && text[start] & 0xc0 == 0x80 {
            start -= 1;
        }
        if !unicode::is_space(unicode::decode(text, start).0) {
            break;
        }
        end = start;
    }
    end
}

fn is_number(code: u32) -> bool {
    match code {
        0..128 => (48..58).contains(&code),
        _ => unicode::class_of(code) == unicode::Class::Number as u8,
    }
}

fn thousands(text: &[u8]) -> Vec<usize> {
    let (mut cuts, mut run, mut at) = (Vec::new(), Vec::new(), 0);
    loop {
        let (code, len) = if at < text.len() { unicode::decode(text, at) } else { (0, 1) };
        if is_number(code) {
            run.push(at + len);
        } else {
            // Ends of digits: the first group is what three does not divide, or three.
            let first = (run.len() + 2) % 3;
            cuts.extend(run.iter().skip(first).step_by(3));
            run.clear();
        }
        if at >= text.len() {
            return cuts;
        }
        at += len;
    }
}

fn thousands_ascii(text: &[u8]) -> Vec<usize> {
    let mut cuts = Vec::new();
    for end in 1..=text.len() {
        let ends_here = text.get(end).is_none_or(|byte| !byte.is_ascii_digit());
        if ends_here && text[end - 1].is_ascii_digit() {
            let run = text[..end].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            cuts.extend((end - run..end).skip(run % 3).step_by(3));
        }
    }
    cuts
}

#[cfg(test)]
mod tests;
