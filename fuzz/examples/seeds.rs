//! Writes small valid files for the fuzzer to start from: `cargo run --example seeds -- DIRECTORY`.

use gguf::{Array, DType, Error, StringArray, Value, Writer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: seeds DIRECTORY")?;
    std::fs::create_dir_all(&directory)?;
    let save = |name: &str, bytes: Vec<u8>| std::fs::write(format!("{directory}/{name}.gguf"), bytes);
    for dtype in DType::all() {
        save(dtype.name(), tensor_of(dtype)?)?;
    }
    save("metadata", metadata()?)?;
    save("split", [part(0)?, part(1)?].concat())?;
    Ok(())
}

fn tensor_of(dtype: DType) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new();
    let data = (0..2 * dtype.block_bytes()).map(|i| (i * 37) as u8).collect();
    writer.tensor("t", dtype, &[dtype.block_len() as u64, 2], data)?;
    writer.tensor("u", DType::I8, &[1], vec![1])?;
    Ok(writer.to_bytes())
}

fn metadata() -> Result<Vec<u8>, Error> {
    let strings: StringArray = ["<s>", "", "\u{e9}"].into_iter().collect();
    let nested = vec![Array::I16(vec![-1, 2]), Array::Array(vec![Array::Bool(vec![true])])];
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama")?.set("general.alignment", 8u32)?;
    writer.set("u8", 1u8)?.set("i8", -1i8)?.set("u16", 1u16)?.set("i16", -1i16)?.set("u32", 1u32)?.set("i32", -1i32)?;
    writer.set("u64", 1u64)?.set("i64", -1i64)?.set("f32", 0.5f32)?.set("f64", 0.5f64)?.set("bool", true)?;
    writer.set("u8s", vec![1u8])?.set("i32s", vec![-1i32, 2])?.set("f32s", vec![0.5f32])?.set("bools", vec![true])?;
    writer.set("strings", strings)?.set("nested", Value::from(nested))?;
    Ok(writer.to_bytes())
}

fn part(no: u16) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new();
    writer.set("split.no", no)?.set("split.count", 2u16)?.set("split.tensors.count", 2i32)?;
    writer.tensor(if no == 0 { "a" } else { "b" }, DType::I8, &[4], vec![7; 4])?;
    Ok(writer.to_bytes())
}
