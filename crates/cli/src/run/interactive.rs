//! `-i`: text goes back and forth without a chat template. The model writes until a reverse prompt or its end; then a line
//! is read, framed by `--in-prefix` and `--in-suffix`, and the model goes on from there.

use std::io::Write;

use engine::sequence::FinishReason;
use text::Encode;

use super::input::{Event, Input};
use super::session::Session;
use crate::prompt_text;

/// Goes on from the prompt, turn by turn, until the input ends.
pub fn run(session: &mut Session<'_>, prompt: Option<Vec<u8>>) -> anyhow::Result<()> {
    let choice = session.settings.chat.clone();
    let tokenizer = session.llm.tokenizer().clone();
    let frame = |text: &str| {
        let bytes = if session.settings.prompt.escape { prompt_text::unescape(text.as_bytes()) } else { text.into() };
        tokenizer.encode(bytes, Encode { add_special: false, parse_special: true })
    };
    let (prefix, suffix) = (frame(&choice.in_prefix), frame(&choice.in_suffix));
    let returns = session.settings.prompt.reverse_prompts.first().map(|text| frame(text));

    let mut tokens = tokenizer.encode(prompt.as_deref().unwrap_or_default(), Encode::PROMPT);
    if session.settings.output.display_prompt {
        print_tokens(session, &tokens)?;
    }
    let mut input = Input::open(choice.simple_io, choice.multiline, session.color, None)?;
    let mut users_turn = choice.interactive_first || tokens.is_empty();
    loop {
        if users_turn {
            if choice.in_prefix_bos {
                tokens.extend(tokenizer.vocab().special().bos);
            }
            let line = match input.message()? {
                Event::Message(line) => line,
                Event::Interrupted => continue,
                Event::End => break,
            };
            // An empty line lets the model go on.
            if !line.is_empty() {
                tokens.extend(&prefix);
                tokens.extend(tokenizer.encode(&line, Encode::TEXT));
                tokens.extend(&suffix);
            }
            if tokens.is_empty() {
                continue;
            }
        }
        let mut out = std::io::stdout();
        let max_new = session.max_new_tokens();
        let answer = session.generate(tokens.clone(), max_new, &mut |piece| {
            out.write_all(piece.as_bytes())?;
            out.flush()
        })?;
        session.tell_end(&answer);
        tokens.extend(&answer.tokens);
        match (answer.reason, &returns) {
            (FinishReason::ContextFull, _) => break,
            // The reverse prompt belongs to the text; the engine has kept it back.
            (FinishReason::Stop(_), _) => out.write_all(&kept_back(session, &answer.tokens, &answer.text))?,
            (FinishReason::Eos, Some(returns)) => {
                tokens.pop();
                tokens.extend(returns);
                print_tokens(session, returns)?;
            }
            _ => writeln!(out)?,
        }
        out.flush()?;
        users_turn = true;
    }
    session.tell_timings();
    Ok(())
}

fn print_tokens(session: &Session<'_>, tokens: &[u32]) -> anyhow::Result<()> {
    let special = session.settings.output.special;
    let bytes: Vec<u8> =
        tokens.iter().flat_map(|&id| session.llm.tokenizer().piece(id, special).into_owned()).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes)?;
    Ok(out.flush()?)
}

/// The text of the tokens behind what has been shown.
fn kept_back(session: &Session<'_>, tokens: &[u32], shown: &str) -> Vec<u8> {
    let special = session.settings.output.special;
    let bytes: Vec<u8> =
        tokens.iter().flat_map(|&id| session.llm.tokenizer().piece(id, special).into_owned()).collect();
    bytes.get(shown.len()..).unwrap_or_default().to_vec()
}
