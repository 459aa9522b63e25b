//! Flags of what is printed: the answer, the log, the timings; and the flags that print something else and stop.

use super::{Action, Flag, Group};
use crate::command::{Command, Commands};
use crate::settings::Format;

const GROUP: Group = Group::Output;
const RUN: Commands = Commands::RUN;
const BOTH: Commands = RUN.and(Commands::SERVE);
const ANY: Commands = Commands::ALL;
const TABLES: Commands = Commands::INSPECT
    .and(Commands::EXPLAIN)
    .and(Commands::DEVICES)
    .and(Commands::MODELS)
    .and(Commands::TECHNIQUES)
    .and(Commands::AB);

pub const FLAGS: &[Flag] = &[
    Flag::value(&["-o", "--output"], "text|json", "shape of the output").on(GROUP, TABLES).set(|s, g| {
        s.output.format = g.choice(&[("text", Format::Text), ("json", Format::Json)])?;
        Ok(())
    }),
    Flag::switch(&["--display-prompt"], "print the prompt before its completion (default: on)")
        .off(&["--no-display-prompt"])
        .on(GROUP, RUN)
        .set(|s, g| {
            s.output.display_prompt = g.on;
            Ok(())
        }),
    Flag::switch(&["-sp", "--special"], "print control tokens too").on(GROUP, BOTH).set(|s, _| {
        s.output.special = true;
        Ok(())
    }),
    Flag::switch(&["--perf", "--show-timings"], "print timings at the end, on standard error (default: on)")
        .off(&["--no-perf", "--no-show-timings"])
        .env("LLAMA_ARG_PERF")
        .on(GROUP, RUN)
        .set(|s, g| {
            s.output.timings = g.on;
            Ok(())
        }),
    Flag::value(&["-co", "--color"], "on|off|auto", "colours (default: auto, on a terminal)").on(GROUP, RUN).set(
        |s, g| {
            s.output.color = g.on_off_auto()?;
            Ok(())
        },
    ),
    Flag::switch(&["--verbose-prompt"], "print the prompt's tokens first, on standard error").on(GROUP, RUN).set(
        |s, _| {
            s.output.verbose_prompt = true;
            Ok(())
        },
    ),
    Flag::switch(
        &["-v", "--verbose", "--log-verbose"],
        "say everything there is to say; `run` ends with a table of where the time went",
    )
    .on(GROUP, ANY)
    .set(|s, _| {
        s.output.verbosity = 5;
        Ok(())
    }),
    Flag::value(
        &["-lv", "--verbosity", "--log-verbosity"],
        "N",
        "1 errors, 2 warnings, 3 information (default), 4 and 5 more of it",
    )
    .env("LLAMA_ARG_LOG_VERBOSITY")
    .on(GROUP, ANY)
    .set(|s, g| {
        s.output.verbosity = g.number(0..=5)?;
        Ok(())
    }),
    Flag::switch(&["--log-disable"], "say nothing but errors").on(GROUP, ANY).set(|s, _| {
        s.output.verbosity = 1;
        Ok(())
    }),
    Flag::value(&["--log-file"], "FILE", "write the log to this file as well")
        .env("LLAMA_ARG_LOG_FILE")
        .on(GROUP, ANY)
        .set(|s, g| {
            s.output.log_file = Some(g.filled()?.into());
            Ok(())
        }),
    Flag::switch(&["--log-prefix"], "begin log lines with their level")
        .off(&["--no-log-prefix"])
        .env("LLAMA_ARG_LOG_PREFIX")
        .on(GROUP, ANY)
        .set(|s, g| {
            s.output.log_prefix = g.on;
            Ok(())
        }),
    Flag::switch(&["--log-timestamps"], "begin log lines with the seconds since the start")
        .off(&["--no-log-timestamps"])
        .env("LLAMA_ARG_LOG_TIMESTAMPS")
        .on(GROUP, ANY)
        .set(|s, g| {
            s.output.log_timestamps = g.on;
            Ok(())
        }),
    Flag::value(&["--log-colors"], "off|auto", "colours in the log: it has none")
        .env("LLAMA_ARG_LOG_COLORS")
        .on(GROUP, ANY)
        .set(|_, g| g.only(&["off", "auto", "0"], "the log has no colours; leave it out")),
    Flag::switch(&["-h", "--help", "--usage"], "print this help").on(GROUP, ANY).instead(Action::Help(None)),
    Flag::switch(&["--version"], "print the version").on(GROUP, ANY).instead(Action::Version),
    Flag::switch(&["--list-devices"], "the same as `chaski devices`")
        .on(GROUP, BOTH.and(Commands::BENCH).and(Commands::PERPLEXITY))
        .instead(Action::Do(Command::Devices)),
    Flag::switch(&["-cl", "--cache-list"], "the same as `chaski models`")
        .on(GROUP, BOTH)
        .instead(Action::Do(Command::Models)),
    Flag::switch(&["--completion-bash"], "print a completion script for bash")
        .on(GROUP, BOTH)
        .instead(Action::Completions(clap_complete::Shell::Bash)),
];
