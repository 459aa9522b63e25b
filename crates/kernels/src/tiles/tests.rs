//! Tiles hold the numbers of the file, whatever the shape and the bits of scales and codes.

use super::*;
use crate::conformance::{Random, random_weights};

#[test]
fn tiles_hold_the_numbers_of_the_file_bit_for_bit() {
    let mut random = Random::new(8);
    for tiling in Tiling::all() {
        let dtype = tiling.dtype();
        for (n, k) in [(1, 256), (16, 512), (37, 1280), (20, 32), (33, 96), (5, 224), (16, 576)] {
            if !tiling.fits(k) {
                continue;
            }
            let (rows, decoded) = random_weights(dtype, n, k, &mut random);
            let tiles = tiling.pack(&rows, n, k);
            if n.is_multiple_of(TILE) && k.is_multiple_of(2 * GROUP) {
                assert_eq!(tiles.len(), rows.len(), "{dtype} {n} {k}: the size of the file");
            }
            let mut row = vec![0.0; k];
            for (r, expected) in decoded.chunks_exact(k).enumerate() {
                tiling.decode_row(&tiles, r, k, &mut row);
                let same = row.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{dtype} {n} x {k}, row {r}");
            }
        }
    }
}

#[test]
fn every_code_with_every_scale_comes_back() {
    // One block whose codes run through all values, under each bit of its scales in turn.
    for tiling in Tiling::all() {
        let dtype = tiling.dtype();
        let (k, bytes) = (dtype.block_len(), dtype.block_bytes());
        for bit in 0..8 * bytes {
            let mut block: Vec<u8> = (0..bytes).map(|i| (i * 37 + bit) as u8 & 0x3f).collect();
            block[bit / 8] ^= 1 << (bit % 8);
            let groups = k / dtype.group_len();
            let read = |tiled: bool| {
                let (mut codes, mut scales, mut mins) = (vec![0; k], vec![0f32; groups], vec![0f32; groups]);
                match tiled {
                    true => tiling.unpack_row(&tiling.pack(&block, 1, k), 0, k, &mut codes, &mut scales, &mut mins),
                    false => crate::weights::unpack_row(dtype, &block, &mut codes, &mut scales, &mut mins),
                }
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                (codes, bits(scales), if dtype.has_mins() { bits(mins) } else { Vec::new() })
            };
            assert_eq!(read(true), read(false), "{dtype}, bit {bit}");
        }
    }
}
