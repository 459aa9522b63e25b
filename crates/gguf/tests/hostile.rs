//! Hostile files: every one gets an error that names the thing; none a panic, a hang or a large allocation.

use gguf::{Array, DType, Error, Gguf, Value, Writer, decode};
use proptest::prelude::*;

/// A file put together byte by byte, so that it can lie.
#[derive(Clone, Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn header(version: u32, tensors: u64, entries: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(version).u64(tensors).u64(entries)
    }
    fn u32(mut self, value: u32) -> Raw {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Raw {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend(bytes);
        self
    }
    fn string(self, text: &[u8]) -> Raw {
        self.u64(text.len() as u64).bytes(text)
    }
    fn tensor(self, name: &str, dims: &[u64], dtype: u32, offset: u64) -> Raw {
        let named = self.string(name.as_bytes()).u32(dims.len() as u32);
        dims.iter().fold(named, |raw, &dim| raw.u64(dim)).u32(dtype).u64(offset)
    }
    fn zeros(mut self, count: usize) -> Raw {
        self.0.resize(self.0.len() + count, 0);
        self
    }
    fn refused(self) -> String {
        Gguf::parse(&self.0).unwrap_err().to_string()
    }
}

const F32: u32 = 0;

#[test]
fn what_is_not_a_gguf_is_named() {
    for (raw, expected) in [
        (Raw::default(), "the file ends inside the magic: 4 bytes wanted at offset 0, 0 left"),
        (
            Raw::default().bytes(b"PK\x03\x04zip"),
            "not a GGUF file: it starts with \"PK\\u{3}\\u{4}\", expected \"GGUF\"",
        ),
        (Raw::header(1, 0, 0), "GGUF version 1 is not supported (2 and 3 are)"),
        (Raw::header(0, 0, 0), "GGUF version 0 is not supported (2 and 3 are)"),
        (Raw::header(4, 0, 0), "GGUF version 4 is not supported (2 and 3 are)"),
        (
            Raw::header(3u32.swap_bytes(), 0, 0),
            "big-endian GGUF file (version 3): only little-endian files are supported",
        ),
    ] {
        assert_eq!(raw.refused(), expected);
    }
}

#[test]
fn huge_counts_and_lengths_are_refused_before_anything_is_allocated() {
    let entry = || Raw::header(3, 0, 1).string(b"key");
    for (raw, expected) in [
        (
            Raw::header(3, 0, u64::MAX),
            "metadata entries: count 18446744073709551615 cannot be right, the rest of the file holds at most 0",
        ),
        (
            Raw::header(3, 1 << 60, 0).zeros(99),
            "tensors: count 1152921504606846976 cannot be right, the rest of the file holds at most 3",
        ),
        (
            Raw::header(3, 0, 1).u64(u64::MAX).zeros(9),
            "the file ends inside metadata key 0: 18446744073709551615 bytes wanted at offset 32, 9 left",
        ),
        (
            entry().u32(8).u64(1 << 40),
            "the file ends inside the value of key: 1099511627776 bytes wanted at offset 47, 0 left",
        ),
        (
            entry().u32(9).u32(6).u64(1 << 62),
            "the elements of key: count 4611686018427387904 cannot be right, the rest of the file holds at most 0",
        ),
        (
            entry().u32(9).u32(8).u64(1 << 62).zeros(16),
            "the elements of key: count 4611686018427387904 cannot be right, the rest of the file holds at most 2",
        ),
        (
            entry().u32(9).u32(9).u64(1 << 62).zeros(24),
            "the elements of key: count 4611686018427387904 cannot be right, the rest of the file holds at most 2",
        ),
    ] {
        assert_eq!(raw.refused(), expected);
    }
}

/// A count is refused as soon as it is one too many, even where a truncation would be found later.
#[test]
fn a_count_of_one_too_many_is_refused() {
    let bytes = |count: u64| Raw::header(3, 0, 1).string(b"key").u32(9).u32(0).u64(count).zeros(5);
    assert!(Gguf::parse(&bytes(5).0).is_ok());
    assert_eq!(
        bytes(6).refused(),
        "the elements of key: count 6 cannot be right, the rest of the file holds at most 5"
    );
}

/// llama.cpp takes any byte but 0 for true.
#[test]
fn any_byte_but_zero_is_true() {
    let raw = Raw::header(3, 0, 2).string(b"a").u32(7).bytes(&[2]).string(b"b").u32(9).u32(7).u64(2).bytes(&[0, 255]);
    let metadata = Gguf::parse(&raw.0).unwrap().metadata;
    assert_eq!((metadata.bool("a"), metadata.bools("b")), (Ok(true), Ok(Some(&[false, true][..]))));
}

#[test]
fn bad_metadata_is_named() {
    // `levels` arrays, one in the other, the innermost an empty one of bytes.
    let nested = |levels: usize| {
        let outer = Raw::header(3, 0, 1).string(b"deep").u32(9);
        (1..levels).fold(outer, |raw, _| raw.u32(9).u64(1)).u32(0).u64(0)
    };
    assert!(Gguf::parse(&nested(4).0).is_ok());
    let alignment = |value: u32| Raw::header(3, 0, 1).string(b"general.alignment").u32(4).u32(value);
    for (raw, expected) in [
        (Raw::header(3, 0, 1).string(b"key").u32(13).zeros(8), "metadata key key: unknown value type 13"),
        (Raw::header(3, 0, 1).string(b"key").u32(9).u32(77).u64(0), "metadata key key: unknown value type 77"),
        (Raw::header(3, 0, 1).string(b"").u32(0).zeros(8), "metadata key 0: the name is empty"),
        (Raw::header(3, 0, 1).string(b"\xff\xfe").u32(0).zeros(8), "metadata key 0: the name is not UTF-8"),
        (
            Raw::header(3, 0, 1).string(&[b'k'; 65536]).u32(0).zeros(8),
            "metadata key 0: the name has 65536 bytes, 65535 allowed",
        ),
        (
            Raw::header(3, 0, 2).string(b"k").u32(0).bytes(&[1]).string(b"k").u32(0).bytes(&[2]),
            "metadata key k appears twice",
        ),
        (nested(5), "metadata key deep: arrays nested more than 4 deep"),
        (alignment(0), "general.alignment is 0, expected a power of two"),
        (alignment(48), "general.alignment is 48, expected a power of two"),
        (
            Raw::header(3, 0, 1).string(b"general.alignment").u32(6).u32(0),
            "metadata key general.alignment: expected u32, file has f32",
        ),
    ] {
        assert_eq!(raw.refused(), expected);
    }
}

#[test]
fn bad_tensors_are_named() {
    let one = |dims: &[u64], dtype: u32, offset: u64| Raw::header(3, 1, 0).tensor("t", dims, dtype, offset).zeros(256);
    let two = |name: &str, offset: u64| {
        Raw::header(3, 2, 0).tensor("t", &[16], F32, 0).tensor(name, &[4], F32, offset).zeros(256)
    };
    for (raw, expected) in [
        (one(&[4], 31, 0), "tensor t: type Q4_0_4_4 (id 31) is not supported"),
        (one(&[4], 4, 0), "tensor t: type Q4_2 (id 4) is not supported"),
        (one(&[4], 9999, 0), "tensor t: type unknown (id 9999) is not supported"),
        (one(&[1; 5], F32, 0), "tensor t: 5 dimensions, at most 4 are supported"),
        (one(&[4, 0], F32, 0), "tensor t: dimension 1 is 0"),
        (one(&[u64::MAX, 2], F32, 0), "tensor t: the size of shape [18446744073709551615, 2] overflows"),
        (one(&[1 << 32, 1 << 31], F32, 0), "tensor t: the size of shape [4294967296, 2147483648] overflows"),
        (one(&[33], DType::Q4_0.id(), 0), "tensor t: rows of 33 elements are not whole blocks of 32 (Q4_0)"),
        (one(&[128], DType::Q4_K.id(), 0), "tensor t: rows of 128 elements are not whole blocks of 256 (Q4_K)"),
        (one(&[4], F32, 8), "tensor t: offset 8 is not a multiple of the alignment 32"),
        (
            one(&[4], F32, u64::MAX - 31),
            "tensor t: 16 bytes at data offset 18446744073709551584 end behind the file (313 bytes)",
        ),
        (one(&[4], F32, 1 << 20), "tensor t: 16 bytes at data offset 1048576 end behind the file (313 bytes)"),
        (
            one(&[1 << 60], F32, 0),
            "tensor t: 4611686018427387904 bytes at data offset 0 end behind the file (313 bytes)",
        ),
        (two("u", 32), "tensor u: its data overlaps that of tensor t"),
        (two("t", 64), "tensor t appears twice"),
        (two("", 64), "the name of tensor 1: the name is empty"),
    ] {
        assert_eq!(raw.refused(), expected);
    }
    let byte = |offset: u64| {
        let header = Raw::header(3, 2, 1).string(b"general.alignment").u32(4).u32(1);
        header.tensor("u", &[4], DType::I8.id(), offset).tensor("t", &[4], DType::I8.id(), 0).zeros(8)
    };
    assert_eq!(byte(3).refused(), "tensor u: its data overlaps that of tensor t", "one byte shared, order reversed");
    assert!(Gguf::parse(&byte(4).0).is_ok());
    assert!(Gguf::parse(&two("u", 64).0).is_ok(), "the same file with the offset right");
    assert!(Gguf::parse(&two("u", 96).0).is_ok(), "gaps are harmless");
    assert_eq!(Gguf::parse(&one(&[], F32, 0).0).unwrap().tensors[0].shape, [1], "no dimensions: a scalar");
}

/// A small valid file with every kind of thing in it.
fn valid() -> Vec<u8> {
    let mut writer = Writer::new();
    let nested = vec![Array::I16(vec![-1, 2]), Array::Array(vec![Array::Bool(vec![true])])];
    let strings: gguf::StringArray = ["<s>", "hello", "\u{e9}"].into_iter().collect();
    for (key, value) in [
        ("general.architecture", Value::from("llama")),
        ("general.alignment", 32u32.into()),
        ("split.count", 1u16.into()),
        ("split.tensors.count", 3i32.into()),
        ("x.u64", 7u64.into()),
        ("x.f64", 0.5f64.into()),
        ("x.floats", vec![1.0f32, 2.0].into()),
        ("x.nested", nested.into()),
        ("tokenizer.ggml.tokens", strings.into()),
    ] {
        writer.set(key, value).unwrap();
    }
    writer.tensor("a", DType::Q4_K, &[256, 2], vec![0x35; 288]).unwrap();
    writer.tensor("b", DType::F16, &[3, 5], vec![0x3c; 30]).unwrap();
    writer.tensor("c", DType::IQ2_XS, &[256], vec![0xa7; 74]).unwrap();
    writer.to_bytes()
}

/// What every accepted file must allow: reading all of it without a panic.
fn walk(gguf: &Gguf, bytes: &[u8]) {
    for (key, value) in gguf.metadata.iter() {
        assert_eq!(gguf.metadata.get(key).map(|found| found.type_name()), Some(value.type_name()));
        let _ = value.to_string();
        let _ = (gguf.metadata.opt_u32(key), gguf.metadata.i32s(key), gguf.metadata.opt_str(key));
    }
    for tensor in &gguf.tensors {
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        let data = tensor.data(&[bytes]);
        assert_eq!(data.len(), tensor.bytes, "{}", tensor.name);
        let mut out = vec![0.0; tensor.elements() as usize];
        decode(tensor.dtype, data, &mut out).unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = valid();
    walk(&Gguf::parse(&bytes).unwrap(), &bytes);
    let needed = Gguf::parse(&bytes).unwrap().tensors.iter().map(|tensor| tensor.offset + tensor.bytes).max().unwrap();
    assert!(needed > bytes.len() - 32, "only padding may be missing");
    for length in 0..needed {
        let error = Gguf::parse(&bytes[..length]).unwrap_err();
        let named = matches!(error, Error::Truncated { .. } | Error::Count { .. } | Error::Placement { .. });
        assert!(named, "cut to {length}: {error}");
    }
}

#[test]
fn every_single_byte_may_be_wrong() {
    let bytes = valid();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)] {
            let mut mutated = bytes.clone();
            mutated[at] = value;
            if let Ok(gguf) = Gguf::parse(&mutated) {
                walk(&gguf, &mutated);
            }
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let array = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Array::U8),
        proptest::collection::vec(any::<i32>(), 0..9).prop_map(Array::I32),
        proptest::collection::vec(any::<u64>(), 0..9).prop_map(Array::U64),
        proptest::collection::vec(-1e30f32..1e30, 0..9).prop_map(Array::F32),
        proptest::collection::vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        proptest::collection::vec(".{0,12}", 0..9).prop_map(|strings| Array::String(strings.iter().collect())),
    ];
    let array = array.prop_recursive(2, 12, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Array::Array));
    prop_oneof![
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i64>().prop_map(Value::I64),
        (-1e300f64..1e300).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::String),
        array.prop_map(Value::Array),
    ]
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        entries in proptest::collection::btree_map("[a-z.]{1,20}", value(), 0..8),
        tensors in proptest::collection::btree_map("[a-z.]{1,20}", (0usize..35, 1u64..3, 1u64..4), 0..6),
        alignment in proptest::option::of(0u32..10),
    ) {
        let mut writer = Writer::new();
        let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
        entries.extend(alignment.map(|log2| ("general.alignment".to_string(), Value::U32(1 << log2))));
        for (key, value) in &entries {
            writer.set(key, value.clone()).unwrap();
        }
        for (name, (dtype, blocks, rows)) in &tensors {
            let dtype = DType::all().nth(*dtype).unwrap();
            let row = blocks * dtype.block_len() as u64;
            let data = (0..(blocks * rows) as usize * dtype.block_bytes()).map(|i| (i * 31) as u8).collect();
            writer.tensor(name, dtype, &[row, *rows], data).unwrap();
        }
        let bytes = writer.to_bytes();
        let gguf = Gguf::parse(&bytes).unwrap();
        let found: Vec<(String, Value)> = gguf.metadata.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        prop_assert_eq!(found, entries);
        prop_assert_eq!(gguf.tensors.len(), tensors.len());
        for (name, (dtype, _, rows)) in &tensors {
            let tensor = gguf.tensor(name).unwrap();
            prop_assert_eq!(tensor.dtype, DType::all().nth(*dtype).unwrap());
            prop_assert_eq!(tensor.shape[1], *rows);
            prop_assert!(tensor.data(&[&bytes]).iter().enumerate().all(|(i, &byte)| byte == (i * 31) as u8));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let with_magic = [b"GGUF\x03\0\0\0", &bytes[..]].concat();
        prop_assert!(Gguf::parse(&bytes).is_err());
        if let Ok(gguf) = Gguf::parse(&with_magic) {
            walk(&gguf, &with_magic);
        }
    }

    /// Overwrite pieces of a valid file with words that hurt, cut it, or grow it.
    #[test]
    fn mutated_files_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..9, any::<u64>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid();
        for (at, kind, word) in edits {
            let word = [word, 0, 1, u64::MAX, 1 << 63, 1 << 32, u64::from(u32::MAX), i64::MAX as u64, word & 0xff][kind];
            let at = at.index(bytes.len());
            for (byte, new) in bytes[at..].iter_mut().zip(word.to_le_bytes()) {
                *byte = new;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(gguf) = Gguf::parse(&bytes) {
            walk(&gguf, &bytes);
        }
    }
}
