//! Writes a grammar over lexemes in Lark: rules `r0`, lexemes `L0`, and `T0` for what lexemes are made of.

use std::fmt::Write;

use super::lexemes::{Node, Shape};
use super::{Expr, Range, Rules};

/// Not characters of any text.
const SURROGATES: Range = (0xd800, 0xdfff);

pub(super) fn write(rules: &Rules, shape: &Shape) -> String {
    let mut out = format!("start: {}\n", node(&shape.root));
    for (number, body) in shape.rules.iter().enumerate() {
        if let Some(body) = body {
            let _ = writeln!(out, "r{number}: {}", node(body));
        }
    }
    let mut parts = vec![false; rules.bodies.len()];
    for (number, lexeme) in shape.lexemes.iter().enumerate() {
        // The parser takes no lexemes without a character.
        let some = if lexeme.nullable { r"/(?s:.+)/ & " } else { "" };
        let _ = writeln!(out, "L{number}: {some}({})", terminal(&lexeme.expr));
        note_parts(rules, &lexeme.expr, &mut parts);
    }
    for (number, _) in parts.iter().enumerate().filter(|(_, named)| **named) {
        let _ = writeln!(out, "T{number}: {}", terminal(&rules.bodies[number]));
    }
    out
}

fn node(node: &Node) -> String {
    match node {
        Node::Lexeme(number) => format!("L{number}"),
        Node::Token { id, negated: false } => format!("<[{id}]>"),
        Node::Token { id, negated: true } => format!("<[^{id}]>"),
        Node::Rule(number) => format!("r{number}"),
        Node::Seq(items) => sequence(items.iter().map(self::node)),
        Node::Alt(all) => choice(all.iter().map(|one| (is_empty_node(one), self::node(one)))),
        Node::Repeat(item, least, most) => repeated(self::node(item), *least, *most),
    }
}

fn terminal(expr: &Expr) -> String {
    match expr {
        Expr::Text(text) if text.is_empty() => "\"\"".into(),
        Expr::Text(text) => format!("/{}/", text.iter().map(|&next| character(next)).collect::<String>()),
        Expr::Class(ranges) => {
            let ranges = ranges.iter().flat_map(|&range| without_surrogates(range));
            let ranges = ranges.map(|(first, last)| format!("{}-{}", character(first), character(last)));
            format!("/[{}]/", ranges.collect::<String>())
        }
        // Lexemes name no tokens.
        Expr::Token { .. } => "\"\"".into(),
        Expr::Rule(number) => format!("T{number}"),
        Expr::Seq(items) => sequence(items.iter().map(terminal)),
        Expr::Alt(all) => choice(all.iter().map(|one| (is_empty_expr(one), terminal(one)))),
        Expr::Repeat(item, least, most) => repeated(terminal(item), *least, *most),
    }
}

fn is_empty_node(node: &Node) -> bool {
    matches!(node, Node::Seq(items) if items.is_empty())
}

fn is_empty_expr(expr: &Expr) -> bool {
    matches!(expr, Expr::Seq(items) if items.is_empty()) || matches!(expr, Expr::Text(text) if text.is_empty())
}

fn sequence(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "\"\"".into() } else { format!("({})", items.join(" ")) }
}

/// Choices, each with whether it is nothing.
fn choice(all: impl Iterator<Item = (bool, String)>) -> String {
    let (empty, some): (Vec<_>, Vec<_>) = all.partition(|(empty, _)| *empty);
    let some: Vec<String> = some.into_iter().map(|(_, text)| text).collect();
    match (some.is_empty(), empty.is_empty()) {
        (true, _) => "\"\"".into(),
        (false, true) => format!("({})", some.join(" | ")),
        (false, false) => format!("({})?", some.join(" | ")),
    }
}

fn repeated(item: String, least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => format!("({item})*"),
        (1, None) => format!("({item})+"),
        (0, Some(1)) => format!("({item})?"),
        (least, None) => format!("({item}){{{least},}}"),
        (least, Some(most)) => format!("({item}){{{least},{most}}}"),
    }
}

/// A character as a pattern of one.
fn character(next: u32) -> String {
    match char::from_u32(next) {
        Some(plain) if plain.is_ascii_alphanumeric() => plain.to_string(),
        _ => format!("\\x{{{next:x}}}"),
    }
}

fn without_surrogates((first, last): Range) -> impl Iterator<Item = Range> {
    let parts = [(first, last.min(SURROGATES.0 - 1)), (first.max(SURROGATES.1 + 1), last)];
    parts.into_iter().filter(|(first, last)| first <= last)
}

/// Marks the rules that an expression is made of.
fn note_parts(rules: &Rules, expr: &Expr, parts: &mut [bool]) {
    match expr {
        Expr::Text(_) | Expr::Class(_) | Expr::Token { .. } => {}
        Expr::Rule(number) => {
            if !std::mem::replace(&mut parts[*number], true) {
                note_parts(rules, &rules.bodies[*number], parts);
            }
        }
        Expr::Seq(items) | Expr::Alt(items) => items.iter().for_each(|item| note_parts(rules, item, parts)),
        Expr::Repeat(item, ..) => note_parts(rules, item, parts),
    }
}
