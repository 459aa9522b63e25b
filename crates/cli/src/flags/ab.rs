//! Flags of `ab` alone: the two configurations, what is measured, what counts, where the report goes.

use super::compute::MOST_TOKENS;
use super::{Flag, Given, Group, side};
use crate::command::Commands;

const GROUP: Group = Group::Command;
const AB: Commands = Commands::AB;
/// More sequences at once than this tell nothing new about a configuration, and their logits take much memory.
const MOST_SEQUENCES: usize = 64;

pub const FLAGS: &[Flag] = &[
    Flag::value(&["--a"], "FLAGS", "the first configuration, as flags in quotes (default: the baseline)")
        .on(GROUP, AB)
        .set(|s, g| {
            s.ab.a = Some(side::checked(g.text)?);
            Ok(())
        }),
    Flag::value(
        &["--b"],
        "FLAGS",
        "the second configuration (default: the baseline with every stable technique, --technique all=auto)",
    )
    .on(GROUP, AB)
    .set(|s, g| {
        s.ab.b = Some(side::checked(g.text)?);
        Ok(())
    }),
    Flag::value(&["--max-loss"], "PERCENT", "perplexity that may be lost against the exact plan (default: 1)")
        .on(GROUP, AB)
        .set(|s, g| {
            s.ab.limits.max_loss = share(g)?;
            Ok(())
        }),
    Flag::value(&["--min-speedup"], "PERCENT", "what b must gain at least to pay (default: 2)").on(GROUP, AB).set(
        |s, g| {
            s.ab.limits.min_speedup = share(g)?;
            Ok(())
        },
    ),
    Flag::value(&["-p", "--n-prompt"], "N", "length of the prompt that is timed (default: 512)").on(GROUP, AB).set(
        |s, g| {
            s.ab.prompt = g.number(1..=MOST_TOKENS)?;
            Ok(())
        },
    ),
    Flag::value(&["-n", "--n-gen"], "N", "tokens generated in one measurement (default: 8)").on(GROUP, AB).set(
        |s, g| {
            s.ab.generate = g.number(1..=MOST_TOKENS)?;
            Ok(())
        },
    ),
    Flag::value(
        &["-d", "--n-depth"],
        "N,…",
        "tokens in the context before generation is timed (default: 128,1024,4096, as far as the model's context goes)",
    )
    .on(GROUP, AB)
    .set(|s, g| {
        s.ab.depths.extend(g.numbers(1..=MOST_TOKENS)?);
        Ok(())
    }),
    Flag::value(&["-npl"], "N,…", "sequences generated for at once, at the least depth (default: 1,4,8)")
        .on(GROUP, AB)
        .set(|s, g| {
            s.ab.parallel.extend(g.numbers(1..=MOST_SEQUENCES)?);
            Ok(())
        }),
    Flag::value(&["--time"], "SECONDS", "how long to measure speed (default: 80; never fewer than 6 turns)")
        .on(GROUP, AB)
        .set(|s, g| {
            s.ab.time_s = g.number(0.0..=86400.0)?;
            Ok(())
        }),
    Flag::value(&["--html"], "FILE", "write the report as one page with charts").on(GROUP, AB).set(|s, g| {
        s.ab.html = Some(g.filled()?.into());
        Ok(())
    }),
];

/// A percentage as a share of one.
fn share(given: &Given<'_>) -> Result<f64, String> {
    Ok(given.number(0.0..=1000.0)? / 100.0)
}
