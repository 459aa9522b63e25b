//! Flags of `diff`, `perplexity`, `tokenize` and `devices` alone.

use super::compute::MOST_TOKENS;
use super::{Flag, Group};
use crate::command::Commands;
use crate::settings::DiffPlace;

const GROUP: Group = Group::Command;

pub const FLAGS: &[Flag] = &[
    Flag::value(&["--a"], "cpu|cuda", "the place that is right by definition (default: cpu)")
        .on(GROUP, Commands::DIFF)
        .set(|s, g| {
            s.diff.a = g.choice(DiffPlace::NAMES)?;
            Ok(())
        }),
    Flag::value(&["--b"], "cpu|cuda", "the place that is held against it (default: cuda)")
        .on(GROUP, Commands::DIFF)
        .set(|s, g| {
            s.diff.b = g.choice(DiffPlace::NAMES)?;
            Ok(())
        }),
    Flag::value(&["--chunks"], "N", "chunks to measure, each one context long (default: -1, the whole text)")
        .on(GROUP, Commands::PERPLEXITY.and(Commands::AB))
        .set(|s, g| {
            s.perplexity.chunks = g.number(-1..=MOST_TOKENS as i64)?.max(0) as usize;
            Ok(())
        }),
    Flag::value(
        &["--kl-divergence-base", "--save-all-logits"],
        "FILE",
        "write the distributions here; with --kl-divergence, read them",
    )
    .on(GROUP, Commands::PERPLEXITY)
    .set(|s, g| {
        s.perplexity.kl_base = Some(g.filled()?.into());
        Ok(())
    }),
    Flag::switch(&["--kl-divergence"], "compare with the distributions in --kl-divergence-base")
        .on(GROUP, Commands::PERPLEXITY)
        .set(|s, _| {
            s.perplexity.kl_divergence = true;
            Ok(())
        }),
    Flag::value(&["--ppl-stride"], "0", "stride of the windows: only whole chunks, 0")
        .on(GROUP, Commands::PERPLEXITY)
        .set(|_, g| g.only(&["0"], "chunks do not overlap here; leave it out")),
    Flag::value(&["--ppl-output-type"], "0", "what is printed for each chunk: the running value, 0")
        .on(GROUP, Commands::PERPLEXITY)
        .set(|_, g| g.only(&["0"], "there is one output form; leave it out")),
    Flag::switch(&["--measure"], "measure what memory and arithmetic reach at most, and keep it for `bench --ops`")
        .on(GROUP, Commands::DEVICES)
        .set(|s, _| {
            s.measure = true;
            Ok(())
        }),
    Flag::switch(&["--ids"], "print a list of ids only: [1, 2, 3]").on(GROUP, Commands::TOKENIZE).set(|s, _| {
        s.tokenize.ids_only = true;
        Ok(())
    }),
    Flag::switch(&["--stdin"], "read the text from standard input").on(GROUP, Commands::TOKENIZE).set(|s, _| {
        s.tokenize.stdin = true;
        Ok(())
    }),
    Flag::switch(&["--no-bos"], "put no BOS token first, even if the model wants one")
        .on(GROUP, Commands::TOKENIZE)
        .set(|s, _| {
            s.tokenize.no_bos = true;
            Ok(())
        }),
    Flag::switch(&["--no-parse-special"], "take the names of control tokens as plain text")
        .on(GROUP, Commands::TOKENIZE)
        .set(|s, _| {
            s.tokenize.no_parse_special = true;
            Ok(())
        }),
    Flag::switch(&["--show-count"], "print the number of tokens at the end").on(GROUP, Commands::TOKENIZE).set(
        |s, _| {
            s.tokenize.show_count = true;
            Ok(())
        },
    ),
];
