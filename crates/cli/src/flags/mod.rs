//! The flags of `chaski`: one table of rows, from which parsing, `--help`, completions and the flag reference are made.
//!
//! The names and meanings are llama.cpp's. Every flag that its command-line programs know is a row here: it either sets
//! something, or is refused with the reason and what to do instead. Nothing is accepted and then ignored.
//! Called by `main` (parsing) and by the hidden command `__docs` (reference).

mod ab;
mod bench;
mod chat;
mod compute;
mod docs;
mod given;
mod grammar;
mod help;
mod log;
mod model;
mod parse;
mod prompt;
mod refused;
mod sampling;
mod serve;
mod serve_refused;
pub mod side;
mod tools;

pub use docs::markdown;
pub use given::Given;
pub use help::clap_command;
pub use parse::{Action, Page, Usage, parse};

use crate::command::Commands;
use crate::settings::Settings;

/// One flag: its spellings, what it means, where it is valid and what it does.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Spellings that switch it on or stand before its value.
    pub names: &'static [&'static str],
    /// Spellings that switch it off.
    pub off: &'static [&'static str],
    /// What stands for the value in help; empty for a switch.
    pub value: &'static str,
    pub help: &'static str,
    /// Environment variable that gives the value when the command line does not; empty for none.
    pub env: &'static str,
    pub group: Group,
    pub commands: Commands,
    pub effect: Effect,
}

/// What a flag does when it is given.
#[derive(Clone, Copy)]
pub enum Effect {
    /// Change the settings, or say what is wrong with the value.
    Set(fn(&mut Settings, &Given<'_>) -> Result<(), String>),
    /// A parameter of a sampler stage, described by the stage itself.
    Sampler(&'static engine::sampler::ParamSpec),
    /// Print help, the version, or what another command prints, and stop.
    Instead(Action),
    /// Known to llama.cpp, not offered here: why, and what to do instead.
    Refused(&'static str),
}

/// Headings of `--help`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Model,
    Compute,
    Prompt,
    Chat,
    Sampling,
    Output,
    Command,
    Refused,
}

impl Group {
    pub const ALL: [Group; 8] = [
        Group::Command,
        Group::Model,
        Group::Prompt,
        Group::Chat,
        Group::Sampling,
        Group::Compute,
        Group::Output,
        Group::Refused,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Group::Model => "Model",
            Group::Compute => "Compute and memory",
            Group::Prompt => "Prompt",
            Group::Chat => "Chat",
            Group::Sampling => "Sampling",
            Group::Output => "Output and log",
            Group::Command => "This command",
            Group::Refused => "Refused by name",
        }
    }
}

/// Every row, in the order of help and reference.
pub fn all() -> impl Iterator<Item = Flag> {
    let lists: [&'static [Flag]; 12] = [
        serve::FLAGS,
        ab::FLAGS,
        tools::FLAGS,
        bench::FLAGS,
        model::FLAGS,
        prompt::FLAGS,
        chat::FLAGS,
        grammar::FLAGS,
        compute::FLAGS,
        log::FLAGS,
        refused::FLAGS,
        serve_refused::FLAGS,
    ];
    lists.into_iter().flatten().copied().chain(sampling::flags())
}

impl Flag {
    /// A flag that stands alone.
    const fn switch(names: &'static [&'static str], help: &'static str) -> Flag {
        Flag::value(names, "", help)
    }

    /// A flag followed by a value.
    const fn value(names: &'static [&'static str], value: &'static str, help: &'static str) -> Flag {
        Flag {
            names,
            off: &[],
            value,
            help,
            env: "",
            group: Group::Command,
            commands: Commands::ALL,
            effect: Effect::Refused(""),
        }
    }

    /// A flag that is refused everywhere; `why` reads as the end of "NAME: not supported: …".
    const fn refused(names: &'static [&'static str], why: &'static str) -> Flag {
        Flag { group: Group::Refused, effect: Effect::Refused(why), ..Flag::switch(names, "") }
    }

    const fn only_in(self, commands: Commands) -> Flag {
        Flag { commands, ..self }
    }

    const fn off(self, off: &'static [&'static str]) -> Flag {
        Flag { off, ..self }
    }

    const fn env(self, env: &'static str) -> Flag {
        Flag { env, ..self }
    }

    const fn on(self, group: Group, commands: Commands) -> Flag {
        Flag { group, commands, ..self }
    }

    const fn set(self, set: fn(&mut Settings, &Given<'_>) -> Result<(), String>) -> Flag {
        Flag { effect: Effect::Set(set), ..self }
    }

    const fn instead(self, action: Action) -> Flag {
        Flag { effect: Effect::Instead(action), ..self }
    }

    /// A flag made of a sampler's parameter.
    const fn sampler(spec: &'static engine::sampler::ParamSpec, value: &'static str, env: &'static str) -> Flag {
        Flag {
            names: spec.flags,
            off: &[],
            value,
            help: spec.help,
            env,
            group: Group::Sampling,
            commands: Commands::RUN.and(Commands::SERVE).and(Commands::EXPLAIN).and(Commands::AB),
            effect: Effect::Sampler(spec),
        }
    }

    /// The spelling used in messages and as the key in help: the first long one.
    pub fn name(&self) -> &'static str {
        self.names.iter().find(|name| name.starts_with("--")).unwrap_or(&self.names[0])
    }

    /// Every spelling, on and off.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.names.iter().chain(self.off).copied()
    }

    pub fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.effect, Effect::Refused(_))
    }
}

#[cfg(test)]
mod tests;
