//! Files that are not what they should be: one line that names the thing, exit code 1, nothing half-written.

mod support;

use support::{complaint_of, fixture, scratch, stdout_of};

#[test]
fn files_that_are_no_models_are_named() {
    let text = scratch("not-a-model.gguf", "hello, world, this is plain text");
    let empty = scratch("empty.gguf", "");
    let whole = std::fs::read(fixture("llama.gguf")).unwrap();
    let cut = scratch("cut.gguf", &whole[..whole.len() / 2]);
    let header = scratch("header.gguf", &whole[..64]);
    for path in [&text, &empty, &cut, &header] {
        let path = path.to_str().unwrap();
        for command in ["run", "inspect", "tokenize", "bench", "explain"] {
            let mut words = vec![command, "-m", path];
            if ["run", "tokenize"].contains(&command) {
                words.extend(["-p", "hello"]);
            }
            let line = complaint_of(&words, 1);
            assert!(line.contains(path), "{command} {path}: {line}");
        }
    }
}

#[test]
fn missing_files_are_named() {
    let line = complaint_of(&["run", "-m", "nowhere/model.gguf", "-p", "x"], 1);
    assert!(line.starts_with("nowhere/model.gguf: no such file"), "{line}");
    let line = complaint_of(&["run", "nosuchmodel", "hello"], 1);
    assert!(line.contains("nosuchmodel") && line.contains("smollm2"), "{line}");
    let line = complaint_of(&["run", "-m", &fixture("llama.gguf"), "-f", "nowhere.txt"], 1);
    assert!(line.starts_with("nowhere.txt"), "{line}");
    let line = complaint_of(&["pull", "gemma3-270m", "--offline"], 1);
    assert!(line.contains("--offline"), "{line}");
}

#[test]
fn an_unknown_architecture_is_named() {
    let whole = std::fs::read(fixture("llama.gguf")).unwrap();
    let unknown = replaced(&whole, b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama", b"llama", b"xlstm");
    let path = scratch("unknown-architecture.gguf", unknown);
    let line = complaint_of(&["run", "-m", path.to_str().unwrap(), "-p", "hello"], 1);
    assert!(line.contains("xlstm"), "{line}");
    // Looking at it is still possible.
    let text = stdout_of(&["inspect", path.to_str().unwrap()]);
    assert!(text.contains("architecture xlstm") && text.contains("cannot be run"), "{text}");
}

#[test]
fn a_missing_tokenizer_is_named() {
    let whole = std::fs::read(fixture("llama.gguf")).unwrap();
    let without = replaced(&whole, b"tokenizer.ggml.model", b"ggml.model", b"ggml.xxxxx");
    let path = scratch("no-tokenizer.gguf", without);
    let line = complaint_of(&["tokenize", path.to_str().unwrap(), "hello"], 1);
    assert!(line.contains("tokenizer.ggml.model"), "{line}");
}

#[test]
fn a_prompt_longer_than_the_context_says_so() {
    let prompt = "the rain ".repeat(60);
    let line = complaint_of(&["run", "-m", &fixture("llama.gguf"), "-no-cnv", "-p", &prompt, "-c", "32"], 1);
    assert!(line.contains("context holds 32"), "{line}");
}

#[test]
fn a_judge_does_not_round_its_cache() {
    let line = complaint_of(&["run", &fixture("llama.gguf"), "x", "--plan", "exact", "-ctk", "f16"], 1);
    assert!(line.starts_with("-ctk and -ctv"), "{line}");
}

#[test]
fn nothing_half_written_is_left() {
    let text = scratch("short.txt", "the rain in the plain");
    let base = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("never.kld");
    let base = base.to_str().unwrap();
    let words = ["perplexity", "-m", &fixture("llama.gguf"), "-f", text.to_str().unwrap(), "-c", "64"];
    let line = complaint_of(&[&words[..], &["--kl-divergence-base", base]].concat(), 1);
    assert!(line.contains("64"), "{line}");
    for left in [base.to_owned(), format!("{base}.partial")] {
        assert!(!std::path::Path::new(&left).exists(), "{left} was left behind");
    }
    let line = complaint_of(&["perplexity", "-m", &fixture("llama.gguf"), "--kl-divergence"], 1);
    assert!(line.contains("--kl-divergence-base"), "{line}");
}

#[test]
fn a_full_disk_is_named() {
    if !std::path::Path::new("/dev/full").exists() {
        println!("skipped: no /dev/full");
        return;
    }
    let output = support::program()
        .args(["tokenize", "-m", &fixture("llama.gguf"), "-p", "hello"])
        .stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let outcome = support::outcome(output);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
}

/// `bytes` with `old` replaced by `new`, of the same length, where it lies inside `place`.
fn replaced(bytes: &[u8], place: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|window| window == needle);
    let start = find(bytes, place).expect("the file has this place");
    let at = start + place.len() - old.len();
    assert_eq!(&bytes[at..at + old.len()], old);
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}
