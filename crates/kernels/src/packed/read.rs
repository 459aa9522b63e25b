//! From bands back to numbers, a row at a time: what `embed` and the reference of `matmul` read, and what
//! every kernel is checked against.

use gguf::blocks::SUPER;
use gguf::float::{bf16_to_f32, f16_to_f32};

use super::{BAND, Packing, STEP, STEPS, Scales, UNIT, VECTOR};

impl Packing {
    /// Row `r` of a band of `k` columns as codes, scales and mins; the same numbers as [`gguf::unpack`] makes of the
    /// row in the file. `mins` may be empty for types without.
    pub fn unpack_row(&self, band: &[u8], r: usize, k: usize, codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        let (units, blocks) = band.split_at(self.codes_bytes(k));
        for (unit, codes) in units.chunks_exact(self.unit_bytes()).zip(codes.as_chunks_mut().0) {
            self.unpack_unit(unit, r, codes);
        }
        let groups = self.block_len / self.group_len;
        let mut mins = mins.chunks_exact_mut(groups);
        for (block, scales) in blocks.chunks_exact(self.block_bytes()).zip(scales.chunks_exact_mut(groups)) {
            self.unpack_scales(block, r, scales, mins.next().unwrap_or_default());
        }
    }

    /// Row `r` of a band of `k` columns in f32; the same numbers as [`gguf::decode`] makes of the row in the file.
    pub fn decode_row(&self, band: &[u8], r: usize, k: usize, out: &mut [f32]) {
        let (units, blocks) = band.split_at(self.codes_bytes(k));
        let units = units.chunks(self.block_len / UNIT * self.unit_bytes());
        let blocks = blocks.chunks_exact(self.block_bytes());
        for ((units, block), out) in units.zip(blocks).zip(out.chunks_mut(self.block_len)) {
            // Types without mins have zeros, and taking `+0.0` away changes nothing, not even `-0.0`.
            let (mut scales, mut mins) = ([0f32; SUPER / 16], [0f32; SUPER / 16]);
            let groups = out.len() / self.group_len;
            self.unpack_scales(block, r, &mut scales[..groups], &mut mins[..if self.has_mins { groups } else { 0 }]);
            for (u, (unit, out)) in units.chunks_exact(self.unit_bytes()).zip(out.chunks_mut(UNIT)).enumerate() {
                let mut codes = [0i8; UNIT];
                self.unpack_unit(unit, r, &mut codes);
                for (i, (value, code)) in out.iter_mut().zip(codes).enumerate() {
                    let group = (u * UNIT + i) / self.group_len;
                    *value = f32::from(code) * scales[group] - mins[group];
                }
            }
        }
    }

    /// Signed codes of row `r` of a unit.
    fn unpack_unit(&self, unit: &[u8], r: usize, codes: &mut [i8; UNIT]) {
        for (step, codes) in (0..STEPS).zip(codes.as_chunks_mut::<STEP>().0) {
            let (mut four, mut low, mut plane) = (0u32, 0, 0);
            for bits in self.planes {
                let (vector, shift) = bits.place(step);
                let at = (plane + vector) * VECTOR + STEP * r;
                let lane = unit[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                four |= (lane >> shift & bits.mask()) << low;
                (low, plane) = (low + *bits as u32, plane + bits.vectors());
            }
            *codes = four.to_le_bytes().map(|code| match self.table {
                Some(table) => table[usize::from(code)],
                None => code.wrapping_sub(self.code_offset) as i8,
            });
        }
    }

    /// Scales and mins of the groups of a block of row `r`.
    fn unpack_scales(&self, block: &[u8], r: usize, scales: &mut [f32], mins: &mut [f32]) {
        let kinds = if self.has_mins { 2 } else { 1 };
        for (kind, values) in [scales, mins].into_iter().enumerate().take(kinds) {
            let bits = |index: usize| {
                let at = 2 * (index * BAND + r);
                u16::from_le_bytes([block[at], block[at + 1]])
            };
            let float = if self.scales == Scales::Bf16 { bf16_to_f32(bits(kind)) } else { f16_to_f32(bits(kind)) };
            let factors = kinds * 2 * BAND + kind * self.num_factors() * BAND + r;
            for (g, value) in values.iter_mut().enumerate() {
                *value = match self.scales {
                    Scales::F16 | Scales::Bf16 => float,
                    Scales::F16PerGroup => f16_to_f32(bits(g)),
                    Scales::Unsigned => float * f32::from(block[factors + g * BAND]),
                    Scales::UnsignedEighths => float * 0.125 * f32::from(block[factors + g * BAND]),
                    Scales::Signed => float * f32::from(block[factors + g * BAND] as i8),
                };
            }
        }
    }
}
