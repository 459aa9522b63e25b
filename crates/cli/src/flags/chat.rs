//! Flags of the conversation: template, system message, turns.

use super::{Flag, Group};
use crate::command::Commands;

const GROUP: Group = Group::Chat;
const RUN: Commands = Commands::RUN;
const BOTH: Commands = RUN.and(Commands::SERVE);

pub const FLAGS: &[Flag] = &[
    Flag::switch(
        &["-cnv", "--conversation"],
        "chat, or complete the prompt as it is (default: chat if the model has a template)",
    )
    .off(&["-no-cnv", "--no-conversation"])
    .on(GROUP, RUN)
    .set(|s, g| {
        s.chat.conversation = Some(g.on);
        Ok(())
    }),
    Flag::switch(&["-st", "--single-turn"], "end after one answer").on(GROUP, RUN).set(|s, _| {
        s.chat.single_turn = true;
        Ok(())
    }),
    Flag::value(&["-sys", "--system-prompt"], "TEXT", "system message of the conversation").on(GROUP, RUN).set(
        |s, g| {
            s.chat.system = Some(g.text.to_owned());
            Ok(())
        },
    ),
    Flag::value(&["-sysf", "--system-prompt-file"], "FILE", "file with the system message").on(GROUP, RUN).set(
        |s, g| {
            let text = std::fs::read_to_string(g.text).map_err(|problem| format!("{}: {problem}", g.text))?;
            s.chat.system = Some(text.strip_suffix('\n').unwrap_or(&text).to_owned());
            Ok(())
        },
    ),
    Flag::value(
        &["--chat-template"],
        "TEMPLATE",
        "Jinja text, or the name of a built-in template (default: the model's own)",
    )
    .env("LLAMA_ARG_CHAT_TEMPLATE")
    .on(GROUP, BOTH)
    .set(|s, g| {
        s.chat.template = Some(g.filled()?);
        Ok(())
    }),
    Flag::value(&["--chat-template-file"], "FILE", "file with a Jinja template")
        .env("LLAMA_ARG_CHAT_TEMPLATE_FILE")
        .on(GROUP, BOTH)
        .set(|s, g| {
            s.chat.template_file = Some(g.filled()?.into());
            Ok(())
        }),
    Flag::value(&["--chat-template-kwargs"], "JSON", "object with further variables for the template")
        .env("LLAMA_ARG_CHAT_TEMPLATE_KWARGS")
        .on(GROUP, BOTH)
        .set(|s, g| {
            let extra: serde_json::Map<_, _> =
                serde_json::from_str(g.text).map_err(|problem| format!("not a JSON object: {problem}"))?;
            s.chat.template_kwargs.extend(extra);
            Ok(())
        }),
    Flag::switch(&["--jinja"], "templates are Jinja (always so here)")
        .off(&["--no-jinja"])
        .env("LLAMA_ARG_JINJA")
        .on(GROUP, BOTH)
        .set(|_, g| g.must_be_on("every template is run as Jinja; leave it out")),
    Flag::switch(&["-mli", "--multiline-input"], "a line ends a message only if it ends in \\").on(GROUP, RUN).set(
        |s, _| {
            s.chat.multiline = true;
            Ok(())
        },
    ),
    Flag::switch(&["-i", "--interactive"], "go back and forth without a template; -r says where your turn begins")
        .on(GROUP, RUN)
        .set(|s, _| {
            s.chat.interactive = true;
            Ok(())
        }),
    Flag::switch(&["-if", "--interactive-first"], "the same, and you begin").on(GROUP, RUN).set(|s, _| {
        s.chat.interactive_first = true;
        Ok(())
    }),
    Flag::value(&["--in-prefix"], "TEXT", "without a template: what stands before a line you type").on(GROUP, RUN).set(
        |s, g| {
            s.chat.in_prefix = g.text.to_owned();
            Ok(())
        },
    ),
    Flag::value(&["--in-suffix"], "TEXT", "without a template: what stands behind a line you type").on(GROUP, RUN).set(
        |s, g| {
            s.chat.in_suffix = g.text.to_owned();
            Ok(())
        },
    ),
    Flag::switch(&["--in-prefix-bos"], "without a template: begin each line you type with BOS").on(GROUP, RUN).set(
        |s, _| {
            s.chat.in_prefix_bos = true;
            Ok(())
        },
    ),
    Flag::switch(&["--simple-io"], "plain input and output: no line editing, no colours").on(GROUP, RUN).set(|s, _| {
        s.chat.simple_io = true;
        Ok(())
    }),
    Flag::switch(&["--skip-chat-parsing"], "print the answer as the model wrote it (always so here)")
        .off(&["--no-skip-chat-parsing"])
        .env("LLAMA_ARG_SKIP_CHAT_PARSING")
        .on(GROUP, BOTH)
        .set(|_, g| g.must_be_on("answers are never parsed here; leave it out")),
    Flag::value(&["--reasoning-format"], "none", "what becomes of <think> parts: they are printed as they come")
        .env("LLAMA_ARG_THINK")
        .on(GROUP, BOTH)
        .set(|_, g| g.only(&["none"], "answers are printed as they come; give none")),
    Flag::value(
        &["-rea", "--reasoning"],
        "on|off|auto",
        "tell the template whether the model may think first (default: auto)",
    )
    .env("LLAMA_ARG_REASONING")
    .on(GROUP, BOTH)
    .set(|s, g| {
        if let Some(on) = g.on_off_auto()? {
            s.chat.template_kwargs.insert("enable_thinking".into(), on.into());
        }
        Ok(())
    }),
    Flag::value(
        &["--reasoning-effort"],
        "LEVEL",
        "tell the template how much to think, as low or high (default: default)",
    )
    .env("LLAMA_ARG_REASONING_EFFORT")
    .on(GROUP, BOTH)
    .set(|s, g| {
        let level = g.filled()?;
        if level != "default" {
            s.chat.template_kwargs.insert("reasoning_effort".into(), level.into());
        }
        Ok(())
    }),
    Flag::switch(
        &["--reasoning-preserve"],
        "tell the template to keep the thoughts of earlier answers (default: its own choice)",
    )
    .off(&["--no-reasoning-preserve"])
    .env("LLAMA_ARG_REASONING_PRESERVE")
    .on(GROUP, BOTH)
    .set(|s, g| {
        s.chat.template_kwargs.insert("preserve_reasoning".into(), g.on.into());
        Ok(())
    }),
];
