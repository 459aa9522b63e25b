//! `--help`: the table as clap sees it. clap lays the text out and writes the shell completions; reading the command
//! line is `parse`'s work, because clap has no flags of several letters behind one dash (`-ngl`).

use clap::{Arg, ArgAction};

use super::{Effect, Flag, Group, all};
use crate::command::{COMMANDS, Row};

/// The program with all its commands and flags.
pub fn clap_command() -> clap::Command {
    let program = clap::Command::new("chaski")
        .about("Runs GGUF language models on this machine")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .after_help("`chaski COMMAND --help` lists the flags of a command; names and meanings are llama.cpp's.");
    COMMANDS.iter().fold(program, |program, row| program.subcommand(command(row)))
}

fn command(row: &Row) -> clap::Command {
    let mut command = clap::Command::new(row.name)
        .about(row.about)
        .disable_help_flag(true)
        .override_usage(usage(row))
        .after_help(after(row));
    for word in row.words {
        command = command.arg(Arg::new(word.to_lowercase()).value_name(*word).help(word_help(word)));
    }
    for group in Group::ALL.into_iter().filter(|group| *group != Group::Refused) {
        for flag in all().filter(|flag| flag.group == group && flag.commands.has(row.command)) {
            command = command.arg(arg(&flag));
        }
    }
    command
}

fn usage(row: &Row) -> String {
    let words: String = row.words.iter().map(|word| format!(" [{word}]")).collect();
    format!("chaski {} [FLAGS]{words}", row.name)
}

fn after(row: &Row) -> String {
    let refused = all().filter(|flag| flag.is_refused() && flag.commands.has(row.command)).count();
    let examples = row.examples.join("\n  ");
    format!(
        "Examples:\n  {examples}\n\n{refused} further flags of llama.cpp are known and refused by name, with what to do instead."
    )
}

fn word_help(word: &str) -> &'static str {
    match word {
        "MODEL" => "Path of a GGUF file, a name from `chaski models`, or hf:owner/repo:file (or give -m, -hf)",
        _ => "The text (or give -p, -f)",
    }
}

fn arg(flag: &Flag) -> Arg {
    let mut arg = Arg::new(flag.name()).help(help(flag)).help_heading(flag.group.title());
    arg = match flag.name().strip_prefix("--") {
        Some(long) => arg.long(long),
        None => arg.long(flag.names[0].trim_start_matches('-')),
    };
    if let Some(letter) = flag.names.iter().find_map(|name| single_letter(name)) {
        arg = arg.short(letter);
    }
    if flag.is_switch() { arg.action(ArgAction::SetTrue) } else { arg.action(ArgAction::Append).value_name(flag.value) }
}

/// The flag's text with its default, its other spellings and its variable.
fn help(flag: &Flag) -> String {
    let mut text = flag.help.to_owned();
    if let Effect::Sampler(spec) = flag.effect {
        let default = spec.default_text();
        if !default.is_empty() {
            text += &format!(" (default: {default})");
        }
    }
    let shown = |name: &str| name == flag.name() || single_letter(name).is_some();
    let others: Vec<&str> = flag.spellings().filter(|name| !shown(name)).collect();
    if !others.is_empty() {
        text += &format!(" [also {}]", others.join(", "));
    }
    if !flag.env.is_empty() {
        text += &format!(" [env {}]", flag.env);
    }
    text
}

/// `t` of `-t`.
fn single_letter(name: &str) -> Option<char> {
    let mut letters = name.strip_prefix('-')?.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) => Some(letter),
        _ => None,
    }
}
