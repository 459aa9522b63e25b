//! The layout that tensor cores read fastest: a weight matrix in tiles of 16 rows, as many bytes as the blocks of the
//! file had. Made on the device when a model is opened (`pack.cu`), read there by the kernels of `matmul` and by
//! `cuda/tiles.cu`; [`pack`] and [`read`] say the same on the CPU, for tests and for the references.
//!
//! A tile is cut into chunks of 256 columns, a chunk into groups of 32; the last chunk of a tile may have fewer. Groups
//! come in pairs. A chunk is one piece of memory: the low bits of its codes, their high bits, its scales, each for all
//! its pairs. Lane `4 g + t` of a warp holds what it hands to an `mma` of 16 rows and 32 columns: of rows g and g + 8 two
//! words of four codes each, part 0 and 1. Which columns these are is free as long as activations follow: columns
//! `8 t + 4 part` and on, or `16 part + 4 t` where groups have 16 values.
//!
//! ```text
//! low bits   4 of them: per pair and lane 16 bytes, words (group 0: row g, row g + 8), (group 1: row g, row g + 8); part 0
//!            in the low nibbles of a word's bytes, part 1 in the high ones (types with a table: part 0 in the low half of
//!            the word, nibble by nibble). 8 bits: per group and lane 16 bytes, words (row g: part 0, 1), (row g + 8: …)
//! fifth bit  per pair and lane a word: bit 7 - s of byte j is that of code j of s = 4 group + 2 row + part
//! two more   per group and lane a word: bits 7 - 2 s and 6 - 2 s of byte j, s = 2 row + part
//! scales     per group and g 16-bit floats: scales of rows g and g + 8, then their mins. MXFP4: the exponents, bytes.
//!            Q4_K, Q5_K: per row 16 bytes: d, dmin, three words; word j has from bit 0 up 6 bits each: scale and min of
//!            group 2 j, of group 2 j + 1; the top bytes of the words together those of groups 6 and 7.
//!            Q6_K: per row 16 signed bytes, then for each g the d of rows g and g + 8.
//!            IQ4_XS: per row 8 bytes: d, then from bit 16 up 6 bits for each group.
//! ```
//! Codes with an offset are two's complement after it is taken away; a min is what is subtracted.

mod pack;
mod read;
#[cfg(test)]
mod tests;

use gguf::DType;

use crate::packed::{Bits, Packing};

/// Rows of a tile.
pub const TILE: usize = 16;
/// Columns of a group.
pub const GROUP: usize = 32;
/// Groups of a whole chunk.
pub const GROUPS: usize = 8;
/// Columns of a chunk.
pub const CHUNK: usize = GROUP * GROUPS;

/// The tiled form of one type; what the type's numbers are it shares with the packed form.
#[derive(Clone, Copy, Debug)]
pub struct Tiling(&'static Packing);

impl Tiling {
    /// The tiled form of `dtype`, if it has one.
    pub fn of(dtype: DType) -> Option<Self> {
        use DType::*;
        let tiled = matches!(dtype, Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4_K | Q5_K | Q6_K | IQ4_NL | IQ4_XS | MXFP4);
        Packing::of(dtype).filter(|_| tiled).map(Tiling)
    }

    /// Every tiled form.
    pub fn all() -> impl Iterator<Item = Self> {
        Packing::all().filter_map(|packing| Self::of(packing.dtype))
    }

    /// The type.
    pub const fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Whether rows of `k` columns can be tiled.
    pub const fn fits(&self, k: usize) -> bool {
        self.0.fits(k)
    }

    /// Bytes of a pair of groups of all rows of a tile, those of its blocks in the file.
    pub fn pair_bytes(&self) -> usize {
        let dtype = self.dtype();
        2 * GROUP * TILE * dtype.block_bytes() / dtype.block_len()
    }

    /// Bytes of a matrix `[n, k]`.
    pub fn bytes(&self, n: usize, k: usize) -> usize {
        n.div_ceil(TILE) * self.tile_bytes(k)
    }

    /// Bytes of a whole chunk: what a kernel copies at one time.
    pub fn chunk_bytes(&self) -> usize {
        GROUPS / 2 * self.pair_bytes()
    }

    /// Bytes of a tile of rows of `k` columns.
    pub fn tile_bytes(&self, k: usize) -> usize {
        k.div_ceil(2 * GROUP) * self.pair_bytes()
    }

    /// Bytes of a pair that hold the low bits of codes, and the others.
    const fn code_bytes(&self) -> (usize, usize) {
        let low = TILE * 2 * GROUP * self.0.planes[0] as usize / 8;
        let high = if self.0.planes.len() > 1 { TILE * 2 * GROUP * self.0.planes[1] as usize / 8 } else { 0 };
        (low, high)
    }

    /// Where a chunk keeps column `c` of group `group` of row `r`.
    fn place(&self, pairs: usize, group: usize, r: usize, c: usize) -> Place {
        let halves = self.0.group_len < GROUP;
        let (part, t) = if halves { (c / 16, c % 16 / 4) } else { (c % 8 / 4, c / 8) };
        let (pair, odd, lane, row, j) = (group / 2, group % 2, 4 * (r % 8) + t, r / 8, c % 4);
        let (low_bytes, high_bytes) = self.code_bytes();
        let (low, low_bit) = match (self.0.planes[0], self.0.table) {
            (Bits::Eight, _) => (512 * odd + 16 * lane + 8 * row + 4 * part + j, 0),
            (_, Some(_)) => (16 * lane + 8 * odd + 4 * row + 2 * part + j / 2, 4 * (j % 2)),
            (_, None) => (16 * lane + 8 * odd + 4 * row + j, 4 * part),
        };
        let s = 2 * row + part;
        let (high, high_bit) =
            if high_bytes == 128 { (4 * lane + j, 7 - (4 * odd + s)) } else { (8 * lane + 4 * odd + j, 6 - 2 * s % 8) };
        let high_at = (high_bytes > 0).then_some(pairs * low_bytes + pair * high_bytes + high);
        Place { low: pair * low_bytes + low, low_bit, high: high_at, high_bit }
    }

    /// Where the scales of a chunk begin.
    const fn scales_at(&self, pairs: usize) -> usize {
        let (low, high) = self.code_bytes();
        pairs * (low + high)
    }

    /// Masks of the low bits of a code and of the others, which lie above them.
    const fn masks(&self) -> (u8, u8) {
        let low = ((1u32 << self.0.planes[0] as u32) - 1) as u8;
        let high = if self.0.planes.len() > 1 { (1 << self.0.planes[1] as u32) - 1 } else { 0 };
        (low, high)
    }
}

/// Bytes of a chunk and bits in them at which a code begins; of its high bits, where there are some.
struct Place {
    low: usize,
    low_bit: usize,
    high: Option<usize>,
    high_bit: usize,
}
