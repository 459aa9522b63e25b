//! `chaski inspect`: what a GGUF file holds, and the memory it will take.

use std::io::Write;

use gguf::{Array, DType, Gguf, Value};
use serde_json::{Value as Json, json};

use crate::memory::{self, Kv};
use crate::model_file::ModelFile;
use crate::settings::{Format, Load, Settings};
use crate::{source, units};

/// Elements of an array that are shown unless `-v` asks for all.
const ARRAY_HEAD: usize = 6;

/// Prints the report.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let file = ModelFile::open(&source::resolve(&settings.model)?)?;
    // A file can be looked at even if its model cannot be run.
    let kv = memory::kv_cache(&file.paths, &settings.load);
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let all = settings.output.verbosity > 3;
    match settings.output.format {
        Format::Json => json_report(out, &file, &kv, &settings.load, all),
        _ => text_report(out, &file, &kv, &settings.load, all),
    }
}

fn text_report(
    mut out: impl Write,
    file: &ModelFile,
    kv: &anyhow::Result<Kv>,
    load: &Load,
    all: bool,
) -> anyhow::Result<()> {
    let gguf = &file.gguf;
    for path in &file.paths {
        writeln!(out, "file      {}", path.display())?;
    }
    writeln!(out, "format    GGUF v{}, {}", gguf.version, units::bytes(file.bytes))?;
    let text = |key: &str| units::shown(gguf.metadata.opt_str(key).ok().flatten().unwrap_or("unknown"), 60);
    writeln!(out, "model     {}, architecture {}", text("general.name"), text("general.architecture"))?;
    writeln!(out, "weights   {} parameters: {}", units::parameters(file.num_parameters()), types(gguf))?;

    writeln!(out, "\nmetadata  {} keys", gguf.metadata.len())?;
    let width = gguf.metadata.iter().map(|(key, _)| key.len()).max().unwrap_or(0).min(48);
    for (key, value) in gguf.metadata.iter() {
        let longest = if all { usize::MAX } else { 72 };
        let (kind, text) = describe(value, if all { usize::MAX } else { ARRAY_HEAD });
        writeln!(out, "  {:width$}  {kind:<8} {}", units::shown(key, 200), units::shown(&text, longest))?;
    }

    writeln!(out, "\ntensors   {}", gguf.tensors.len())?;
    let width = gguf.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0).min(48);
    for tensor in &gguf.tensors {
        let shape = format!("{:?}", tensor.shape);
        let (name, dtype, bytes) =
            (units::shown(&tensor.name, 200), tensor.dtype.name(), units::bytes(tensor.bytes as u64));
        writeln!(out, "  {name:width$}  {dtype:<8} {shape:<20} {bytes}")?;
    }

    writeln!(out, "\nmemory")?;
    writeln!(out, "  weights     {}, mapped from the file", units::bytes(file.weight_bytes()))?;
    let (k, v) = load.kv_types();
    match kv {
        Ok(Kv { context, bytes }) => {
            let bytes = units::bytes(*bytes);
            writeln!(out, "  KV cache    {bytes} for {context} tokens (-ctk {} -ctv {})", k.name(), v.name())?;
        }
        Err(problem) => writeln!(
            out,
            "  KV cache    none: this model cannot be run: {}",
            units::shown(&format!("{problem:#}"), 200)
        )?,
    }
    Ok(out.flush()?)
}

fn json_report(
    mut out: impl Write,
    file: &ModelFile,
    kv: &anyhow::Result<Kv>,
    load: &Load,
    all: bool,
) -> anyhow::Result<()> {
    let metadata: serde_json::Map<String, Json> =
        file.gguf.metadata.iter().map(|(key, value)| (key.to_owned(), to_json(value, all))).collect();
    let tensors: Vec<Json> = file
        .gguf
        .tensors
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "type": tensor.dtype.name(),
                "shape": tensor.shape,
                "bytes": tensor.bytes,
                "file": tensor.file,
                "offset": tensor.offset,
            })
        })
        .collect();
    let (k, v) = load.kv_types();
    let (kv, problem) = match kv {
        Ok(kv) => (Some(kv), None),
        Err(problem) => (None, Some(format!("{problem:#}"))),
    };
    let report = json!({
        "files": file.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "bytes": file.bytes,
        "version": file.gguf.version,
        "num_parameters": file.num_parameters(),
        "metadata": metadata,
        "tensors": tensors,
        "problem": problem,
        "memory": {
            "context": kv.map(|kv| kv.context),
            "weights_bytes": file.weight_bytes(),
            "kv_bytes": kv.map(|kv| kv.bytes),
            "type_k": k.name(),
            "type_v": v.name(),
        },
    });
    writeln!(out, "{report:#}")?;
    Ok(out.flush()?)
}

/// `q4_1 70.1 MiB, f32 0.1 MiB …`, most bytes first.
fn types(gguf: &Gguf) -> String {
    let mut sums: Vec<(DType, u64)> = Vec::new();
    for tensor in &gguf.tensors {
        match sums.iter_mut().find(|(dtype, _)| *dtype == tensor.dtype) {
            Some((_, sum)) => *sum += tensor.bytes as u64,
            None => sums.push((tensor.dtype, tensor.bytes as u64)),
        }
    }
    sums.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let texts: Vec<String> =
        sums.iter().map(|(dtype, sum)| format!("{} {}", dtype.name(), units::bytes(*sum))).collect();
    texts.join(", ")
}

/// Type and value of a metadata entry; arrays show their length and their first `head` elements.
fn describe(value: &Value, head: usize) -> (String, String) {
    let Value::Array(array) = value else { return (value.type_name(), plain(value).to_string()) };
    let shown: Vec<String> = elements(array, head).iter().map(|element| element.to_string()).collect();
    let more = if array.len() > shown.len() { ", …" } else { "" };
    (value.type_name(), format!("{} × [{}{more}]", array.len(), shown.join(", ")))
}

fn to_json(value: &Value, all: bool) -> Json {
    match value {
        Value::Array(array) if !all && array.len() > ARRAY_HEAD => {
            json!({ "type": array.element_type().name(), "length": array.len(), "first": elements(array, ARRAY_HEAD) })
        }
        value => plain(value),
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::U8(value) => json!(value),
        Value::I8(value) => json!(value),
        Value::U16(value) => json!(value),
        Value::I16(value) => json!(value),
        Value::U32(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U64(value) => json!(value),
        Value::I64(value) => json!(value),
        Value::F32(value) => float(value),
        Value::F64(value) => json!(value),
        Value::Bool(value) => json!(value),
        Value::String(text) => text_json(text),
        Value::Array(array) => elements(array, usize::MAX).into(),
    }
}

/// The first `head` elements.
fn elements(array: &Array, head: usize) -> Vec<Json> {
    fn first<T>(items: &[T], head: usize, convert: impl Fn(&T) -> Json) -> Vec<Json> {
        items.iter().take(head).map(convert).collect()
    }
    match array {
        Array::U8(items) => first(items, head, |item| json!(item)),
        Array::I8(items) => first(items, head, |item| json!(item)),
        Array::U16(items) => first(items, head, |item| json!(item)),
        Array::I16(items) => first(items, head, |item| json!(item)),
        Array::U32(items) => first(items, head, |item| json!(item)),
        Array::I32(items) => first(items, head, |item| json!(item)),
        Array::U64(items) => first(items, head, |item| json!(item)),
        Array::I64(items) => first(items, head, |item| json!(item)),
        Array::F32(items) => first(items, head, float),
        Array::F64(items) => first(items, head, |item| json!(item)),
        Array::Bool(items) => first(items, head, |item| json!(item)),
        Array::String(items) => items.iter().take(head).map(text_json).collect(),
        Array::Array(items) => first(items, head, |item| elements(item, usize::MAX).into()),
    }
}

/// Through f32's shortest form: 0.1 rather than 0.10000000149011612. NaN and infinity, which JSON lacks, are null.
fn float(value: &f32) -> Json {
    value.to_string().parse::<f64>().map_or(Json::Null, |value| json!(value))
}

/// Bytes that are not UTF-8 show as U+FFFD.
fn text_json(text: &[u8]) -> Json {
    json!(String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_arrays_are_cut_unless_all_is_asked_for() {
        let value = Value::Array(Array::U32((0..9).collect()));
        assert_eq!(describe(&value, 3), ("arr[u32]".into(), "9 × [0, 1, 2, …]".into()));
        assert_eq!(to_json(&value, false), json!({ "type": "u32", "length": 9, "first": [0, 1, 2, 3, 4, 5] }));
        assert_eq!(to_json(&value, true), json!([0, 1, 2, 3, 4, 5, 6, 7, 8]));
    }

    #[test]
    fn floats_show_as_they_were_written() {
        assert_eq!(plain(&Value::F32(0.1)).to_string(), "0.1");
        assert_eq!(plain(&Value::F32(f32::NAN)), Json::Null);
        assert_eq!(plain(&Value::String(vec![0xff, b'a'])), json!("\u{fffd}a"));
    }
}
