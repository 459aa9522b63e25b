//! A conversation: each message and the answers so far become one prompt through the model's chat template.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use engine::sequence::FinishReason;
use text::Encode;
use text::template::{ChatTemplate, Conversation, Message, Now};

use super::commands::{self, Typed};
use super::input::{Event, Input};
use super::session::Session;
use crate::{chat_template, prompt_text, source};

/// Answers `first`, if there is one, and then what is typed, until the end.
pub fn run(session: &mut Session<'_>, template: Option<String>, first: Option<Vec<u8>>) -> anyhow::Result<()> {
    let settings = session.settings;
    let mut chat = Chat {
        template: chat_template::compile(&session.llm, template, &mut session.log)?,
        messages: Vec::new(),
        front: String::new(),
    };
    chat.begin(settings.chat.system.as_deref());
    if let Some(first) = first {
        let text = String::from_utf8(first).context("the prompt is not UTF-8, which a chat needs")?;
        let reason = chat.answer(session, &text)?;
        if settings.chat.single_turn || settings.prompt.one_shot {
            session.tell_timings();
            return session.exit_status(reason);
        }
    }
    chat.converse(session)?;
    session.tell_timings();
    Ok(())
}

struct Chat {
    template: ChatTemplate,
    messages: Vec<Message>,
    /// Text of files read with `/read`, for the next message.
    front: String,
}

impl Chat {
    /// Empties the conversation.
    fn begin(&mut self, system: Option<&str>) {
        self.messages.clear();
        self.front.clear();
        self.messages.extend(system.map(|text| Message::new("system", text)));
    }

    /// Reads and answers messages until the input ends.
    fn converse(&mut self, session: &mut Session<'_>) -> anyhow::Result<()> {
        let choice = &session.settings.chat;
        let mut input = Input::open(
            choice.simple_io,
            choice.multiline,
            session.color,
            source::cache_root().map(|root| root.join("history")),
        )?;
        if input.is_terminal() {
            session.log.info(format_args!("/help lists what can be typed; Ctrl-C stops an answer, Ctrl-D leaves"));
        }
        loop {
            let line = match input.message()? {
                Event::Message(line) => line,
                Event::Interrupted => continue,
                Event::End => return Ok(()),
            };
            let answered = match commands::read(&line) {
                Ok(Typed::Exit) => return Ok(()),
                Ok(typed) => self.act(session, typed),
                Err(problem) => Err(anyhow::anyhow!(problem)),
            };
            match answered {
                Ok(true) if session.settings.chat.single_turn => return Ok(()),
                Ok(_) => {}
                // Nobody would read what comes next.
                Err(problem) if crate::is_broken_pipe(&problem) || !input.is_terminal() => return Err(problem),
                Err(problem) => eprintln!("error: {}", crate::one_line(&format!("{problem:#}"))),
            }
        }
    }

    /// Does what was typed; `true` if that was an answer.
    fn act(&mut self, session: &mut Session<'_>, typed: Typed) -> anyhow::Result<bool> {
        match typed {
            Typed::Message(text) if text.trim().is_empty() && self.front.is_empty() => return Ok(false),
            Typed::Message(text) => {
                self.answer(session, &text)?;
                return Ok(true);
            }
            Typed::Regen => {
                if self.messages.last().is_some_and(|last| last.role == "assistant") {
                    self.messages.pop();
                }
                let Some(Message { role, .. }) = self.messages.last() else { bail!("/regen: there is no message yet") };
                if role != "user" {
                    bail!("/regen: there is no message yet");
                }
                self.generate(session)?;
                return Ok(true);
            }
            Typed::Help => eprint!("{}", commands::help()),
            Typed::Clear => {
                let system = self.messages.iter().find(|message| message.role == "system").cloned();
                self.begin(None);
                self.messages.extend(system);
            }
            Typed::System(text) => self.begin((!text.is_empty()).then_some(text.as_str())),
            Typed::Read(path) => {
                let bytes = prompt_text::read_file(path.as_ref())?;
                let text = String::from_utf8(bytes).with_context(|| format!("{path}: not a text file"))?;
                self.front += &text;
                self.front.push('\n');
                eprintln!("{path}: {} characters, in front of your next message", text.chars().count());
            }
            Typed::Status => {
                let tokens = self.prompt(session, false)?.len();
                eprintln!("{} messages, {tokens} tokens of {}", self.messages.len(), session.llm.context());
            }
            Typed::Exit => {}
        }
        Ok(false)
    }

    /// Adds the message and its answer; a message that cannot be answered is taken back.
    fn answer(&mut self, session: &mut Session<'_>, text: &str) -> anyhow::Result<FinishReason> {
        let front = std::mem::take(&mut self.front);
        self.messages.push(Message::new("user", format!("{front}{text}")));
        self.generate(session).inspect_err(|_| {
            self.messages.pop();
            self.front = front;
        })
    }

    /// Prints the answer to the conversation as it stands, and adds it.
    fn generate(&mut self, session: &mut Session<'_>) -> anyhow::Result<FinishReason> {
        let prompt = self.prompt(session, true)?;
        session.show_prompt(&prompt);
        let max_new = session.max_new_tokens();
        let mut out = std::io::stdout();
        let answer = session.generate(prompt, max_new, &mut |piece| {
            out.write_all(piece.as_bytes())?;
            out.flush()
        })?;
        if !answer.text.ends_with('\n') {
            writeln!(out).context("standard output")?;
        }
        self.messages.push(Message::new("assistant", answer.text.as_str()));
        session.tell_end(&answer);
        Ok(answer.reason)
    }

    /// The conversation as tokens.
    fn prompt(&self, session: &Session<'_>, answer_follows: bool) -> anyhow::Result<Vec<u32>> {
        let text = self.template.render(&Conversation {
            messages: self.messages.clone(),
            add_generation_prompt: answer_follows,
            extra: session.settings.chat.template_kwargs.clone(),
            now: Some(now()),
            ..Conversation::default()
        })?;
        let tokenizer = session.llm.tokenizer();
        // A template may write the begin marker itself; two would confuse the model.
        let bos = chat_template::marker(&session.llm, tokenizer.vocab().special().bos);
        let add_special = bos.is_empty() || !text.starts_with(&bos);
        Ok(tokenizer.encode(&text, Encode { add_special, parse_special: true }))
    }
}

/// The time, for templates that tell it; in UTC.
fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Now { unix_seconds: since.map_or(0, |since| since.as_secs() as i64), utc_offset_seconds: 0 }
}
