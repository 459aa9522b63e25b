//! Source text into tokens, with the whitespace rules of `trim_blocks` and `lstrip_blocks`: a block tag takes the newline
//! after it and the blanks before it on its line; `-` inside a tag's bracket takes all whitespace on that side.

use super::Fault;

/// A token and its line, from 1.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub line: usize,
    pub kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside of tags.
    Raw(String),
    /// `{{`
    EmitOpen,
    /// `}}`
    EmitClose,
    /// `{%`
    TagOpen,
    /// `%}`
    TagClose,
    Name(String),
    Text(String),
    Int(i64),
    Float(f64),
    Sign(&'static str),
}

/// An expression is at most this deep a tree, so that walking it and freeing it cannot exhaust the stack.
const MAX_TAG_TOKENS: usize = 2000;

/// Signs inside tags, longer ones first.
const SIGNS: [&str; 28] = [
    "**", "//", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ",", ".", ":", "|", "<", ">", "+", "-", "~", "*",
    "/", "%", "=", "!", "@", ";",
];

/// What the tag before a text takes of it.
#[derive(Clone, Copy, PartialEq)]
enum Trim {
    Nothing,
    Newline,
    Whitespace,
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

/// All tokens of a template. On failure the line comes with the fault.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, (usize, Fault)> {
    // As Jinja does by default, one newline at the very end is not part of the template.
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut lexer = Lexer { source, at: 0, line: 1, tokens: Vec::new() };
    match lexer.run() {
        Ok(()) => Ok(lexer.tokens),
        Err(fault) => Err((lexer.line, fault)),
    }
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), Fault> {
        let mut trim = Trim::Nothing;
        while self.at < self.source.len() {
            let start = self.at;
            let rest = self.rest();
            let end = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min().unwrap_or(rest.len());
            let tag = &rest[end..];
            let mut text = &rest[..end];
            match tag.as_bytes().get(2) {
                Some(b'-') => text = text.trim_end(),
                Some(b'+') => {}
                _ if tag.starts_with("{%") || tag.starts_with("{#") => text = without_indent(text, start == 0),
                _ => {}
            }
            text = match trim {
                Trim::Nothing => text,
                Trim::Newline => text.strip_prefix('\n').unwrap_or(text),
                Trim::Whitespace => text.trim_start(),
            };
            if !text.is_empty() {
                self.push(TokenKind::Raw(text.into()));
            }
            self.advance(end);
            trim = match tag.get(..2) {
                Some("{#") => self.comment()?,
                Some("{%") if is_raw(tag, "raw") => self.raw()?,
                Some("{%") => self.tag(TokenKind::TagOpen, "%}", TokenKind::TagClose)?,
                Some(_) => self.tag(TokenKind::EmitOpen, "}}", TokenKind::EmitClose)?,
                None => Trim::Nothing,
            };
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<Trim, Fault> {
        let end = self.rest().find("#}").ok_or_else(|| Fault::wrong("a comment is not closed"))?;
        let trim = if self.rest()[..end].ends_with('-') { Trim::Whitespace } else { Trim::Newline };
        self.advance(end + 2);
        Ok(trim)
    }

    /// `{% raw %}…{% endraw %}`
    fn raw(&mut self) -> Result<Trim, Fault> {
        let unclosed = || Fault::wrong("raw is not closed");
        let open = self.rest().find("%}").ok_or_else(unclosed)? + 2;
        self.advance(open);
        let rest = self.rest();
        let end = rest
            .match_indices("{%")
            .map(|(at, _)| at)
            .find(|&at| is_raw(&rest[at..], "endraw"))
            .ok_or_else(unclosed)?;
        self.push(TokenKind::Raw(rest[..end].into()));
        self.advance(end);
        let close = self.rest().find("%}").ok_or_else(unclosed)?;
        let trim = if self.rest()[..close].ends_with('-') { Trim::Whitespace } else { Trim::Newline };
        self.advance(close + 2);
        Ok(trim)
    }

    /// The inside of a tag, up to and with its closing bracket.
    fn tag(&mut self, open: TokenKind, close: &str, close_kind: TokenKind) -> Result<Trim, Fault> {
        let newline = close == "%}";
        let begin = self.tokens.len();
        self.push(open);
        self.advance(2);
        if self.rest().starts_with(['-', '+']) {
            self.advance(1);
        }
        // A `}` closes an inner brace first.
        let mut braces = 0;
        loop {
            if self.tokens.len() - begin > MAX_TAG_TOKENS {
                return Err(Fault::Limit(format!("more than {MAX_TAG_TOKENS} words in one tag")));
            }
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.advance(blank);
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return Err(Fault::wrong("a tag is not closed")) };
            let (sign, body) = match first {
                '-' | '+' => (Some(first), &rest[1..]),
                _ => (None, rest),
            };
            if braces == 0 && body.starts_with(close) {
                self.advance(close.len() + usize::from(sign.is_some()));
                self.push(close_kind);
                return Ok(match sign {
                    Some('-') => Trim::Whitespace,
                    None if newline => Trim::Newline,
                    _ => Trim::Nothing,
                });
            }
            match first {
                '"' | '\'' => self.text(first)?,
                '0'..='9' => self.number()?,
                _ if first == '_' || first.is_alphabetic() => {
                    let length = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
                    self.push(TokenKind::Name(rest[..length].into()));
                    self.advance(length);
                }
                _ => {
                    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                    let sign = sign.ok_or_else(|| Fault::wrong(format!("unexpected character {first:?}")))?;
                    braces += i32::from(*sign == "{") - i32::from(*sign == "}");
                    self.push(TokenKind::Sign(sign));
                    self.advance(sign.len());
                }
            }
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let mut length = digits(rest);
        let fraction = rest[length..].strip_prefix('.').map_or(0, digits);
        length += if fraction > 0 { 1 + fraction } else { 0 };
        let text = rest[..length].replace('_', "");
        let kind = match fraction {
            0 => text.parse().map(TokenKind::Int).ok(),
            _ => text.parse().map(TokenKind::Float).ok(),
        };
        self.push(kind.ok_or_else(|| Fault::wrong(format!("{text} is not a number we can hold")))?);
        self.advance(length);
        Ok(())
    }

    /// A string in quotes, with Python's escapes.
    fn text(&mut self, quote: char) -> Result<(), Fault> {
        let rest = &self.rest()[1..];
        let mut text = String::new();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.push(TokenKind::Text(text));
                self.advance(at + 2);
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let Some((at, escape)) = chars.next() else { break };
            let hexadecimal = match escape {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            match escape {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'v' => text.push('\u{b}'),
                '0' => text.push('\0'),
                '\\' | '\'' | '"' => text.push(escape),
                '\n' => {}
                _ if hexadecimal > 0 => {
                    let code =
                        rest.get(at + 1..at + 1 + hexadecimal).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    text.push(code.and_then(char::from_u32).ok_or_else(|| Fault::wrong("a wrong escape in a string"))?);
                    chars.nth(hexadecimal - 1);
                }
                // As in Python, an escape that is none stays as it stands.
                other => text.extend(['\\', other]),
            }
        }
        Err(Fault::wrong("a string is not closed"))
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.at += bytes;
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { line: self.line, kind });
    }
}

/// Takes the blanks between the last newline and the tag away; `first` says that the text begins the source.
fn without_indent(text: &str, first: bool) -> &str {
    let bare = text.trim_end_matches([' ', '\t']);
    if bare.ends_with('\n') || (first && bare.is_empty()) { bare } else { text }
}

/// Is this the tag `{% word %}`?
fn is_raw(tag: &str, word: &str) -> bool {
    let inside = tag[2..].trim_start_matches(['-', '+']).trim_start();
    inside.strip_prefix(word).is_some_and(|rest| rest.trim_start().trim_start_matches(['-', '+']).starts_with("%}"))
}
