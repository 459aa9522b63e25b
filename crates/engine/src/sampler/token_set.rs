//! A set of tokens, one bit each: what a constraint leaves of the vocabulary.

/// A set of tokens.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct TokenSet {
    words: Vec<u32>, // token t is bit t % 32 of word t / 32
}

impl TokenSet {
    /// Becomes the set of these words; tokens behind the last one are not in it.
    pub fn assign(&mut self, words: &[u32]) {
        self.words.clear();
        self.words.extend_from_slice(words);
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The tokens, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        ones(self.words.iter().copied())
    }

    /// The tokens below `num_tokens` that are not in it, ascending.
    pub(super) fn others(&self, num_tokens: usize) -> impl Iterator<Item = u32> {
        let words = self.words.iter().map(|word| !word).chain(std::iter::repeat(u32::MAX));
        ones(words.take(num_tokens.div_ceil(32))).take_while(move |&token| (token as usize) < num_tokens)
    }
}

/// The bits that are set. Whole words without any are passed over.
fn ones(words: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
    words.enumerate().filter(|(_, word)| *word != 0).flat_map(|(index, word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (bit < 32).then_some(index as u32 * 32 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_and_its_others_are_all_tokens() {
        let mut set = TokenSet::default();
        assert!(set.is_empty() && set.others(3).eq(0..3));
        set.assign(&[1 << 31 | 1, 0, 0b100]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 31, 66]);
        assert_eq!((set.len(), set.others(100).count()), (3, 97));
        assert!(set.others(100).all(|token| !set.iter().any(|other| other == token)));
    }
}
