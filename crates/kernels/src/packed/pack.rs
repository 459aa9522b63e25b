//! From the blocks of a file to bands. Called once per weight matrix when a model is opened.

use std::array::from_fn;
use std::sync::{Mutex, PoisonError};

use bytemuck::{from_bytes, pod_read_unaligned};
use device::{Pool, PoolError};
use gguf::blocks::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_XS, NVFP4, TQ1_0, TQ2_0};
use gguf::blocks::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, k_scales_and_mins, q3_k_scales};
use gguf::float::{Half, e8m0_half_to_f32, f32_to_bf16, ue4m3_half_to_f32};
use gguf::{DType, blocks::SUPER};

use super::{BAND, Packing, STEPS, Scales, UNIT, VECTOR};
use crate::weights::unpack_row;

/// Bands that a worker takes at a time.
const BANDS_AT_ONCE: usize = 8;

/// Packs whole rows of `k` columns into `out`, all workers together. `out` may hold more bands than there are rows.
///
/// # Errors
/// [`PoolError`] when a worker panicked, as it does when lengths do not belong together.
pub fn pack_matrix(pool: &mut Pool, packing: &Packing, rows: &[u8], k: usize, out: &mut [u8]) -> Result<(), PoolError> {
    let row_bytes = packing.row_bytes(k);
    let rows = rows.chunks(BANDS_AT_ONCE * BAND * row_bytes);
    let tiles = Mutex::new(rows.zip(out.chunks_mut(BANDS_AT_ONCE * packing.band_bytes(k))));
    pool.run(&|_| {
        let next = || tiles.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((rows, bands)) = next() {
            packing.pack(rows, k, bands);
        }
    })
}

impl Packing {
    /// Packs whole rows of `k` columns.
    ///
    /// # Panics
    /// When the lengths do not belong together.
    pub fn pack(&self, rows: &[u8], k: usize, out: &mut [u8]) {
        let rows = rows.chunks(BAND * self.row_bytes(k));
        for (rows, band) in rows.zip(out.chunks_exact_mut(self.band_bytes(k))) {
            self.pack_band(rows, k, band);
        }
    }

    fn row_bytes(&self, k: usize) -> usize {
        k / self.dtype.block_len() * self.dtype.block_bytes()
    }

    /// `rows` are up to 16; the others become zeros.
    fn pack_band(&self, rows: &[u8], k: usize, band: &mut [u8]) {
        let (units, scales) = band.split_at_mut(self.codes_bytes(k));
        scales.fill(0);
        let encode = self.encoding();
        // A piece is 256 columns of all rows, or what is left: a block of the K types, eight of the others.
        let piece_bytes = SUPER / self.dtype.block_len() * self.dtype.block_bytes();
        let units = units.chunks_mut(SUPER / UNIT * self.unit_bytes());
        let scales = scales.chunks_mut(SUPER / self.block_len * self.block_bytes());
        let mut codes = [[0u8; SUPER]; BAND];
        for (piece, (units, scales)) in units.zip(scales).enumerate() {
            let columns = (k - piece * SUPER).min(SUPER);
            for (r, row) in rows.chunks(self.row_bytes(k)).enumerate() {
                let row = &row[piece * piece_bytes..];
                let blocks = &row[..piece_bytes.min(row.len())];
                self.read_codes(blocks, &encode, &mut codes[r][..columns]);
                let blocks = blocks.chunks(self.dtype.block_bytes());
                for (block, scales) in blocks.zip(scales.chunks_exact_mut(self.block_bytes())) {
                    BlockScales::read(self.dtype, block).write(self, r, scales);
                }
            }
            for (u, unit) in units.chunks_exact_mut(self.unit_bytes()).enumerate() {
                self.interleave(&codes, u * UNIT, unit);
            }
        }
    }

    /// Unsigned code of each signed one.
    fn encoding(&self) -> [u8; 256] {
        let mut encode = [0; 256];
        match self.table {
            // Backwards, so that the first of equal entries stays.
            Some(table) => (0..16).rev().for_each(|q| encode[usize::from(table[q] as u8)] = q as u8),
            None => (0..=255).for_each(|code: u8| encode[usize::from(code)] = code.wrapping_add(self.code_offset)),
        }
        encode
    }

    fn read_codes(&self, blocks: &[u8], encode: &[u8; 256], codes: &mut [u8]) {
        let (mut scales, mut mins) = ([0.0; SUPER / 16], [0.0; SUPER / 16]);
        let groups = codes.len() / self.group_len;
        unpack_row(self.dtype, blocks, bytemuck::cast_slice_mut(codes), &mut scales[..groups], &mut mins[..groups]);
        if self.table.is_some() {
            codes.iter_mut().for_each(|code| *code = encode[usize::from(*code)]);
        } else if self.code_offset > 0 {
            codes.iter_mut().for_each(|code| *code = code.wrapping_add(self.code_offset));
        }
    }

    /// The unit of the columns from `first` on.
    fn interleave(&self, codes: &[[u8; SUPER]; BAND], first: usize, unit: &mut [u8]) {
        let mut steps = [[0u32; BAND]; STEPS];
        for (r, row) in codes.iter().enumerate() {
            let row: &[u8; UNIT] = from_bytes(&row[first..first + UNIT]);
            for (step, four) in steps.iter_mut().zip(row.as_chunks().0) {
                step[r] = u32::from_le_bytes(*four);
            }
        }
        let (mut unit, mut low) = (unit, 0);
        for bits in self.planes {
            let mut vectors = [[0u32; BAND]; STEPS];
            for (s, step) in steps.iter().enumerate() {
                let (vector, shift) = bits.place(s);
                for (lane, four) in vectors[vector].iter_mut().zip(step) {
                    *lane |= (four >> low & bits.mask()) << shift;
                }
            }
            let (plane, rest) = unit.split_at_mut(bits.vectors() * VECTOR);
            let lanes = vectors.as_flattened().iter();
            plane.as_chunks_mut().0.iter_mut().zip(lanes).for_each(|(bytes, lane)| *bytes = lane.to_le_bytes());
            (unit, low) = (rest, low + *bits as u32);
        }
    }
}

/// The scales of one block of one row, as they stand in bands.
#[derive(Default)]
pub(crate) struct BlockScales {
    /// Bits of a 16-bit float.
    pub(crate) scale: u16,
    pub(crate) min: u16,
    /// Of a float per group, where a type has these instead of one scale.
    group_scales: [u16; 4],
    /// Per group.
    pub(crate) scale_factors: [u8; 16],
    pub(crate) min_factors: [u8; 16],
}

impl BlockScales {
    pub(crate) fn read(dtype: DType, block: &[u8]) -> Self {
        let mut scales = Self::default();
        match dtype {
            DType::Q2_K => {
                let block: &Q2_K = from_bytes(block);
                (scales.scale, scales.min) = (block.d.bits(), block.dmin.bits());
                scales.scale_factors = block.scales.map(|both| both & 15);
                scales.min_factors = block.scales.map(|both| both >> 4);
            }
            DType::Q3_K => {
                let block: &Q3_K = from_bytes(block);
                scales.scale = block.d.bits();
                scales.scale_factors = q3_k_scales(&block.scales).map(|factor| factor as u8);
            }
            DType::Q4_K => {
                let block: &Q4_K = from_bytes(block);
                scales.six_bits(block.d, block.dmin, &block.scales);
            }
            DType::Q5_K => {
                let block: &Q5_K = from_bytes(block);
                scales.six_bits(block.d, block.dmin, &block.scales);
            }
            DType::Q6_K => {
                let block: &Q6_K = from_bytes(block);
                scales.scale = block.d.bits();
                scales.scale_factors = block.scales.map(|factor| factor as u8);
            }
            DType::IQ4_XS => {
                let block: &IQ4_XS = from_bytes(block);
                scales.scale = block.d.bits();
                let high = u16::from_le_bytes(block.scales_h);
                for (g, factor) in scales.scale_factors[..8].iter_mut().enumerate() {
                    let low = block.scales_l[g / 2] >> (4 * (g % 2)) & 15;
                    *factor = (low | (((high >> (2 * g)) & 3) as u8 * 16)).wrapping_sub(32);
                }
            }
            DType::TQ1_0 => scales.scale = from_bytes::<TQ1_0>(block).d.bits(),
            DType::TQ2_0 => scales.scale = from_bytes::<TQ2_0>(block).d.bits(),
            DType::IQ1_S => {
                let block: &IQ1_S = from_bytes(block);
                scales.scale = block.d.bits();
                scales.odd(block.qh.map(|word| word[1] >> 4 & 7), 1);
            }
            DType::IQ1_M => {
                let block: &IQ1_M = from_bytes(block);
                let words = block.scales.map(u16::from_le_bytes);
                scales.scale = words[0] >> 12 | words[1] >> 12 << 4 | words[2] >> 12 << 8 | words[3] >> 12 << 12;
                scales.odd(from_fn::<_, 16, _>(|g| (words[g / 4] >> (3 * (g % 4)) & 7) as u8), 1);
            }
            DType::IQ2_XXS => {
                let block: &IQ2_XXS = from_bytes(block);
                scales.scale = block.d.bits();
                scales.odd(block.qs.map(|group| group[7] >> 4), 1);
            }
            DType::IQ2_XS => {
                let block: &IQ2_XS = from_bytes(block);
                scales.scale = block.d.bits();
                scales.odd(nibbles::<16>(&block.scales), 1);
            }
            DType::IQ2_S => {
                let block: &IQ2_S = from_bytes(block);
                scales.scale = block.d.bits();
                scales.odd(nibbles::<16>(&block.scales), 1);
            }
            DType::IQ3_XXS => {
                let block: &IQ3_XXS = from_bytes(block);
                scales.scale = block.d.bits();
                scales.odd(block.signs_scales.map(|word| word[3] >> 4), 2);
            }
            DType::IQ3_S => {
                let block: &IQ3_S = from_bytes(block);
                scales.scale = block.d.bits();
                scales.odd(nibbles::<8>(&block.scales), 1);
            }
            DType::NVFP4 => {
                let block: &NVFP4 = from_bytes(block);
                // Exact: four bits of mantissa, exponents of f16's range.
                scales.group_scales = block.d.map(|byte| Half::from_f32(ue4m3_half_to_f32(byte)).bits());
            }
            DType::MXFP4 => scales.scale = f32_to_bf16(e8m0_half_to_f32(block[0])),
            // The others begin with their scale; if they have mins, that is `m` of `d * q + m`: the sign turns.
            _ => {
                let [scale, min]: [Half; 2] = pod_read_unaligned(&block[..4]);
                (scales.scale, scales.min) = (scale.bits(), min.bits() ^ 0x8000);
            }
        }
        scales
    }

    fn six_bits(&mut self, d: Half, dmin: Half, packed: &[u8; 12]) {
        (self.scale, self.min) = (d.bits(), dmin.bits());
        let (scales, mins) = k_scales_and_mins(packed);
        self.scale_factors[..8].copy_from_slice(&scales);
        self.min_factors[..8].copy_from_slice(&mins);
    }

    /// Factors `(2 s + 1) * times` of scales that end in a half.
    fn odd<const G: usize>(&mut self, scales: [u8; G], times: u8) {
        self.scale_factors[..G].copy_from_slice(&scales.map(|scale| (2 * scale + 1) * times));
    }

    /// Into the block of scales of a band, as row `r`.
    fn write(&self, packing: &Packing, r: usize, block: &mut [u8]) {
        if packing.scales == Scales::F16PerGroup {
            let groups = block.chunks_exact_mut(BAND * 2).zip(self.group_scales);
            return groups.for_each(|(floats, scale)| floats[2 * r..][..2].copy_from_slice(&scale.to_le_bytes()));
        }
        let kinds = [(self.scale, &self.scale_factors), (self.min, &self.min_factors)];
        let kinds = &kinds[..if packing.has_mins { 2 } else { 1 }];
        let (floats, factors) = block.split_at_mut(kinds.len() * BAND * 2);
        for ((float, _), floats) in kinds.iter().zip(floats.chunks_exact_mut(BAND * 2)) {
            floats[2 * r..][..2].copy_from_slice(&float.to_le_bytes());
        }
        let num_factors = packing.num_factors();
        let from = kinds.iter().flat_map(|(_, from)| &from[..num_factors]);
        factors.chunks_exact_mut(BAND).zip(from).for_each(|(to, &from)| to[r] = from);
    }
}

/// Two values a byte, low one first.
fn nibbles<const G: usize>(bytes: &[u8]) -> [u8; G] {
    from_fn(|g| bytes[g / 2] >> (4 * (g % 2)) & 15)
}
