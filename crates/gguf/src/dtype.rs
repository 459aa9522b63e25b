//! Every tensor type that GGUF files hold: ONE table of facts, asked by everybody.

/// A tensor type of ggml. The variants stand in the order of the table, not of the ids: use [`DType::id`] for files.
#[allow(non_camel_case_types, missing_docs)] // the names are ggml's; the facts are in the table
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[rustfmt::skip]
pub enum DType {
    F32, F16, BF16, F64, I8, I16, I32, I64,
    Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1,
    Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K,
    IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS,
    TQ1_0, TQ2_0, MXFP4, NVFP4,
}

/// The facts of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DTypeInfo {
    /// The type.
    pub dtype: DType,
    /// Its number in files (`enum ggml_type`).
    pub id: u32,
    /// Its name as ggml writes it, in capitals.
    pub name: &'static str,
    /// Elements per block; 1 for plain numbers.
    pub block_len: usize,
    /// Bytes per block.
    pub block_bytes: usize,
    /// How the type unpacks to integer codes; `None` for plain numbers.
    pub codes: Option<Codes>,
}

/// How a quantised type looks once unpacked: `value[i] = codes[i] * scales[i / group_len] - mins[i / group_len]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    /// Elements that share one scale (and min): 16 or 32.
    pub group_len: usize,
    /// The least code that can occur.
    pub min: i8,
    /// The greatest code that can occur.
    pub max: i8,
    /// Whether groups carry a min.
    pub has_mins: bool,
}

use DType::*;

/// The table, in the order of [`DType`]. Group lengths and code ranges follow from the formulas in `unpack`.
#[rustfmt::skip]
static TABLE: [DTypeInfo; 35] = [
    //                             block     group code
    //    type     name       id   len  byte len  min   max
    plain(F32,     "F32",     0,        4),
    plain(F16,     "F16",     1,        2),
    plain(BF16,    "BF16",    30,       2),
    plain(F64,     "F64",     28,       8),
    plain(I8,      "I8",      24,       1),
    plain(I16,     "I16",     25,       2),
    plain(I32,     "I32",     26,       4),
    plain(I64,     "I64",     27,       8),
    coded(Q1_0,    "Q1_0",    41,  128, 18,  32,  -1,   1,   NO_MINS),
    coded(Q2_0,    "Q2_0",    42,  64,  18,  32,  -1,   2,   NO_MINS),
    coded(Q4_0,    "Q4_0",    2,   32,  18,  32,  -8,   7,   NO_MINS),
    coded(Q4_1,    "Q4_1",    3,   32,  20,  32,  0,    15,  MINS),
    coded(Q5_0,    "Q5_0",    6,   32,  22,  32,  -16,  15,  NO_MINS),
    coded(Q5_1,    "Q5_1",    7,   32,  24,  32,  0,    31,  MINS),
    coded(Q8_0,    "Q8_0",    8,   32,  34,  32,  -128, 127, NO_MINS),
    coded(Q8_1,    "Q8_1",    9,   32,  36,  32,  -128, 127, NO_MINS),
    coded(Q2_K,    "Q2_K",    10,  256, 84,  16,  0,    3,   MINS),
    coded(Q3_K,    "Q3_K",    11,  256, 110, 16,  -4,   3,   NO_MINS),
    coded(Q4_K,    "Q4_K",    12,  256, 144, 32,  0,    15,  MINS),
    coded(Q5_K,    "Q5_K",    13,  256, 176, 32,  0,    31,  MINS),
    coded(Q6_K,    "Q6_K",    14,  256, 210, 16,  -32,  31,  NO_MINS),
    coded(Q8_K,    "Q8_K",    15,  256, 292, 32,  -128, 127, NO_MINS),
    coded(IQ1_S,   "IQ1_S",   19,  256, 50,  32,  -9,   9,   NO_MINS),
    coded(IQ1_M,   "IQ1_M",   29,  256, 56,  16,  -9,   9,   NO_MINS),
    coded(IQ2_XXS, "IQ2_XXS", 16,  256, 66,  32,  -43,  43,  NO_MINS),
    coded(IQ2_XS,  "IQ2_XS",  17,  256, 74,  16,  -43,  43,  NO_MINS),
    coded(IQ2_S,   "IQ2_S",   22,  256, 82,  16,  -43,  43,  NO_MINS),
    coded(IQ3_XXS, "IQ3_XXS", 18,  256, 98,  32,  -62,  62,  NO_MINS),
    coded(IQ3_S,   "IQ3_S",   21,  256, 110, 32,  -15,  15,  NO_MINS),
    coded(IQ4_NL,  "IQ4_NL",  20,  32,  18,  32,  -127, 113, NO_MINS),
    coded(IQ4_XS,  "IQ4_XS",  23,  256, 136, 32,  -127, 113, NO_MINS),
    coded(TQ1_0,   "TQ1_0",   34,  256, 54,  32,  -1,   1,   NO_MINS),
    coded(TQ2_0,   "TQ2_0",   35,  256, 66,  32,  -1,   2,   NO_MINS),
    coded(MXFP4,   "MXFP4",   39,  32,  17,  32,  -12,  12,  NO_MINS),
    coded(NVFP4,   "NVFP4",   40,  64,  36,  16,  -12,  12,  NO_MINS),
];

/// Types that older files hold and ggml dropped: refused, but by name.
#[rustfmt::skip]
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"), (5, "Q4_3"),
    (31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"), (37, "IQ4_NL_4_8"), (38, "IQ4_NL_8_8"),
];

const fn plain(dtype: DType, name: &'static str, id: u32, bytes: usize) -> DTypeInfo {
    DTypeInfo { dtype, id, name, block_len: 1, block_bytes: bytes, codes: None }
}

const MINS: bool = true;
const NO_MINS: bool = false;

#[allow(clippy::too_many_arguments)] // one per column of the table
const fn coded(
    dtype: DType,
    name: &'static str,
    id: u32,
    block_len: usize,
    block_bytes: usize,
    group_len: usize,
    min: i8,
    max: i8,
    has_mins: bool,
) -> DTypeInfo {
    let codes = Some(Codes { group_len, min, max, has_mins });
    DTypeInfo { dtype, id, name, block_len, block_bytes, codes }
}

// A row sits where its variant points, and a group never crosses a block.
const _: () = {
    let mut i = 0;
    while i < TABLE.len() {
        assert!(TABLE[i].dtype as usize == i);
        if let Some(codes) = TABLE[i].codes {
            assert!(TABLE[i].block_len.is_multiple_of(codes.group_len));
        }
        i += 1;
    }
};

impl DType {
    /// The type with number `id` in files, if this crate knows it.
    pub fn from_id(id: u32) -> Option<DType> {
        TABLE.iter().find(|row| row.id == id).map(|row| row.dtype)
    }

    /// The type called `name` (`Q4_K`; case does not matter).
    pub fn from_name(name: &str) -> Option<DType> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.dtype)
    }

    /// Every type, in the order of the table.
    pub fn all() -> impl ExactSizeIterator<Item = DType> {
        TABLE.iter().map(|row| row.dtype)
    }

    /// The type's row of the table.
    pub const fn info(self) -> &'static DTypeInfo {
        &TABLE[self as usize]
    }

    /// Its number in files.
    pub const fn id(self) -> u32 {
        self.info().id
    }

    /// Its name, as `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// Elements per block; 1 for plain numbers.
    pub const fn block_len(self) -> usize {
        self.info().block_len
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        self.info().block_bytes
    }

    /// Bytes of a row of `k` elements; `None` when the row does not end with a block or the size overflows.
    pub const fn row_bytes(self, k: usize) -> Option<usize> {
        if !k.is_multiple_of(self.block_len()) {
            return None;
        }
        (k / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether the type is made of blocks of integer codes, so that [`unpack`](crate::unpack()) takes it.
    pub const fn is_quantized(self) -> bool {
        self.info().codes.is_some()
    }

    /// Elements that share one scale once unpacked: 16 or 32; 1 for plain numbers.
    pub const fn group_len(self) -> usize {
        match self.info().codes {
            Some(codes) => codes.group_len,
            None => 1,
        }
    }

    /// Whether unpacked groups carry a min beside their scale.
    pub const fn has_mins(self) -> bool {
        matches!(self.info().codes, Some(Codes { has_mins: true, .. }))
    }

    /// The least number that makes every code non-negative when added: 8 for Q4_0, 0 for Q4_K, 32 for Q6_K, 128 for Q8_0.
    pub const fn code_offset(self) -> u8 {
        match self.info().codes {
            Some(codes) => codes.min.unsigned_abs(),
            None => 0,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a type id for messages: known, removed, or `unknown`.
pub(crate) fn name_of_id(id: u32) -> &'static str {
    if let Some(dtype) = DType::from_id(id) {
        return dtype.name();
    }
    REMOVED.iter().find(|row| row.0 == id).map_or("unknown", |row| row.1)
}
