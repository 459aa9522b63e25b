//! Decoding and encoding against the `gguf` Python package (and, where it lacks a type, ggml itself), bit for bit.
//! `data/make_decode.py` makes the two data files.

use gguf::{DType, Error, decode, encode, unpack};

static DECODE: &[u8] = include_bytes!("data/decode.bin");
static ENCODE: &[u8] = include_bytes!("data/encode.bin");

fn next<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, tail) = data.split_at(count);
    *data = tail;
    head
}

fn next_u32(data: &mut &[u8]) -> u32 {
    u32::from_le_bytes(next(data, 4).try_into().unwrap())
}

fn next_f32s(data: &mut &[u8], count: usize) -> Vec<f32> {
    next(data, 4 * count).as_chunks().0.iter().map(|&raw| f32::from_le_bytes(raw)).collect()
}

/// Type, bytes and expected elements of every record of decode.bin.
fn records() -> Vec<(DType, &'static [u8], Vec<f32>)> {
    let (mut data, mut records) = (DECODE, Vec::new());
    while !data.is_empty() {
        let dtype = DType::from_id(next_u32(&mut data)).unwrap();
        let (count, bytes) = (next_u32(&mut data) as usize, next_u32(&mut data) as usize);
        let bytes = next(&mut data, bytes);
        records.push((dtype, bytes, next_f32s(&mut data, count)));
    }
    records
}

fn assert_same_bits(dtype: DType, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{dtype} element {i}: {found:e}, expected {expected:e}");
    }
}

#[test]
fn every_type_but_f32_is_in_the_data() {
    let covered: Vec<DType> = records().iter().map(|record| record.0).collect();
    for dtype in DType::all().filter(|&dtype| dtype != DType::F32) {
        assert!(covered.contains(&dtype), "{dtype}");
    }
}

#[test]
fn every_type_decodes_bit_for_bit() {
    for (dtype, bytes, expected) in records() {
        let mut found = vec![f32::NAN; expected.len()];
        decode(dtype, bytes, &mut found).unwrap();
        assert_same_bits(dtype, &found, &expected);
    }
}

#[test]
fn one_block_at_a_time_decodes_the_same() {
    for (dtype, bytes, expected) in records() {
        let mut found = vec![f32::NAN; expected.len()];
        let blocks = bytes.chunks(dtype.block_bytes()).zip(found.chunks_mut(dtype.block_len()));
        blocks.for_each(|(bytes, found)| decode(dtype, bytes, found).unwrap());
        assert_same_bits(dtype, &found, &expected);
    }
}

#[test]
fn bytes_at_odd_addresses_decode_the_same() {
    for (dtype, bytes, expected) in records() {
        let shifted: Vec<u8> = [&[0], bytes].concat();
        let mut found = vec![f32::NAN; expected.len()];
        decode(dtype, &shifted[1..], &mut found).unwrap();
        assert_same_bits(dtype, &found, &expected);
    }
}

/// The formula in the documentation of `unpack`, taken literally, and the facts of the table about codes.
#[test]
fn codes_scales_and_mins_are_what_the_table_says() {
    for (dtype, bytes, expected) in records().into_iter().filter(|record| record.0.is_quantized()) {
        let (count, group_len) = (expected.len(), dtype.group_len());
        assert!(group_len == 16 || group_len == 32, "{dtype}");
        let (mut codes, mut scales) = (vec![0; count], vec![0.0; count / group_len]);
        let mut mins = if dtype.has_mins() { vec![0.0; count / group_len] } else { Vec::new() };
        unpack(dtype, bytes, &mut codes, &mut scales, &mut mins).unwrap();
        let value = |i: usize| match mins.is_empty() {
            true => f32::from(codes[i]) * scales[i / group_len],
            false => f32::from(codes[i]) * scales[i / group_len] - mins[i / group_len],
        };
        assert_same_bits(dtype, &(0..count).map(value).collect::<Vec<_>>(), &expected);

        let range = dtype.info().codes.unwrap();
        assert_eq!(codes.iter().min(), Some(&range.min), "{dtype}: least code");
        assert_eq!(codes.iter().max(), Some(&range.max), "{dtype}: greatest code");
        let least = codes.iter().map(|&code| i32::from(code) + i32::from(dtype.code_offset())).min();
        assert_eq!(least, Some(0), "{dtype}: code offset");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    for dtype in DType::all() {
        let (len, bytes) = (2 * dtype.block_len(), 2 * dtype.block_bytes());
        let mut out = vec![0.0; len + 1];
        decode(dtype, &vec![0; bytes], &mut out[..len]).unwrap();
        assert!(matches!(decode(dtype, &vec![0; bytes - 1], &mut out[..len]), Err(Error::Length { .. })), "{dtype}");
        assert!(matches!(decode(dtype, &vec![0; bytes + 1], &mut out[..len]), Err(Error::Length { .. })), "{dtype}");
        assert!(matches!(decode(dtype, &vec![0; bytes], &mut out), Err(Error::Length { .. })), "{dtype}");
    }
    let (mut codes, mut scales, mut mins) = (vec![0; 512], vec![0.0; 16], vec![0.0; 16]);
    let mut q4_k = |bytes: usize, c: usize, s: usize, m: usize| {
        unpack(DType::Q4_K, &vec![0; bytes], &mut codes[..c], &mut scales[..s], &mut mins[..m])
    };
    assert_eq!(q4_k(288, 512, 16, 16), Ok(()));
    for (bytes, c, s, m) in
        [(287, 512, 16, 16), (288, 256, 8, 8), (288, 512, 15, 16), (288, 512, 16, 15), (0, 100, 3, 3)]
    {
        assert!(matches!(q4_k(bytes, c, s, m), Err(Error::Length { .. })));
    }
    let plain = unpack(DType::F16, &[0; 2], &mut [0; 1], &mut [0.0; 1], &mut []);
    assert_eq!(plain, Err(Error::NoCodec { dtype: "F16", action: "unpacked" }));
}

#[test]
fn encoding_matches_bit_for_bit() {
    let mut data = ENCODE;
    let count = next_u32(&mut data) as usize;
    let values = next_f32s(&mut data, count);
    let mut types = 0;
    while !data.is_empty() {
        let dtype = DType::from_id(next_u32(&mut data)).unwrap();
        let bytes = next_u32(&mut data) as usize;
        let expected = next(&mut data, bytes);
        let found = encode(dtype, &values).unwrap();
        let block_bytes = dtype.block_bytes();
        for (i, (found, expected)) in found.chunks(block_bytes).zip(expected.chunks(block_bytes)).enumerate() {
            assert_eq!(found, expected, "{dtype} block {i}");
        }
        assert_eq!(found.len(), expected.len(), "{dtype}");
        types += 1;
    }
    assert_eq!(types, 8);
}

#[test]
fn what_cannot_be_encoded_is_refused_by_name() {
    assert_eq!(encode(DType::Q4_K, &[0.0; 256]), Err(Error::NoCodec { dtype: "Q4_K", action: "encoded" }));
    assert!(matches!(encode(DType::Q8_0, &[0.0; 31]), Err(Error::Length { expected: 32, found: 31, .. })));
}

/// bf16 rounding against numbers whose neighbours are known.
#[test]
fn bf16_rounds_to_nearest_even_and_keeps_nan() {
    let round = |bits: u32| gguf::float::f32_to_bf16(f32::from_bits(bits));
    for (bits, expected) in [(0x3f80_8000, 0x3f80), (0x3f81_8000, 0x3f82), (0x3f80_8001, 0x3f81), (0x7f7f_ffff, 0x7f80)]
    {
        assert_eq!(round(bits), expected, "{bits:#x}");
    }
    assert!(gguf::float::bf16_to_f32(round(0x7f80_0001)).is_nan());
}
