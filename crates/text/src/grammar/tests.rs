//! Constraints of every kind over the tokens of a small model; GBNF beside a recogniser that tries everything.

use super::*;
use serde_json::json;

/// The tokenizer of a small model.
fn tokenizer() -> Arc<Tokenizer> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/llama.gguf");
    let model = gguf::Gguf::parse(&std::fs::read(file).unwrap()).unwrap();
    Arc::new(Tokenizer::from_metadata(&model.metadata).unwrap())
}

fn grammars() -> Grammars {
    Grammars::new(tokenizer()).unwrap()
}

fn is_allowed(words: &[u32], token: u32) -> bool {
    words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}

/// Whether a text is of the constraint, token by token; the end must be allowed exactly where it is whole.
fn accepts(grammars: &Grammars, constraint: &Constraint, text: &str) -> bool {
    let mut matcher = grammars.compile(constraint).unwrap_or_else(|problem| panic!("{constraint:?}: {problem}"));
    for token in grammars.tokenizer.encode(text, crate::Encode::TEXT) {
        if !is_allowed(matcher.allowed().unwrap(), token) {
            return false;
        }
        matcher.accept(token).unwrap();
    }
    let ends: Vec<u32> = grammars.tokenizer.vocab().eog().collect();
    let words = matcher.allowed().unwrap().to_vec();
    let whole = ends.iter().all(|&end| is_allowed(&words, end));
    assert_eq!(whole, ends.iter().any(|&end| is_allowed(&words, end)));
    whole
}

#[test]
fn every_kind_of_constraint_is_kept() {
    let grammars = grammars();
    let object = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": false,
    });
    for (constraint, good, bad) in [
        (Constraint::Regex("[0-9]+(\\.[0-9]{2})?".into()), &["7", "12.50"][..], &["", "1.5", "a"][..]),
        (
            Constraint::Schema(object),
            &[r#"{"name": "Ann", "age": 3}"#, r#"{"name":"é\n"}"#, "{\"name\":\n\n  \"\"}"],
            &[r#"{"age": 3}"#, r#"{"name": "Annabel"}"#, r#"{"name":  "two blanks"}"#, "{"],
        ),
        (Constraint::Schema(json!({})), &["{}", r#"{"a": [1, {"b": null}]}"#], &["1", "[]"]),
        (Constraint::Schema(json!(true)), &["1", "[]", "\"a\""], &["x"]),
        (
            Constraint::Schema(
                json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}),
            ),
            &["[]", "[[], [[]]]"],
            &["[1]", "[[]"],
        ),
        (Constraint::Schema(json!({"enum": ["on", "off"]})), &["\"on\"", "\"off\""], &["\"o\"", "on"]),
        (Constraint::Grammar("%llguidance {}\nstart: \"a\" /b+/".into()), &["abb"], &["a"]),
        (Constraint::Grammar("root ::= \"yes\" | \"no\"".into()), &["yes", "no"], &["", "ye", "yesno"]),
        (Constraint::Grammar("root ::= .* \"\\n\"".into()), &["né 😀\n", "\n\n"], &["a"]),
    ] {
        for text in good {
            assert!(accepts(&grammars, &constraint, text), "{constraint:?}: {text}");
        }
        for text in bad {
            assert!(!accepts(&grammars, &constraint, text), "{constraint:?}: {text}");
        }
    }
}

/// Grammars in which blanks, words and signs meet in every way.
#[test]
fn recursive_grammars_read_the_same_however_they_are_cut() {
    let grammars = grammars();
    let json = concat!("root ::= object\n", include_str!("samples/json.gbnf"));
    let json = Constraint::Grammar(json.into());
    assert!(accepts(&grammars, &json, "{\"a\": [1, -2.5e3, {\"b\": \"c\\n\\u00e9 d\"}] , \"e\": true}"));
    assert!(accepts(&grammars, &json, "{ }\n  "));
    for bad in ["{\"a\"  : 1}", "{\"a\": }", "[1]", "{\"a\": tru}"] {
        assert!(!accepts(&grammars, &json, bad), "{bad}");
    }
    let sums = Constraint::Grammar(include_str!("samples/sums.gbnf").into());
    // The blank before the last line end may be taken as one that ends the line.
    assert!(accepts(&grammars, &sums, "x1 + (2*y\n) = z\n"));
    assert!(accepts(&grammars, &sums, "a=1\n\n\nb=2\n"));
    assert!(!accepts(&grammars, &sums, "a=1"));
    let ends = Constraint::Grammar("root ::= \"b\" root \"b\" | [a-z]+ \"end\"".into());
    assert!(accepts(&grammars, &ends, "endend") && accepts(&grammars, &ends, "bxendb"));
    assert!(!accepts(&grammars, &ends, "bxendbb") && !accepts(&grammars, &ends, "end"));
}

#[test]
fn copies_go_their_own_way_and_tokens_can_be_taken_back() {
    let grammars = grammars();
    let tokens = grammars.tokenizer.encode("ab", crate::Encode::TEXT);
    let mut one = grammars.compile(&Constraint::Grammar("root ::= \"ab\" \"c\"*".into())).unwrap();
    let begin = one.allowed().unwrap().to_vec();
    let mut other = one.clone();
    tokens.iter().for_each(|&token| one.accept(token).unwrap());
    assert!(one.is_whole().unwrap() && !other.is_whole().unwrap());
    assert_eq!(other.allowed().unwrap(), begin);
    one.rollback(tokens.len()).unwrap();
    assert_eq!(one.allowed().unwrap(), begin);
}

#[test]
fn control_tokens_are_never_text() {
    let grammars = grammars();
    let mut matcher = grammars.compile(&Constraint::Regex("(?s:.*)".into())).unwrap();
    let words = matcher.allowed().unwrap().to_vec();
    let vocab = grammars.tokenizer.vocab();
    for id in 0..vocab.len() as u32 {
        if vocab.attributes(id).is_control() {
            assert_eq!(is_allowed(&words, id), vocab.is_eog(id), "token {id}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let grammars = grammars();
    let nested = |open: &str, count: usize| open.repeat(count);
    let chain: String = (0..900).map(|at| format!("r{at} ::= \"a\" r{}\n", at + 1)).collect();
    let loops: String =
        (0..900).map(|at| format!("r{at} ::= \"a\" r{} | r{}\n", (at * 7 + 1) % 900, (at + 1) % 900)).collect();
    for constraint in [
        Constraint::Regex("(".into()),
        Constraint::Regex("(?=a)".into()),
        Constraint::Regex(nested("(", 100_000)),
        Constraint::Regex("a".repeat(300_000)),
        Constraint::Schema(json!({"type": "strange"})),
        Constraint::Schema(json!({"type": "object", "unheardOf": 1, "not": {"type": "string"}})),
        Constraint::Schema(json!({"$ref": "http://example.com/schema"})),
        Constraint::Schema(json!({"$ref": "#/$defs/none"})),
        Constraint::Schema(json!(5)),
        Constraint::Schema(json!({"pattern": "(", "type": "string"})),
        Constraint::Schema(json!({"x-guidance": 5})),
        Constraint::Grammar("root ::= root2".into()),
        Constraint::Grammar("%llguidance {}\nstart: (".into()),
        Constraint::Grammar(format!("%llguidance {{}}\nstart: {}", nested("(", 60_000))),
    ] {
        let shown = format!("{constraint:?}").chars().take(60).collect::<String>();
        let problem = grammars.compile(&constraint).err().map(|problem| problem.to_string());
        let problem = problem.unwrap_or_else(|| panic!("{shown}: accepted"));
        assert!(!problem.is_empty() && problem.len() < 2000 && !problem.contains('\n'), "{shown}: {problem}");
    }
    // Large, yet in bounds: an end, one way or the other.
    for source in [format!("root ::= r0\n{chain}r900 ::= \"b\""), format!("root ::= r0\n{loops}")] {
        let _ = grammars.compile(&Constraint::Grammar(source));
    }
    let _ = grammars.compile(&Constraint::Regex("((a{1,1000}){1,1000}){1,1000}b".into()));
    let repeats = "root ::= (((\"a\"{2000}){2000}){2000}){2000} root?";
    let _ = grammars.compile(&Constraint::Grammar(repeats.into()));
}
