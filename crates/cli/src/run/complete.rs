//! One completion: the prompt as it is, then what the model makes of it.

use std::io::Write;

use anyhow::bail;
use text::Encode;

use super::session::Session;

/// Prints the prompt (unless `--no-display-prompt`) and its continuation.
pub fn run(session: &mut Session<'_>, prompt: Option<Vec<u8>>) -> anyhow::Result<()> {
    let Some(prompt) = prompt else {
        bail!("no prompt given: put it after the model, or give -p TEXT or -f FILE (-cnv starts a chat)");
    };
    let tokenizer = session.llm.tokenizer().clone();
    let mut tokens = tokenizer.encode(&prompt, Encode::PROMPT);
    if tokens.is_empty() {
        // An empty text is a fine beginning for a model that marks beginnings.
        match tokenizer.vocab().special().bos {
            Some(bos) => tokens.push(bos),
            None => bail!("the prompt is empty, and this model has no token to begin a text with"),
        }
    }
    session.check_length(&tokens)?;
    session.show_prompt(&tokens);

    let mut show = |text: &str| {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    };
    if session.settings.output.display_prompt {
        let special = session.settings.output.special;
        let bytes: Vec<u8> = tokens.iter().flat_map(|&id| tokenizer.piece(id, special).into_owned()).collect();
        let text = String::from_utf8_lossy(&bytes);
        if session.color { show(&format!("\x1b[33m{text}\x1b[0m"))? } else { show(&text)? }
    }
    let max_new = session.max_new_tokens();
    let answer = session.generate(tokens, max_new, &mut show)?;
    if !answer.text.ends_with('\n') {
        show("\n")?;
    }
    session.tell_end(&answer);
    session.tell_timings();
    session.exit_status(answer.reason)
}
