//! The lattice of a type as text for the compiler of kernels, made of gguf's tables when this crate is compiled. `lattice.cu`
//! reads it; like that it belongs to every source that reads rows of the file.

use gguf::blocks::grid::{IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, Lattice};

/// Defines `POINTS`, a nibble for each digit, and `VALUES`, a byte for each, where TYPE has a lattice.
pub(crate) const POINTS: &str = match std::str::from_utf8(TEXT.bytes.split_at(TEXT.len).0) {
    Ok(text) => text,
    Err(_) => "",
};

const TEXT: Text = Text { bytes: [0; 64 << 10], len: 0 }
    .lattice("#if TYPE == IQ1_S_ || TYPE == IQ1_M_", &IQ1)
    .lattice("#elif TYPE == IQ2_XXS_", &IQ2_XXS)
    .lattice("#elif TYPE == IQ2_XS_", &IQ2_XS)
    .lattice("#elif TYPE == IQ2_S_", &IQ2_S)
    .lattice("#elif TYPE == IQ3_XXS_", &IQ3_XXS)
    .lattice("#elif TYPE == IQ3_S_", &IQ3_S)
    .text("#endif\n");

/// Text that grows; more than there is room for does not compile.
struct Text {
    bytes: [u8; 64 << 10],
    len: usize,
}

impl Text {
    const fn text(mut self, text: &str) -> Self {
        let mut i = 0;
        while i < text.len() {
            self.bytes[self.len] = text.as_bytes()[i];
            self.len += 1;
            i += 1;
        }
        self
    }

    const fn lattice<const POINTS: usize>(mut self, condition: &str, lattice: &Lattice<POINTS>) -> Self {
        let (mut values, mut i) = (0, 0);
        while i < lattice.values.len() {
            values |= (lattice.values[i] as u8 as u64) << (8 * i);
            i += 1;
        }
        self = self.text(condition).text("\n#define VALUES ").hex(values, 16).text("ull\n");
        self = self.text("alignas(16) __device__ const u32 POINTS[] = {");
        let mut p = 0;
        while p < POINTS {
            let (mut nibbles, mut j) = (0, 0);
            while j < lattice.num_elements() {
                nibbles |= (lattice.digit(p, j) as u64) << (4 * j);
                j += 1;
            }
            self = self.hex(nibbles, lattice.num_elements()).text(",");
            p += 1;
        }
        self.text("};\n")
    }

    const fn hex(mut self, number: u64, digits: usize) -> Self {
        self = self.text("0x");
        let mut left = digits;
        while left > 0 {
            left -= 1;
            self.bytes[self.len] = b"0123456789abcdef"[(number >> (4 * left)) as usize % 16];
            self.len += 1;
        }
        self
    }
}
