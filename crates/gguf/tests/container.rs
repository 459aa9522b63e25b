//! Files written, read back and taken apart: what goes in comes out, and what is wrong is named.

use gguf::{Array, DType, Error, Gguf, StringArray, Value, Writer, split_parts, split_path};

/// A file with every kind of value and a few tensors.
fn sample() -> Writer {
    let mut writer = Writer::new();
    let strings: StringArray = ["", "a", "\u{1f980}", "long enough"].into_iter().collect();
    let nested = vec![Array::I16(vec![-1, 2]), Array::String(["x"].into_iter().collect()), Array::Array(vec![])];
    let values: [(&str, Value); 24] = [
        ("general.architecture", "llama".into()),
        ("u8", 200u8.into()),
        ("i8", (-100i8).into()),
        ("u16", 60_000u16.into()),
        ("i16", (-30_000i16).into()),
        ("u32", 4_000_000_000u32.into()),
        ("i32", (-2_000_000_000i32).into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f32", 1.5f32.into()),
        ("f64", (-2.25f64).into()),
        ("bool", true.into()),
        ("bytes", Value::String(vec![0xff, 0xfe])),
        ("u8s", vec![1u8, 2].into()),
        ("u16s", vec![1u16, 2].into()),
        ("i32s", vec![-1i32, 2].into()),
        ("u32s", vec![1u32, u32::MAX].into()),
        ("i64s", vec![-1i64, 1 << 40].into()),
        ("f32s", vec![0.5f32, -0.5].into()),
        ("f64s", vec![0.5f64].into()),
        ("bools", vec![true, false].into()),
        ("strings", strings.into()),
        ("nested", nested.into()),
        ("none", Value::Array(Array::U32(Vec::new()))),
    ];
    for (key, value) in values {
        writer.set(key, value).unwrap();
    }
    writer.tensor("token_embd.weight", DType::Q8_0, &[64, 3], (0..204u8).collect()).unwrap();
    writer.tensor("output_norm.weight", DType::F32, &[3], (0..12u8).collect()).unwrap();
    writer.tensor("blk.0.x", DType::F16, &[2, 2, 2, 2], (0..32u8).collect()).unwrap();
    writer
}

#[test]
fn everything_written_is_read_back() {
    let bytes = sample().to_bytes();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!((gguf.version, gguf.alignment, gguf.file_count), (3, 32, 1));
    assert_eq!(gguf.metadata.len(), 24);
    assert_eq!(gguf.metadata.iter().nth(2).unwrap(), ("i8", &Value::I8(-100)));
    assert_eq!(gguf.metadata.get("u64"), Some(&Value::U64(u64::MAX)));
    assert_eq!(gguf.metadata.get("bytes"), Some(&Value::String(vec![0xff, 0xfe])));
    let strings = gguf.metadata.strings("strings").unwrap().unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [&b""[..], b"a", "\u{1f980}".as_bytes(), b"long enough"]);
    assert_eq!((strings.str(2), strings.get(3), strings.get(4)), (Some("\u{1f980}"), Some(&b"long enough"[..]), None));
    let Some(Value::Array(Array::Array(nested))) = gguf.metadata.get("nested") else { panic!() };
    assert_eq!(nested[0], Array::I16(vec![-1, 2]));

    let tensor = gguf.tensor("output_norm.weight").unwrap();
    assert_eq!((tensor.dtype, &tensor.shape[..], tensor.bytes), (DType::F32, &[3][..], 12));
    assert_eq!(tensor.data(&[&bytes]), &(0..12u8).collect::<Vec<_>>());
    assert_eq!(gguf.tensor("blk.0.x").unwrap().data(&[&bytes]), &(0..32u8).collect::<Vec<_>>());
    assert_eq!(gguf.tensor("token_embd.weight").unwrap().elements(), 192);
    assert_eq!(gguf.tensor("absent"), None);
    assert_eq!(tensor.data(&[]), &[] as &[u8], "other files than those parsed: no data, no panic");
}

#[test]
fn streaming_writes_the_same_file() {
    let (writer, mut streamed) = (sample(), Vec::new());
    writer.write_to(&mut streamed).unwrap();
    assert_eq!(streamed, writer.to_bytes());
}

#[test]
fn version_2_is_read_as_version_3() {
    let mut bytes = sample().to_bytes();
    bytes[4] = 2;
    assert_eq!(Gguf::parse(&bytes).unwrap().version, 2);
}

#[test]
fn a_file_alignment_of_its_own_is_used() {
    let mut writer = sample();
    writer.set("general.alignment", 128u32).unwrap();
    let bytes = writer.to_bytes();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.alignment, 128);
    assert!(gguf.tensors.iter().all(|tensor| tensor.offset % 128 == 0));
    assert_eq!(gguf.tensor("output_norm.weight").unwrap().data(&[&bytes]), &(0..12u8).collect::<Vec<_>>());
}

#[test]
fn getters_convert_what_fits_and_name_what_does_not() {
    let bytes = sample().to_bytes();
    let metadata = Gguf::parse(&bytes).unwrap().metadata;
    assert_eq!(
        (metadata.u32("u8"), metadata.u32("u16"), metadata.u64("u32")),
        (Ok(200), Ok(60_000), Ok(4_000_000_000))
    );
    assert_eq!((metadata.f32("f32"), metadata.f32("f64"), metadata.bool("bool")), (Ok(1.5), Ok(-2.25), Ok(true)));
    assert_eq!(metadata.str("general.architecture"), Ok("llama"));
    assert_eq!((metadata.opt_u32("absent"), metadata.opt_str("absent")), (Ok(None), Ok(None)));
    assert_eq!(metadata.i32s("i32s").unwrap().unwrap()[..], [-1, 2]);
    assert_eq!(metadata.i32s("u16s").unwrap().unwrap()[..], [1, 2]);
    assert_eq!(metadata.opt_u32_each("u16s", 2), Ok(Some(vec![1, 2])));
    assert_eq!(metadata.opt_u32_each("u8", 3), Ok(Some(vec![200; 3])));
    assert_eq!(metadata.opt_u32_each("absent", 3), Ok(None));

    let message = |error: Error| error.to_string();
    for (found, expected) in [
        (message(metadata.u32("absent").unwrap_err()), "metadata key absent is missing"),
        (message(metadata.u32("f32").unwrap_err()), "metadata key f32: expected u32, file has f32"),
        (message(metadata.u32("i8").unwrap_err()), "metadata key i8: -100 does not fit u32"),
        (message(metadata.u32("u64").unwrap_err()), "metadata key u64: 18446744073709551615 does not fit u32"),
        (message(metadata.f32("u8").unwrap_err()), "metadata key u8: expected f32, file has u8"),
        (message(metadata.bool("u8").unwrap_err()), "metadata key u8: expected bool, file has u8"),
        (message(metadata.str("strings").unwrap_err()), "metadata key strings: expected str, file has arr[str]"),
        (
            message(metadata.str("bytes").unwrap_err()),
            "metadata key bytes: expected str, file has bytes that are not UTF-8",
        ),
        (message(metadata.f32s("i32s").unwrap_err()), "metadata key i32s: expected arr[f32], file has arr[i32]"),
        (message(metadata.u32s("i32s").unwrap_err()), "metadata key i32s: -1 does not fit arr[u32]"),
        (message(metadata.strings("nested").unwrap_err()), "metadata key nested: expected arr[str], file has arr[arr]"),
        (message(metadata.opt_u32_each("u16s", 3).unwrap_err()), "metadata key u16s: elements: expected 3, got 2"),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn values_print_for_people() {
    let show = |value: Value| value.to_string();
    assert_eq!(show(Value::String(vec![b'a', 0xff])), "a\u{fffd}");
    assert_eq!(show(vec![0.5f32, -1.0].into()), "[0.5, -1]");
    assert_eq!(show((0..20u32).collect::<Vec<_>>().into()), "[0, 1, 2, 3, 4, 5, 6, 7, … 12 more]");
    assert_eq!(show(["a", "\n"].into_iter().collect::<StringArray>().into()), r#"["a", "\n"]"#);
}

#[test]
fn the_writer_refuses_what_no_reader_would_take() {
    let mut writer = Writer::new();
    writer.set("key", 1u32).unwrap();
    assert!(matches!(writer.set("key", 2u32), Err(Error::DuplicateKey { .. })));
    assert!(matches!(writer.set("", 2u32), Err(Error::Name { .. })));
    assert!(matches!(writer.set("general.alignment", 24u32), Err(Error::Alignment { alignment: 24 })));
    assert!(matches!(writer.set("general.alignment", 32u64), Err(Error::WrongType { .. })));
    writer.tensor("t", DType::F32, &[1], vec![0; 4]).unwrap();
    assert!(matches!(writer.tensor("t", DType::F32, &[1], vec![0; 4]), Err(Error::DuplicateTensor { .. })));
    assert!(matches!(writer.tensor("u", DType::F32, &[2], vec![0; 4]), Err(Error::Length { expected: 8, .. })));
    assert!(matches!(writer.tensor("u", DType::Q4_K, &[32], vec![0; 18]), Err(Error::Shape { .. })));
    assert!(matches!(writer.tensor("u", DType::F32, &[u64::MAX, 2], vec![]), Err(Error::Shape { .. })));
    assert!(matches!(writer.tensor("u", DType::F32, &[1; 5], vec![0; 4]), Err(Error::Shape { .. })));
    assert!(matches!(writer.tensor("u", DType::F32, &[0], vec![]), Err(Error::Shape { .. })));
    assert!(matches!(writer.tensor("", DType::F32, &[1], vec![0; 4]), Err(Error::Name { .. })));
}

/// Part `no` of `count`, holding one tensor; `total` tensors are declared.
fn part(no: u16, count: u16, total: i32, tensor: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set("general.name", format!("part {no}")).unwrap();
    writer.set("split.no", no).unwrap().set("split.count", count).unwrap();
    writer.set("split.tensors.count", total).unwrap();
    writer.tensor(tensor, DType::I8, &[4], vec![no as u8; 4]).unwrap();
    writer.to_bytes()
}

#[test]
fn a_split_set_reads_as_one_model() {
    let files = [part(0, 3, 3, "a"), part(1, 3, 3, "b"), part(2, 3, 3, "c")];
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let gguf = Gguf::parse_split(&files).unwrap();
    assert_eq!((gguf.file_count, gguf.tensors.len(), gguf.metadata.str("general.name")), (3, 3, Ok("part 0")));
    for (name, file) in [("a", 0), ("b", 1), ("c", 2)] {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!((tensor.file, tensor.data(&files)), (file, &[file as u8; 4][..]));
    }
    assert_eq!(split_parts(&split_path("m", 1, 3)), Some(("m", 1, 3)));
}

#[test]
fn split_sets_that_do_not_fit_together_are_refused() {
    let refused = |files: &[Vec<u8>]| {
        let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
        Gguf::parse_split(&files).unwrap_err().to_string()
    };
    let (a, b) = (part(0, 2, 2, "a"), part(1, 2, 2, "b"));
    for (found, expected) in [
        (refused(&[]), "split model, file 0: no file given"),
        (refused(std::slice::from_ref(&a)), "split model, file 0: it is part 1 of 2, but 1 file(s) were opened"),
        (refused(&[b.clone(), a.clone()]), "split model, file 0: split.no is 1, expected 0"),
        (refused(&[a.clone(), a.clone()]), "split model, file 1: split.no is 0, expected 1"),
        (
            refused(&[a.clone(), part(1, 3, 2, "b")]),
            "split model, file 1: it is part 2 of 3, but 2 file(s) were opened",
        ),
        (refused(&[a.clone(), part(1, 2, 2, "a")]), "tensor a appears twice"),
        (refused(&[part(0, 2, 3, "a"), b.clone()]), "split model, file 0: split.tensors.count is 3, the files hold 2"),
        (refused(&[part(0, 2, -1, "a"), b.clone()]), "metadata key split.tensors.count: -1 does not fit u64"),
        (refused(&[a, sample().to_bytes()]), "split model, file 1: it is part 1 of 1, but 2 file(s) were opened"),
    ] {
        assert_eq!(found, expected);
    }
}
