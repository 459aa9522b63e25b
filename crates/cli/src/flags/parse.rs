//! From words to settings: finds each word in the table, takes its value, and applies environment first, command line
//! after. The first problem becomes one line that names the flag. Called by `main` and by tests, never below the program.

use super::{Effect, Flag, Given, all};
use crate::command::{COMMANDS, Command, NOT_YET};
use crate::settings::Settings;

/// What the words ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do the command.
    Do(Command),
    /// Print help: of one command, or of the program.
    Help(Option<Command>),
    Version,
    /// Print a completion script for a shell.
    Completions(clap_complete::Shell),
    /// Print a page of docs/generated.
    Page(Page),
}

/// The pages that the program writes about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Flags,
    Techniques,
    Routes,
    Metrics,
}

/// A mistake in how the program was called.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

/// Reads the words after the program's name; `env` looks up an environment variable.
pub fn parse(words: &[String], env: &dyn Fn(&str) -> Option<String>) -> Result<(Action, Settings), Usage> {
    let mut settings = Settings::default();
    let Some((first, rest)) = words.split_first() else { return Ok((Action::Help(None), settings)) };
    let command = match Command::by_name(first) {
        Some(command) => command,
        None => return no_command(first, rest).map(|action| (action, settings)),
    };
    let flags: Vec<Flag> = all().filter(|flag| flag.commands.has(command)).collect();
    let line = Line::read(command, &flags, rest)?;
    if let Some(action) = line.instead(command) {
        return Ok((action, settings));
    }
    for flag in &flags {
        if !line.flags.iter().any(|typed| typed.flag.names == flag.names) {
            from_environment(flag, env, &mut settings)?;
        }
    }
    let model_typed = line.flags.iter().any(|typed| typed.flag.names[0] == "-m" || typed.flag.names[0] == "-hf");
    for typed in &line.flags {
        apply(&typed.flag, &typed.name, &typed.given(), &mut settings)?;
    }
    let words = command.row().words;
    let words = if model_typed { &words[1..] } else { words };
    settings.take_words(words, line.words).map_err(Usage)?;
    Ok((Action::Do(command), settings))
}

/// The first word is no command: help, version, or a mistake.
fn no_command(first: &str, rest: &[String]) -> Result<Action, Usage> {
    match first {
        "-h" | "--help" | "--usage" => return Ok(Action::Help(None)),
        "-V" | "--version" => return Ok(Action::Version),
        "help" => {
            let about = rest.first().map(|name| Command::by_name(name).ok_or_else(|| unknown_command(name)));
            return Ok(Action::Help(about.transpose()?));
        }
        "completions" => return shell(rest),
        // Hidden: `cargo xtask docs` writes these to docs/generated.
        "__docs" if rest == ["flags"] => return Ok(Action::Page(Page::Flags)),
        "__docs" if rest == ["techniques"] => return Ok(Action::Page(Page::Techniques)),
        "__docs" if rest == ["routes"] => return Ok(Action::Page(Page::Routes)),
        "__docs" if rest == ["metrics"] => return Ok(Action::Page(Page::Metrics)),
        _ => {}
    }
    if first.starts_with('-') {
        return Err(Usage(format!(
            "{first}: a command comes first, for example `chaski run {first} …`; see `chaski --help`"
        )));
    }
    Err(unknown_command(first))
}

fn shell(rest: &[String]) -> Result<Action, Usage> {
    let [name] = rest else {
        return Err(Usage("completions: give the shell, for example `chaski completions bash`".into()));
    };
    name.parse().map(Action::Completions).map_err(|_| Usage(format!("completions: no script for the shell `{name}`")))
}

fn unknown_command(name: &str) -> Usage {
    if let Some((name, why)) = NOT_YET.iter().find(|(known, _)| *known == name) {
        return Usage(format!("{name}: not supported: {why}"));
    }
    let near = nearest(name, COMMANDS.iter().map(|row| row.name));
    Usage(format!("{name}: no such command{near}; `chaski --help` lists them"))
}

/// A flag as it stood on the command line.
pub(super) struct Typed {
    pub flag: Flag,
    pub name: String,
    text: String,
    on: bool,
}

pub(super) struct Line {
    pub flags: Vec<Typed>,
    pub words: Vec<String>,
}

impl Typed {
    /// The value that stood with it.
    pub fn given(&self) -> Given<'_> {
        Given { text: &self.text, on: self.on }
    }
}

impl Line {
    pub fn read(command: Command, flags: &[Flag], words: &[String]) -> Result<Line, Usage> {
        let mut line = Line { flags: Vec::new(), words: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                line.words.extend(words.cloned());
                break;
            }
            if !word.starts_with('-') || word == "-" {
                line.words.push(word.clone());
                continue;
            }
            let (name, joined) = split(word);
            let Some(flag) = flags.iter().find(|flag| flag.spellings().any(|known| known == name)) else {
                return Err(unknown_flag(command, &name));
            };
            if let Effect::Refused(why) = flag.effect {
                return Err(refusal(&name, why));
            }
            let on = flag.names.contains(&name.as_str());
            let text = match (flag.is_switch(), joined) {
                (true, None) => String::new(),
                (true, Some(_)) => return Err(Usage(format!("{name}: takes no value"))),
                (false, Some(text)) => text,
                (false, None) => {
                    words.next().cloned().ok_or_else(|| Usage(format!("{name}: needs a value ({})", flag.value)))?
                }
            };
            line.flags.push(Typed { flag: *flag, name, text, on });
        }
        Ok(line)
    }

    /// Help, version and the like win over everything else on the line.
    fn instead(&self, command: Command) -> Option<Action> {
        self.flags.iter().find_map(|typed| match typed.flag.effect {
            Effect::Instead(Action::Help(_)) => Some(Action::Help(Some(command))),
            Effect::Instead(action) => Some(action),
            _ => None,
        })
    }
}

/// `--top_k=5` is the name `--top-k` and the value `5`; single-dash names are taken as they stand.
fn split(word: &str) -> (String, Option<String>) {
    if !word.starts_with("--") {
        return (word.to_owned(), None);
    }
    match word.split_once('=') {
        Some((name, value)) => (name.replace('_', "-"), Some(value.to_owned())),
        None => (word.replace('_', "-"), None),
    }
}

pub(super) fn apply(flag: &Flag, name: &str, given: &Given<'_>, settings: &mut Settings) -> Result<(), Usage> {
    match flag.effect {
        Effect::Set(set) => set(settings, given).map_err(|problem| Usage(format!("{name}: {problem}"))),
        Effect::Sampler(spec) => {
            let text = if flag.is_switch() { "true" } else { given.text };
            // The sampler's own message names the parameter and its flag.
            settings.sampling.parse(spec.field, text).map_err(|problem| Usage(problem.to_string()))
        }
        Effect::Instead(_) => Ok(()),
        Effect::Refused(why) => Err(refusal(name, why)),
    }
}

/// llama.cpp's rule: a switch's variable holds a word for yes or no, and `LLAMA_ARG_NO_X` (whatever it holds) means no.
fn from_environment(flag: &Flag, env: &dyn Fn(&str) -> Option<String>, settings: &mut Settings) -> Result<(), Usage> {
    if flag.env.is_empty() {
        return Ok(());
    }
    let negated = flag.env.replace("LLAMA_ARG_", "LLAMA_ARG_NO_");
    if !flag.off.is_empty() && negated != flag.env && env(&negated).is_some() {
        return apply(flag, &negated, &Given { text: "", on: false }, settings);
    }
    let Some(text) = env(flag.env) else { return Ok(()) };
    if !flag.is_switch() || flag.is_refused() {
        return apply(flag, flag.env, &Given { text: &text, on: true }, settings);
    }
    let on =
        super::given::truth(&text).ok_or_else(|| Usage(format!("{}: expected on or off, got `{text}`", flag.env)))?;
    if on || !flag.off.is_empty() { apply(flag, flag.env, &Given { text: "", on }, settings) } else { Ok(()) }
}

fn refusal(name: &str, why: &str) -> Usage {
    Usage(format!("{name}: not supported: {why}"))
}

fn unknown_flag(command: Command, name: &str) -> Usage {
    let here = command.row().name;
    if let Some(flag) = all().find(|flag| flag.spellings().any(|known| known == name)) {
        let others = flag.commands.names().join(", ");
        return Usage(format!("{name}: not a flag of `chaski {here}` (it belongs to {others})"));
    }
    let known = all().filter(|flag| flag.commands.has(command) && !flag.is_refused()).flat_map(|flag| flag.spellings());
    let near = nearest(name, known);
    Usage(format!("{name}: no such flag{near}; `chaski {here} --help` lists them"))
}

/// ", did you mean `X`?" for the most alike of `known`, or nothing.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let bare = name.trim_start_matches('-');
    known
        .map(|known| (strsim::jaro_winkler(bare, known.trim_start_matches('-')), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!(", did you mean `{known}`?"))
        .unwrap_or_default()
}
