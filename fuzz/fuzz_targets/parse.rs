//! Whatever the bytes: parsing ends in an error or in a model of which everything can be read. Called by `cargo fuzz run parse`.
//!
//! The work is bounded by the input: tensors do not overlap, and no type has more than eight elements per byte.
#![no_main]

use gguf::{Gguf, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(gguf) = Gguf::parse(data) {
        read_everything(&gguf, &[data]);
    }
    // A second magic inside the input makes it a split set of two files.
    if let Some(at) = data.windows(4).skip(1).position(|word| word == b"GGUF") {
        let (first, second) = data.split_at(at + 1);
        if let Ok(gguf) = Gguf::parse_split(&[first, second]) {
            read_everything(&gguf, &[first, second]);
        }
    }
});

fn read_everything(gguf: &Gguf, files: &[&[u8]]) {
    let metadata = &gguf.metadata;
    for (key, value) in metadata.iter() {
        assert_eq!(metadata.get(key).map(|found| found.value_type()), Some(value.value_type()));
        let _ = (value.to_string(), value.type_name());
        let _ = (metadata.opt_u32(key), metadata.opt_i32(key), metadata.opt_u64(key), metadata.opt_f32(key));
        let _ = (metadata.opt_bool(key), metadata.opt_str(key), metadata.i32s(key), metadata.u32s(key));
        let _ = metadata.opt_u32_each(key, 3);
        if let Ok(Some(strings)) = metadata.strings(key) {
            assert!(strings.iter().enumerate().all(|(i, string)| strings.get(i) == Some(string)));
        }
    }
    for tensor in &gguf.tensors {
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        let data = tensor.data(files);
        assert_eq!(data.len(), tensor.bytes);
        let mut out = vec![0.0; tensor.elements() as usize];
        assert!(decode(tensor.dtype, data, &mut out).is_ok());
    }
}
