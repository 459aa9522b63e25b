//! Automata of lexemes, over code points: as much as it takes to compare two of them.

use std::collections::HashSet;

use super::{Expr, Range, Rules};

/// States of one automaton; larger ones are not compared.
const MOST_STATES: usize = 4000;
/// Repetitions that are counted; more become any number, which accepts more and so finds no fewer ambiguities.
const MOST_COUNTED: u32 = 16;

/// A nondeterministic automaton with one last state.
pub(super) struct Automaton {
    /// By state: on which characters where.
    steps: Vec<Vec<(Range, usize)>>,
    /// By state: where without a character.
    free: Vec<Vec<usize>>,
    /// By state: itself and where it leads without a character.
    closures: Vec<Vec<usize>>,
    start: usize,
    end: usize,
}

/// What two automata have to do with each other.
#[derive(Default)]
pub(super) struct Meeting {
    /// Some word belongs to both.
    pub shares_words: bool,
    /// Some word of the first can go on in the second with one of the characters asked for.
    pub goes_on: bool,
}

impl Automaton {
    /// Of an expression without recursion; `None` where it would be too large.
    pub fn of(rules: &Rules, expr: &Expr) -> Option<Automaton> {
        let mut automaton = Automaton { steps: Vec::new(), free: Vec::new(), closures: Vec::new(), start: 0, end: 0 };
        automaton.start = automaton.state()?;
        automaton.end = automaton.add(rules, expr, automaton.start)?;
        automaton.closures = (0..automaton.steps.len()).map(|state| automaton.closure(state)).collect();
        Some(automaton)
    }

    /// The characters that words begin with.
    pub fn first(&self) -> impl Iterator<Item = Range> {
        self.closures[self.start].iter().flat_map(|&state| self.steps[state].iter().map(|(range, _)| *range))
    }

    /// How this and `other` meet; `follow` are characters that may come behind a word of this. Takes from `budget` what
    /// the comparison costs, and gives up with `None` when it is spent.
    pub fn meet(&self, other: &Automaton, follow: &[Range], budget: &mut usize) -> Option<Meeting> {
        let mut meeting = Meeting::default();
        let mut seen: HashSet<(usize, usize)> = HashSet::new();
        let mut open = vec![(self.start, other.start)];
        while let Some((mine, theirs)) = open.pop() {
            let at_start = mine == self.start;
            for &mine in &self.closures[mine] {
                for &theirs in &other.closures[theirs] {
                    *budget = budget.checked_sub(1)?;
                    // Nothing leads back to the start, and no lexeme is the empty word.
                    if mine == self.end && !at_start {
                        meeting.shares_words |= theirs == other.end;
                        meeting.goes_on |= other.steps[theirs].iter().any(|(range, _)| overlaps(follow, *range));
                    }
                    for (a, to_mine) in &self.steps[mine] {
                        for (b, to_theirs) in &other.steps[theirs] {
                            if overlaps(&[*a], *b) && seen.insert((*to_mine, *to_theirs)) {
                                open.push((*to_mine, *to_theirs));
                            }
                        }
                    }
                }
            }
        }
        Some(meeting)
    }

    fn state(&mut self) -> Option<usize> {
        self.steps.push(Vec::new());
        self.free.push(Vec::new());
        (self.steps.len() <= MOST_STATES).then_some(self.steps.len() - 1)
    }

    /// Goes on from a state by an expression; the state behind it.
    fn add(&mut self, rules: &Rules, expr: &Expr, from: usize) -> Option<usize> {
        match expr {
            Expr::Text(text) => text.iter().try_fold(from, |from, &next| self.step(from, &[(next, next)])),
            Expr::Class(ranges) => self.step(from, ranges),
            Expr::Rule(number) => self.add(rules, &rules.bodies[*number], from),
            Expr::Seq(items) => items.iter().try_fold(from, |from, item| self.add(rules, item, from)),
            Expr::Alt(all) => {
                let end = self.state()?;
                for one in all {
                    let last = self.add(rules, one, from)?;
                    self.free[last].push(end);
                }
                Some(end)
            }
            Expr::Repeat(item, least, most) => {
                let counted = (*least).min(MOST_COUNTED);
                let from = (0..counted).try_fold(from, |from, _| self.add(rules, item, from))?;
                match most.filter(|&most| most <= MOST_COUNTED) {
                    Some(most) => self.options(rules, item, from, most - counted),
                    None => self.any_number(rules, item, from),
                }
            }
            // Tokens are lexemes of another kind, never parts of one.
            Expr::Token { .. } => None,
        }
    }

    /// Up to `count` of an item.
    fn options(&mut self, rules: &Rules, item: &Expr, mut from: usize, count: u32) -> Option<usize> {
        let end = self.state()?;
        for _ in 0..count {
            self.free[from].push(end);
            from = self.add(rules, item, from)?;
        }
        self.free[from].push(end);
        Some(end)
    }

    fn any_number(&mut self, rules: &Rules, item: &Expr, from: usize) -> Option<usize> {
        let turn = self.state()?;
        self.free[from].push(turn);
        let back = self.add(rules, item, turn)?;
        self.free[back].push(turn);
        let end = self.state()?;
        self.free[turn].push(end);
        Some(end)
    }

    fn step(&mut self, from: usize, ranges: &[Range]) -> Option<usize> {
        let to = self.state()?;
        self.steps[from].extend(ranges.iter().map(|&range| (range, to)));
        Some(to)
    }

    fn closure(&self, state: usize) -> Vec<usize> {
        let mut reached = vec![state];
        let mut seen: HashSet<usize> = HashSet::from([state]);
        let mut next = 0;
        while next < reached.len() {
            let fresh = self.free[reached[next]].iter().filter(|&&to| seen.insert(to));
            reached.extend(fresh);
            next += 1;
        }
        reached
    }
}

fn overlaps(ranges: &[Range], (first, last): Range) -> bool {
    ranges.iter().any(|&(from, to)| from <= last && first <= to)
}
