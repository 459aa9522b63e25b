//! Every command on tiny models with random weights: what they print, and that the ways of computing agree.

mod support;

use serde_json::Value;
use support::{chaski, chaski_with_input, fixture, program, scratch, stdout_of};

const GREEDY: [&str; 4] = ["--temp", "0", "-n", "12"];

#[test]
fn tokens_are_shown_as_llama_tokenize_shows_them() {
    let model = fixture("llama.gguf");
    assert_eq!(stdout_of(&["tokenize", &model, "<|im_end|>", "--ids"]), "[4]\n");
    assert_ne!(stdout_of(&["tokenize", &model, "<|im_end|>", "--ids", "--no-parse-special"]), "[4]\n");
    let text = stdout_of(&["tokenize", &model, "the", "--show-count"]);
    assert!(text.contains(" -> '") && text.contains("Total number of tokens: "), "{text}");
    let from_stdin = chaski_with_input(&["tokenize", &model, "--stdin", "--ids"], "the in");
    assert_eq!(from_stdin.stdout, stdout_of(&["tokenize", &model, "-p", "the in", "--ids"]));
    // A model that begins every text with BOS, unless it is told not to.
    let spm = fixture("llama-spm.gguf");
    assert!(stdout_of(&["tokenize", &spm, "a", "--ids"]).starts_with("[1, "));
    assert!(!stdout_of(&["tokenize", &spm, "a", "--ids", "--no-bos"]).starts_with("[1, "));
}

#[test]
fn a_file_keeps_its_newline_in_tokenize_and_loses_it_in_run() {
    let model = fixture("llama.gguf");
    let path = scratch("newline.txt", "the\n");
    let path = path.to_str().unwrap();
    assert_eq!(
        stdout_of(&["tokenize", &model, "-f", path, "--ids"]),
        stdout_of(&["tokenize", &model, "-p", r"the\n", "--ids"])
    );
    let run = |flags: &[&str]| stdout_of(&[&["run", "-m", &model, "-no-cnv"], &GREEDY[..], flags].concat());
    assert_eq!(run(&["-f", path]), run(&["-p", "the"]));
}

#[test]
fn inspect_reports_metadata_and_tensors() {
    let report: Value = serde_json::from_str(&stdout_of(&["inspect", &fixture("gemma3.gguf"), "-o", "json"])).unwrap();
    assert_eq!(report["metadata"]["general.architecture"], "gemma3");
    assert_eq!(report["memory"]["context"], 512);
    assert!(report["tensors"].as_array().unwrap().iter().any(|tensor| tensor["name"] == "token_embd.weight"));
    let text = stdout_of(&["inspect", &fixture("gemma3.gguf"), "-c", "64"]);
    assert!(text.contains("for 64 tokens (-ctk f16 -ctv f16)"), "{text}");
}

#[test]
fn a_completion_is_the_prompt_and_what_follows() {
    let model = fixture("llama.gguf");
    let words = [&["run", "-m", &model, "-no-cnv", "-p", "the rain"], &GREEDY[..]].concat();
    let whole = chaski(&words);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.stdout.starts_with("the rain") && whole.stdout.ends_with('\n'), "{whole:?}");
    assert!(whole.stderr.contains("tokens/s"), "{whole:?}");
    let rest = stdout_of(&[&words[..], &["--no-display-prompt"]].concat());
    assert_eq!(whole.stdout, format!("the rain{rest}"));
    let quiet = chaski(&[&words[..], &["--no-perf"]].concat());
    assert_eq!((quiet.stdout, quiet.stderr), (whole.stdout, String::new()));
}

#[test]
fn all_architectures_answer_and_the_plans_agree() {
    for name in ["llama", "llama-q8_0", "llama-f16", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"] {
        let model = fixture(&format!("{name}.gguf"));
        let run = |flags: &[&str]| {
            stdout_of(&[&["run", "-m", &model, "-no-cnv", "-p", "the rain"], &GREEDY[..], flags].concat())
        };
        let exact = run(&["--plan", "exact"]);
        assert!(exact.len() > "the rain\n".len(), "{name}: {exact:?}");
        assert_eq!(exact, run(&["--plan", "exact", "--isa", "scalar"]), "{name}");
        assert_eq!(exact, run(&["--plan", "reference"]), "{name}");
        assert_eq!(exact, run(&["--plan", "exact", "-t", "1", "-ub", "3"]), "{name}");
    }
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let model = fixture("llama.gguf");
    let run =
        |seed: &str| stdout_of(&["run", "-m", &model, "-no-cnv", "-p", "the", "-n", "24", "--temp", "2", "-s", seed]);
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn generation_stops_where_it_is_told() {
    let model = fixture("llama.gguf");
    let run =
        |flags: &[&str]| chaski(&[&["run", "-m", &model, "-no-cnv", "-p", "the", "--ignore-eos"], flags].concat());
    let full = run(&["-c", "16", "--temp", "0"]);
    assert_eq!(full.code, Some(0), "{full:?}");
    assert!(full.stderr.contains("context of 16 tokens is full"), "{full:?}");
    let shifted = run(&["-c", "16", "--temp", "0", "-n", "40", "--context-shift"]);
    assert!(!shifted.stderr.contains("is full") && shifted.stdout.len() > full.stdout.len(), "{shifted:?}");
    // A reverse prompt ends the text and is not part of it.
    let text = run(&["--temp", "0", "-n", "16", "--no-display-prompt"]).stdout;
    let letters: Vec<char> = text.trim_end().chars().collect();
    let stop: String = letters[letters.len() / 2..letters.len() / 2 + 2].iter().collect();
    let stopped = run(&["--temp", "0", "-n", "16", "--no-display-prompt", "-r", &stop]).stdout;
    assert_eq!(stopped.trim_end_matches('\n'), &text[..text.find(&stop).unwrap()], "{text:?} stopped at {stop:?}");
    let nothing = run(&["-n", "0"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(0), "the\n"));
}

#[test]
fn a_chat_reads_messages_and_commands_from_a_pipe() {
    let model = fixture("llama.gguf");
    let words = [&["run", &model], &GREEDY[..]].concat();
    let chat = chaski_with_input(&words, "the rain\n/status\n/regen\n/clear\n/help\nthe rain\n/exit\nnever\n");
    assert_eq!(chat.code, Some(0), "{chat:?}");
    assert!(chat.stderr.contains("2 messages, ") && chat.stderr.contains("/read FILE"), "{chat:?}");
    let answers: Vec<&str> = chat.stdout.lines().collect();
    let once = stdout_of(&[&words[..], &["the rain"]].concat());
    let expected = once.repeat(3);
    assert_eq!(answers, expected.lines().collect::<Vec<_>>(), "the same message anew gets the same answer");
    let single = chaski_with_input(&[&words[..], &["-st"]].concat(), "the rain\nnever\n");
    assert_eq!(single.stdout, once);
    let continued = chaski_with_input(&[&words[..], &["-st"]].concat(), "the \\\nrain\n");
    assert_eq!(continued.code, Some(0), "{continued:?}");
}

#[test]
fn the_system_message_and_the_template_reach_the_model() {
    let model = fixture("llama.gguf");
    let tokens = |flags: &[&str]| {
        let words = [&["run", &model, "the", "--verbose-prompt", "-n", "1", "--no-perf"], flags].concat();
        let outcome = chaski(&words);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.stderr
    };
    assert!(tokens(&["-sys", "in a"]).len() > tokens(&[]).len());
    assert!(tokens(&["--chat-template", "{{ messages[0].content }}!"]).contains(" -> '!'"));
    assert_ne!(tokens(&["--chat-template", "llama3"]), tokens(&["--chat-template", "chatml"]));
    let unknown = chaski(&["run", &model, "the", "--chat-template", "nosuch"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("nosuch"), "{unknown:?}");
    let broken = chaski(&["run", &model, "the", "--chat-template", "{% for"]);
    assert!(broken.code == Some(1) && broken.stderr.contains("chat template"), "{broken:?}");
}

#[test]
fn explain_gives_every_step_a_reason() {
    let words = ["explain", &fixture("llama-q8_0.gguf"), "-o", "json"];
    let report: Value = serde_json::from_str(&stdout_of(&words)).unwrap();
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() > 10);
    for step in steps {
        for field in ["op", "shape", "variant", "exactness", "reason"] {
            assert!(step[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is missing in {step}");
        }
    }
    let scalar = stdout_of(&["explain", &fixture("llama-q8_0.gguf"), "--plan", "reference"]);
    assert!(scalar.contains("reference"), "{scalar}");
}

#[test]
fn explain_says_what_begins_the_sampler_chain() {
    let explain = |words: &[&str]| {
        let model = fixture("llama.gguf");
        let words = [&["explain", &model, "--technique", "flash_sampling=on"], words].concat();
        stdout_of(&words)
    };
    let begun = explain(&[]);
    assert!(begun.contains("  top_k → top_p → min_p → temperature → draw\n  top_k by flash_sampling\n"), "{begun}");
    let greedy = explain(&["--temp", "0"]);
    assert!(greedy.contains("\n  top_k → top_p → min_p → temperature by flash_sampling\n"), "{greedy}");
    let refused = explain(&["--mirostat", "2"]);
    assert!(refused.contains("\n  the chain itself, not flash_sampling: mirostat"), "{refused}");
}

#[test]
fn the_same_answer_with_sorting_free_sampling() {
    let answer = |words: &[&str]| {
        let model = fixture("llama.gguf");
        let first = ["run", &model, "the rain", "-n", "24", "--seed", "3", "-no-cnv", "--samplers"];
        stdout_of(&[&first, words].concat())
    };
    for samplers in ["top_k;top_p;min_p;temperature", "penalties;top_p;temperature", "temperature"] {
        let chain = answer(&[samplers, "--repeat-penalty", "1.2", "--technique", "flash_sampling=off"]);
        assert!(chain.len() > 10, "{chain}");
        assert_eq!(answer(&[samplers, "--repeat-penalty", "1.2", "--technique", "flash_sampling=on"]), chain);
    }
}

#[test]
fn bench_measures_what_it_is_asked_for() {
    let model = fixture("llama.gguf");
    let words =
        ["bench", &model, "-p", "8", "-n", "4", "-pg", "4,2", "-d", "0,16", "-r", "2", "-t", "1,2", "-o", "json"];
    let list: Vec<Value> = serde_json::from_str(&stdout_of(&words)).unwrap();
    assert_eq!(list.len(), 12);
    for row in &list {
        assert!(row["avg_ts"].as_f64().unwrap() > 0.0 && row["samples_ns"].as_array().unwrap().len() == 2, "{row}");
    }
    assert_eq!((&list[0]["n_prompt"], &list[1]["n_gen"], &list[3]["n_depth"]), (&8.into(), &4.into(), &16.into()));
    let table = stdout_of(&["bench", &model, "-p", "8", "-n", "4", "-r", "1"]);
    assert!(table.contains("|             pp8 |") && table.contains("|             tg4 |"), "{table}");
}

#[test]
fn bench_measures_several_sequences_at_once() {
    let model = fixture("llama.gguf");
    let words = ["bench", &model, "-npp", "8,40", "-ntg", "4", "-npl", "1,3", "-ub", "16", "-o", "jsonl"];
    for more in [&[][..], &["-pps"], &["-tgs"], &["-pps", "-tgs", "-c", "100"]] {
        let out = stdout_of(&[&words[..], more].concat());
        let rows: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows.len(), 4, "{out}");
        let shared = more.contains(&"-pps");
        assert_eq!(rows[3]["n_kv"], if shared { 52 } else { 132 }, "{out}");
        assert!(rows.iter().all(|row| row["speed_pp"].as_f64() > Some(0.0) && row["speed_tg"].as_f64() > Some(0.0)));
    }
    let table = stdout_of(&["bench", &model, "-npp", "8", "-ntg", "4", "-npl", "2"]);
    assert!(
        table.starts_with("|    PP |     TG |    B |") && table.contains("\n|     8 |      4 |    2 |     24 |"),
        "{table}"
    );
}

#[test]
fn perplexity_ends_in_llama_perplexitys_last_line() {
    let model = fixture("llama.gguf");
    let text = scratch("text.txt", "the rain in the plain and a thin train to the inn ".repeat(20));
    let words = ["perplexity", &model, "-f", text.to_str().unwrap(), "-c", "32", "--chunks", "3"];
    let out = stdout_of(&words);
    assert!(out.starts_with("[1]") && out.contains(",[3]") && !out.contains("[4]"), "{out}");
    let last = out.lines().last().unwrap();
    let (value, uncertainty) = last.strip_prefix("Final estimate: PPL = ").unwrap().split_once(" +/- ").unwrap();
    assert!(value.parse::<f64>().unwrap() > 1.0 && uncertainty.parse::<f64>().unwrap() > 0.0, "{last}");

    let base = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny.kld");
    let base = base.to_str().unwrap();
    let saved = stdout_of(&[&words[..], &["--plan", "exact", "--kl-divergence-base", base]].concat());
    assert!(saved.contains("Final estimate"), "{saved}");
    let same = ["perplexity", &model, "--plan", "exact", "--kl-divergence-base", base, "--kl-divergence"];
    let report = stdout_of(&same);
    assert!(report.contains("Same top p: 100.000"), "{report}");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let mut child = program()
        .args([
            "run",
            "-m",
            &fixture("llama.gguf"),
            "-no-cnv",
            "-p",
            "the",
            "--ignore-eos",
            "-n",
            "400",
            "--context-shift",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Gone before the model is loaded, so the first write finds nobody.
    drop(child.stdout.take());
    let outcome = support::outcome(child.wait_with_output().unwrap());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(141), ""), "{outcome:?}");
}

#[test]
fn bench_says_where_the_time_went() {
    let model = fixture("llama.gguf");
    let words = ["bench", "-m", &model, "--ops", "-p", "16", "-n", "4", "-d", "8", "-r", "2"];
    let list: Value = serde_json::from_str(&stdout_of(&[&words[..], &["-o", "json"]].concat())).unwrap();
    let ops = |test: usize| list[test]["ops"].as_array().unwrap().clone();
    let matmul = |test: usize| ops(test).into_iter().find(|row| row["op"] == "matmul").unwrap();
    // Two samples of 16 rows in one step each; two of four steps of one row. What fills the context does not count.
    assert_eq!((&matmul(0)["regime"], &matmul(0)["steps"]), (&"prefill".into(), &2.into()));
    assert_eq!((&matmul(1)["regime"], &matmul(1)["steps"]), (&"decode".into(), &8.into()));
    assert!(ops(0).iter().all(|row| row["regime"] == "prefill" && row["time_us"].as_f64() > Some(0.0)));
    let per_row = |row: &Value| row["ops"].as_f64().unwrap() / row["tokens"].as_f64().unwrap();
    assert!(per_row(&matmul(0)) > 0.0);
    let text = stdout_of(&words);
    assert!(text.contains("pp16 @ d8\nregime") && text.contains("% ceiling"), "{text}");
    let complaint = support::complaint_of(&[&words[..], &["-o", "csv"]].concat(), 1);
    assert!(complaint.contains("--ops"), "{complaint}");

    // Of several sequences, the steps that generate; those of the prompts where nothing is.
    let steps = |generated: &str| {
        let words = ["bench", "-m", &model, "--ops", "-npp", "16", "-npl", "3", "-o", "jsonl", "-ntg", generated];
        let row: Value = serde_json::from_str(&stdout_of(&words)).unwrap();
        let ops = row["ops"].as_array().unwrap().clone();
        let embed = ops.into_iter().find(|row| row["op"] == "embed").unwrap();
        [&embed["steps"], &embed["tokens"]].map(|count| count.as_u64().unwrap())
    };
    assert_eq!((steps("5"), steps("0")), ([5, 15], [1, 48]));
    let several = stdout_of(&["bench", "-m", &model, "--ops", "-npp", "16", "-npl", "3", "-ntg", "5"]);
    assert!(several.contains("\npp16+tg5 x 3\nregime"), "{several}");
}

#[test]
fn verbose_runs_end_with_the_same_table() {
    let model = fixture("llama.gguf");
    let words = [&["run", "-m", &model, "-no-cnv", "-p", "the rain"], &GREEDY[..]].concat();
    let verbose = chaski(&[&words[..], &["-v"]].concat());
    assert!(verbose.stderr.contains("us/step") && verbose.stderr.contains("decode"), "{verbose:?}");
    assert!(!chaski(&words).stderr.contains("us/step"));
}

#[test]
fn ceilings_are_measured_once_and_kept() {
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("ceilings");
    let _ = std::fs::remove_dir_all(&cache);
    let run = |words: &[&str]| {
        let output = program().args(words).env("CHASKI_CACHE", &cache).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let bench = ["bench", "-m", &fixture("llama.gguf"), "--ops", "-p", "8", "-n", "0", "-r", "1"];
    assert!(run(&["devices"]).contains("chaski devices --measure"));
    assert!(run(&bench).contains("run `chaski devices --measure`"));
    assert!(run(&["devices", "--measure"]).contains("GB/s reading memory"));
    let report: Value = serde_json::from_str(&run(&["devices", "-o", "json"])).unwrap();
    for figure in ["read_gbps", "int8_gops", "f32_gflops"] {
        assert!(report[0]["ceilings"][figure].as_f64() > Some(0.0), "{report}");
    }
    assert!(!run(&bench).contains("devices --measure"));
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1, "no partial file is left");
}

#[test]
fn numbers_that_go_wrong_are_mended_and_told() {
    let model = fixture("llama.gguf");
    let words = [&["run", "-m", &model, "-no-cnv", "-p", "the rain", "--no-perf"], &GREEDY[..]].concat();
    let undisturbed = chaski(&words);
    let with = |flags: &[&str]| chaski(&[&words[..], flags].concat());
    let mended = with(&["--inject", "nan@step=3-5,op=matmul,layer=1"]);
    assert_eq!((mended.code, &mended.stdout), (Some(0), &undisturbed.stdout));
    assert!(mended.stderr.contains("is off for this model: 3 steps redone, last NaN in matmul"), "{mended:?}");
    let once = with(&["--inject", "nan@step=5,op=matmul"]);
    assert_eq!(once.stdout, undisturbed.stdout);
    assert!(once.stderr.contains("at step 5") && once.stderr.contains("redone on the exact plan"), "{once:?}");
    let blind = with(&["--inject", "nan@step=3,op=matmul,layer=1", "--no-watch"]);
    assert!(blind.code != Some(0) || blind.stdout != undisturbed.stdout, "{blind:?}");
    for (fault, named) in
        [("nan@step=1,op=norm,layer=99", "layer 99"), ("nan", "KIND@step=N"), ("nan@step=1,op=x", "`x`")]
    {
        let refused = with(&["--inject", fault]);
        assert!(
            refused.code != Some(0) && refused.stderr.contains("--inject") && refused.stderr.contains(named),
            "{refused:?}"
        );
    }
}
