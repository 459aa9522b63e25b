//! Special tokens in a text: those that stand in it word for word are cut out before anything is
//! tokenized, the longest spellings first. Called by [`crate::Tokenizer`].

use crate::vocab::{Attributes, Vocab};
use std::collections::BTreeMap;

/// Spellings longer than this are searched for one by one, so that a step through the text never
/// costs more.
const LONGEST_STEP: usize = 256;

/// A stretch of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// Bytes `from..to`, to be tokenized.
    Text(usize, usize),
    /// A special token.
    Token(u32),
}

/// The special tokens of one vocabulary, made ready for searching.
#[derive(Debug)]
pub(crate) struct Specials {
    /// `(spelling, place in the order of search)`, sorted by spelling.
    sorted: Vec<(Box<[u8]>, u32)>,
    /// For each first byte, where its spellings stand in `sorted`.
    first: [(u32, u32); 256],
    /// Ids in the order of search.
    ids: Vec<u32>,
    /// Places of spellings longer than [`LONGEST_STEP`].
    long: Vec<u32>,
}

impl Specials {
    /// Those of `vocab`; without `parse_special` only the tokens that users defined, which are
    /// taken as what they are in any text.
    pub(crate) fn new(vocab: &Vocab, parse_special: bool) -> Self {
        let marks = Attributes::CONTROL.or(Attributes::UNKNOWN);
        let mut ids = vocab.partitioning();
        ids.retain(|&id| parse_special || !vocab.attributes(id).has_any(marks));
        let spelling = |&id: &u32| vocab.text(id).unwrap_or_default();
        let is_long = |id: &u32| spelling(id).len() > LONGEST_STEP;
        let places = || (0u32..).zip(&ids);
        let long = places().filter(|(_, id)| is_long(id)).map(|(place, _)| place).collect();
        let mut sorted: Vec<(Box<[u8]>, u32)> =
            places().filter(|(_, id)| !is_long(id)).map(|(place, id)| (spelling(id).into(), place)).collect();
        sorted.sort_unstable();
        let mut first = [(0, 0); 256];
        for (index, (text, _)) in (0u32..).zip(&sorted) {
            let range = &mut first[usize::from(text.first().copied().unwrap_or(0))];
            if range.1 == 0 {
                range.0 = index;
            }
            range.1 = index + 1;
        }
        Specials { sorted, first, ids, long }
    }

    /// Cuts `text` into fragments that add up to it, but for white space that special tokens
    /// swallow.
    pub(crate) fn partition(&self, vocab: &Vocab, text: &[u8]) -> Vec<Fragment> {
        let mut cuts = Cuts { text, open: BTreeMap::from([(0, text.len())]), found: BTreeMap::new() };
        for (place, occurrences) in self.occurrences(vocab, text) {
            let id = self.ids[place as usize];
            let (len, attributes) = (vocab.text(id).map_or(0, <[u8]>::len), vocab.attributes(id));
            match occurrences {
                Occurrences::At(starts) => {
                    for at in starts {
                        cuts.take(at as usize, len, id, attributes);
                    }
                }
                Occurrences::Many => cuts.take_all(vocab.text(id).unwrap_or_default(), id, attributes),
            }
        }
        cuts.fragments()
    }

    /// The places of all special tokens that stand somewhere in `text`, in the order of search,
    /// with where they stand.
    fn occurrences(&self, vocab: &Vocab, text: &[u8]) -> BTreeMap<u32, Occurrences> {
        let mut all = BTreeMap::new();
        let long = |place: &u32| (*place, vocab.text(self.ids[*place as usize]).unwrap_or_default());
        for (place, spelling) in self.long.iter().map(long) {
            if memchr::memmem::find(text, spelling).is_some() {
                all.insert(place, Occurrences::Many);
            }
        }
        if self.sorted.is_empty() {
            return all;
        }
        let many = 64 + text.len() / 16;
        for at in 0..text.len() {
            let (mut from, mut to) = self.first[usize::from(text[at])];
            let mut depth = 1;
            // `sorted[from..to]` begin with the `depth` bytes at `at`; the one that ends there
            // comes first.
            while from < to {
                let group = &self.sorted[from as usize..to as usize];
                let (shortest, place) = &group[0];
                if shortest.len() == depth {
                    all.entry(*place).or_insert(Occurrences::At(Vec::new())).push(at, many);
                    from += 1;
                    continue;
                }
                let Some(&byte) = text.get(at + depth) else { break };
                let below = group.partition_point(|(text, _)| text[depth] < byte);
                let equal = group[below..].partition_point(|(text, _)| text[depth] == byte);
                (from, to) = (from + below as u32, from + (below + equal) as u32);
                depth += 1;
            }
        }
        all
    }
}

/// Where a special token stands in a text, whatever else claims these bytes.
#[derive(Debug)]
enum Occurrences {
    At(Vec<u32>),
    /// So many (as in a text of newlines) that searching again is cheaper than a list.
    Many,
}

impl Occurrences {
    fn push(&mut self, at: usize, many: usize) {
        match self {
            Self::At(starts) if starts.len() < many => starts.push(at as u32),
            _ => *self = Self::Many,
        }
    }
}

/// A text while it is cut.
struct Cuts<'t> {
    text: &'t [u8],
    /// Stretches not yet claimed: start → end.
    open: BTreeMap<usize, usize>,
    /// Tokens found: start → id.
    found: BTreeMap<usize, u32>,
}

impl Cuts<'_> {
    /// Claims `at..at + len` for a token, if it is still open as a whole; gives back the stretch
    /// that stays open behind it.
    fn take(&mut self, at: usize, len: usize, id: u32, attributes: Attributes) -> Option<(usize, usize)> {
        let (&from, &to) = self.open.range(..=at).next_back()?;
        if to < at + len {
            return None;
        }
        let (before, after) = strip(attributes, self.text, (from, at), (at + len, to));
        self.open.remove(&from);
        self.open.extend([before, after].into_iter().filter(|(from, to)| from < to));
        self.found.insert(at, id);
        Some(after)
    }

    /// Claims every occurrence of `spelling`, from left to right in each open stretch.
    fn take_all(&mut self, spelling: &[u8], id: u32, attributes: Attributes) {
        let finder = memchr::memmem::Finder::new(spelling);
        let stretches: Vec<(usize, usize)> = self.open.iter().map(|(&from, &to)| (from, to)).collect();
        for mut stretch in stretches {
            while let Some(offset) = finder.find(&self.text[stretch.0..stretch.1]) {
                match self.take(stretch.0 + offset, spelling.len(), id, attributes) {
                    Some(after) => stretch = after,
                    None => break,
                }
            }
        }
    }

    fn fragments(self) -> Vec<Fragment> {
        let texts = self.open.into_iter().filter(|(from, to)| from < to);
        let texts = texts.map(|(from, to)| (from, Fragment::Text(from, to)));
        let tokens = self.found.into_iter().map(|(at, id)| (at, Fragment::Token(id)));
        let mut all: Vec<(usize, Fragment)> = texts.chain(tokens).collect();
        all.sort_unstable_by_key(|&(at, _)| at);
        all.into_iter().map(|(_, fragment)| fragment).collect()
    }
}

/// The stretches before and after a token, less the white space that it swallows.
fn strip(
    attributes: Attributes,
    text: &[u8],
    mut before: (usize, usize),
    mut after: (usize, usize),
) -> ((usize, usize), (usize, usize)) {
    let is_space = |at: usize| matches!(text[at], 9..=13 | b' ');
    while attributes.has_any(Attributes::STRIP_LEFT) && before.0 < before.1 && is_space(before.1 - 1) {
        before.1 -= 1;
    }
    while attributes.has_any(Attributes::STRIP_RIGHT) && after.0 < after.1 && is_space(after.0) {
        after.0 += 1;
    }
    (before, after)
}
