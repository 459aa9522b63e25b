//! The flags inside `--a` and `--b`: a command line of their own, of those flags that say how the model is computed and
//! how tokens are picked. Called by the rows of [`super::ab`] (checks) and by the command `ab` (applies).

use super::parse::{Line, apply};
use super::{Flag, Group, Usage, all};
use crate::command::Command;
use crate::settings::Settings;

/// Puts the flags on top of settings that both sides share.
pub fn onto(text: &str, settings: &Settings) -> Result<Settings, Usage> {
    let flags: Vec<Flag> = all().filter(|flag| flag.commands.has(Command::Ab)).collect();
    let line = Line::read(Command::Ab, &flags, &words(text)?)?;
    if let Some(word) = line.words.first() {
        return Err(Usage(format!("`{word}`: expected flags, for example \"-ctk f32 -t 2\"")));
    }
    let mut settings = settings.clone();
    for typed in &line.flags {
        if !matches!(typed.flag.group, Group::Compute | Group::Sampling) {
            return Err(Usage(format!("{}: holds for both sides; give it to `chaski ab` itself", typed.name)));
        }
        apply(&typed.flag, &typed.name, &typed.given(), &mut settings)?;
    }
    Ok(settings)
}

/// The text itself, if its flags can be understood.
pub fn checked(text: &str) -> Result<String, String> {
    onto(text, &Settings::default()).map(|_| text.trim().to_owned()).map_err(|Usage(problem)| problem)
}

/// Splits at blanks, except inside single or double quotes.
fn words(text: &str) -> Result<Vec<String>, Usage> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in text.chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(Usage(format!("`{text}`: a quote {open} is not closed")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::KvType;

    #[test]
    fn flags_go_on_top_of_what_both_sides_share() {
        let both = onto("-t 3 -ctk f32", &Settings::default()).unwrap();
        let b = onto("-t 1 --technique all=auto --temp 0.5", &both).unwrap();
        assert_eq!((b.load.threads, b.load.kv_types()), (1, (KvType::F32, KvType::F16)));
        assert_eq!(b.load.techniques.len(), 1);
        assert!(b.sampling.is_set("temperature") && !both.sampling.is_set("temperature"));
        assert_eq!(onto("  ", &both).unwrap().load.threads, 3);
    }

    #[test]
    fn quotes_hold_words_together() {
        let split = |text| words(text).map_err(|Usage(problem)| problem);
        assert_eq!(split(r#" -a  "b c"d '' "#).unwrap(), ["-a", "b cd", ""]);
        assert_eq!(split("\"it's\"").unwrap(), ["it's"]);
        assert!(split("-r 'x").unwrap_err().contains("quote ' is not closed"));
    }

    #[test]
    fn problems_name_the_flag_inside() {
        for (text, expected) in [
            ("-ctk q9", "-ctk: expected f"),
            ("--tempo 1", "--tempo: no such flag"),
            ("-m a.gguf", "-m: holds for both sides"),
            ("-h", "-h: holds for both sides"),
            ("--b -t", "--b: holds for both sides"),
            ("-c 512", "-c: not a flag of `chaski ab`"),
            ("smollm2", "`smollm2`: expected flags"),
            ("-t", "-t: needs a value (N)"),
        ] {
            let problem = checked(text).unwrap_err();
            assert!(problem.starts_with(expected), "{text}: {problem}");
        }
    }
}
