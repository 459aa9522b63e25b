//! Reads GBNF. Errors tell line and column.

use std::collections::HashMap;

use super::{Expr, MOST_REPEATS, Range, Rules};
use crate::grammar::Problem;

/// Parentheses within each other; deeper ones are refused, so that no recursion over a grammar runs out of stack.
const MOST_NESTED: usize = 64;
/// Rules of one grammar.
const MOST_RULES: usize = 1000;
/// The last code point.
const LAST: u32 = char::MAX as u32;

/// The rules of a grammar; all that are named exist, and one of them is `root`.
pub(super) fn rules(source: &str, token: &dyn Fn(&str) -> Option<u32>) -> Result<Rules, Problem> {
    let mut parser = Parser { source, at: 0, depth: 0, numbers: HashMap::new(), bodies: Vec::new(), token };
    parser.space(true);
    while !parser.rest().is_empty() {
        parser.rule()?;
    }
    let Parser { numbers, bodies, .. } = parser;
    let mut named: Vec<(usize, &str)> = numbers.iter().map(|(name, number)| (*number, *name)).collect();
    named.sort_unstable();
    let missing = |name| Problem::new(format!("there is no rule `{name}`"));
    let root = *numbers.get("root").ok_or_else(|| missing("root"))?;
    let bodies = named.iter().zip(bodies).map(|((_, name), body)| body.ok_or_else(|| missing(name)));
    let bodies = bodies.collect::<Result<Vec<Expr>, _>>()?;
    match endless(&bodies) {
        Some(number) => Err(Problem::new(format!("no text comes to the end of rule `{}`", named[number].1))),
        None => Ok(Rules { bodies, root }),
    }
}

/// A rule that always leads back to itself.
fn endless(bodies: &[Expr]) -> Option<usize> {
    let mut ends = vec![false; bodies.len()];
    while let Some(number) = (0..bodies.len()).find(|&number| !ends[number] && has_end(&bodies[number], &ends)) {
        ends[number] = true;
    }
    ends.iter().position(|ends| !ends)
}

fn has_end(expr: &Expr, ends: &[bool]) -> bool {
    match expr {
        Expr::Text(_) | Expr::Class(_) | Expr::Token { .. } => true,
        Expr::Rule(number) => ends[*number],
        Expr::Seq(items) => items.iter().all(|item| has_end(item, ends)),
        Expr::Alt(all) => all.iter().any(|one| has_end(one, ends)),
        Expr::Repeat(item, least, _) => *least == 0 || has_end(item, ends),
    }
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    depth: usize,
    numbers: HashMap<&'a str, usize>,
    bodies: Vec<Option<Expr>>,
    token: &'a dyn Fn(&str) -> Option<u32>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn problem(&self, what: impl std::fmt::Display) -> Problem {
        let before = &self.source[..self.at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Problem::new(format!("line {line}, column {}: {what}", before[line_start..].chars().count() + 1))
    }

    fn eat(&mut self, text: &str) -> bool {
        let eaten = self.rest().starts_with(text);
        self.at += if eaten { text.len() } else { 0 };
        eaten
    }

    fn need(&mut self, text: &str) -> Result<(), Problem> {
        if self.eat(text) { Ok(()) } else { Err(self.problem(format_args!("expected `{text}`"))) }
    }

    fn next(&mut self) -> Result<char, Problem> {
        let next = self.rest().chars().next().ok_or_else(|| self.problem("the grammar ends too early"))?;
        self.at += next.len_utf8();
        Ok(next)
    }

    /// As many as the test accepts.
    fn run(&mut self, accepts: fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|next| !accepts(next)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Blanks and comments, and line ends where these mean nothing.
    fn space(&mut self, lines: bool) {
        loop {
            match self.rest().chars().next() {
                Some(' ' | '\t') => self.at += 1,
                Some('\r' | '\n') if lines => self.at += 1,
                Some('#') => _ = self.run(|next| !matches!(next, '\r' | '\n')),
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<usize, Problem> {
        let name = self.run(is_word);
        if name.is_empty() {
            return Err(self.problem("expected the name of a rule"));
        }
        let number = *self.numbers.entry(name).or_insert(self.bodies.len());
        if number == self.bodies.len() {
            self.bodies.push(None);
        }
        if number >= MOST_RULES {
            return Err(self.problem(format_args!("more than {MOST_RULES} rules")));
        }
        Ok(number)
    }

    fn rule(&mut self) -> Result<(), Problem> {
        let number = self.name()?;
        self.space(false);
        self.need("::=")?;
        self.space(true);
        // As in llama.cpp, the last of several rules of one name counts.
        self.bodies[number] = Some(self.alternatives(false)?);
        if !self.rest().is_empty() && !self.rest().starts_with(['\r', '\n']) {
            return Err(self.problem("expected the end of the line"));
        }
        self.space(true);
        Ok(())
    }

    fn alternatives(&mut self, nested: bool) -> Result<Expr, Problem> {
        let mut all = vec![self.sequence(nested)?];
        while self.eat("|") {
            self.space(true);
            all.push(self.sequence(nested)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Alt(all) })
    }

    fn sequence(&mut self, nested: bool) -> Result<Expr, Problem> {
        let mut items = Vec::new();
        while let Some(item) = self.item()? {
            self.space(nested);
            items.push(self.repeated(item, nested)?);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Expr::Seq(items) })
    }

    /// What stands next in a sequence; `None` at its end.
    fn item(&mut self) -> Result<Option<Expr>, Problem> {
        let Some(next) = self.rest().chars().next() else { return Ok(None) };
        Ok(Some(match next {
            '"' => {
                self.at += 1;
                let mut text = Vec::new();
                while !self.eat("\"") {
                    text.push(self.character()?);
                }
                Expr::Text(text)
            }
            '[' => self.class()?,
            '.' => {
                self.at += 1;
                Expr::Class(vec![(0, LAST)])
            }
            '<' | '!' => {
                let negated = self.eat("!");
                Expr::Token { id: self.token_id()?, negated }
            }
            '(' => {
                self.depth += 1;
                if self.depth > MOST_NESTED {
                    return Err(self.problem(format_args!("more than {MOST_NESTED} parentheses within each other")));
                }
                self.at += 1;
                self.space(true);
                let inner = self.alternatives(true)?;
                self.need(")")?;
                self.depth -= 1;
                inner
            }
            next if is_word(next) => Expr::Rule(self.name()?),
            _ => return Ok(None),
        }))
    }

    /// `*`, `+`, `?` and `{…}` behind an item.
    fn repeated(&mut self, mut item: Expr, nested: bool) -> Result<Expr, Problem> {
        for _ in 0..MOST_NESTED {
            let (least, most) = match self.rest().as_bytes().first() {
                Some(b'*') => (0, None),
                Some(b'+') => (1, None),
                Some(b'?') => (0, Some(1)),
                Some(b'{') => (0, Some(0)),
                _ => return Ok(item),
            };
            let braces = self.eat("{");
            let (least, most) = if braces { self.bounds()? } else { (least, most) };
            self.at += usize::from(!braces);
            self.space(nested);
            item = match (least, most) {
                (1, Some(1)) => item,
                (0, Some(0)) => Expr::Seq(Vec::new()),
                _ => Expr::Repeat(Box::new(item), least, most),
            };
        }
        Err(self.problem("too many repetitions of one item"))
    }

    /// `m}`, `m,}` or `m,n}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>), Problem> {
        self.space(false);
        let least = self.number()?;
        self.space(false);
        let mut most = Some(least);
        if self.eat(",") {
            self.space(false);
            most = if self.rest().starts_with('}') { None } else { Some(self.number()?) };
            self.space(false);
        }
        self.need("}")?;
        if least > MOST_REPEATS {
            return Err(self.problem(format_args!("at most {MOST_REPEATS} repetitions can be asked for")));
        }
        if most.is_some_and(|most| most < least) {
            return Err(self.problem("the second number is smaller than the first"));
        }
        // As in llama.cpp, so many are as good as any number.
        Ok((least, most.filter(|&most| most <= MOST_REPEATS)))
    }

    fn number(&mut self) -> Result<u32, Problem> {
        let digits = self.run(|next| next.is_ascii_digit());
        digits.parse().map_err(|_| self.problem("expected a whole number"))
    }

    fn class(&mut self) -> Result<Expr, Problem> {
        self.at += 1;
        let negated = self.eat("^");
        let mut ranges: Vec<Range> = Vec::new();
        while !self.eat("]") {
            let first = self.character()?;
            let mut last = first;
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") {
                self.at += 1;
                last = self.character()?;
            }
            if last < first {
                return Err(self.problem("a range that ends before it begins"));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err(self.problem("a class without characters"));
        }
        let ranges = joined(ranges);
        let ranges = if negated { complement(&ranges) } else { ranges };
        if ranges.is_empty() {
            return Err(self.problem("a class that no character is in"));
        }
        Ok(Expr::Class(ranges))
    }

    /// One character, maybe escaped, as a code point.
    fn character(&mut self) -> Result<u32, Problem> {
        let next = self.next()?;
        if next != '\\' {
            return Ok(next.into());
        }
        let digits = match self.next()? {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            't' => return Ok('\t'.into()),
            'r' => return Ok('\r'.into()),
            'n' => return Ok('\n'.into()),
            plain @ ('\\' | '"' | '[' | ']' | '-') => return Ok(plain.into()),
            other => return Err(self.problem(format_args!("unknown escape `\\{other}`"))),
        };
        let value = self.rest().get(..digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let value = value.filter(|&value| value <= LAST);
        let value = value.ok_or_else(|| self.problem(format_args!("expected a character as {digits} hex digits")))?;
        self.at += digits;
        Ok(value)
    }

    /// `<[id]>`, or `<text>` that is one token.
    fn token_id(&mut self) -> Result<u32, Problem> {
        let text = self.rest().find('>').map(|end| &self.rest()[..=end]);
        let text = text.filter(|text| text.starts_with('<') && text.len() > 2);
        let text = text.ok_or_else(|| self.problem("expected a token, as <[id]> or <text>"))?;
        let number = text.strip_prefix("<[").and_then(|rest| rest.strip_suffix("]>"));
        let id = match number {
            Some(number) => number.parse().ok(),
            None => (self.token)(text),
        };
        let id = id.ok_or_else(|| self.problem(format_args!("{text} is not one token of the vocabulary")))?;
        self.at += text.len();
        Ok(id)
    }
}

fn is_word(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '-'
}

/// Ranges in order, none of which touch.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// All other characters.
fn complement(ranges: &[Range]) -> Vec<Range> {
    let starts = std::iter::once(0).chain(ranges.iter().map(|(_, last)| last + 1));
    let ends = ranges.iter().map(|(first, _)| *first).chain([LAST + 1]);
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| (start, end - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str) -> Result<Rules, String> {
        rules(source, &|text| (text == "<think>").then_some(7)).map_err(|problem| problem.to_string())
    }

    fn text(text: &str) -> Expr {
        Expr::Text(text.chars().map(u32::from).collect())
    }

    #[test]
    fn rules_are_read() {
        let rules =
            parse("# start\nroot ::= (\"a\\n\" # inside\n | [^b-c\\]]{2,3})* x-1 <think> !<[4]>\nx-1 ::= |\n \".\"")
                .unwrap();
        let class = Expr::Class(vec![(0, 0x5c), (0x5e, 0x61), (0x64, LAST)]);
        let inner = Expr::Alt(vec![text("a\n"), Expr::Repeat(Box::new(class), 2, Some(3))]);
        let tokens = [Expr::Token { id: 7, negated: false }, Expr::Token { id: 4, negated: true }];
        let [think, not] = tokens;
        assert_eq!(
            rules.bodies[rules.root],
            Expr::Seq(vec![Expr::Repeat(Box::new(inner), 0, None), Expr::Rule(1), think, not])
        );
        assert_eq!(rules.bodies[1], Expr::Alt(vec![Expr::Seq(vec![]), text(".")]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (source, message) in [
            ("", "there is no rule `root`"),
            ("root ::= a", "there is no rule `a`"),
            ("root ::= \"a", "line 1, column 12: the grammar ends too early"),
            ("root = \"a\"", "line 1, column 6: expected `::=`"),
            ("root ::= \"a\"\nb ::= [z-a]", "line 2, column 11: a range that ends before it begins"),
            ("root ::= [a", "line 1, column 12: the grammar ends too early"),
            ("root ::= []", "line 1, column 12: a class without characters"),
            ("root ::= (\"a\"", "line 1, column 14: expected `)`"),
            ("root ::= \"\\q\"", "line 1, column 13: unknown escape `\\q`"),
            ("root ::= \"\\U00110000\"", "line 1, column 13: expected a character as 8 hex digits"),
            ("root ::= \"a\"{3,2}", "line 1, column 18: the second number is smaller than the first"),
            ("root ::= \"a\"{2001}", "line 1, column 19: at most 2000 repetitions can be asked for"),
            ("root ::= \"a\"{99999999999}", "line 1, column 25: expected a whole number"),
            ("root ::= *", "line 1, column 10: expected the end of the line"),
            ("root ::= x\nx ::= \"a\" x", "no text comes to the end of rule `root`"),
            ("root ::= <nope>", "line 1, column 10: <nope> is not one token of the vocabulary"),
            ("root ::= <", "line 1, column 10: expected a token, as <[id]> or <text>"),
        ] {
            assert_eq!(parse(source).unwrap_err(), message, "{source}");
        }
        assert!(parse(&format!("root ::= {}", "(".repeat(100_000))).unwrap_err().contains("64 parentheses"));
        assert!(parse(&format!("root ::= \"a\"{}", "*".repeat(100_000))).unwrap_err().contains("too many repetitions"));
    }
}
