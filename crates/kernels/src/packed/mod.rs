//! The layout that matrix products read fastest: rows of a weight matrix interleaved by sixteen, made once
//! when a model is opened. Written by `pack`, read back by `read` (row lookup, the reference, tests) and by
//! the kernels of `matmul`, which learn everything about a type from its [`Packing`].
//!
//! A matrix `[n, k]` is cut into **bands** of 16 rows, one after the other; rows missing in the last band have
//! scale 0. A band is its codes, then its scales, padded to whole vectors of 64 bytes:
//!
//! ```text
//! codes   k / 32 units. A unit is 32 columns = 8 steps of 4 columns, each step one vector: byte 4 r + c is row r,
//!         column c of the step. Codes are unsigned. They are cut into planes of 8, 4, 2 or 1 bits, low bits first;
//!         a plane of b bits takes b vectors per unit, with these steps from the low bits of a byte up:
//!           8 bits   vector j: step j
//!           4 bits   vector j: steps j, j + 4
//!           2 bits   vector j: steps 2 j, 2 j + 1, 2 j + 4, 2 j + 5
//!           1 bit    steps 0 to 7
//! scales  k / block_len blocks. A block is 16 16-bit floats: the scale of each row (16 for each group, where a type
//!         has a float per group); 16 more: its min, where the type has mins. Types whose groups scale the block's
//!         scale follow with a byte for each group and row (16 bytes a group), and then with as many for the mins.
//! ```
//!
//! The numbers mean what [`gguf::unpack`] says: `value = code * scale - min`, bit for bit, where `code` is the
//! unsigned code less [`Packing::code_offset`], or the entry of [`Packing::table`] at it.

mod pack;
mod read;
#[cfg(test)]
mod tests;

use gguf::DType;
use gguf::blocks::SUPER;
use gguf::blocks::grid::{FP4_VALUES, IQ4_VALUES};

pub(crate) use pack::BlockScales;
pub use pack::pack_matrix;

/// Rows of a band: the 32-bit lanes of a vector.
pub const BAND: usize = 16;
/// Columns of a unit of codes.
pub const UNIT: usize = 32;
/// Columns of a step.
pub const STEP: usize = 4;
/// Steps of a unit.
pub const STEPS: usize = UNIT / STEP;
/// Bytes of a vector.
pub const VECTOR: usize = 64;

/// How a weight matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Row after row in the blocks of the file.
    Rows,
    /// In bands, as this module lays them out.
    Packed,
    /// In [`tiles`](crate::tiles), on a GPU.
    Tiles,
}

impl Form {
    /// For `explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Form::Rows => "rows",
            Form::Packed => "bands",
            Form::Tiles => "tiles",
        }
    }
}

/// Bits of a plane of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Bits {
    One = 1,
    Two = 2,
    Four = 4,
    Eight = 8,
}

/// How the scales of a block are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// An f16 is the scale itself (and another the min).
    F16,
    /// A bf16, for exponents that f16 does not reach.
    Bf16,
    /// An f16 per group of the block.
    F16PerGroup,
    /// An f16 times an unsigned byte per group (mins likewise).
    Unsigned,
    /// The same in eighths: scales of lattices end in a half, and their product is divided by two or four.
    UnsignedEighths,
    /// An f16 times a signed byte per group.
    Signed,
}

/// The packed form of one type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packing {
    /// The type.
    pub dtype: DType,
    /// Columns of a block of scales: 32 to 256.
    pub block_len: usize,
    /// Columns that share a scale: 16 or 32.
    pub group_len: usize,
    /// Planes of the codes, low bits first.
    pub planes: &'static [Bits],
    /// Form of the scales.
    pub scales: Scales,
    /// Whether groups have mins.
    pub has_mins: bool,
    /// What makes codes unsigned when added: to the code, or to the entry of the table.
    pub code_offset: u8,
    /// What the codes stand for, where not for themselves.
    pub table: Option<&'static [i8; 16]>,
}

use Bits::*;

/// Points of IQ1: -1, 0 or 1 in eighths, and an eighth more or less.
static IQ1_VALUES: [i8; 16] = [-9, -7, -1, 1, 7, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Points of IQ2: two bits of size, one of sign.
static IQ2_VALUES: [i8; 16] = [8, 25, 43, 0, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Points of IQ3: three bits of size, one of sign.
static IQ3_XXS_VALUES: [i8; 16] = [4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62];
static IQ3_S_VALUES: [i8; 16] = [1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15];
/// A sign is all there is.
static SIGNS: [i8; 16] = [-1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The table. Kernels are compiled once per row of it, but for rows that are [alike](kernel_of).
#[rustfmt::skip]
pub const PACKINGS: [Packing; 25] = [
    packing(DType::Q4_0,    32,    &[Four],      Scales::F16,             None),
    packing(DType::Q4_1,    32,    &[Four],      Scales::F16,             None),
    packing(DType::Q5_0,    32,    &[Four, One], Scales::F16,             None),
    packing(DType::Q5_1,    32,    &[Four, One], Scales::F16,             None),
    packing(DType::Q8_0,    32,    &[Eight],     Scales::F16,             None),
    packing(DType::IQ4_NL,  32,    &[Four],      Scales::F16,             Some(&IQ4_VALUES)),
    packing(DType::MXFP4,   32,    &[Four],      Scales::Bf16,            Some(&FP4_VALUES)),
    packing(DType::Q2_K,    SUPER, &[Two],       Scales::Unsigned,        None),
    packing(DType::Q3_K,    SUPER, &[Two, One],  Scales::Signed,          None),
    packing(DType::Q4_K,    SUPER, &[Four],      Scales::Unsigned,        None),
    packing(DType::Q5_K,    SUPER, &[Four, One], Scales::Unsigned,        None),
    packing(DType::Q6_K,    SUPER, &[Four, Two], Scales::Signed,          None),
    packing(DType::IQ4_XS,  SUPER, &[Four],      Scales::Signed,          Some(&IQ4_VALUES)),
    packing(DType::Q1_0,    128,   &[One],       Scales::F16,             Some(&SIGNS)),
    packing(DType::Q2_0,    64,    &[Two],       Scales::F16,             None),
    packing(DType::TQ2_0,   SUPER, &[Two],       Scales::F16,             None),
    packing(DType::NVFP4,   64,    &[Four],      Scales::F16PerGroup,     Some(&FP4_VALUES)),
    packing(DType::IQ1_S,   SUPER, &[Two, One],  Scales::UnsignedEighths, Some(&IQ1_VALUES)),
    packing(DType::IQ1_M,   SUPER, &[Two, One],  Scales::UnsignedEighths, Some(&IQ1_VALUES)),
    packing(DType::IQ2_XXS, SUPER, &[Two, One],  Scales::UnsignedEighths, Some(&IQ2_VALUES)),
    packing(DType::IQ2_S,   SUPER, &[Two, One],  Scales::UnsignedEighths, Some(&IQ2_VALUES)),
    packing(DType::IQ3_XXS, SUPER, &[Four],      Scales::UnsignedEighths, Some(&IQ3_XXS_VALUES)),
    packing(DType::IQ3_S,   SUPER, &[Four],      Scales::Unsigned,        Some(&IQ3_S_VALUES)),
    // Kernels end here.
    packing(DType::TQ1_0,   SUPER, &[Two],       Scales::F16,             None), // as TQ2_0
    packing(DType::IQ2_XS,  SUPER, &[Two, One],  Scales::UnsignedEighths, Some(&IQ2_VALUES)), // as IQ2_S
];

/// The row of [`PACKINGS`] whose kernel multiplies weights of `dtype`: the first that differs in nothing but the type.
pub fn kernel_of(dtype: DType) -> Option<usize> {
    let own = Packing::of(dtype)?;
    PACKINGS.iter().position(|first| Packing { dtype, ..*first } == *own)
}

const fn packing(
    dtype: DType,
    block_len: usize,
    planes: &'static [Bits],
    scales: Scales,
    table: Option<&'static [i8; 16]>,
) -> Packing {
    let (group_len, has_mins, code_offset) = (dtype.group_len(), dtype.has_mins(), dtype.code_offset());
    Packing { dtype, block_len, group_len, planes, scales, has_mins, code_offset, table }
}

impl Packing {
    /// The packed form of `dtype`, if it has one.
    pub fn of(dtype: DType) -> Option<&'static Packing> {
        Self::all().find(|packing| packing.dtype == dtype)
    }

    /// Every packed form.
    pub fn all() -> impl Iterator<Item = &'static Packing> {
        const { &PACKINGS }.iter()
    }

    /// Bytes of the codes of a unit.
    pub const fn unit_bytes(&self) -> usize {
        let (mut vectors, mut i) = (0, 0);
        while i < self.planes.len() {
            vectors += self.planes[i].vectors();
            i += 1;
        }
        vectors * VECTOR
    }

    /// Bytes of the codes of a band: where its scales begin.
    pub const fn codes_bytes(&self, k: usize) -> usize {
        k / UNIT * self.unit_bytes()
    }

    /// Groups of a block that have a factor of their own.
    pub const fn num_factors(&self) -> usize {
        match self.scales {
            Scales::F16 | Scales::Bf16 | Scales::F16PerGroup => 0,
            Scales::Unsigned | Scales::UnsignedEighths | Scales::Signed => self.block_len / self.group_len,
        }
    }

    /// Floats of a block and row, not counting mins.
    pub const fn num_floats(&self) -> usize {
        match self.scales {
            Scales::F16PerGroup => self.block_len / self.group_len,
            _ => 1,
        }
    }

    /// Bytes of a block of scales.
    pub const fn block_bytes(&self) -> usize {
        let kinds = if self.has_mins { 2 } else { 1 };
        kinds * BAND * (2 * self.num_floats() + self.num_factors())
    }

    /// Bytes of a band.
    pub const fn band_bytes(&self, k: usize) -> usize {
        (self.codes_bytes(k) + k / self.block_len * self.block_bytes()).next_multiple_of(VECTOR)
    }

    /// Bytes of a matrix `[n, k]`.
    pub const fn bytes(&self, n: usize, k: usize) -> usize {
        n.div_ceil(BAND) * self.band_bytes(k)
    }

    /// Whether rows of `k` columns can be packed.
    pub const fn fits(&self, k: usize) -> bool {
        k > 0 && k.is_multiple_of(self.block_len)
    }
}

impl Bits {
    /// Vectors that a plane of so many bits takes per unit.
    pub const fn vectors(self) -> usize {
        self as usize
    }

    /// Where `step` lies: the vector, and its lowest bit in the bytes of that vector.
    pub const fn place(self, step: usize) -> (usize, u32) {
        let (low, high) = (step % 4, step as u32 / 4);
        match self {
            One => (0, step as u32),
            Two => (low / 2, 2 * (low as u32 % 2) + 4 * high),
            Four => (low, 4 * high),
            Eight => (step, 0),
        }
    }

    /// The lowest bits of four bytes.
    const fn mask(self) -> u32 {
        0x0101_0101 * ((1u32 << self as u32) - 1)
    }
}
