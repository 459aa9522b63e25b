//! The text that fills contexts: the project's own, over and over, with facts put in that are asked for later. Called by
//! `ab`; each bed is filled with the same tokens.

use evidence::quality::TEXT;
use text::{Encode, Tokenizer};

/// Places with a number each. None stands in the text otherwise.
const FACTS: [(&str, u32); 6] = [
    ("lighthouse", 48213),
    ("bakery", 90657),
    ("old mill", 31874),
    ("railway station", 57062),
    ("harbour office", 26491),
    ("glass factory", 83520),
];

/// Tokens, and what is hidden among them.
pub struct Haystack {
    pub tokens: Vec<u32>,
    pub needles: Vec<Hidden>,
}

/// A fact in the haystack.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// Where its sentence begins.
    pub position: usize,
    /// Where it ends.
    pub end: usize,
    /// What is asked.
    pub question: Vec<u32>,
    /// What must follow.
    pub answer: Vec<u32>,
}

impl Haystack {
    /// At least `len` tokens; the facts stand evenly spread over the first `deepest`, none at its very end.
    pub fn new(tokenizer: &Tokenizer, deepest: usize, len: usize) -> Haystack {
        let plain = |text: &str| tokenizer.encode(text, Encode::TEXT);
        let mut tokens = tokenizer.encode("", Encode { add_special: true, parse_special: false });
        let mut needles = Vec::new();
        let paragraphs: Vec<Vec<u32>> = TEXT.split_inclusive("\n\n").map(plain).collect();
        // A deep context begins like a shallow one.
        let due = |number: usize| (2 * number + 1) * deepest / (2 * FACTS.len() + 1);
        for paragraph in paragraphs.iter().cycle().filter(|paragraph| !paragraph.is_empty()) {
            let mut rest = &paragraph[..];
            while let Some(fact) = FACTS.get(needles.len()).filter(|_| due(needles.len()) <= tokens.len() + rest.len())
            {
                let (before, after) = rest.split_at(due(needles.len()).saturating_sub(tokens.len()).min(rest.len()));
                tokens.extend(before);
                let position = tokens.len();
                tokens.extend(plain(&format!(" The secret number of the {} is {}. ", fact.0, fact.1)));
                let (question, answer) = ask(tokenizer, fact);
                needles.push(Hidden { position, end: tokens.len(), question, answer });
                rest = after;
            }
            tokens.extend(rest);
            if tokens.len() >= len {
                break;
            }
        }
        Haystack { tokens, needles }
    }

    /// Those that a context of that length holds whole.
    pub fn needles_within(&self, depth: usize) -> impl Iterator<Item = &Hidden> {
        self.needles.iter().filter(move |needle| needle.end <= depth)
    }
}

/// Question and answer as one text, so that the tokens between them are those the model is used to.
fn ask(tokenizer: &Tokenizer, (place, number): &(&str, u32)) -> (Vec<u32>, Vec<u32>) {
    let plain = |text: &str| tokenizer.encode(text, Encode::TEXT);
    let question = format!("\n\nWhat is the secret number of the {place}? The secret number of the {place} is");
    let (whole, alone) = (plain(&format!("{question} {number}")), plain(&question));
    match whole.strip_prefix(&alone[..]) {
        Some(answer) if !answer.is_empty() => (alone, answer.to_vec()),
        _ => (alone, plain(&format!(" {number}"))),
    }
}
