//! `chaski tokenize`: the tokens of a text, printed as llama-tokenize prints them.

use std::io::{Read, Write};

use anyhow::{Context, bail};
use text::{Encode, Tokenizer};

use crate::model_file::ModelFile;
use crate::prompt_text;
use crate::settings::{Settings, Source};
use crate::source;

/// Prints one line per token, or all ids as a list.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let choice = &settings.tokenize;
    if !choice.stdin && settings.prompt.source.is_none() {
        bail!("no text given: put it after the model, or give -p TEXT, -f FILE or --stdin");
    }
    let path = source::resolve(&settings.model)?;
    let file = ModelFile::open(&path)?;
    let tokenizer = Tokenizer::from_metadata(&file.gguf.metadata).with_context(|| path.display().to_string())?;
    let how =
        Encode { add_special: tokenizer.vocab().add_bos() && !choice.no_bos, parse_special: !choice.no_parse_special };
    let ids = tokenizer.encode(text(settings)?, how);

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if choice.ids_only {
        let list: Vec<String> = ids.iter().map(u32::to_string).collect();
        writeln!(out, "[{}]", list.join(", "))?;
    } else {
        for &id in &ids {
            write!(out, "{id:6} -> '")?;
            out.write_all(&tokenizer.piece(id, true))?;
            out.write_all(b"'\n")?;
        }
    }
    if choice.show_count {
        writeln!(out, "Total number of tokens: {}", ids.len())?;
    }
    Ok(out.flush()?)
}

/// The text. Unlike in a prompt, a newline at the end of a file stays: it is a token too.
fn text(settings: &Settings) -> anyhow::Result<Vec<u8>> {
    let text = if settings.tokenize.stdin {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).context("standard input")?;
        text
    } else if let Some(Source::File(path)) = &settings.prompt.source {
        prompt_text::read_file(path)?
    } else {
        return Ok(prompt_text::read(&settings.prompt)?.unwrap_or_default());
    };
    Ok(if settings.prompt.escape { prompt_text::unescape(&text) } else { text })
}
