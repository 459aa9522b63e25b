//! Where taking the longest lexeme would miss a reading: the lexer has a whole word of lexeme A, which may be followed
//! by a character `c`, and a lexeme B that could stand in A's place goes on with `c`. The lexer would go on with B and
//! never come back.

use std::collections::{BTreeSet, HashSet};

use super::automaton::{Automaton, Meeting};
use super::lexemes::{Node, Shape, too_complex};
use super::{Range, Rules};
use crate::grammar::Problem;

/// Pairs of states looked at in one grammar.
const MOST_COMPARED: usize = 4_000_000;
/// Rounds in which what may stand at the ends of rules becomes known.
const MOST_ROUNDS: usize = 100;
/// Pairs of lexemes looked at in one grammar.
const MOST_PAIRS: usize = 200_000;

type Set = BTreeSet<usize>;

/// The lexemes that go on at such a place; none when the grammar may be read by longest lexemes. They have more than one
/// character, so they can be cut.
pub(super) fn confused(rules: &Rules, shape: &Shape) -> Result<Set, Problem> {
    let flow = Flow::of(shape)?;
    let mut check = Check {
        automata: shape.lexemes.iter().map(|lexeme| Automaton::of(rules, &lexeme.expr)).collect(),
        follow: Vec::new(),
        flow: &flow,
        budget: MOST_COMPARED,
        seen: HashSet::new(),
        open: Vec::new(),
    };
    check.follow = (0..shape.lexemes.len()).map(|lexeme| check.characters(&flow.next[lexeme])).collect();
    check.run(&flow.edges(&shape.root).first)
}

/// What may stand at the ends of a node.
#[derive(Clone, Default, PartialEq)]
struct Edges {
    /// Nothing at all may stand there.
    nullable: bool,
    first: Set,
    last: Set,
}

/// Which lexemes may follow which.
struct Flow {
    rules: Vec<Edges>,
    /// By lexeme.
    next: Vec<Set>,
}

impl Flow {
    fn of(shape: &Shape) -> Result<Flow, Problem> {
        let mut flow =
            Flow { rules: vec![Edges::default(); shape.rules.len()], next: vec![Set::new(); shape.lexemes.len()] };
        let mut rounds = 0..MOST_ROUNDS;
        // Rules mostly name later ones, so the last come first.
        while shape.rules.iter().enumerate().rev().fold(false, |changed, (number, node)| {
            let edges = node.as_ref().map(|node| flow.edges(node)).unwrap_or_default();
            let before = std::mem::replace(&mut flow.rules[number], edges);
            changed || before != flow.rules[number]
        }) {
            rounds.next().ok_or_else(too_complex)?;
        }
        for node in shape.rules.iter().flatten().chain([&shape.root]) {
            flow.connect(node);
        }
        Ok(flow)
    }

    fn edges(&self, node: &Node) -> Edges {
        match node {
            Node::Lexeme(number) => Edges { nullable: false, first: Set::from([*number]), last: Set::from([*number]) },
            // A token is no text: nothing before it can run into what is behind it.
            Node::Token { .. } => Edges::default(),
            Node::Rule(number) => self.rules[*number].clone(),
            Node::Seq(items) => {
                let all: Vec<Edges> = items.iter().map(|item| self.edges(item)).collect();
                let mut edges = Edges { nullable: all.iter().all(|edges| edges.nullable), ..Edges::default() };
                for item in up_to_solid(all.iter()) {
                    edges.first.extend(&item.first);
                }
                for item in up_to_solid(all.iter().rev()) {
                    edges.last.extend(&item.last);
                }
                edges
            }
            Node::Alt(all) => all.iter().map(|one| self.edges(one)).fold(Edges::default(), |mut sum, edges| {
                sum.nullable |= edges.nullable;
                sum.first.extend(edges.first);
                sum.last.extend(edges.last);
                sum
            }),
            Node::Repeat(item, least, _) => {
                let edges = self.edges(item);
                Edges { nullable: edges.nullable || *least == 0, ..edges }
            }
        }
    }

    /// Notes which lexemes meet inside a node.
    fn connect(&mut self, node: &Node) {
        match node {
            Node::Lexeme(_) | Node::Token { .. } | Node::Rule(_) => {}
            Node::Alt(all) => all.iter().for_each(|one| self.connect(one)),
            Node::Repeat(item, _, most) => {
                self.connect(item);
                if *most != Some(1) {
                    let edges = self.edges(item);
                    self.join(&edges.last, &edges.first);
                }
            }
            Node::Seq(items) => {
                items.iter().for_each(|item| self.connect(item));
                // What may stand directly before the next item.
                let mut before = Set::new();
                for item in items {
                    let edges = self.edges(item);
                    self.join(&before, &edges.first);
                    if !edges.nullable {
                        before.clear();
                    }
                    before.extend(edges.last);
                }
            }
        }
    }

    fn join(&mut self, before: &Set, behind: &Set) {
        for &lexeme in before {
            self.next[lexeme].extend(behind);
        }
    }
}

/// Items up to and with the first that cannot be empty.
fn up_to_solid<'a>(items: impl Iterator<Item = &'a Edges>) -> impl Iterator<Item = &'a Edges> {
    items.scan(false, |solid, item| (!std::mem::replace(solid, *solid || !item.nullable)).then_some(item))
}

/// Compares all lexemes that the lexer may look for at the same time.
struct Check<'a> {
    /// By lexeme; `None` for those too large to compare.
    automata: Vec<Option<Automaton>>,
    /// By lexeme: the characters that may come behind it.
    follow: Vec<Vec<Range>>,
    flow: &'a Flow,
    budget: usize,
    seen: HashSet<(usize, usize)>,
    open: Vec<(usize, usize)>,
}

impl Check<'_> {
    fn characters(&self, lexemes: &Set) -> Vec<Range> {
        lexemes.iter().filter_map(|&lexeme| self.automata[lexeme].as_ref()).flat_map(Automaton::first).collect()
    }

    fn run(&mut self, start: &Set) -> Result<Set, Problem> {
        let mut confused = Set::new();
        let mut shares = HashSet::new();
        self.together(start, start)?;
        for next in &self.flow.next {
            self.together(next, next)?;
        }
        while let Some((a, b)) = self.open.pop() {
            let meeting = self.meet(a, b)?;
            if meeting.goes_on {
                confused.insert(b);
            }
            // The same word read as either: what follows one stands beside what follows the other.
            if a != b && meeting.shares_words && shares.insert((a.min(b), a.max(b))) {
                self.together(&self.flow.next[a], &self.flow.next[b])?;
            }
        }
        Ok(confused)
    }

    /// Notes that the lexer may look for any of these beside any of those.
    fn together(&mut self, these: &Set, those: &Set) -> Result<(), Problem> {
        for &a in these {
            for &b in those {
                for pair in [(a, b), (b, a)] {
                    if self.seen.insert(pair) {
                        self.open.push(pair);
                    }
                }
            }
        }
        if self.seen.len() > MOST_PAIRS { Err(too_complex()) } else { Ok(()) }
    }

    fn meet(&mut self, a: usize, b: usize) -> Result<Meeting, Problem> {
        if self.flow.next[a].is_empty() {
            return Ok(Meeting::default());
        }
        match (&self.automata[a], &self.automata[b]) {
            (Some(first), Some(second)) => {
                first.meet(second, &self.follow[a], &mut self.budget).ok_or_else(too_complex)
            }
            // Not known, so better taken apart.
            _ => Ok(Meeting { shares_words: true, goes_on: true }),
        }
    }
}
