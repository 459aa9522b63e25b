//! Packed numbers are the file's, bit for bit, and lie where the layout says.

use device::Pool;
use gguf::DType;

use super::*;
use crate::conformance::Random;

const COLUMNS: [usize; 7] = [32, 96, 224, 256, 288, 768, 1280];

fn random_rows(packing: &Packing, n: usize, k: usize, random: &mut Random) -> Vec<u8> {
    let bytes = n * packing.dtype.row_bytes(k).unwrap();
    (0..bytes).map(|_| random.bits() as u8).collect()
}

fn packed(packing: &Packing, rows: &[u8], n: usize, k: usize) -> Vec<u8> {
    let mut out = vec![0xa5; packing.bytes(n, k)];
    packing.pack(rows, k, &mut out);
    out
}

#[track_caller]
fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{what} {i}");
    }
}

#[test]
fn rows_come_back_bit_for_bit_whatever_the_bytes() {
    let mut random = Random::new(4);
    for packing in Packing::all() {
        for k in COLUMNS.into_iter().filter(|&k| packing.fits(k)) {
            for n in [1, 15, 16, 17, 33] {
                let rows = random_rows(packing, n, k, &mut random);
                let bands = packed(packing, &rows, n, k);
                let groups = k / packing.group_len;
                let mins = if packing.has_mins { groups } else { 0 };
                for (r, row) in rows.chunks_exact(rows.len() / n).enumerate() {
                    let what = format!("{} n {n} k {k} row {r}", packing.dtype);
                    let band = &bands[r / BAND * packing.band_bytes(k)..][..packing.band_bytes(k)];
                    let new = || (vec![0i8; k], vec![0f32; groups], vec![0f32; mins], vec![0f32; k]);
                    let (mut expected, mut found) = (new(), new());
                    gguf::unpack(packing.dtype, row, &mut expected.0, &mut expected.1, &mut expected.2).unwrap();
                    gguf::decode(packing.dtype, row, &mut expected.3).unwrap();
                    packing.unpack_row(band, r % BAND, k, &mut found.0, &mut found.1, &mut found.2);
                    packing.decode_row(band, r % BAND, k, &mut found.3);
                    assert_eq!(found.0, expected.0, "{what}");
                    assert_same(&found.1, &expected.1, &format!("{what} scale"));
                    assert_same(&found.2, &expected.2, &format!("{what} min"));
                    assert_same(&found.3, &expected.3, &format!("{what} value"));
                }
            }
        }
    }
}

#[test]
fn rows_that_are_missing_have_zero_scales_and_codes() {
    let mut random = Random::new(5);
    for packing in Packing::all() {
        let rows = random_rows(packing, 1, 256, &mut random);
        let band = packed(packing, &rows, 1, 256);
        let (mut codes, mut scales, mut mins) = ([1i8; 256], [1f32; 16], [1f32; 16]);
        let groups = 256 / packing.group_len;
        for r in 1..BAND {
            packing.unpack_row(&band, r, 256, &mut codes, &mut scales[..groups], &mut mins[..groups]);
            assert!(scales[..groups].iter().all(|&scale| scale == 0.0), "{}", packing.dtype);
            assert!(!packing.has_mins || mins[..groups].iter().all(|&min| min == 0.0), "{}", packing.dtype);
        }
        let padding = band.len() - packing.codes_bytes(256) - 256 / packing.block_len * packing.block_bytes();
        assert!(band[band.len() - padding..].iter().all(|&byte| byte == 0));
    }
}

/// One code at a time against the picture in the module's head, in other words than the code's.
#[test]
fn codes_lie_where_the_layout_says() {
    // In Q4_0, Q5_0 and Q8_0 a unit is the codes of one block; column 13 is column 1 of step 3, column 30 column 2 of step 7.
    let (r, k) = (5, 64);
    let bits = |dtype: DType, byte: usize, value: u8| {
        let packing = Packing::of(dtype).unwrap();
        let row_bytes = dtype.row_bytes(k).unwrap();
        let mut rows = vec![0u8; 6 * row_bytes];
        let before = packed(packing, &rows, 6, k);
        rows[r * row_bytes + dtype.block_bytes() + byte] ^= value; // second block: second unit
        let after = packed(packing, &rows, 6, k);
        let changed: Vec<(usize, u8)> =
            before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a != b).map(|(i, (a, b))| (i, a ^ b)).collect();
        let [(at, change)] = changed[..] else { panic!("{dtype}: {changed:?}") };
        (at - packing.unit_bytes(), change)
    };
    assert_eq!(bits(DType::Q4_0, 2 + 13, 0x01), (3 * 64 + 4 * 5 + 1, 0x01));
    assert_eq!(bits(DType::Q4_0, 2 + 14, 0x10), (3 * 64 + 4 * 5 + 2, 0x10)); // column 30: step 7, high nibble of vector 3
    assert_eq!(bits(DType::Q5_0, 2 + 3, 0x40), (4 * 64 + 4 * 5 + 2, 0x80)); // fifth bit of column 30: bit 7 of vector 4
    assert_eq!(bits(DType::Q8_0, 2 + 13, 0x01), (3 * 64 + 4 * 5 + 1, 0x01));
    let k = 256;
    let bits = |dtype: DType, byte: usize, value: u8| {
        let packing = Packing::of(dtype).unwrap();
        let mut rows = vec![0u8; dtype.row_bytes(k).unwrap()];
        let before = packed(packing, &rows, 1, k);
        rows[byte] ^= value;
        let after = packed(packing, &rows, 1, k);
        let at = (0..before.len()).find(|&i| before[i] != after[i]).unwrap();
        (at, before[at] ^ after[at])
    };
    // Q6_K: the high bits of column 32 + 13 are bits 2 and 3 of byte 13 of `qh`; unit 1, step 3: bits 2 and 3 of vector 1.
    assert_eq!(bits(DType::Q6_K, 128 + 13, 0x04), (384 + 256 + 64 + 1, 0x04));
    // Q2_K: column 30 is bits 0 and 1 of byte 30 of `qs`; step 7: bits 6 and 7 of vector 1.
    assert_eq!(bits(DType::Q2_K, 16 + 30, 0x02), (64 + 2, 0x80));
    // Q4_K scales: d, dmin, 8 groups of factors, 8 of mins. Scale 2 is byte 4 + 2, min 3 byte 8 + 3.
    let scales = 8 * 256;
    assert_eq!(bits(DType::Q4_K, 0, 1), (scales, 1));
    assert_eq!(bits(DType::Q4_K, 2, 1), (scales + 32, 1));
    assert_eq!(bits(DType::Q4_K, 4 + 2, 1), (scales + 64 + 2 * 16, 1));
    assert_eq!(bits(DType::Q4_K, 8 + 3, 1), (scales + 64 + 8 * 16 + 3 * 16, 1));
}

#[test]
fn sizes_stay_those_of_the_file() {
    let sixteen_rows = |dtype: DType| Packing::of(dtype).unwrap().band_bytes(2048) / 16;
    for dtype in [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::IQ4_NL, DType::Q6_K] {
        assert_eq!(sixteen_rows(dtype), dtype.row_bytes(2048).unwrap(), "{dtype}");
    }
    assert_eq!(sixteen_rows(DType::Q4_K), 8 * 148);
    assert_eq!(sixteen_rows(DType::Q5_K), 8 * 180);
    assert_eq!(sixteen_rows(DType::Q3_K), 8 * 114);
    assert_eq!(sixteen_rows(DType::Q2_K), 8 * 100);
    assert_eq!(sixteen_rows(DType::IQ4_XS), 8 * 138);
    assert_eq!(sixteen_rows(DType::MXFP4), 64 * 18);
    // Types that store points of a lattice get the codes of single elements, three or four bits instead of one to three.
    assert_eq!(sixteen_rows(DType::IQ3_S), 8 * 138);
    assert_eq!(sixteen_rows(DType::IQ2_S), 8 * 114);
    assert_eq!(sixteen_rows(DType::IQ2_XXS), 8 * 106);
    assert_eq!(sixteen_rows(DType::IQ1_S), 8 * 106);
    assert_eq!(sixteen_rows(DType::TQ2_0), 8 * 66);
    assert_eq!(sixteen_rows(DType::Q1_0), 16 * 18);
    assert_eq!(sixteen_rows(DType::NVFP4), 32 * 40);
}

#[test]
fn kernels_stand_before_the_rows_that_share_them() {
    let kernels: Vec<usize> = Packing::all().map(|packing| kernel_of(packing.dtype).unwrap()).collect();
    let own = kernels.iter().enumerate().take_while(|&(row, &kernel)| row == kernel).count();
    assert_eq!(own, 23, "as many as the kernels' lists name");
    assert!(kernels[own..].iter().all(|&kernel| kernel < own));
    assert_eq!(kernel_of(DType::TQ1_0), kernel_of(DType::TQ2_0));
}

#[test]
fn all_workers_together_pack_what_one_does() {
    let mut random = Random::new(6);
    let mut pool = Pool::new(2).unwrap();
    let packing = Packing::of(DType::Q4_K).unwrap();
    let (n, k) = (16 * 37 + 5, 512);
    let rows = random_rows(packing, n, k, &mut random);
    let mut out = vec![0; packing.bytes(n, k)];
    pack_matrix(&mut pool, packing, &rows, k, &mut out).unwrap();
    assert!(out == packed(packing, &rows, n, k));
}
