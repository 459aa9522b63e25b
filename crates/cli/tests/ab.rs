//! `chaski ab` on tiny models with random weights: what it reports, that it names what was made worse, what it refuses.

mod support;

use serde_json::Value;
use support::{chaski, complaint_of, fixture, program, root, scratch, stdout_of};

/// Little of everything, so that a build for tests is done in seconds.
const QUICK: [&str; 12] = ["-p", "16", "-n", "2", "-d", "16,64", "-npl", "1,2", "--time", "0.1", "--chunks", "1"];

fn ab(model: &str, words: &[&str]) -> Vec<String> {
    let model = fixture(model);
    ["ab", "-m", &model].iter().chain(&QUICK).chain(words).map(|word| (*word).to_owned()).collect()
}

fn report(model: &str, words: &[&str]) -> Value {
    let words = ab(model, &[words, &["-o", "json"]].concat());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    serde_json::from_str(&stdout_of(&words)).unwrap()
}

fn reasons(report: &Value) -> String {
    report["judgement"]["reasons"].to_string()
}

#[test]
fn everything_is_measured_and_told_as_table_json_and_page() {
    let page = scratch("ab.html", "");
    let words = ab("llama.gguf", &["--b", "-ctk f32 -ctv f32", "--html", page.to_str().unwrap()]);
    let text = stdout_of(&words.iter().map(String::as_str).collect::<Vec<_>>());
    for shown in [
        "llama.gguf on",
        "a: the baseline",
        "b: -ctk f32 -ctv f32",
        "prefill 2 @ 64",
        "decode @ 16",
        "decode 2× @ 16",
        "first token of",
        "sampling",
        "all together",
        "cache of a token",
        "2.000×",
        "perplexity",
        "needles:",
        "\nb ",
    ] {
        assert!(text.contains(shown), "`{shown}` is missing in\n{text}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("-ctk f32 -ctv f32"));
}

#[test]
fn the_exact_plan_is_true_to_itself_and_every_architecture_can_be_compared() {
    for model in ["llama.gguf", "gemma3.gguf", "phi3.gguf", "qwen3.gguf"] {
        let told = report(model, &["--b", "--plan exact"]);
        let quality = |side: &str| told[side]["quality"].clone();
        assert_eq!(quality("b")["max_logit_error"], 0.0, "{model}: {}", quality("b"));
        assert_eq!(quality("b")["same_top"]["value"], 1.0, "{model}");
        assert!(quality("a")["max_logit_error"].as_f64().unwrap() > 0.0, "{model}: the baseline rounds");
        assert_eq!(told["speed"].as_array().unwrap().len(), 8, "{model}");
    }
}

#[test]
fn what_is_slower_noisier_or_broken_is_named() {
    let slow = report("llama.gguf", &["--b", "--inject slow=900@step=1-1000000", "--time", "2"]);
    assert_eq!(slow["judgement"]["verdict"], "does_not_pay", "{}", slow["judgement"]);
    assert!(reasons(&slow).contains("slower: "), "{}", slow["judgement"]);

    let noisy = report("llama.gguf", &["--b", "--inject noise=0.2@step=1-1000000,op=norm", "--max-loss", "1000"]);
    assert!(reasons(&noisy).contains("noisier: "), "{}", noisy["judgement"]);

    let broken = report("llama.gguf", &["--b", "--no-watch --inject nan@step=20-1000000,op=norm"]);
    assert_eq!(broken["judgement"]["verdict"], "unsafe");
    assert!(reasons(&broken).contains("it failed: "), "{}", broken["judgement"]);
}

#[test]
fn results_are_kept_and_a_damaged_one_is_named_and_replaced() {
    let cache = root().join(env!("CARGO_TARGET_TMPDIR")).join("ab-cache");
    let _ = std::fs::remove_dir_all(&cache);
    let run = || {
        let words = ab("llama.gguf", &["--b", "-t 1"]);
        let output = program().args(words).env("CHASKI_CACHE", &cache).output().unwrap();
        support::outcome(output).stderr
    };
    let first = run();
    assert!(first.contains("kept in ") && !first.contains("before: "), "{first}");
    assert!(run().contains("before: "));
    let files: Vec<_> = std::fs::read_dir(cache.join("evidence")).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    std::fs::write(file, "{").unwrap();
    let third = run();
    assert!(third.contains("warning: ") && third.contains(file.to_str().unwrap()), "{third}");
    assert!(run().contains("before: "));
}

#[test]
fn mistakes_are_one_line_that_names_the_flag() {
    let model = fixture("llama.gguf");
    for (words, expected) in [
        (&["--b", "-ctk q9"][..], "--b: -ctk: expected"),
        (&["--a", "--nosuch 1"], "--a: --nosuch: no such flag"),
        (&["--b", "-m other.gguf"], "--b: -m: holds for both sides"),
        (&["--b", "'-t 1"], "--b: `'-t 1`: a quote ' is not closed"),
        (&["--max-loss", "-1"], "--max-loss: expected a number from 0 to 1000"),
        (&["--min-speedup", "x"], "--min-speedup: expected a number"),
        (&["-npl", "0"], "-npl: expected a number from 1 to 64"),
    ] {
        let line = complaint_of(&[&["ab", "-m", &model], words].concat(), 2);
        assert!(line.starts_with(expected), "{words:?}: {line}");
    }
    for (words, expected) in [
        (&["--b", "--technique nosuch=on"][..], "--b: --technique nosuch: no such technique"),
        (&["--b", "--plan exact -ctk f16"], "--b: -ctk and -ctv"),
        (&["--html", "nowhere/at/all.html"], "--html nowhere/at/all.html"),
        (&["-d", "100000"], "-d 100000: "),
        (&["-p", "100000"], "-p 100000 and -n 8: "),
    ] {
        let line = complaint_of(&[&["ab", "-m", &model], words].concat(), 1);
        assert!(line.starts_with(expected), "{words:?}: {line}");
    }
    let cut = scratch("ab-cut.gguf", &std::fs::read(&model).unwrap()[..2000]);
    let line = complaint_of(&["ab", "-m", cut.to_str().unwrap()], 1);
    assert!(line.contains("ab-cut.gguf"), "{line}");
    assert_eq!(chaski(&["ab"]).code, Some(1), "no model");
}
