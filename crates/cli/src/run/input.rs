//! Where the messages of a chat come from: a line editor on a terminal, plain lines otherwise.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// Asked for one message after the other.
pub struct Input {
    source: Source,
    /// A message ends at a line that ends in `\`, rather than at one that does not.
    multiline: bool,
}

enum Source {
    Editor { editor: Box<DefaultEditor>, history: Option<PathBuf>, color: bool },
    Lines,
}

/// What came.
pub enum Event {
    Message(String),
    /// Ctrl-C on an empty or half-typed line.
    Interrupted,
    /// Ctrl-D, or the end of the input.
    End,
}

impl Input {
    /// Line editing with history when standard input is a terminal and `plain` does not forbid it.
    pub fn open(plain: bool, multiline: bool, color: bool, history: Option<PathBuf>) -> anyhow::Result<Input> {
        if plain || !std::io::stdin().is_terminal() {
            return Ok(Input { source: Source::Lines, multiline });
        }
        let config = rustyline::Config::builder().max_history_size(1000)?.auto_add_history(false).build();
        let mut editor = Box::new(DefaultEditor::with_config(config).context("terminal")?);
        if let Some(path) = &history {
            // The first chat has no history yet; a broken one is no reason not to chat.
            let _ = editor.load_history(path);
        }
        Ok(Input { source: Source::Editor { editor, history, color }, multiline })
    }

    /// Whether somebody sits there and can try again.
    pub fn is_terminal(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    /// The next message; lines that are continued with `\` are one message.
    pub fn message(&mut self) -> anyhow::Result<Event> {
        let mut message = String::new();
        let mut first = true;
        loop {
            let mut line = match self.line(first)? {
                Event::Message(line) => line,
                Event::End if !message.is_empty() => return Ok(Event::Message(message)),
                other => return Ok(other),
            };
            let marked = line.ends_with('\\');
            if marked {
                line.pop();
            }
            message += &line;
            if marked == self.multiline {
                self.remember(&message);
                return Ok(Event::Message(message));
            }
            message.push('\n');
            first = false;
        }
    }

    fn line(&mut self, first: bool) -> anyhow::Result<Event> {
        match &mut self.source {
            Source::Lines => {
                let mut line = String::new();
                let read = std::io::stdin().lock().read_line(&mut line).context("standard input")?;
                if read == 0 {
                    return Ok(Event::End);
                }
                Ok(Event::Message(line.trim_end_matches(['\n', '\r']).to_owned()))
            }
            Source::Editor { editor, color, .. } => {
                let prompt = match (first, *color) {
                    (true, true) => "\x1b[1;32m>\x1b[0m ",
                    (true, false) => "> ",
                    (false, _) => "… ",
                };
                std::io::stdout().flush()?;
                match editor.readline(prompt) {
                    Ok(line) => Ok(Event::Message(line)),
                    Err(ReadlineError::Interrupted) => Ok(Event::Interrupted),
                    Err(ReadlineError::Eof) => Ok(Event::End),
                    Err(problem) => Err(problem).context("terminal"),
                }
            }
        }
    }

    /// Keeps a message for the arrow keys, now and in later chats.
    fn remember(&mut self, message: &str) {
        if let Source::Editor { editor, history, .. } = &mut self.source {
            let known = editor.add_history_entry(message).unwrap_or(false);
            if let (true, Some(path)) = (known, history) {
                let _ = path.parent().map(std::fs::create_dir_all);
                // A history that cannot be written is no reason to end a chat.
                let _ = editor.append_history(path);
            }
        }
    }
}
