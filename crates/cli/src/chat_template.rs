//! The chat template in use: the one of the flags, else the model's, else ChatML. Used by `run` and `serve`.

use anyhow::{Context, bail};
use chaski::Llm;
use text::template::ChatTemplate;

use crate::log::Log;
use crate::prompt_text;
use crate::settings::Chat as Choice;

/// A template that was chosen on the command line: its source, or the name of a built-in one.
pub fn chosen(choice: &Choice) -> anyhow::Result<Option<String>> {
    match (&choice.template_file, &choice.template) {
        (Some(_), Some(_)) => bail!("--chat-template and --chat-template-file: give one of them"),
        (Some(path), None) => {
            Ok(Some(String::from_utf8(prompt_text::read_file(path)?).with_context(|| path.display().to_string())?))
        }
        (None, chosen) => Ok(chosen.clone()),
    }
}

/// The template given, else the model's, else ChatML.
pub fn compile(llm: &Llm, given: Option<String>, log: &mut Log) -> anyhow::Result<ChatTemplate> {
    let special = llm.tokenizer().vocab().special();
    let (bos, eos) = (marker(llm, special.bos), marker(llm, special.eos));
    let template = match given {
        Some(text) if text.contains("{%") || text.contains("{{") => ChatTemplate::new(&text, &bos, &eos),
        Some(name) => ChatTemplate::builtin(&name, &bos, &eos),
        None => match llm.chat_template() {
            Some(source) => ChatTemplate::new(source, &bos, &eos),
            None => {
                log.warning(format_args!(
                    "the model has no chat template; ChatML is used, --chat-template chooses another"
                ));
                ChatTemplate::fallback(&bos, &eos)
            }
        },
    };
    Ok(template?)
}

/// The text of a special token; empty if there is none.
pub fn marker(llm: &Llm, token: Option<u32>) -> String {
    token.map_or_else(String::new, |id| String::from_utf8_lossy(&llm.tokenizer().piece(id, true)).into_owned())
}
