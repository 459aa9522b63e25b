//! Flags of the prompt: where the text comes from, and when generation stops.

use super::{Flag, Group};
use crate::command::Commands;
use crate::settings::Source;

const GROUP: Group = Group::Prompt;
const ESCAPED: Commands = TEXT.and(Commands::SERVE);
const TEXT: Commands = Commands::RUN.and(Commands::TOKENIZE);
const FILE: Commands = TEXT.and(Commands::PERPLEXITY).and(Commands::DIFF);
const RUN: Commands = Commands::RUN.and(Commands::SERVE);

pub const FLAGS: &[Flag] = &[
    Flag::value(&["-p", "--prompt"], "TEXT", "the prompt; in a chat, the first message").on(GROUP, FILE).set(|s, g| {
        s.prompt.source = Some(Source::Text(g.text.to_owned()));
        Ok(())
    }),
    Flag::value(&["-f", "--file"], "FILE", "file with the prompt; one newline at its end is dropped")
        .on(GROUP, FILE)
        .set(|s, g| {
            s.prompt.source = Some(Source::File(g.filled()?.into()));
            Ok(())
        }),
    Flag::value(&["-bf", "--binary-file"], "FILE", "file with the prompt; nothing is dropped").on(GROUP, FILE).set(
        |s, g| {
            s.prompt.source = Some(Source::BinaryFile(g.filled()?.into()));
            Ok(())
        },
    ),
    Flag::switch(
        &["-e", "--escape"],
        "read \\n, \\t, \\\\, \\x41 and the like in prompts (default for run and tokenize)",
    )
    .off(&["--no-escape"])
    .on(GROUP, ESCAPED)
    .set(|s, g| {
        s.prompt.escape = g.on;
        Ok(())
    }),
    Flag::value(
        &["-n", "--predict", "--n-predict"],
        "N",
        "tokens to generate (default: -1, until the model stops; -2: until the context is full)",
    )
    .env("LLAMA_ARG_N_PREDICT")
    .on(GROUP, RUN)
    .set(|s, g| {
        s.prompt.predict = g.number(-2..=i64::from(i32::MAX))?;
        Ok(())
    }),
    Flag::value(&["-r", "--reverse-prompt"], "TEXT", "stop at this text; may be given several times")
        .on(GROUP, RUN)
        .set(|s, g| {
            s.prompt.reverse_prompts.push(g.filled()?);
            Ok(())
        }),
    Flag::switch(&["--context-shift"], "when the context is full, drop its older half and go on (default: stop)")
        .off(&["--no-context-shift"])
        .env("LLAMA_ARG_CONTEXT_SHIFT")
        .on(GROUP, RUN)
        .set(|s, g| {
            s.prompt.context_shift = g.on;
            Ok(())
        }),
    Flag::value(&["--keep"], "N", "prompt tokens that a context shift never drops (default: 0, -1: all)")
        .on(GROUP, RUN)
        .set(|s, g| {
            s.prompt.keep = g.number(-1..=i64::from(i32::MAX))?;
            Ok(())
        }),
    Flag::switch(
        &["--warmup"],
        "run one step before the prompt, so that the timings are of a warm machine (default: off)",
    )
    .off(&["--no-warmup"])
    .on(GROUP, Commands::RUN)
    .set(|s, g| {
        s.prompt.warmup = g.on;
        Ok(())
    }),
    Flag::value(&["-cram", "--cache-ram"], "0", "memory for prompts beside the context: not offered, 0")
        .env("LLAMA_ARG_CACHE_RAM")
        .on(GROUP, RUN)
        .set(|_, g| g.only(&["0"], "the cache holds one context; -c sets its size")),
    Flag::value(
        &["-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"],
        "0",
        "checkpoints of the context: not offered, 0",
    )
    .env("LLAMA_ARG_CTX_CHECKPOINTS")
    .on(GROUP, RUN)
    .set(|_, g| g.only(&["0"], "there are no checkpoints of the context; leave it out")),
];
