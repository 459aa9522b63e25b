//! From tiles back to numbers, a row at a time: what the references read.

use gguf::DType;
use gguf::float::{e8m0_half_to_f32, f16_to_f32};

use super::{CHUNK, GROUP, TILE, Tiling};

impl Tiling {
    /// Row `n` of a matrix of `k` columns as codes, scales and mins; the same numbers as [`gguf::unpack`] makes of the row
    /// in the file. `mins` may be empty for types without.
    pub fn unpack_row(&self, tiles: &[u8], n: usize, k: usize, codes: &mut [i8], scales: &mut [f32], mins: &mut [f32]) {
        let tile = &tiles[n / TILE * self.tile_bytes(k)..][..self.tile_bytes(k)];
        let (group_len, r) = (self.0.group_len, n % TILE);
        for (nth, (chunk, codes)) in tile.chunks(self.chunk_bytes()).zip(codes.chunks_mut(CHUNK)).enumerate() {
            let pairs = chunk.len() / self.pair_bytes();
            for (k, code) in codes.iter_mut().enumerate() {
                *code = self.code(chunk, pairs, r, k);
            }
            let first = nth * CHUNK / group_len;
            for i in 0..codes.len() / group_len {
                let (scale, min) = self.scale(&chunk[self.scales_at(pairs)..], r, i);
                scales[first + i] = scale;
                if let Some(to) = mins.get_mut(first + i) {
                    *to = min;
                }
            }
        }
    }

    /// Row `n` in f32; the same numbers as [`gguf::decode`] makes of the row in the file.
    pub fn decode_row(&self, tiles: &[u8], n: usize, k: usize, out: &mut [f32]) {
        let groups = k / self.0.group_len;
        let (mut codes, mut scales) = (vec![0; k], vec![0.0; groups]);
        let mut mins = vec![0.0; if self.0.has_mins { groups } else { 0 }];
        self.unpack_row(tiles, n, k, &mut codes, &mut scales, &mut mins);
        for (i, (value, code)) in out.iter_mut().zip(codes).enumerate() {
            let group = i / self.0.group_len;
            *value = f32::from(code) * scales[group] - mins.get(group).copied().unwrap_or_default();
        }
    }

    /// Signed code of column `k` of a chunk.
    fn code(&self, chunk: &[u8], pairs: usize, r: usize, k: usize) -> i8 {
        let (low_mask, high_mask) = self.masks();
        let place = self.place(pairs, k / GROUP, r, k % GROUP);
        let low = chunk[place.low] >> place.low_bit & low_mask;
        let high = place.high.map_or(0, |high| chunk[high] >> place.high_bit & high_mask);
        let stored = low | high << 4;
        match self.0.table {
            Some(table) => table[usize::from(stored)],
            // The offset is half of what the bits can say, where there is one.
            None if self.dtype() == DType::Q8_0 => stored as i8,
            None => (stored ^ self.0.code_offset).wrapping_sub(self.0.code_offset) as i8,
        }
    }

    /// Scale and min of group `i` (of `group_len` values) of a chunk.
    fn scale(&self, scales: &[u8], r: usize, i: usize) -> (f32, f32) {
        let (g, row) = (r % 8, r / 8);
        let word = |at: usize| scales[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let half = |at: usize| f16_to_f32(u16::from_le_bytes([scales[at], scales[at + 1]]));
        match self.dtype() {
            DType::Q4_K | DType::Q5_K => {
                let words = [1, 2, 3].map(|j| word(16 * r + 4 * j));
                let last = words.iter().enumerate().fold(0, |last, (j, word)| last | (word >> 24) << (8 * j));
                let both = [words[0], words[1], words[2], last][i / 2] >> (12 * (i % 2));
                let factor = |bits: u32| (bits & 63) as f32;
                (half(16 * r) * factor(both), half(16 * r + 2) * factor(both >> 6))
            }
            DType::Q6_K => (half(256 + 4 * g + 2 * row) * f32::from(scales[16 * r + i] as i8), 0.0),
            DType::IQ4_XS => {
                let both = u64::from(word(8 * r)) | u64::from(word(8 * r + 4)) << 32;
                (half(8 * r) * ((both >> (16 + 6 * i) & 63) as f32 - 32.0), 0.0)
            }
            DType::MXFP4 => (e8m0_half_to_f32(scales[16 * i + 2 * g + row]), 0.0),
            _ if self.0.has_mins => (half(64 * i + 8 * g + 2 * row), half(64 * i + 8 * g + 4 + 2 * row)),
            _ => (half(32 * i + 4 * g + 2 * row), 0.0),
        }
    }
}
