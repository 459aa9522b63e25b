//! The flag reference in Markdown (`docs/generated/flags.md`), printed by the hidden command `__docs flags`.

use super::{Effect, Flag, Group, all};

/// The reference: one table for each heading, the refusals last.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Flags\n\nThe table is in `crates/cli/src/flags`. Names and meanings are llama.cpp's.\n\
         A flag that is refused says why and what to do instead.\n",
    );
    for group in Group::ALL {
        page += &format!("\n## {}\n\n", group.title());
        let (title, refused) = if group == Group::Refused { ("what to do instead", true) } else { ("meaning", false) };
        page += &format!("| flag | {title} | commands | environment |\n|---|---|---|---|\n");
        for flag in all().filter(|flag| flag.group == group && flag.is_refused() == refused) {
            page += &row(&flag);
        }
    }
    page
}

fn row(flag: &Flag) -> String {
    let value = if flag.value.is_empty() { String::new() } else { format!(" {}", flag.value) };
    let names: Vec<String> = flag.spellings().map(|name| format!("`{name}`")).collect();
    let text = match flag.effect {
        Effect::Refused(why) => why.to_owned(),
        Effect::Sampler(spec) if !spec.default_text().is_empty() => {
            format!("{} (default: {})", flag.help, spec.default_text())
        }
        _ => flag.help.to_owned(),
    };
    let commands = if flag.commands == crate::command::Commands::ALL {
        "all".to_owned()
    } else {
        flag.commands.names().join(", ")
    };
    let env = if flag.env.is_empty() { String::new() } else { format!("`{}`", flag.env) };
    format!("| {}{} | {} | {} | {} |\n", names.join(", "), escape(&value), escape(&text), commands, env)
}

/// A bar would end the cell; `<` would begin HTML.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
