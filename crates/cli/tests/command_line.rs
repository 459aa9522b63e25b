//! The program without a model: help, versions, reports of the machine, and mistakes in how it is called.

mod support;

use support::{chaski, complaint_of, stdout_of};

#[test]
fn help_shows_the_commands_and_their_flags() {
    let program = stdout_of(&["--help"]);
    for command in [
        "run",
        "serve",
        "bench",
        "perplexity",
        "tokenize",
        "inspect",
        "explain",
        "devices",
        "pull",
        "models",
        "techniques",
    ] {
        assert!(program.contains(command), "{command} is missing in:\n{program}");
        let page = stdout_of(&[command, "--help"]);
        assert!(page.contains(&format!("Usage: chaski {command}")) && page.contains("Examples:"), "{page}");
    }
    assert_eq!(stdout_of(&[]), program);
    assert_eq!(stdout_of(&["help", "run"]), stdout_of(&["run", "-h"]));
    assert!(stdout_of(&["--version"]).starts_with("chaski 0."));
}

/// A link with the name of one of llama.cpp's programs takes its place.
#[cfg(unix)]
#[test]
fn called_by_another_programs_name_it_does_that_programs_work() {
    for (name, command) in [
        ("llama-server", "serve"),
        ("llama-cli", "run"),
        ("llama-completion", "run"),
        ("llama-bench", "bench"),
        ("llama-perplexity", "perplexity"),
        ("llama-tokenize", "tokenize"),
    ] {
        let link = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_chaski"), &link).unwrap();
        let output = std::process::Command::new(&link).arg("--help").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), stdout_of(&[command, "--help"]), "{name}");
        let output = std::process::Command::new(&link).arg("--version").output().unwrap();
        assert!(output.stdout.starts_with(b"chaski 0."), "{name}: {output:?}");
    }
}

#[test]
fn the_flag_reference_and_completions_come_out() {
    let page = stdout_of(&["__docs", "flags"]);
    assert!(page.starts_with("# Flags") && page.contains("| `-m`, `--model` MODEL |"), "{}", &page[..200]);
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout_of(&["completions", shell]).contains("ctx-size"), "{shell}");
    }
    assert_eq!(stdout_of(&["run", "--completion-bash"]), stdout_of(&["completions", "bash"]));
    complaint_of(&["completions", "cmd"], 2);
}

#[test]
fn devices_tells_of_this_machine() {
    let list: serde_json::Value = serde_json::from_str(&stdout_of(&["devices", "-o", "json"])).unwrap();
    assert_eq!(list[0]["device"], "cpu");
    assert!(list[0]["num_threads"].as_u64().unwrap() >= 1);
    assert!(stdout_of(&["run", "--list-devices"]).contains("cores"));
}

#[test]
fn models_lists_the_names_that_can_be_pulled() {
    let text = stdout_of(&["models"]);
    assert!(text.contains("smollm2") && text.contains("qwen2.5-coder-1.5b"), "{text}");
    let list: Vec<serde_json::Value> = serde_json::from_str(&stdout_of(&["models", "-o", "json"])).unwrap();
    assert!(list.iter().any(|entry| entry["name"] == "smollm2" && entry["bytes"] == 98_362_432));
}

#[test]
fn mistakes_are_named_in_one_line() {
    for (words, said) in [
        (&["run", "--temprature", "1"][..], "--temprature: no such flag, did you mean"),
        (&["run", "m", "--top-k", "many"], "top_k (--top-k): expected a whole number"),
        (&["run", "m", "-c", "-5"], "-c: expected a number from 0"),
        (&["run", "m", "-ngl", "some"], "-ngl: expected a number"),
        (&["run", "m", "--lora", "a.gguf"], "--lora: not supported"),
        (&["bench", "m", "-o", "sql"], "-o: sql is not supported"),
        (&["devices", "-m", "x"], "-m: not a flag of `chaski devices`"),
        (&["rum"], "rum: no such command, did you mean `run`?"),
    ] {
        let line = complaint_of(words, 2);
        assert!(line.starts_with(said), "{words:?}: {line}");
    }
}

#[test]
fn flags_that_do_not_go_together_are_named() {
    for (words, said) in [
        (&["bench", "m", "-npl", "8", "-npp", "1"][..], "-ntg is missing"),
        (&["bench", "m", "-npl", "8", "-npp", "1", "-ntg", "1", "-d", "9"], "-d: belongs to the bench of one sequence"),
        (&["bench", "m", "-pps"], "-pps: says how several sequences are measured"),
    ] {
        let line = complaint_of(words, 1);
        assert!(line.starts_with(said), "{words:?}: {line}");
    }
}

#[test]
fn a_refused_variable_is_named() {
    let output = support::program().args(["run", "m"]).env("LLAMA_ARG_MMPROJ", "x.gguf").output().unwrap();
    let outcome = support::outcome(output);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.starts_with("error: LLAMA_ARG_MMPROJ: not supported"), "{outcome:?}");
}

#[test]
fn a_call_without_a_model_says_how_to_give_one() {
    for command in ["run", "bench", "tokenize", "inspect", "explain", "pull"] {
        let outcome = chaski(&[command]);
        assert_eq!(outcome.code, Some(1), "{command}: {outcome:?}");
        assert!(outcome.stderr.contains("given"), "{command}: {outcome:?}");
    }
}

#[test]
fn every_command_knows_the_techniques() {
    let page = stdout_of(&["techniques", "--technique", "all=auto"]);
    let list: Vec<serde_json::Value> = serde_json::from_str(&stdout_of(&["techniques", "-o", "json"])).unwrap();
    for entry in &list {
        let id = entry["id"].as_str().unwrap();
        assert!(page.contains(id) && entry["state"] == "off" && entry["reason"] == "not asked for", "{entry}");
    }
    for command in
        ["run", "bench", "perplexity", "tokenize", "inspect", "explain", "devices", "pull", "models", "techniques"]
    {
        let line = complaint_of(&[command, "--technique", "nosuch=on"], 1);
        assert!(line.starts_with("--technique nosuch: no such technique; there are "), "{command}: {line}");
        assert_eq!(line.matches("no such technique").count(), 1, "{line}");
        let line = complaint_of(&[command, "--technique", "nosuch=maybe"], 2);
        assert!(line.starts_with("--technique: nosuch: expected on, off or auto, got `maybe`"), "{command}: {line}");
    }
}
