//! Which parts of a grammar the lexer finds by itself, and what is left for the parser.

use std::collections::{HashMap, HashSet};

use super::ambiguity;
use super::{Expr, Rules};
use crate::grammar::Problem;

/// Rounds of cutting; each goes one level deeper into the grammar.
const MOST_ROUNDS: usize = 256;
/// Lexemes of one grammar.
const MOST_LEXEMES: usize = 2000;

/// A grammar over lexemes.
pub(super) struct Shape {
    pub root: Node,
    /// By number, those that the parser has to know.
    pub rules: Vec<Option<Node>>,
    pub lexemes: Vec<Lexeme>,
}

/// What the parser sees of a rule.
pub(super) enum Node {
    Lexeme(usize),
    Token { id: u32, negated: bool },
    Rule(usize),
    Seq(Vec<Node>),
    Alt(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

/// An expression without recursion, less the empty word.
pub(super) struct Lexeme {
    pub expr: Expr,
    /// The expression has the empty word too.
    pub nullable: bool,
}

/// The coarsest shape found in which taking the longest lexeme misses nothing.
pub(super) fn unambiguous(rules: &Rules) -> Result<Shape, Problem> {
    let regular = regular(rules);
    let nullable = nullable(rules);
    let mut cut = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let shape = Shaper::shape(rules, &regular, &nullable, &cut)?;
        let confused = ambiguity::confused(rules, &shape)?;
        if confused.is_empty() {
            return Ok(shape);
        }
        cut.extend(confused.into_iter().map(|lexeme| shape.lexemes[lexeme].expr.clone()));
    }
    Err(too_complex())
}

pub(super) fn too_complex() -> Problem {
    Problem::new("the grammar is too complex: give it fewer rules, or fewer that can be read in several ways")
}

/// By rule: whether it can be written out, that is: never comes back to itself, and names no token.
fn regular(rules: &Rules) -> Vec<bool> {
    let mut regular = vec![false; rules.bodies.len()];
    // A rule is regular when all that it names are: those of a circle never become so.
    while let Some(number) =
        (0..regular.len()).find(|&number| !regular[number] && is_regular(&rules.bodies[number], &regular))
    {
        regular[number] = true;
    }
    regular
}

fn is_regular(expr: &Expr, regular: &[bool]) -> bool {
    match expr {
        Expr::Text(_) | Expr::Class(_) => true,
        Expr::Token { .. } => false,
        Expr::Rule(number) => regular[*number],
        Expr::Seq(items) | Expr::Alt(items) => items.iter().all(|item| is_regular(item, regular)),
        Expr::Repeat(item, ..) => is_regular(item, regular),
    }
}

/// By rule: whether it has the empty word.
fn nullable(rules: &Rules) -> Vec<bool> {
    let mut nullable = vec![false; rules.bodies.len()];
    while let Some(number) =
        (0..nullable.len()).find(|&number| !nullable[number] && is_nullable(&rules.bodies[number], &nullable))
    {
        nullable[number] = true;
    }
    nullable
}

fn is_nullable(expr: &Expr, nullable: &[bool]) -> bool {
    match expr {
        Expr::Text(text) => text.is_empty(),
        Expr::Class(_) | Expr::Token { .. } => false,
        Expr::Rule(number) => nullable[*number],
        Expr::Seq(items) => items.iter().all(|item| is_nullable(item, nullable)),
        Expr::Alt(all) => all.iter().any(|one| is_nullable(one, nullable)),
        Expr::Repeat(item, least, _) => *least == 0 || is_nullable(item, nullable),
    }
}

/// Makes a shape in which nothing of `cut` is a lexeme.
struct Shaper<'a> {
    regular: &'a [bool],
    nullable: &'a [bool],
    cut: &'a HashSet<Expr>,
    lexemes: Vec<Lexeme>,
    numbers: HashMap<Expr, usize>,
    /// Rules that the parser has to know and whose bodies have not been looked at yet.
    open: Vec<usize>,
    named: Vec<bool>,
}

impl<'a> Shaper<'a> {
    fn shape(rules: &Rules, regular: &[bool], nullable: &[bool], cut: &HashSet<Expr>) -> Result<Shape, Problem> {
        let named = vec![false; rules.bodies.len()];
        let (lexemes, numbers, open) = (Vec::new(), HashMap::new(), Vec::new());
        let mut shaper = Shaper { regular, nullable, cut, lexemes, numbers, open, named };
        let root = shaper.node(&Expr::Rule(rules.root));
        let mut bodies: Vec<Option<Node>> = rules.bodies.iter().map(|_| None).collect();
        while let Some(number) = shaper.open.pop() {
            bodies[number] = Some(shaper.node(&rules.bodies[number]));
            if shaper.lexemes.len() > MOST_LEXEMES {
                return Err(too_complex());
            }
        }
        Ok(Shape { root, rules: bodies, lexemes: shaper.lexemes })
    }

    fn node(&mut self, expr: &Expr) -> Node {
        if self.is_lexeme(expr) {
            return self.lexeme(expr);
        }
        match expr {
            Expr::Text(text) => Node::Seq(text.iter().map(|&next| self.lexeme(&Expr::Text(vec![next]))).collect()),
            Expr::Class(_) => self.lexeme(expr),
            Expr::Token { id, negated } => Node::Token { id: *id, negated: *negated },
            Expr::Rule(number) => {
                if !std::mem::replace(&mut self.named[*number], true) {
                    self.open.push(*number);
                }
                Node::Rule(*number)
            }
            Expr::Seq(items) => self.sequence(items, !self.cut.contains(expr)),
            Expr::Alt(all) => Node::Alt(all.iter().map(|one| self.node(one)).collect()),
            Expr::Repeat(item, least, most) => Node::Repeat(Box::new(self.node(item)), *least, *most),
        }
    }

    /// Items one after the other; neighbours that are lexemes make one lexeme where `joined`.
    fn sequence(&mut self, items: &[Expr], joined: bool) -> Node {
        let mut nodes = Vec::new();
        let mut rest = items;
        while let [first, ..] = rest {
            let run = rest.iter().take_while(|item| joined && self.is_lexeme(item)).count();
            let all = Expr::Seq(rest[..run].to_vec());
            if run > 1 && !self.cut.contains(&all) {
                nodes.push(self.lexeme(&all));
                rest = &rest[run..];
            } else {
                nodes.push(self.node(first));
                rest = &rest[1..];
            }
        }
        Node::Seq(nodes)
    }

    fn is_lexeme(&self, expr: &Expr) -> bool {
        is_regular(expr, self.regular) && !self.cut.contains(expr)
    }

    fn lexeme(&mut self, expr: &Expr) -> Node {
        if matches!(expr, Expr::Seq(items) if items.is_empty()) || matches!(expr, Expr::Text(text) if text.is_empty()) {
            return Node::Seq(Vec::new());
        }
        let nullable = is_nullable(expr, self.nullable);
        let number = *self.numbers.entry(expr.clone()).or_insert(self.lexemes.len());
        if number == self.lexemes.len() {
            self.lexemes.push(Lexeme { expr: expr.clone(), nullable });
        }
        let node = Node::Lexeme(number);
        if nullable { Node::Repeat(Box::new(node), 0, Some(1)) } else { node }
    }
}
