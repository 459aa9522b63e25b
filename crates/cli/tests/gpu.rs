//! `-ngl` and `devices` where there is a GPU and where there is none.

mod support;

use serde_json::Value;
use support::{chaski, complaint_of, fixture, stdout_of};

/// Whether the program did without what needs a GPU; then this test does too, and says so.
fn skipped(text: &str) -> bool {
    let skipped = text.contains("skipped: no GPU");
    if skipped {
        println!("skipped: no GPU");
    }
    skipped
}

#[test]
fn layers_for_a_gpu_are_computed_where_there_is_none_too() {
    let model = fixture("llama.gguf");
    let words = ["run", "-m", &model, "-no-cnv", "-p", "the", "--temp", "0", "-n", "4"];
    for layers in ["99", "all", "auto", "1"] {
        let outcome = chaski(&[&words[..], &["-ngl", layers]].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let told = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("no usable GPU found, -ngl is ignored: ") || line.contains("offloaded"));
        assert_eq!(told.count(), 1, "{outcome:?}");
    }
    for quiet in [["-ngl", "0"], ["--device", "none"]] {
        assert!(!chaski(&[&words[..], &quiet].concat()).stderr.contains("GPU"));
    }
    assert!(complaint_of(&["run", "-m", &model, "-ngl", "-7"], 2).contains("-ngl"));
}

#[test]
fn devices_say_what_there_is_and_what_is_missing() {
    let text = stdout_of(&["devices"]);
    assert!(text.contains("gpu   "), "{text}");
    assert!(text.contains("libcuda.so.1 was not found") || text.contains("driver for CUDA"), "{text}");
    let report: Value = serde_json::from_str(&stdout_of(&["devices", "-o", "json"])).unwrap();
    let gpus: Vec<&Value> = report.as_array().unwrap().iter().filter(|entry| entry["device"] != "cpu").collect();
    assert!(gpus.iter().all(|gpu| gpu["name"].is_string() || gpu["missing"].is_string()), "{report}");
}

#[test]
fn two_places_are_compared_step_by_step() {
    let model = fixture("llama.gguf");
    let text = stdout_of(&["diff", "-m", &model, "--a", "cpu", "--b", "cpu"]);
    assert_eq!(text.matches("none is beyond what is declared").count(), 2, "{text}");
    assert!(text.contains("matmul") && text.contains("error up to 0.0e0"), "{text}");
    let text = stdout_of(&["diff", "-m", &model, "-p", "the stone"]);
    assert!(skipped(&text) || text.contains("none is beyond"), "{text}");
    let told = chaski(&["diff", "-m", &model, "-p", "the stone"]).stderr;
    assert!(!told.contains("-ngl"), "nobody gave it: {told}");
}

#[test]
fn a_shape_is_measured_on_a_gpu_or_not_at_all() {
    let words = ["bench", "--shape", "smollm2-135m", "--quant", "q4_0", "-p", "8", "-n", "2", "-r", "1"];
    let text = stdout_of(&words);
    assert!(skipped(&text) || text.contains("smollm2-135m Q4_0"), "{text}");
    assert!(!chaski(&words).stderr.contains("-ngl"), "nobody gave it");
    assert!(complaint_of(&["bench", "--shape", "gpt-9"], 2).contains("llama-3-8b"));
}
