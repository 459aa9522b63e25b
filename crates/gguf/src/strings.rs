//! Arrays of strings: vocabularies and merges. Read through `value`, walked by the tokenizer.

use crate::{Error, cursor::Cursor};
use std::fmt;

/// Many strings in one buffer: a vocabulary has 150 000, and start-up time matters. The buffer is that of the file, each string
/// behind its length, so that reading it is one copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StringArray {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`; the next one starts `LENGTH` bytes later.
    ends: Vec<usize>,
}

/// Bytes of the length before a string.
const LENGTH: usize = 8;

impl StringArray {
    /// How many strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `index` as it stands in the file.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let before = if index == 0 { 0 } else { self.ends[index - 1] };
        self.bytes.get(before + LENGTH..end)
    }

    /// String `index` if it is UTF-8.
    pub fn str(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.get(index)?).ok()
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut before = 0;
        self.ends.iter().map(move |&end| {
            let item = &self.bytes[before + LENGTH..end];
            before = end;
            item
        })
    }

    /// Appends one string.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(&(string.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    /// The strings as they stand in a file.
    pub(crate) fn file_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads `count` strings, a count that the file can hold.
    pub(crate) fn read(cursor: &mut Cursor<'_>, count: usize, what: &dyn fmt::Display) -> Result<Self, Error> {
        let start = cursor.offset();
        let mut ends = Vec::with_capacity(count);
        for _ in 0..count {
            cursor.string(what)?;
            ends.push(cursor.offset() - start);
        }
        Ok(Self { bytes: cursor.since(start).to_vec(), ends })
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut array = StringArray::default();
        strings.into_iter().for_each(|string| array.push(string.as_ref()));
        array
    }
}
