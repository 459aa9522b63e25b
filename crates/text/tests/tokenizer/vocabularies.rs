//! The token test files that come with llama.cpp: `ggml-vocab-NAME.gguf` with texts in `.inp` and
//! their ids in `.out`. They are megabytes and not ours, so the directory is named by
//! `CHASKI_VOCABS` (in llama.cpp's tree: `models`).

use text::{Encode, Error, Tokenizer};

#[test]
#[ignore = "needs llama.cpp's models directory in CHASKI_VOCABS"]
fn same_ids_as_llama_cpp() {
    let folder = std::env::var_os("CHASKI_VOCABS").expect("needs llama.cpp's models directory in CHASKI_VOCABS");
    let (mut compared, mut texts_compared) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("a directory") {
        let path = entry.expect("an entry").path();
        let (inputs, outputs) = (path.with_added_extension("inp"), path.with_added_extension("out"));
        if path.extension().is_none_or(|extension| extension != "gguf") || !inputs.exists() {
            continue;
        }
        let file = std::fs::read(&path).expect("a readable file");
        let metadata = gguf::Gguf::parse(&file).expect("a GGUF file").metadata;
        let tokenizer = match Tokenizer::from_metadata(&metadata) {
            Ok(tokenizer) => tokenizer,
            // WordPiece is out of scope, and says so.
            Err(Error::UnsupportedModel { model }) if model == "bert" => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let inputs = std::fs::read_to_string(inputs).expect("texts");
        let outputs = std::fs::read_to_string(outputs).expect("ids");
        let texts: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
        let lines: Vec<&str> = outputs.lines().collect();
        assert!(texts.len() <= lines.len() + 1, "{}: {} texts, {} ids", path.display(), texts.len(), lines.len());
        for (text, line) in texts.iter().zip(lines) {
            let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
            assert_eq!(tokenizer.encode(text, Encode::TEXT), expected, "{}: {text:?}", path.display());
            texts_compared += 1;
        }
        compared += 1;
    }
    println!("{compared} vocabularies, {texts_compared} texts");
    assert!(compared > 0, "no vocabulary with texts was found");
}
