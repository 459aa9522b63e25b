//! Tokens into statements, by recursive descent. Expressions are in `expressions`.

use std::sync::Arc;

use super::Fault;
use super::ast::{For, Kind, Macro, Statement, Target, Text};
use super::lexer::{Token, TokenKind};

/// Nesting of expressions and blocks. The deepest template we know nests 20 levels.
const MAX_NESTING: usize = 100;

/// Parses a whole template. On failure the line comes with the fault.
pub(super) fn parse(tokens: &[Token]) -> Result<Vec<Statement>, (usize, Fault)> {
    let mut parser = Parser { tokens, at: 0, nesting: 0 };
    parser.block(&[]).map_err(|fault| {
        let at = parser.at.min(tokens.len().saturating_sub(1));
        (tokens.get(at).map_or(1, |token| token.line), fault)
    })
}

pub(super) struct Parser<'t> {
    tokens: &'t [Token],
    pub(super) at: usize,
    nesting: usize,
}

pub(super) type Parsed<T> = Result<T, Fault>;

impl Parser<'_> {
    // ---- statements ----

    /// Statements up to a tag that begins with one of `ends` (which stays), or to the end of the source if there are none.
    fn block(&mut self, ends: &[&str]) -> Parsed<Vec<Statement>> {
        self.nested(|parser| {
            let mut statements = Vec::new();
            loop {
                let Some(token) = parser.tokens.get(parser.at) else {
                    return match ends {
                        [] => Ok(statements),
                        [.., end] => Err(Fault::wrong(format!("{end} is missing"))),
                    };
                };
                let line = token.line;
                let kind = match &token.kind {
                    TokenKind::Raw(text) => {
                        parser.at += 1;
                        Some(Kind::Text(text.as_str().into()))
                    }
                    TokenKind::EmitOpen => {
                        parser.at += 1;
                        let value = parser.tuple_or_expression()?;
                        parser.take_kind(&TokenKind::EmitClose)?;
                        Some(Kind::Emit(value))
                    }
                    TokenKind::TagOpen if matches!(parser.peek(1), Some(TokenKind::Name(name)) if ends.contains(&name.as_str())) => {
                        return Ok(statements);
                    }
                    TokenKind::TagOpen => {
                        parser.at += 1;
                        parser.tag()?
                    }
                    _ => return Err(parser.unexpected()),
                };
                statements.extend(kind.map(|kind| Statement { line, kind }));
            }
        })
    }

    /// What follows `{%`. `None` is a tag without effect.
    fn tag(&mut self) -> Parsed<Option<Kind>> {
        let name = self.name()?;
        let kind = match &*name {
            "set" => self.set()?,
            "if" => self.branches()?,
            "for" => self.repeat()?,
            "macro" => self.definition()?,
            "filter" => {
                let (name, arguments) = (self.name()?, self.optional_arguments()?);
                self.close()?;
                Kind::Filter(name, arguments, self.block_to("endfilter")?)
            }
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            // Marks for training; they change nothing in the text.
            "generation" | "endgeneration" => {
                self.close()?;
                return Ok(None);
            }
            other => return Err(Fault::wrong(format!("the tag `{other}` is not known here"))),
        };
        self.close()?;
        Ok(Some(kind))
    }

    fn set(&mut self) -> Parsed<Kind> {
        let first = self.name()?;
        let target = if self.take(".") {
            Target::Field(first, self.name()?)
        } else {
            let mut names = vec![first];
            while self.take(",") {
                names.push(self.name()?);
            }
            Target::Names(names)
        };
        if self.take("=") {
            return Ok(Kind::Set(target, self.tuple_or_expression()?));
        }
        self.close()?;
        Ok(Kind::SetBlock(target, self.block_to("endset")?))
    }

    fn branches(&mut self) -> Parsed<Kind> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let condition = self.expression()?;
            self.close()?;
            branches.push((condition, self.block(&["elif", "else", "endif"])?));
            self.at += 1;
            match &*self.name()? {
                "elif" => {}
                "else" => {
                    self.close()?;
                    otherwise = self.block_to("endif")?;
                    break;
                }
                _ => break,
            }
        }
        Ok(Kind::If(branches, otherwise))
    }

    fn repeat(&mut self) -> Parsed<Kind> {
        let parenthesis = self.take("(");
        let mut names = vec![self.name()?];
        while self.take(",") {
            names.push(self.name()?);
        }
        if parenthesis {
            self.sign(")")?;
        }
        if !self.take_word("in") {
            return Err(self.unexpected());
        }
        // Not a whole expression: `if` here filters the items.
        let items = self.or()?;
        let condition = if self.take_word("if") { Some(self.expression()?) } else { None };
        self.close()?;
        let body = self.block(&["else", "endfor"])?;
        self.at += 1;
        let otherwise = match &*self.name()? {
            "else" => {
                self.close()?;
                self.block_to("endfor")?
            }
            _ => Vec::new(),
        };
        Ok(Kind::For(For { names, items, condition, body, otherwise }))
    }

    fn definition(&mut self) -> Parsed<Kind> {
        let name = self.name()?;
        let mut parameters = Vec::new();
        self.sign("(")?;
        while !self.take(")") {
            let parameter = self.name()?;
            let default = if self.take("=") { Some(self.expression()?) } else { None };
            parameters.push((parameter, default));
            if !self.take(",") {
                self.sign(")")?;
                break;
            }
        }
        self.close()?;
        let body = self.block_to("endmacro")?;
        Ok(Kind::Macro(Arc::new(Macro { name, parameters, body })))
    }

    /// Statements up to the tag `end`, whose name is taken too.
    fn block_to(&mut self, end: &str) -> Parsed<Vec<Statement>> {
        let body = self.block(&[end])?;
        self.at += 2;
        Ok(body)
    }

    // ---- tokens ----

    pub(super) fn peek(&self, ahead: usize) -> Option<&TokenKind> {
        self.tokens.get(self.at + ahead).map(|token| &token.kind)
    }

    pub(super) fn is(&self, sign: &str) -> bool {
        matches!(self.peek(0), Some(TokenKind::Sign(found)) if *found == sign)
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek(ahead), Some(TokenKind::Name(name)) if name == word)
    }

    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn name(&mut self) -> Parsed<Text> {
        match self.peek(0) {
            Some(TokenKind::Name(name)) => {
                let name = name.as_str().into();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    pub(super) fn sign(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { Err(Fault::wrong(format!("expected `{sign}`, found {}", self.found()))) }
    }

    fn take_kind(&mut self, kind: &TokenKind) -> Parsed<()> {
        if self.peek(0) == Some(kind) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected())
    }

    fn close(&mut self) -> Parsed<()> {
        self.take_kind(&TokenKind::TagClose)
    }

    fn found(&self) -> String {
        match self.peek(0) {
            None => "the end of the template".into(),
            Some(TokenKind::Raw(_)) => "text".into(),
            Some(TokenKind::EmitOpen) => "`{{`".into(),
            Some(TokenKind::EmitClose) => "`}}`".into(),
            Some(TokenKind::TagOpen) => "`{%`".into(),
            Some(TokenKind::TagClose) => "`%}`".into(),
            Some(TokenKind::Name(name)) => format!("`{name}`"),
            Some(TokenKind::Text(_)) => "a string".into(),
            Some(TokenKind::Int(value)) => format!("`{value}`"),
            Some(TokenKind::Float(value)) => format!("`{value}`"),
            Some(TokenKind::Sign(sign)) => format!("`{sign}`"),
        }
    }

    pub(super) fn unexpected(&self) -> Fault {
        Fault::wrong(format!("unexpected {}", self.found()))
    }

    // ---- nesting ----

    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= MAX_NESTING {
            return Err(Fault::Limit(format!("more than {MAX_NESTING} levels of nesting")));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }
}
