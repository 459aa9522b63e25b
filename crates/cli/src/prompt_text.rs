//! Where the text of a prompt comes from, and the escapes in it. Used by `run`, `tokenize` and `perplexity`.

use std::path::Path;

use anyhow::Context;

use crate::settings::{Prompt, Source};

/// The text that was asked for, as bytes (a file or `\xff` need not be UTF-8); `None` when no flag gave one.
pub fn read(prompt: &Prompt) -> anyhow::Result<Option<Vec<u8>>> {
    let text = read_plain(prompt)?;
    Ok(if prompt.escape { text.map(|text| unescape(&text)) } else { text })
}

/// The same, with backslashes left alone.
pub fn read_plain(prompt: &Prompt) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(match &prompt.source {
        None => None,
        Some(Source::Text(text)) => Some(text.clone().into_bytes()),
        Some(Source::BinaryFile(path)) => Some(read_file(path)?),
        Some(Source::File(path)) => {
            let mut text = read_file(path)?;
            text.pop_if(|last| *last == b'\n');
            Some(text)
        }
    })
}

/// The texts that end an answer.
pub fn reverse_prompts(prompt: &Prompt) -> anyhow::Result<Vec<String>> {
    let texts = prompt.reverse_prompts.iter();
    if !prompt.escape {
        return Ok(texts.cloned().collect());
    }
    texts.map(|text| String::from_utf8(unescape(text.as_bytes())).with_context(|| format!("-r {text}"))).collect()
}

/// The whole file, or an error that names it.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Replaces `\n \r \t \' \" \\ \xHH`, as llama.cpp does; any other backslash stays, also one that ends the text.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let (byte, used) = match (first, tail) {
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [quoted @ (b'\'' | b'"' | b'\\'), ..]) => (*quoted, 2),
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'\\', 1),
            },
            (byte, _) => (*byte, 1),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_llama_cpp() {
        let cases: &[(&str, &[u8])] = &[
            (r"a\nb\tc", b"a\nb\tc"),
            (r#"\\n \" \'"#, br#"\n " '"#),
            (r"\x41\xff", b"A\xff"),
            (r"\x4", br"\x4"),
            (r"\xg1", br"\xg1"),
            (r"\q end\", br"\q end\"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape(text.as_bytes()), *expected, "{text}");
        }
    }

    #[test]
    fn a_file_loses_one_newline_and_a_binary_file_none() {
        let path = std::env::temp_dir().join(format!("chaski-prompt-{}", std::process::id()));
        std::fs::write(&path, "two\\n\n\n").unwrap();
        let file = Prompt { source: Some(Source::File(path.clone())), ..Prompt::default() };
        assert_eq!(read(&file).unwrap().unwrap(), b"two\n\n");
        let binary = Prompt { source: Some(Source::BinaryFile(path.clone())), escape: false, ..Prompt::default() };
        assert_eq!(read(&binary).unwrap().unwrap(), b"two\\n\n\n");
        std::fs::remove_file(&path).unwrap();
        let problem = format!("{:#}", read(&file).unwrap_err());
        assert!(problem.starts_with(&path.display().to_string()), "{problem}");
        assert_eq!(read(&Prompt::default()).unwrap(), None);
    }
}
