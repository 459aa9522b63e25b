//! Rules about unsafe code and panics. Called through [`super::RULES`].

use super::Finding;
use super::source::{Source, Tree};

/// Crates whose root forbids unsafe code.
const FORBID: &[&str] = &["gguf", "text", "model", "engine", "evidence", "server"];

/// Crates that may hold unsafe code anywhere.
const UNSAFE_CRATES: &[&str] = &["device", "kernels", "capi"];

/// Crates that need no unsafe code say so at their root.
pub fn forbidden(tree: &Tree, findings: &mut Vec<Finding>) {
    for name in FORBID {
        if let Some(root) = tree.file(&format!("crates/{name}/src/lib.rs"))
            && !root.code.contains("#![forbid(unsafe_code)]")
        {
            findings.push(Finding::error(&root.path, 0, format!("{name} must say `#![forbid(unsafe_code)]`")));
        }
    }
}

/// Unsafe code lives in few rooms. Tests may use it anywhere.
pub fn rooms(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.rust().filter(|file| !may_be_unsafe(file)) {
        for (at, line) in file.code_lines().filter(|(_, line)| has_word(line, "unsafe")) {
            if !line.contains("unsafe_code") {
                let message = "unsafe code outside device, kernels, technique kernel files and capi";
                findings.push(Finding::error(&file.path, at, message));
            }
        }
    }
}

fn may_be_unsafe(file: &Source) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or("");
    let kernel_file = name.starts_with("cpu") || name.starts_with("cuda");
    UNSAFE_CRATES.contains(&file.package()) || (file.package() == "techniques" && kernel_file)
}

/// Each unsafe block and impl carries its reason, on its line or directly above its statement.
pub fn comments(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.rust() {
        let code: Vec<&str> = file.code.lines().collect();
        let comments: Vec<&str> = file.comments.lines().collect();
        for (at, line) in code.iter().enumerate() {
            if opens_unsafe(line, code.get(at + 1)) && !has_reason(&code, &comments, at) {
                findings.push(Finding::error(&file.path, at + 1, "unsafe without a `// SAFETY:` reason above it"));
            }
        }
    }
}

/// Whether an unsafe block or impl (not a declaration of an unsafe function or type) begins in this line.
fn opens_unsafe(line: &str, next: Option<&&str>) -> bool {
    word_ends(line, "unsafe").any(|end| {
        let rest = line[end..].trim_start();
        let rest = if rest.is_empty() { next.map_or("", |next| next.trim_start()) } else { rest };
        rest.starts_with('{') || rest.starts_with("impl")
    })
}

/// Looks for `SAFETY:` on the line itself and in the comments above the statement that the line belongs to.
fn has_reason(code: &[&str], comments: &[&str], at: usize) -> bool {
    let says = |line: usize| comments.get(line).is_some_and(|comment| comment.contains("SAFETY:"));
    if says(at) {
        return true;
    }
    for line in (0..at).rev() {
        if says(line) {
            return true;
        }
        let code = code[line].trim();
        let ends_statement = code.ends_with([';', '{', '}', ',']) && !code.starts_with("#[");
        let blank = code.is_empty() && comments.get(line).is_none_or(|comment| comment.trim().is_empty());
        if ends_statement || blank {
            return false;
        }
    }
    false
}

/// No panics by design outside tests. A function that cannot return an error may panic where its documentation says
/// when (`# Panics`); a panic while a constant is computed is a compile error, which is what it is for.
pub fn panics(tree: &Tree, findings: &mut Vec<Finding>) {
    const PANICS: &[&str] = &[".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("];
    for file in tree.rust() {
        let text: Vec<&str> = file.text.lines().collect();
        for (at, line) in file.code_lines() {
            // A parser may well have a method of the same name; the standard library's takes a message.
            let with_message = |start: usize| text[at - 1][start..].starts_with(['"', '&']);
            let panics = |panics: &&&str| match line.find(**panics) {
                Some(start) if **panics == ".expect(" => with_message(start + panics.len()),
                found => found.is_some(),
            };
            if let Some(panics) = PANICS.iter().find(panics)
                && !(*panics == "panic!(" && may_panic(file, at))
            {
                let message = format!("`{panics}` outside tests: return an error that names the thing");
                findings.push(Finding::error(&file.path, at, message));
            }
        }
    }
}

/// Whether the function or constant around a line is evaluated by the compiler, or documents its panics.
fn may_panic(file: &Source, line: usize) -> bool {
    let code: Vec<&str> = file.code.lines().take(line).collect();
    let begins = |line: &&str| has_word(line, "fn") || line.trim_start().starts_with("const ");
    let Some(start) = code.iter().rposition(begins) else { return false };
    let is_doc = |line: &&&str| line.trim_start().starts_with("///") || line.trim().is_empty();
    let comments: Vec<&str> = file.comments.lines().take(start).collect();
    let mut docs = comments.iter().rev().take_while(is_doc).take_while(|line| !line.trim().is_empty());
    has_word(code[start], "const") || docs.any(|line| line.contains("# Panics"))
}

fn has_word(line: &str, word: &str) -> bool {
    word_ends(line, word).next().is_some()
}

/// The byte positions just behind each occurrence of a whole word.
fn word_ends<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    line.match_indices(word).map(|(start, _)| (start, start + word.len())).filter_map(move |(start, end)| {
        let before = start.checked_sub(1).and_then(|before| line.as_bytes().get(before));
        (!part_of_word(before) && !part_of_word(line.as_bytes().get(end))).then_some(end)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    #[test]
    fn a_root_that_does_not_forbid_unsafe_is_caught() {
        assert_eq!(findings("forbid-unsafe", &[("crates/gguf/src/lib.rs", "//! GGUF\n")]).len(), 1);
        assert!(findings("forbid-unsafe", &[("crates/gguf/src/lib.rs", "#![forbid(unsafe_code)]\n")]).is_empty());
        assert!(findings("forbid-unsafe", &[("crates/kernels/src/lib.rs", "//! Kernels\n")]).is_empty());
    }

    #[test]
    fn unsafe_in_the_wrong_room_is_caught() {
        let code = "fn f() { unsafe { g() } }\n";
        assert_eq!(findings("unsafe-rooms", &[("crates/engine/src/a.rs", code)]).len(), 1);
        assert_eq!(findings("unsafe-rooms", &[("crates/techniques/src/sage/mod.rs", code)]).len(), 1);
        assert!(findings("unsafe-rooms", &[("crates/techniques/src/sage/cpu.rs", code)]).is_empty());
        assert!(findings("unsafe-rooms", &[("crates/kernels/src/a.rs", code)]).is_empty());
        assert!(findings("unsafe-rooms", &[("crates/engine/src/lib.rs", "#![forbid(unsafe_code)]\n")]).is_empty());
    }

    #[test]
    fn an_unsafe_block_without_a_reason_is_caught() {
        let path = "crates/kernels/src/a.rs";
        assert_eq!(findings("safety-comment", &[(path, "fn f() {\n    unsafe { g() }\n}\n")]).len(), 1);
        assert_eq!(findings("safety-comment", &[(path, "unsafe impl Send for A {}\n")]).len(), 1);
        // A reason for another statement is none for this one.
        let far = "fn f() {\n    // SAFETY: for a\n    unsafe { a() };\n    unsafe { b() };\n}\n";
        assert_eq!(findings("safety-comment", &[(path, far)]).len(), 1);
    }

    #[test]
    fn reasons_are_found_above_the_statement() {
        let path = "crates/kernels/src/a.rs";
        let good =
            "fn f() {\n    // SAFETY: the slice\n    // is long enough\n    let x =\n        unsafe { g() };\n}\n";
        assert!(findings("safety-comment", &[(path, good)]).is_empty());
        assert!(findings("safety-comment", &[(path, "pub unsafe fn f() {}\nunsafe extern \"C\" {}\n")]).is_empty());
        assert!(findings("safety-comment", &[(path, "// unsafe { }\n")]).is_empty());
    }

    #[test]
    fn a_panic_outside_tests_is_caught() {
        let path = "crates/engine/src/a.rs";
        for code in ["fn f() { x.unwrap() }\n", "fn f() { panic!(\"no\") }\n", "fn f() { todo!() }\n"] {
            assert_eq!(findings("no-panic", &[(path, code)]).len(), 1, "{code}");
        }
        assert_eq!(findings("no-panic", &[(path, "fn f() { x.expect(\"a message\") }\n")]).len(), 1);
        assert!(findings("no-panic", &[(path, "fn f() { parser.expect(Token::Comma)?; }\n")]).is_empty());
        let in_tests = "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap() }\n}\n";
        assert!(findings("no-panic", &[(path, in_tests)]).is_empty());
        assert!(findings("no-panic", &[(path, "const fn check() { panic!(\"bad table\") }\n")]).is_empty());
        assert!(findings("no-panic", &[(path, "fn f() { x.unwrap_or(1); }\n")]).is_empty());
        let documented = "/// Runs.\n///\n/// # Panics\n/// When out of memory.\nfn f() {\n    panic!(\"no\")\n}\n";
        assert!(findings("no-panic", &[(path, documented)]).is_empty());
        let elsewhere = format!("{documented}fn g() {{\n    panic!(\"no\")\n}}\n");
        assert_eq!(findings("no-panic", &[(path, &elsewhere)]).len(), 1);
    }
}
