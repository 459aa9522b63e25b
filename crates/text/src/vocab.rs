//! The tokens of a model and what is known about each: spelling, score, kind, special roles and
//! end-of-generation marks. Built by [`crate::Tokenizer`], asked by `engine` (stop tokens), chat
//! templates (BOS and EOS texts) and the program.

mod load;
mod roles;

pub(crate) use load::{Method, check_size};
pub use roles::SpecialTokens;

use crate::index::{Index, Texts};
use std::collections::{BTreeSet, HashMap};

/// What a token is: the kind its file says, and what its role adds to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(u8);

impl Attributes {
    pub(crate) const UNKNOWN: Self = Self(1);
    pub(crate) const UNUSED: Self = Self(1 << 1);
    pub(crate) const NORMAL: Self = Self(1 << 2);
    pub(crate) const CONTROL: Self = Self(1 << 3);
    pub(crate) const USER_DEFINED: Self = Self(1 << 4);
    pub(crate) const BYTE: Self = Self(1 << 5);
    /// White space before the token belongs to it.
    pub(crate) const STRIP_LEFT: Self = Self(1 << 6);
    /// White space after the token belongs to it.
    pub(crate) const STRIP_RIGHT: Self = Self(1 << 7);

    /// The number in `tokenizer.ggml.token_type`.
    pub(crate) fn from_file(kind: i32) -> Self {
        match kind {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::USER_DEFINED,
            5 => Self::UNUSED,
            6 => Self::BYTE,
            _ => Self(0),
        }
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// An ordinary piece of text.
    pub fn is_normal(self) -> bool {
        self.has_any(Self::NORMAL)
    }

    /// A mark such as BOS that stands for no text of its own.
    pub fn is_control(self) -> bool {
        self.has_any(Self::CONTROL)
    }

    /// A token added by the model's makers that is matched before anything else.
    pub fn is_user_defined(self) -> bool {
        self.has_any(Self::USER_DEFINED)
    }

    /// The token for text that has no token.
    pub fn is_unknown(self) -> bool {
        self.has_any(Self::UNKNOWN)
    }

    /// One byte, spelled `<0xXX>`.
    pub fn is_byte(self) -> bool {
        self.has_any(Self::BYTE)
    }

    /// A place kept free.
    pub fn is_unused(self) -> bool {
        self.has_any(Self::UNUSED)
    }
}

/// The tokens of a model.
#[derive(Debug)]
pub struct Vocab {
    /// The spelling in the file.
    texts: Texts,
    /// The bytes a token stands for in a byte-level vocabulary, empty where the spelling is none
    /// of such a vocabulary. `None` for the others, whose spelling is their text.
    words: Option<Texts>,
    /// Over `words` where there are some, else over `texts`.
    index: Index,
    /// Tokens of a byte-level vocabulary that are not spelled in its alphabet.
    foreign: HashMap<Box<[u8]>, u32>,
    scores: Vec<f32>,
    attributes: Vec<Attributes>,
    special: SpecialTokens,
    eog: BTreeSet<u32>,
    model: String,
    pre: String,
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    pub(crate) add_sep: bool,
    pub(crate) add_space_prefix: bool,
    pub(crate) clean_spaces: bool,
}

impl Vocab {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no tokens; never true of a loaded vocabulary.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The spelling of a token in the file (`Ġhello`, `▁hello`, `<|im_end|>`).
    pub fn text(&self, id: u32) -> Option<&[u8]> {
        self.texts.get(id)
    }

    /// The token spelled so in the file.
    pub fn id_of(&self, text: &[u8]) -> Option<u32> {
        if self.words.is_none() {
            return self.word(text);
        }
        let mut word = Vec::with_capacity(text.len());
        match crate::alphabet::decode(text, &mut word) {
            true => self.word(&word),
            false => self.foreign.get(text).copied(),
        }
    }

    /// The score of a token (SentencePiece), 0 where the file has none.
    pub fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(0.0)
    }

    /// What a token is; nothing for an id out of range.
    pub fn attributes(&self, id: u32) -> Attributes {
        self.attributes.get(id as usize).copied().unwrap_or_default()
    }

    /// The tokens with a special role.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Whether generation ends at this token.
    pub fn is_eog(&self, id: u32) -> bool {
        self.eog.contains(&id)
    }

    /// All tokens that end generation, by id.
    pub fn eog(&self) -> impl Iterator<Item = u32> {
        self.eog.iter().copied()
    }

    /// Whether a prompt begins with BOS.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether a prompt ends with EOS.
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }

    /// Whether texts of a pair are joined by the separator.
    pub fn add_sep(&self) -> bool {
        self.add_sep
    }

    /// Whether text that follows a special token, or nothing, gets a space in front.
    pub fn add_space_prefix(&self) -> bool {
        self.add_space_prefix
    }

    /// `tokenizer.ggml.model`: `gpt2`, `llama` …
    pub fn model(&self) -> &str {
        &self.model
    }

    /// `tokenizer.ggml.pre`, empty where the file has none.
    pub fn pre(&self) -> &str {
        &self.pre
    }

    /// The token that stands for these bytes (byte-level) or is spelled so (others).
    #[inline]
    pub(crate) fn word(&self, bytes: &[u8]) -> Option<u32> {
        self.index.get(self.words(), bytes)
    }

    /// Announces a look-up by [`Vocab::word`].
    #[inline]
    pub(crate) fn touch(&self, bytes: &[u8]) {
        self.index.touch(bytes);
    }

    /// What [`Vocab::word`] looks among, by id.
    #[inline]
    pub(crate) fn words(&self) -> &Texts {
        self.words.as_ref().unwrap_or(&self.texts)
    }

    /// Whether tokens are spelled in the byte-level alphabet.
    pub(crate) fn is_byte_level(&self) -> bool {
        self.words.is_some()
    }

    /// Tokens that are looked for in a text before it is tokenized: longest first, then by id.
    pub(crate) fn partitioning(&self) -> Vec<u32> {
        let kinds = Attributes::CONTROL.or(Attributes::USER_DEFINED).or(Attributes::UNKNOWN);
        let len = |id: u32| self.text(id).map_or(0, <[u8]>::len);
        let all = 0..self.len() as u32;
        let mut ids: Vec<u32> = all.filter(|&id| self.attributes(id).has_any(kinds)).collect();
        ids.sort_by_key(|&id| (std::cmp::Reverse(len(id)), id));
        ids
    }
}
