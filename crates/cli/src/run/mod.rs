//! `chaski run`: a chat in the terminal, one answer, or one completion.
//!
//! | file | what it does |
//! |---|---|
//! | `chat` | the conversation: turns, slash commands, one-shot answers |
//! | `complete` | a prompt as it is, and what follows |
//! | `interactive` | text back and forth without a template |
//! | `session` | the model, the sampler, and one generation |
//! | `input`, `commands` | where messages come from, and what can be typed |

mod chat;
mod commands;
mod complete;
mod input;
mod interactive;
mod session;

use crate::settings::Settings;
use crate::{chat_template, prompt_text};
use session::Session;

/// Chats if the model has a template (or `-cnv` says so), completes otherwise.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    // A missing file is told before the model is loaded.
    let prompt = prompt_text::read(&settings.prompt)?;
    let template = chat_template::chosen(&settings.chat)?;
    let mut session = Session::open(settings)?;
    let has_template = template.is_some() || session.llm.chat_template().is_some();
    let conversation = settings.chat.conversation.unwrap_or(has_template);
    // As in llama.cpp, a frame of one's own takes the place of the template.
    if settings.chat.is_interactive() || (conversation && settings.chat.is_framed()) {
        interactive::run(&mut session, prompt)
    } else if conversation {
        chat::run(&mut session, template, prompt)
    } else {
        complete::run(&mut session, prompt)
    }
}
