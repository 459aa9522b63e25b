//! The table against llama.cpp's own list of options, and against itself.

use std::collections::HashMap;

use super::*;
use crate::command::{COMMANDS, Command};
use crate::settings::{Format, Plan, Source};

/// `PROGRAMS: NAMES` per line, as the programs' own `--help` print them.
const ORACLE: &str = include_str!("../../tests/data/oracle_flags.txt");

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn settings(line: &str) -> Settings {
    parse(&words(line), &|_| None).unwrap_or_else(|problem| panic!("{line}: {problem:?}")).1
}

fn text(settings: &Settings) -> Option<&str> {
    match &settings.prompt.source {
        Some(Source::Text(text)) => Some(text),
        _ => None,
    }
}

fn problem(line: &str) -> String {
    match parse(&words(line), &|_| None) {
        Err(Usage(text)) => text,
        Ok((action, _)) => panic!("{line} was taken as {action:?}"),
    }
}

#[test]
fn every_flag_of_the_oracle_is_implemented_or_refused() {
    let mut count = 0;
    for line in ORACLE.lines().filter(|line| !line.starts_with('#')) {
        let (programs, names) = line.split_once(": ").unwrap();
        for name in names.split(' ') {
            let rows: Vec<Flag> = all().filter(|flag| flag.spellings().any(|known| known == name)).collect();
            assert!(!rows.is_empty(), "{name} is not in the table");
            let has = |program| programs.split(',').any(|known| known == program);
            for (command, known) in [
                (Command::Run, has("completion") || has("cli")),
                (Command::Serve, has("server")),
                (Command::Bench, has("bench")),
            ] {
                let found = rows.iter().any(|flag| flag.commands.has(command));
                assert!(found || !known, "{name} is unknown to `{}`", command.row().name);
            }
            count += 1;
        }
    }
    assert!(count > 300, "the list of the oracle's flags is cut short: {count} names");
}

#[test]
fn a_name_means_one_thing_in_a_command() {
    for row in COMMANDS {
        let mut seen = HashMap::new();
        for flag in all().filter(|flag| flag.commands.has(row.command)) {
            for name in flag.spellings() {
                assert!(name.starts_with('-') && !name.contains('_'), "{name}");
                let before = seen.insert(name, flag.name());
                assert_eq!(before, None, "{name} stands twice in `{}`", row.name);
            }
        }
    }
}

#[test]
fn every_row_says_what_it_is_for() {
    for flag in all() {
        match flag.effect {
            Effect::Refused(why) => assert!(why.len() > 10 && !why.ends_with('.'), "{}: {why}", flag.name()),
            _ => assert!(flag.help.len() > 8 && !flag.help.ends_with('.'), "{}: {}", flag.name(), flag.help),
        }
        assert!(!flag.commands.names().is_empty(), "{}", flag.name());
    }
}

#[test]
fn help_and_reference_show_every_flag() {
    clap_command().debug_assert();
    let page = markdown();
    for flag in all() {
        assert!(page.contains(&format!("`{}`", flag.name())), "{}", flag.name());
    }
    let mut program = clap_command();
    let run = program.find_subcommand_mut("run").unwrap().render_help().to_string();
    for shown in ["-m, --model <MODEL>", "-ngl", "--top-k <N>", "[env LLAMA_ARG_TOP_K]", "--no-escape"] {
        assert!(run.contains(shown), "{shown} is missing in:\n{run}");
    }
}

#[test]
fn llama_cpp_spellings_are_understood() {
    let s = settings("run -m a.gguf -no-cnv -ngl 0 -fa on -ctk f32 -c 512 -n -2 -st -sys Hi --top_k 7 --temp=0.5");
    assert_eq!(s.model.spec.as_deref(), Some("a.gguf"));
    assert_eq!(s.chat.conversation, Some(false));
    assert_eq!((s.load.context, s.prompt.predict, s.chat.single_turn), (512, -2, true));
    assert_eq!(s.load.kv_types(), (kernels::KvType::F32, kernels::KvType::F16));
    assert_eq!(s.chat.system.as_deref(), Some("Hi"));
    assert!(s.sampling.is_set("top_k") && s.sampling.is_set("temperature"));
    assert_eq!(settings("explain m --plan exact -o json").load.plan, Plan::Exact);
    assert_eq!(settings("bench m --output-format jsonl -p 16-64*2 -pg 8,4").output.format, Format::JsonLines);
}

#[test]
fn the_last_of_two_wins_and_lists_grow() {
    let s = settings("run m --escape --no-escape -r A -r B -c 1 -c 2");
    assert!(!s.prompt.escape);
    assert_eq!(s.prompt.reverse_prompts, ["A", "B"]);
    assert_eq!(s.load.context, 2);
    let bench = settings("bench -m a,b -m c -p 1 -p 2-3 -ctk f16,f32 -npl 1,8").bench;
    assert_eq!((bench.models, bench.prompts), (vec!["a".into(), "b".into(), "c".into()], vec![1, 2, 3]));
    assert_eq!(bench.kv_types_k, [kernels::KvType::F16, kernels::KvType::F32]);
    assert_eq!(bench.batched.parallel, [1, 8]);
}

#[test]
fn words_beside_the_flags_are_model_and_prompt() {
    let s = settings("run smollm2 Hello -n 4");
    assert_eq!((s.model.spec.as_deref(), text(&s)), (Some("smollm2"), Some("Hello")));
    assert!(s.prompt.one_shot);
    let s = settings("run -m a.gguf Hello");
    assert_eq!((s.model.spec.as_deref(), text(&s)), (Some("a.gguf"), Some("Hello")));
    let s = settings("tokenize m -- -p");
    assert_eq!(text(&s), Some("-p"));
    assert!(problem("run m Hi -p Ho").starts_with("Hi: the prompt was given by a flag already"));
    assert!(problem("run a b c").starts_with("c: one word too many"));
}

#[test]
fn problems_name_the_flag_in_one_line() {
    for (line, expected) in [
        ("run -c x", "-c: expected a number from 0 to 16777216, got `x`"),
        ("run --top-p 2", "top_p (--top-p): 2 is out of range, allowed: a finite number from 0 to 1"),
        (
            "run --temprature 1",
            "--temprature: no such flag, did you mean `--temperature`?; `chaski run --help` lists them",
        ),
        ("run -m", "-m: needs a value (MODEL)"),
        ("run -v=1", "-v=1: no such flag"),
        ("run --offline=1", "--offline: takes no value"),
        ("run -ngl some", "-ngl: expected a number from 0 to 65536, got `some`"),
        ("run --device CUDA1", "--device: `CUDA1` is not supported: one GPU is used at most"),
        ("run -ctk q5_0", "-ctk: q5_0 is not offered; the cache holds f32, f16, bf16, q8_0 or q4_0"),
        ("run --grammar", "--grammar: needs a value (GBNF)"),
        ("tokenize --temp 1", "--temp: not a flag of `chaski tokenize` (it belongs to run, serve, ab, explain)"),
        ("serve --ssl-key-file x", "--ssl-key-file: not supported: put a proxy"),
        ("serve --cache-ram 8192", "--cache-ram: `8192` is not supported: the cache holds one context"),
        ("serve -ctxcp 4", "-ctxcp: `4` is not supported: there are no checkpoints"),
        ("serve --port 70000", "--port: expected a number from 0 to 65535"),
        ("serve --api-key ,", "--api-key: the list is empty"),
        ("serve --ui", "--ui: not supported: there is no web page yet"),
        ("benhc", "benhc: no such command, did you mean `bench`?"),
        ("-m a.gguf", "-m: a command comes first"),
    ] {
        let text = problem(line);
        assert!(text.starts_with(expected) && !text.contains('\n'), "{line}: {text}");
    }
}

#[test]
fn the_environment_gives_what_the_line_does_not() {
    let env = |name: &str| match name {
        "LLAMA_ARG_CTX_SIZE" => Some("64".to_owned()),
        "LLAMA_ARG_TOP_K" => Some("3".to_owned()),
        "LLAMA_ARG_OFFLINE" => Some("on".to_owned()),
        "LLAMA_ARG_NO_PERF" => Some(String::new()),
        _ => None,
    };
    let (_, s) = parse(&words("run m -n 1"), &env).unwrap();
    assert_eq!(s.load.context, 64);
    assert!(s.model.offline && !s.output.timings && s.sampling.is_set("top_k"));
    let (_, s) = parse(&words("run m -c 32 --perf"), &env).unwrap();
    assert_eq!((s.load.context, s.output.timings), (32, true));

    let refused = |name: &str| (name == "LLAMA_ARG_RPC").then(|| "host:1".to_owned());
    let Err(Usage(text)) = parse(&words("run m"), &refused) else { panic!("accepted") };
    assert!(text.starts_with("LLAMA_ARG_RPC: not supported"), "{text}");
}

#[test]
fn help_wins_over_the_rest_of_the_line() {
    let action = |line: &str| parse(&words(line), &|_| None).unwrap().0;
    assert_eq!(action("run m --temp 1 -h"), Action::Help(Some(Command::Run)));
    assert_eq!(action("help bench"), Action::Help(Some(Command::Bench)));
    assert_eq!(action("--version"), Action::Version);
    assert_eq!(action(""), Action::Help(None));
    assert_eq!(action("run --list-devices"), Action::Do(Command::Devices));
}
