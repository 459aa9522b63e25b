//! A reader over a byte slice that cannot run past its end and says what it was reading when it would have.
//! Called by `container` and `value`.

use crate::Error;
use std::fmt::Display;

/// A position in the bytes of one file.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// What was read since `offset`, an earlier [`Cursor::offset`].
    pub(crate) fn since(&self, offset: usize) -> &'a [u8] {
        &self.bytes[offset..self.at]
    }

    /// Bytes left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes. `what` names them in the error.
    #[inline]
    pub(crate) fn take(&mut self, count: u64, what: &dyn Display) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        let found = usize::try_from(count).ok().and_then(|count| rest.get(..count));
        let Some(found) = found else { return Err(self.truncated(count, what)) };
        self.at += found.len();
        Ok(found)
    }

    #[cold]
    fn truncated(&self, need: u64, what: &dyn Display) -> Error {
        Error::Truncated { what: what.to_string(), need, left: self.left() as u64, offset: self.at as u64 }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self, what: &dyn Display) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    /// A little-endian `u32`.
    pub(crate) fn u32(&mut self, what: &dyn Display) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A little-endian `u64`.
    pub(crate) fn u64(&mut self, what: &dyn Display) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A string: `u64` length, then that many bytes, of any encoding.
    #[inline]
    pub(crate) fn string(&mut self, what: &dyn Display) -> Result<&'a [u8], Error> {
        let length = self.u64(&format_args!("the length of {what}"))?;
        self.take(length, what)
    }

    /// A `u64` count of things that take at least `least` bytes each, refused when the rest of the file cannot hold them,
    /// so that a caller may allocate for `count` things.
    pub(crate) fn count(&mut self, least: usize, what: &dyn Display) -> Result<usize, Error> {
        let count = self.u64(what)?;
        self.check_count(count, least, what)
    }

    /// As [`Cursor::count`], for a count that was read before.
    pub(crate) fn check_count(&self, count: u64, least: usize, what: &dyn Display) -> Result<usize, Error> {
        let most = self.left() / least;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(Error::Count { what: what.to_string(), count, most: most as u64 }),
        }
    }
}
