//! Random grammars over two letters: the words that the parser takes are those that a recogniser takes which tries every
//! reading.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Tokenizer;
use crate::grammar::{Constraint, Grammars, Matcher};

/// Letters of the longest word that is tried.
const LENGTH: usize = 5;

/// Ends of all readings of an expression from a place on.
struct Recogniser<'a> {
    text: &'a [u32],
    /// By rule and place, as far as they are known.
    known: HashMap<(usize, usize), BTreeSet<usize>>,
}

impl Recogniser<'_> {
    fn accepts(rules: &Rules, text: &[u32]) -> bool {
        let mut recogniser = Recogniser { text, known: HashMap::new() };
        loop {
            let before = recogniser.known.clone();
            for rule in 0..rules.bodies.len() {
                for at in 0..=text.len() {
                    let ends = recogniser.ends(&rules.bodies[rule], at);
                    recogniser.known.insert((rule, at), ends);
                }
            }
            if recogniser.known == before {
                return recogniser.known[&(rules.root, 0)].contains(&text.len());
            }
        }
    }

    fn ends(&self, expr: &Expr, at: usize) -> BTreeSet<usize> {
        match expr {
            Expr::Text(text) if self.text[at..].starts_with(text) => BTreeSet::from([at + text.len()]),
            Expr::Class(ranges) => {
                let next = self.text.get(at);
                let found = next.is_some_and(|next| ranges.iter().any(|(first, last)| (first..=last).contains(&next)));
                if found { BTreeSet::from([at + 1]) } else { BTreeSet::new() }
            }
            Expr::Text(_) | Expr::Token { .. } => BTreeSet::new(),
            Expr::Rule(number) => self.known.get(&(*number, at)).cloned().unwrap_or_default(),
            Expr::Seq(items) => items.iter().fold(BTreeSet::from([at]), |from, item| self.step(item, &from)),
            Expr::Alt(all) => all.iter().flat_map(|one| self.ends(one, at)).collect(),
            Expr::Repeat(item, least, most) => {
                let mut from = (0..*least).fold(BTreeSet::from([at]), |from, _| self.step(item, &from));
                for _ in 0..most.map_or(LENGTH as u32 + 1, |most| most - least) {
                    from.extend(self.step(item, &from.clone()));
                }
                from
            }
        }
    }

    fn step(&self, item: &Expr, from: &BTreeSet<usize>) -> BTreeSet<usize> {
        from.iter().flat_map(|&at| self.ends(item, at)).collect()
    }
}

/// Walks all words of two letters and compares.
fn compare(tokens: [u32; 2], rules: &Rules, matcher: &mut Matcher, word: &mut Vec<u32>) {
    let whole = matcher.is_whole().unwrap();
    assert_eq!(whole, Recogniser::accepts(rules, word), "{word:?} of {rules:?}");
    if word.len() == LENGTH {
        return;
    }
    for (letter, token) in ['a', 'b'].into_iter().zip(tokens) {
        word.push(letter.into());
        let allowed = matcher.allowed().unwrap()[token as usize / 32] >> (token % 32) & 1 == 1;
        if allowed {
            let mut next = matcher.clone();
            next.accept(token).unwrap();
            compare(tokens, rules, &mut next, word);
        } else {
            assert!(!Recogniser::accepts(rules, word), "{word:?} of {rules:?}");
        }
        word.pop();
    }
}

/// The text of a random expression over `a`, `b` and three rules.
fn expression() -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(vec!["\"a\"", "\"b\"", "\"ab\"", "\"ba\"", "[ab]", "[^b]", "\"\"", "root", "x", "y"]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|items| format!("({})", items.join(" "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" | "))),
            (inner, prop::sample::select(vec!["*", "+", "?", "{2}", "{1,3}"]))
                .prop_map(|(item, how)| format!("({item}){how}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_language_stays_the_same(root in expression(), x in expression(), y in expression()) {
        thread_local! {
            static GRAMMARS: Grammars = {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/llama.gguf");
                let model = gguf::Gguf::parse(&std::fs::read(file).unwrap()).unwrap();
                Grammars::new(Arc::new(Tokenizer::from_metadata(&model.metadata).unwrap())).unwrap()
            };
        }
        let source = format!("root ::= {root}\nx ::= {x}\ny ::= {y}");
        // Rules that lead nowhere are refused.
        let Ok(rules) = parse::rules(&source, &|_| None) else { return Ok(()) };
        GRAMMARS.with(|grammars| {
            let tokens = ["a", "b"].map(|letter| grammars.tokenizer.vocab().id_of(letter.as_bytes()).unwrap());
            // A rule that never ends has no words; the parser says so when it is compiled.
            if let Ok(mut matcher) = grammars.compile(&Constraint::Grammar(source)) {
                compare(tokens, &rules, &mut matcher, &mut Vec::new());
            }
        });
    }
}
