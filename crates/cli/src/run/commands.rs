//! What can be typed in a chat: messages, and commands that begin with a slash.

/// A command of the chat: its name, what follows it, what it does.
struct Row {
    names: &'static [&'static str],
    argument: &'static str,
    help: &'static str,
    make: fn(&str) -> Result<Typed, String>,
}

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    Message(String),
    Help,
    Exit,
    /// Forget the conversation.
    Clear,
    /// Answer the last message once more.
    Regen,
    /// Begin anew under this system message; empty: without one.
    System(String),
    /// Put the text of a file in front of the next message.
    Read(String),
    /// Show what is in the conversation and how full the context is.
    Status,
}

const ROWS: &[Row] = &[
    Row { names: &["/help", "/?"], argument: "", help: "this list", make: |_| Ok(Typed::Help) },
    Row { names: &["/exit", "/quit", "/bye"], argument: "", help: "leave (also Ctrl-D)", make: |_| Ok(Typed::Exit) },
    Row { names: &["/clear"], argument: "", help: "forget the conversation", make: |_| Ok(Typed::Clear) },
    Row { names: &["/regen"], argument: "", help: "answer the last message once more", make: |_| Ok(Typed::Regen) },
    Row {
        names: &["/system"],
        argument: "TEXT",
        help: "begin anew with this system message (without TEXT: with none)",
        make: |text| Ok(Typed::System(text.to_owned())),
    },
    Row {
        names: &["/read"],
        argument: "FILE",
        help: "put the text of a file in front of the next message",
        make: |text| if text.is_empty() { Err("/read: needs a file".into()) } else { Ok(Typed::Read(text.to_owned())) },
    },
    Row { names: &["/status"], argument: "", help: "how long the conversation is", make: |_| Ok(Typed::Status) },
];

/// Understands a line; the error is one line for the user.
pub fn read(line: &str) -> Result<Typed, String> {
    if !line.starts_with('/') {
        return Ok(Typed::Message(line.to_owned()));
    }
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let Some(row) = ROWS.iter().find(|row| row.names.contains(&name)) else {
        return Err(format!("{name}: no such command; /help lists them (a message may begin with a space and then /)"));
    };
    if row.argument.is_empty() && !argument.is_empty() {
        return Err(format!("{name}: takes nothing after it"));
    }
    (row.make)(argument)
}

/// The list that `/help` prints.
pub fn help() -> String {
    let mut text = String::new();
    for row in ROWS {
        let left = format!("{} {}", row.names.join(", "), row.argument);
        text += &format!("  {left:<22} {}\n", row.help);
    }
    text + "  Ctrl-C                 stop the answer\n  \\ at the end of a line  go on in the next line\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        assert_eq!(read("Hello"), Ok(Typed::Message("Hello".into())));
        assert_eq!(read(" /etc"), Ok(Typed::Message(" /etc".into())));
        assert_eq!(read("/bye"), Ok(Typed::Exit));
        assert_eq!(read("/system  Be brief. "), Ok(Typed::System("Be brief.".into())));
        assert_eq!(read("/read a b.txt"), Ok(Typed::Read("a b.txt".into())));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(read("/nope").unwrap_err().starts_with("/nope: no such command"));
        assert!(read("/read").unwrap_err().starts_with("/read: needs a file"));
        assert!(read("/clear all").is_err());
    }

    #[test]
    fn help_lists_every_command() {
        for row in ROWS {
            assert!(help().contains(row.names[0]) && help().contains(row.help));
        }
    }
}
