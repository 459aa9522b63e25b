//! llama.cpp's grammar notation, GBNF, put into the words of the parser that runs it.
//!
//! GBNF knows characters only; the parser wants *lexemes*, pieces that its lexer finds by automaton, always the longest
//! there is. The coarser they are the quicker a mask is made, and the language must stay the same to the letter:
//!
//! 1. `parse` reads rules;
//! 2. `lexemes` takes the largest parts without recursion as lexemes;
//! 3. `ambiguity` looks for two lexemes of which the lexer, taking the longest, would miss a reading; they are cut into
//!    smaller ones, in the end into single characters, which nothing can be confused with;
//! 4. `lark` writes the result down.

mod ambiguity;
mod automaton;
mod lark;
mod lexemes;
mod parse;

use super::Problem;

/// The most `x{n}` may ask for, as in llama.cpp.
const MOST_REPEATS: u32 = 2000;

/// Code points from the first to the last, both included.
type Range = (u32, u32);

/// What a rule says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Expr {
    /// These characters, one after the other.
    Text(Vec<u32>),
    /// One character of these ranges.
    Class(Vec<Range>),
    /// One token, or any but that.
    Token { id: u32, negated: bool },
    /// Another rule.
    Rule(usize),
    /// One after the other.
    Seq(Vec<Expr>),
    /// One of these.
    Alt(Vec<Expr>),
    /// So many times, or more without a second number.
    Repeat(Box<Expr>, u32, Option<u32>),
}

/// Rules, by number.
#[derive(Debug)]
struct Rules {
    bodies: Vec<Expr>,
    root: usize,
}

/// The same language in Lark. `token` finds the token that a text is.
pub(super) fn to_lark(source: &str, token: &dyn Fn(&str) -> Option<u32>) -> Result<String, Problem> {
    let rules = parse::rules(source, token)?;
    let shape = lexemes::unambiguous(&rules)?;
    Ok(lark::write(&rules, &shape))
}

#[cfg(test)]
mod tests;
