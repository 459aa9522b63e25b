//! Chat templates: a conversation becomes the prompt text that the model was trained on.
//!
//! A GGUF file carries its template as Jinja source (`tokenizer.chat_template`), so the source is hostile input: rendering
//! is bounded in steps, memory, depth and output, and a template that exceeds a bound gets [`TemplateError::Limit`].
//! The conventions are those of `transformers` and llama.cpp. Called by `engine`'s prompt building and by the program.

mod adapt;
mod builtin;
mod clock;
mod jinja;
mod quirks;

pub use builtin::BUILTIN_NAMES;
pub use clock::Now;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A compiled chat template with the marker texts of its model.
pub struct ChatTemplate {
    program: jinja::Program,
    bos_token: String,
    eos_token: String,
    abilities: adapt::Abilities,
}

/// What is to be rendered.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The messages so far, oldest first.
    pub messages: Vec<Message>,
    /// Function descriptions in OpenAI's form (a list), if the model may call functions.
    pub tools: Option<Value>,
    /// End the prompt with the opening of an assistant message.
    pub add_generation_prompt: bool,
    /// Further template variables (`enable_thinking`, `reasoning_effort`, …); they win over the standard ones.
    pub extra: Map<String, Value>,
    /// The time that `strftime_now` tells. Without it the template sees no clock.
    pub now: Option<Now>,
}

/// One message of a conversation, in OpenAI's form.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`; a template may know others.
    pub role: String,
    /// A string, a list of typed parts, or null.
    #[serde(default)]
    pub content: Value,
    /// Every other field: `tool_calls`, `tool_call_id`, `name`, `reasoning_content`, …
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is not a Jinja template that we understand.
    #[error("chat template, line {line}: {message}")]
    Syntax {
        /// Line of the template source, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The template itself refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// Rendering failed.
    #[error("chat template, line {line}: {message}")]
    Render {
        /// Line of the template source, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The template wants more than a chat template can need.
    #[error("the chat template exceeds a limit: {0}")]
    Limit(String),
    /// The conversation cannot be given to any template.
    #[error("message {index}: {message}")]
    Message {
        /// Index of the message, from 0.
        index: usize,
        /// What is wrong with it.
        message: String,
    },
    /// No built-in template has this name.
    #[error("no built-in chat template is called `{name}` (known: {known})", known = BUILTIN_NAMES.join(", "))]
    UnknownName {
        /// The name that was asked for.
        name: String,
    },
}

impl Message {
    /// A plain text message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Value::String(content.into()), extra: Map::new() }
    }
}

impl ChatTemplate {
    /// Compiles `source`; the tokens are the texts of the model's begin and end markers ("" if it has none).
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, TemplateError> {
        let program = jinja::Program::new(source)?;
        let abilities = adapt::Abilities::probe(&program);
        Ok(Self { program, bos_token: bos_token.into(), eos_token: eos_token.into(), abilities })
    }

    /// One of the templates that come with Chaski, by llama.cpp's name for it (see [`BUILTIN_NAMES`]).
    pub fn builtin(name: &str, bos_token: &str, eos_token: &str) -> Result<Self, TemplateError> {
        let source = builtin::source(name).ok_or_else(|| TemplateError::UnknownName { name: name.into() })?;
        Self::new(source, bos_token, eos_token)
    }

    /// The template for a file that carries none: ChatML.
    pub fn fallback(bos_token: &str, eos_token: &str) -> Result<Self, TemplateError> {
        Self::builtin("chatml", bos_token, eos_token)
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        self.program.source()
    }

    /// The prompt text for this conversation. It may begin with the text of the begin marker: encode it with special
    /// tokens parsed and without adding a second begin token.
    pub fn render(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let messages = adapt::messages(self.program.source(), &self.abilities, &conversation.messages)?;
        let mut variables = Map::new();
        variables.insert("messages".into(), Value::Array(messages));
        variables.insert("bos_token".into(), self.bos_token.as_str().into());
        variables.insert("eos_token".into(), self.eos_token.as_str().into());
        variables.insert("enable_thinking".into(), true.into());
        if let Some(tools) =
            conversation.tools.as_ref().filter(|tools| tools.as_array().is_none_or(|list| !list.is_empty()))
        {
            variables.insert("tools".into(), tools.clone());
        }
        if let Some(now) = conversation.now {
            variables.insert("date_string".into(), now.format("%d %b %Y").into());
            variables.insert("datetime".into(), now.format("%b %d %Y").into());
        }
        if conversation.add_generation_prompt {
            variables.insert("add_generation_prompt".into(), true.into());
        }
        adapt::reasoning_switches(&conversation.extra, &mut variables);
        variables.extend(conversation.extra.clone());
        let mut text = self.program.render(variables, conversation.now, jinja::BASE_BUDGET)?;
        quirks::prompt(self.program.source(), &mut text, conversation.add_generation_prompt);
        Ok(text)
    }
}
