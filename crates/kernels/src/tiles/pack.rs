//! From the blocks of a file to tiles, on the CPU: what the device's kernel is held against.

use gguf::DType;

use super::{CHUNK, GROUP, TILE, Tiling};
use crate::packed::BlockScales;
use crate::weights::unpack_row;

impl Tiling {
    /// The matrix of `n` whole `rows` of `k` columns.
    ///
    /// # Panics
    /// When the lengths do not belong together.
    pub fn pack(&self, rows: &[u8], n: usize, k: usize) -> Vec<u8> {
        let dtype = self.dtype();
        let row_bytes = k / dtype.block_len() * dtype.block_bytes();
        let mut tiles = vec![0; self.bytes(n, k)];
        let (mut codes, groups) = (vec![0i8; k], k / self.0.group_len);
        let (mut scales, mut mins) = (vec![0f32; groups], vec![0f32; groups]);
        for (index, row) in rows.chunks_exact(row_bytes).enumerate() {
            let (tile, r) = (index / TILE, index % TILE);
            let tile = &mut tiles[tile * self.tile_bytes(k)..][..self.tile_bytes(k)];
            unpack_row(dtype, row, &mut codes, &mut scales, &mut mins);
            self.take_indices(row, &mut codes);
            let blocks_per_chunk = CHUNK / dtype.block_len();
            let blocks = row.chunks(blocks_per_chunk * dtype.block_bytes());
            for ((chunk, codes), blocks) in tile.chunks_mut(self.chunk_bytes()).zip(codes.chunks(CHUNK)).zip(blocks) {
                self.put_codes(chunk, r, codes);
                let scales_at = self.scales_at(chunk.len() / self.pair_bytes());
                for (nth, block) in blocks.chunks_exact(dtype.block_bytes()).enumerate() {
                    self.put_scales(&mut chunk[scales_at..], r, nth, block);
                }
            }
        }
        tiles
    }

    /// Of types with a table, what the file has in place of the table's entries: two of those may be equal.
    fn take_indices(&self, row: &[u8], codes: &mut [i8]) {
        let dtype = self.dtype();
        let first = match dtype {
            DType::IQ4_NL => 2,
            DType::IQ4_XS => 8,
            DType::MXFP4 => 1,
            _ => return,
        };
        let blocks = row.chunks_exact(dtype.block_bytes()).zip(codes.chunks_exact_mut(dtype.block_len()));
        for (block, codes) in blocks {
            for (bytes, codes) in block[first..].chunks_exact(16).zip(codes.chunks_exact_mut(GROUP)) {
                for (j, &byte) in bytes.iter().enumerate() {
                    (codes[j], codes[j + 16]) = ((byte & 15) as i8, (byte >> 4) as i8);
                }
            }
        }
    }

    fn put_codes(&self, chunk: &mut [u8], r: usize, codes: &[i8]) {
        let (low_mask, high_mask) = self.masks();
        let pairs = chunk.len() / self.pair_bytes();
        for (k, &code) in codes.iter().enumerate() {
            let stored = code as u8;
            let place = self.place(pairs, k / GROUP, r, k % GROUP);
            chunk[place.low] |= (stored & low_mask) << place.low_bit;
            if let Some(high) = place.high {
                chunk[high] |= (stored >> 4 & high_mask) << place.high_bit;
            }
        }
    }

    /// The scales of block `nth` of a chunk.
    fn put_scales(&self, out: &mut [u8], r: usize, nth: usize, block: &[u8]) {
        let (g, row) = (r % 8, r / 8);
        let scales = BlockScales::read(self.dtype(), block);
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        match self.dtype() {
            DType::Q4_K | DType::Q5_K => {
                let mut words = [0u32; 3];
                let fields = scales.scale_factors.iter().zip(&scales.min_factors).take(8);
                for (group, (&scale, &min)) in fields.enumerate() {
                    let both = u32::from(scale) | u32::from(min) << 6;
                    match group {
                        0..6 => words[group / 2] |= both << (12 * (group % 2)),
                        _ => (0..3).for_each(|j| {
                            let all = both << (12 * (group - 6));
                            words[j] |= (all >> (8 * j) & 0xff) << 24;
                        }),
                    }
                }
                put(16 * r, &scales.scale.to_le_bytes());
                put(16 * r + 2, &scales.min.to_le_bytes());
                words.iter().enumerate().for_each(|(j, word)| put(16 * r + 4 + 4 * j, &word.to_le_bytes()));
            }
            DType::Q6_K => {
                put(16 * r, &scales.scale_factors);
                put(256 + 4 * g + 2 * row, &scales.scale.to_le_bytes());
            }
            DType::IQ4_XS => {
                let fields = scales.scale_factors[..8].iter().enumerate();
                // The six bits of the file, which mean 32 less.
                let bits = fields.map(|(i, &factor)| u64::from(factor.wrapping_add(32) & 63) << (16 + 6 * i));
                put(8 * r, &(u64::from(scales.scale) | bits.sum::<u64>()).to_le_bytes());
            }
            DType::MXFP4 => put(16 * nth + 2 * g + row, &block[..1]),
            _ if self.0.has_mins => {
                put(64 * nth + 8 * g + 2 * row, &scales.scale.to_le_bytes());
                put(64 * nth + 8 * g + 4 + 2 * row, &scales.min.to_le_bytes());
            }
            _ => put(32 * nth + 4 * g + 2 * row, &scales.scale.to_le_bytes()),
        }
    }
}
