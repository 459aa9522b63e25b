//! A configuration with its model loaded, ready to be measured: contexts of several depths lie in its cache, and every
//! measurement goes on from a copy that shares them, so that nothing is computed that is not timed. Called by `ab`.

use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::bail;
use chaski::Llm;
use engine::batch::{Batch, Outputs, SeqId};
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Candidates, Sampler};
use engine::stream::Event;
use text::Encode;

use super::haystack::{Haystack, Hidden};
use super::layout::{FIRST_TOKEN_PROMPT, Kind, Layout};
use crate::log::Log;
use crate::settings::{Load, Settings};
use crate::{open, sampling};

/// What all beds of a comparison have in common. The haystack is made with the first model's tokenizer.
pub struct Ground<'a> {
    pub path: &'a Path,
    pub layout: Layout,
    pub haystack: Option<Rc<Haystack>>,
}

/// The model with its contexts.
pub struct Bed {
    pub llm: Llm,
    pub ubatch: usize,
    /// What the contexts hold.
    pub haystack: Rc<Haystack>,
    depths: Vec<usize>,
    workers: usize,
    sampler: Sampler,
    candidates: Candidates,
    batch: Batch,
    /// A row of logits, for the sampler alone.
    row: Vec<f32>,
    /// The prompt of a request.
    prompt_text: String,
}

impl Bed {
    /// Loads the model as the settings say and fills the contexts; `on_fill` hears how many tokens are in.
    pub fn open(
        ground: &mut Ground<'_>,
        settings: &Settings,
        log: &mut Log,
        on_fill: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Bed> {
        let layout = &ground.layout;
        let load = Load {
            context: u32::try_from(layout.num_tokens())?,
            num_sequences: layout.num_sequences(),
            ..settings.load.clone()
        };
        let llm = open::llm_at(ground.path, &load, log)?;
        let (deepest, len) = (layout.deepest(), layout.deepest() + layout.prompt);
        let haystack = ground.haystack.get_or_insert_with(|| Rc::new(Haystack::new(llm.tokenizer(), deepest, len)));
        let mut bed = Bed {
            ubatch: load.ubatch.min(load.batch),
            haystack: haystack.clone(),
            depths: layout.depths.clone(),
            workers: layout.workers,
            sampler: sampling::sampler(&llm, &settings.sampling)?,
            candidates: Candidates::new(llm.vocab_size()),
            batch: Batch::default(),
            row: Vec::new(),
            prompt_text: prompt_text(&llm, haystack),
            llm,
        };
        bed.fill(on_fill)?;
        Ok(bed)
    }

    /// Puts every depth into a sequence of its own; each goes on from the one before it.
    fn fill(&mut self, on_fill: &mut dyn FnMut(usize)) -> anyhow::Result<()> {
        let mut done = 0;
        for (home, depth) in self.depths.clone().into_iter().enumerate() {
            match home.checked_sub(1) {
                Some(before) => self.llm.share(id(before), id(home), u32::try_from(done)?)?,
                None => self.llm.truncate(id(home), 0)?,
            }
            let haystack = self.haystack.clone();
            for tokens in haystack.tokens[done..depth].chunks(self.ubatch) {
                let mut row = std::mem::take(&mut self.row);
                self.feed(id(home), done, tokens, Outputs::Last, &mut |logits| {
                    row.clear();
                    row.extend_from_slice(logits);
                })?;
                self.row = row;
                done += tokens.len();
                on_fill(done);
            }
        }
        Ok(())
    }

    /// Empties the cache.
    pub fn clear(&mut self) -> anyhow::Result<()> {
        Ok((0..self.depths.len() + self.workers).try_for_each(|seq| self.llm.truncate(id(seq), 0))?)
    }

    /// Seconds that this takes once.
    pub fn measure(&mut self, kind: Kind) -> anyhow::Result<f64> {
        match kind {
            Kind::Prefill { home, tokens } => self.prefill(home, tokens),
            Kind::Decode { home, parallel, steps } => self.decode(home, parallel, steps),
            Kind::FirstToken { tokens: _ } => self.first_token(),
            Kind::Sampling { rows } => self.sample(rows),
        }
    }

    /// Whether the model knows the fact behind a context that holds it: each token of the answer is the likeliest one.
    pub fn knows(&mut self, home: usize, needle: &Hidden) -> anyhow::Result<bool> {
        let depth = self.lend(Some(home), 0)?;
        let tokens: Vec<u32> = needle.question.iter().chain(&needle.answer).copied().collect();
        let (asked, mut row, mut known) = (needle.question.len(), 0, true);
        self.feed(self.worker(0), depth, &tokens, Outputs::All, &mut |logits| {
            row += 1;
            if let (true, Some(next)) = (row >= asked, tokens.get(row)) {
                let likeliest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token);
                known &= likeliest == Some(*next as usize);
            }
        })?;
        Ok(known)
    }

    fn prefill(&mut self, home: Option<usize>, tokens: usize) -> anyhow::Result<f64> {
        let depth = self.lend(home, 0)?;
        let haystack = self.haystack.clone();
        let begin = Instant::now();
        self.feed(self.worker(0), depth, &haystack.tokens[depth..depth + tokens], Outputs::Last, &mut |_| {})?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Every step computes a token for each sequence and picks the next one, as the engine does.
    fn decode(&mut self, home: usize, parallel: usize, steps: usize) -> anyhow::Result<f64> {
        let mut depth = 0;
        for worker in 0..parallel {
            depth = self.lend(Some(home), worker)?;
        }
        let mut sampler = self.sampler.clone();
        sampler.accept_all(&self.haystack.tokens[..depth]);
        sampler.reserve(steps);
        let mut samplers = vec![sampler; parallel];
        let mut next: Vec<u32> = (0..parallel).map(|worker| self.haystack.tokens[depth - worker % depth]).collect();
        let vocab_size = self.llm.vocab_size();
        let begin = Instant::now();
        for step in 0..steps {
            self.batch.clear();
            for (worker, token) in next.iter().enumerate() {
                let position = u32::try_from(depth + step)?;
                self.batch.push(id(self.depths.len() + worker), &[*token], position, Outputs::Last);
            }
            let logits = self.llm.step(&self.batch)?.chunks_exact(vocab_size);
            for ((row, sampler), next) in logits.zip(&mut samplers).zip(&mut next) {
                *next = sampler.sample(&mut self.candidates, row).map_err(engine::Error::from)?.token;
                sampler.accept(*next);
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    /// What a user waits for: the prompt's text becomes tokens, all of them are computed, the first answer is picked.
    fn first_token(&mut self) -> anyhow::Result<f64> {
        self.lend(None, 0)?;
        let stop_tokens = self.llm.tokenizer().vocab().eog().collect();
        let sampler = self.sampler.clone();
        let begin = Instant::now();
        let request = Request {
            prompt: self.llm.tokenizer().encode(&self.prompt_text, Encode::PROMPT),
            sampler,
            detokenizer: Box::new(NoText),
            stop_tokens,
            max_new_tokens: Some(1),
            constraint: None,
            when_full: WhenFull::Stop,
            cache_prompt: false,
            report: Report::default(),
        };
        let (mut seconds, mut failure) = (None, None);
        self.llm.engine().answer(request, |event| {
            match event {
                Event::Token { .. } => seconds = Some(begin.elapsed().as_secs_f64()),
                Event::Failed(error) => failure = Some(error),
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        match (seconds, failure) {
            (_, Some(error)) => Err(error.into()),
            (Some(seconds), None) => Ok(seconds),
            (None, None) => bail!("the engine ended without a token"),
        }
    }

    fn sample(&mut self, rows: usize) -> anyhow::Result<f64> {
        let mut sampler = self.sampler.clone();
        sampler.reserve(rows);
        let begin = Instant::now();
        for _ in 0..rows {
            let sampled = sampler.sample(&mut self.candidates, &self.row).map_err(engine::Error::from)?;
            sampler.accept(sampled.token);
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Lets a worker begin where a home ends, or with nothing; returns how many tokens it has.
    fn lend(&mut self, home: Option<usize>, worker: usize) -> anyhow::Result<usize> {
        let seq = self.worker(worker);
        let Some(home) = home else {
            self.llm.truncate(seq, 0)?;
            return Ok(0);
        };
        let depth = self.depths[home];
        self.llm.share(id(home), seq, u32::try_from(depth)?)?;
        Ok(depth)
    }

    fn worker(&self, worker: usize) -> SeqId {
        id(self.depths.len() + worker)
    }

    /// Appends tokens to a sequence that has `len`, in steps of at most `ubatch` rows; `sink` gets the logits asked for.
    fn feed(
        &mut self,
        seq: SeqId,
        len: usize,
        tokens: &[u32],
        outputs: Outputs,
        sink: &mut dyn FnMut(&[f32]),
    ) -> anyhow::Result<()> {
        let vocab_size = self.llm.vocab_size();
        let mut done = 0;
        for part in tokens.chunks(self.ubatch) {
            let position = u32::try_from(len + done)?;
            done += part.len();
            let last = done == tokens.len() || outputs != Outputs::Last;
            self.batch.clear();
            self.batch.push(seq, part, position, if last { outputs } else { Outputs::None });
            self.llm.step(&self.batch)?.chunks_exact(vocab_size).for_each(&mut *sink);
        }
        Ok(())
    }
}

/// About as much of the haystack's text as a request's prompt is to have.
fn prompt_text(llm: &Llm, haystack: &Haystack) -> String {
    let tokens = haystack.tokens.iter().take(FIRST_TOKEN_PROMPT.min(llm.context() as usize / 4));
    let bytes: Vec<u8> = tokens.flat_map(|&token| llm.tokenizer().piece(token, false).into_owned()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn id(seq: usize) -> SeqId {
    SeqId(u32::try_from(seq).unwrap_or(u32::MAX))
}
