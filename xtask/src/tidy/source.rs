//! The tree that the rules read: every text file of the checkout, Rust files split into code, comments and strings.
//! Called by every rule of [`super::RULES`].

use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What holds nothing of the project's own, or is no text. `.git` is a file where a checkout has several working trees.
const SKIPPED: &[&str] = &["target", ".git", ".gl"];

/// The largest file taken for text; fixtures and wordlists above it are data.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// All text files, sorted by path, and who depends on whom.
pub struct Tree {
    pub files: Vec<Source>,
    pub edges: Vec<Edge>,
}

/// One dependency of a workspace package, of any kind, as `cargo metadata` tells it.
pub struct Edge {
    pub from: String,
    pub to: String,
}

/// One text file. For a Rust file `code` and `comments` are the text with everything else blanked out (byte for byte,
/// so that lines and columns agree); for others both are empty.
pub struct Source {
    /// Relative to the root, with forward slashes.
    pub path: String,
    pub text: String,
    pub code: String,
    pub comments: String,
    /// String literals: 1-based line and contents as written.
    pub strings: Vec<(usize, String)>,
    /// The 1-based line at which the file's own tests begin; past the end where there are none.
    tests_from: usize,
}

impl Tree {
    /// Reads the checkout.
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        read_folder(root, root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files, edges: edges(root)? })
    }

    /// A tree given in full, for tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| Source::new(path, (*text).into())).collect();
        Self { files, edges: Vec::new() }
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// One file by its path.
    pub fn file(&self, path: &str) -> Option<&Source> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl Source {
    fn new(path: &str, text: String) -> Self {
        let mut source = Self {
            path: path.into(),
            code: String::new(),
            comments: String::new(),
            strings: Vec::new(),
            tests_from: usize::MAX,
            text,
        };
        if path.ends_with(".rs") {
            split(&mut source);
            source.tests_from = tests_from(&source.code);
        }
        source
    }

    /// The crate folder this file belongs to: `gguf` for `crates/gguf/src/lib.rs`, `xtask` for its own files.
    pub fn package(&self) -> &str {
        let mut parts = self.path.split('/');
        match parts.next() {
            Some("crates") => parts.next().unwrap_or(""),
            Some(first) => first,
            None => "",
        }
    }

    /// Whether the whole file is tests, benches or examples: run by hand or by the test runner, never by a user.
    pub fn is_test(&self) -> bool {
        let (folders, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let test_folder = |part| matches!(part, "tests" | "benches" | "examples" | "fuzz");
        folders.split('/').any(test_folder) || name == "tests.rs" || name.ends_with("_tests.rs")
    }

    /// Whether a 1-based line stands in tests.
    pub fn in_tests(&self, line: usize) -> bool {
        self.is_test() || line >= self.tests_from
    }

    /// Lines of code outside tests: 1-based number and the line with comments and strings blanked.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(at, _)| !self.in_tests(*at))
    }

    /// The number of lines before the file's own tests.
    pub fn lines_before_tests(&self) -> usize {
        self.text.lines().count().min(self.tests_from.saturating_sub(1))
    }
}

fn edges(root: &Path) -> Result<Vec<Edge>> {
    let mut metadata = process::cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(root.join("Cargo.toml"));
    let metadata: serde_json::Value = serde_json::from_str(&process::capture(&mut metadata)?)?;
    let list = |value: &serde_json::Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_string();
    let edges_of = |package: serde_json::Value| {
        let from = name(&package);
        let dependencies = list(&package, "dependencies");
        dependencies.into_iter().map(move |dependency| Edge { from: from.clone(), to: name(&dependency) })
    };
    Ok(list(&metadata, "packages").into_iter().flat_map(edges_of).collect())
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue; // `.git` is a file in a second working tree of one clone
        }
        let kind = entry.file_type()?;
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if kind.is_dir() {
            read_folder(root, &path, files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= MAX_TEXT_BYTES {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if let Ok(text) = String::from_utf8(bytes)
                && !text.contains('\0')
            {
                let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
                files.push(Source::new(&relative, text));
            }
        }
    }
    Ok(())
}

/// The line of the first `#[cfg(test)]` that opens a module with a body. House style puts tests last, so everything
/// from there on is tests.
fn tests_from(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let gated = line.trim_start().starts_with("#[cfg(test)]") || line.trim_start().starts_with("#[cfg(all(test");
        let opens = |line: &&str| line.contains("mod ") && line.trim_end().ends_with('{');
        if gated && lines[at..].iter().take(3).any(opens) {
            return at + 1;
        }
    }
    usize::MAX
}

/// Splits Rust text into code, comments and string literals. Characters that belong elsewhere become spaces.
fn split(source: &mut Source) {
    let text = source.text.as_bytes();
    let mut code = blank(text);
    let mut comments = code.clone();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let end = match text[at] {
            b'/' if text[at..].starts_with(b"//") => end_of_line(text, at),
            b'/' if text[at..].starts_with(b"/*") => end_of_block_comment(text, at),
            b'"' => end_of_string(text, at),
            b'r' | b'b' | b'c' if !follows_word(text, at) => literal_prefix(text, at),
            b'\'' => end_of_char(text, at),
            _ => at,
        };
        if end == at {
            code[at] = text[at];
            line += usize::from(text[at] == b'\n');
            at += 1;
            continue;
        }
        let piece = &source.text[at..end];
        if piece.starts_with("//") || piece.starts_with("/*") {
            comments[at..end].copy_from_slice(&text[at..end]);
            keep_lines(&mut comments[at..end]);
        } else if !piece.starts_with('\'') {
            let opened = piece.find('"').map_or(0, |quote| quote + 1);
            let closed = piece.rfind('"').unwrap_or(piece.len()).max(opened);
            source.strings.push((line, piece[opened..closed].into()));
        }
        line += piece.matches('\n').count();
        at = end;
    }
    source.code = String::from_utf8_lossy(&code).into_owned();
    source.comments = String::from_utf8_lossy(&comments).into_owned();
}

/// Spaces as long as the text, with its line ends.
fn blank(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }).collect()
}

/// Multi-byte characters in comments are blanked so that the copy stays valid UTF-8 however it is cut.
fn keep_lines(bytes: &mut [u8]) {
    for byte in bytes {
        if !byte.is_ascii() {
            *byte = b' ';
        }
    }
}

fn end_of_line(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| at + length)
}

fn end_of_block_comment(text: &[u8], at: usize) -> usize {
    let (mut depth, mut here) = (0, at);
    while here < text.len() {
        if text[here..].starts_with(b"/*") {
            depth += 1;
            here += 2;
        } else if text[here..].starts_with(b"*/") {
            depth -= 1;
            here += 2;
            if depth == 0 {
                return here;
            }
        } else {
            here += 1;
        }
    }
    text.len()
}

fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut here = at + 1;
    while here < text.len() {
        match text[here] {
            b'\\' => here += 2,
            b'"' => return here + 1,
            _ => here += 1,
        }
    }
    text.len()
}

/// The end of a literal that begins with `r`, `b`, `c`, `br` or `cr`; `at` itself where no literal begins.
fn literal_prefix(text: &[u8], at: usize) -> usize {
    let mut here = at;
    while here < text.len() && here < at + 2 && matches!(text[here], b'r' | b'b' | b'c') {
        here += 1;
    }
    let raw = text[at..here].contains(&b'r');
    let hashes = text[here..].iter().take_while(|byte| **byte == b'#').count();
    match text.get(here + hashes) {
        Some(b'"') if raw => end_of_raw_string(text, here + hashes, hashes),
        Some(b'"') if hashes == 0 => end_of_string(text, here),
        _ => at,
    }
}

fn end_of_raw_string(text: &[u8], quote: usize, hashes: usize) -> usize {
    let mut here = quote + 1;
    while here < text.len() {
        let closes =
            text[here] == b'"' && text[here + 1..].iter().take(hashes).filter(|byte| **byte == b'#').count() == hashes;
        here += 1;
        if closes {
            return here + hashes;
        }
    }
    text.len()
}

/// The end of a character literal; `at` itself where the quote begins a lifetime.
fn end_of_char(text: &[u8], at: usize) -> usize {
    if text.get(at + 1) == Some(&b'\\') {
        let from = at + 3;
        let closing = text.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\''));
        return closing.map_or(text.len(), |length| from + length + 1);
    }
    // One character of up to four bytes, then the closing quote.
    let closing = text[at + 1..].iter().take(5).skip(1).position(|byte| *byte == b'\'');
    match closing {
        Some(length) if is_one_char(&text[at + 1..at + 2 + length]) => at + length + 3,
        _ => at,
    }
}

fn is_one_char(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1)
}

fn follows_word(text: &[u8], at: usize) -> bool {
    at > 0 && (text[at - 1].is_ascii_alphanumeric() || text[at - 1] == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_strings_are_told_apart() {
        let text =
            "let a = \"unsafe // no\"; // unsafe\nlet b = '\"'; /* x \n y */ call(r#\"raw \" text\"#, b'\\'', 'é');\n";
        let source = Source::new("a.rs", text.into());
        assert!(!source.code.contains("unsafe") && !source.code.contains('y'));
        assert!(source.code.contains("call("));
        assert!(source.comments.contains("// unsafe"));
        assert_eq!(source.strings, [(1, "unsafe // no".into()), (2 + 1, "raw \" text".into())]);
        assert_eq!(source.code.lines().count(), source.text.lines().count());
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let source = Source::new("a.rs", "fn f<'a>(x: &'a str) -> &'a str { g(x, \"s\") }".into());
        assert!(source.code.contains("&'a str { g("));
        assert_eq!(source.strings, [(1, "s".into())]);
    }

    #[test]
    fn escaped_quotes_stay_inside() {
        let source = Source::new("a.rs", r#"let c = '\u{1F600}'; let s = "a\"b"; let t = '\\'; unsafe_call();"#.into());
        assert!(source.code.contains("unsafe_call"));
        assert_eq!(source.strings[0].1, r#"a\"b"#);
    }

    #[test]
    fn tests_are_found() {
        let text = "fn a() {}\n#[cfg(test)]\nuse x;\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n";
        let source = Source::new("crates/gguf/src/a.rs", text.into());
        assert_eq!(source.lines_before_tests(), 4);
        assert!(source.in_tests(6) && !source.in_tests(4));
        assert!(Source::new("crates/gguf/tests/b.rs", String::new()).is_test());
        assert_eq!(source.package(), "gguf");
    }
}
