//! `chaski perplexity`: how surprised the model is by a text, chunk by chunk as llama-perplexity measures it; and how far
//! its distributions are from those of another plan or program, kept in a file of llama.cpp's form.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use evidence::quality::{BaseReader, Chunking, RUNNING_HEAD, divergence, perplexity};
use text::Encode;

use crate::log::Log;
use crate::settings::{Load, Settings};
use crate::stepper::Stepper;
use crate::{open, prompt_text, source};

/// llama-perplexity's context where none is given.
const CONTEXT: u32 = 512;

/// Scores the text, or compares with a base.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let choice = &settings.perplexity;
    match (&choice.kl_base, choice.kl_divergence) {
        (None, true) => {
            bail!("--kl-divergence compares with the distributions in a file: give it with --kl-divergence-base")
        }
        (Some(base), true) => compare(settings, base),
        (base, false) => score(settings, base.as_deref()),
    }
}

fn score(settings: &Settings, base: Option<&Path>) -> anyhow::Result<()> {
    let Some(text) = prompt_text::read_plain(&settings.prompt)? else {
        bail!("no text given: give -f FILE (or -p TEXT)");
    };
    let context = if settings.load.context == 0 { CONTEXT } else { settings.load.context };
    let mut log = Log::open(&settings.output)?;
    let mut llm = open(settings, context, &mut log)?;
    let tokenizer = llm.tokenizer().clone();
    let tokens = tokenizer.encode(&text, Encode { add_special: true, parse_special: false });
    let chunking = Chunking {
        context: context as usize,
        max_chunks: (settings.perplexity.chunks > 0).then_some(settings.perplexity.chunks),
        bos: tokenizer.vocab().special().bos.filter(|_| tokenizer.vocab().add_bos()),
    };
    let filled = tokens.len() / context as usize;
    if filled > 1 {
        let num_chunks = chunking.max_chunks.map_or(filled, |most| most.min(filled));
        log.info(format_args!("{} tokens, {num_chunks} chunks of {context}", tokens.len()));
    }

    let mut stepper = Stepper::new(&mut llm, settings.load.ubatch)?;
    let mut file = base.map(Partial::create).transpose()?;
    let writer = file.as_mut().map(|file| &mut file.writer as &mut dyn Write);
    let mut out = std::io::stdout();
    let mut broken = None;
    let result = perplexity(&mut stepper, &tokens, &chunking, writer, &mut |chunk, value| {
        let shown = write!(out, "[{chunk}]{value:.4},").and_then(|()| out.flush());
        broken = broken.take().or(shown.err());
    })?;
    open::tell_notices(stepper.llm(), &mut log);
    if let Some(problem) = broken {
        return Err(problem).context("standard output");
    }
    if let Some(file) = file {
        file.keep()?;
    }
    writeln!(out, "\n{result}")?;
    Ok(())
}

fn compare(settings: &Settings, base: &Path) -> anyhow::Result<()> {
    let name = || base.display().to_string();
    let file = File::open(base).with_context(name)?;
    let len_bytes = file.metadata().with_context(name)?.len();
    let mut reader = BaseReader::open(BufReader::with_capacity(1 << 20, file), len_bytes).with_context(name)?;
    let mut log = Log::open(&settings.output)?;
    let context = u32::try_from(reader.context()).with_context(name)?;
    if settings.load.context != 0 && settings.load.context != context {
        bail!("{}: made with -c {context}, not {}; leave -c out", name(), settings.load.context);
    }
    let mut llm = open(settings, context, &mut log)?;
    let vocab = llm.tokenizer().vocab();
    let bos = vocab.special().bos.filter(|_| vocab.add_bos());
    log.info(format_args!("{} chunks of {context} in {}", reader.tokens().len() / context as usize, name()));

    let mut stepper = Stepper::new(&mut llm, settings.load.ubatch)?;
    let mut out = std::io::stdout();
    let mut shown = writeln!(out, "{RUNNING_HEAD}");
    let report = divergence(&mut stepper, &mut reader, bos, &mut |chunk, running| {
        if shown.is_ok() {
            shown = writeln!(out, "{chunk:4}{running}");
        }
    })
    .with_context(name)?;
    open::tell_notices(stepper.llm(), &mut log);
    shown.context("standard output")?;
    writeln!(out, "\n{report}")?;
    Ok(())
}

fn open(settings: &Settings, context: u32, log: &mut Log) -> anyhow::Result<chaski::Llm> {
    let path = source::resolve(&settings.model)?;
    open::llm_at(&path, &Load { context, ..settings.load.clone() }, log)
}

/// A file that takes its name only when it is complete.
struct Partial<'a> {
    writer: BufWriter<File>,
    path: &'a Path,
    kept: bool,
}

impl<'a> Partial<'a> {
    fn create(path: &'a Path) -> anyhow::Result<Partial<'a>> {
        let file = File::create(Self::temporary(path)).with_context(|| path.display().to_string())?;
        Ok(Partial { writer: BufWriter::with_capacity(1 << 20, file), path, kept: false })
    }

    fn temporary(path: &Path) -> std::path::PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        name.into()
    }

    fn keep(mut self) -> anyhow::Result<()> {
        let name = || self.path.display().to_string();
        self.writer.flush().with_context(name)?;
        std::fs::rename(Self::temporary(self.path), self.path).with_context(name)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing more can be done where even that fails.
            let _ = std::fs::remove_file(Self::temporary(self.path));
        }
    }
}
