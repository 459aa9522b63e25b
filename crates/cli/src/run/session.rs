//! The model with everything one generation needs: sampler, stop conditions, Ctrl-C, timings.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use chaski::Llm;
use engine::TokenText;
use engine::request::{Constrain, Report, Request, WhenFull};
use engine::sequence::FinishReason;
use engine::stream::{Event, Timings, Usage};
use server::Asked;
use text::StopStrings;
use text::grammar::{Grammars, Matcher};

use crate::log::{Level, Log};
use crate::settings::Settings;
use crate::{ceilings, constraint, op_table, open, prompt_text, sampling};

/// What a shell reports of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 128 + 2;

/// A loaded model and the state of the program around it.
pub struct Session<'a> {
    pub llm: Llm,
    pub settings: &'a Settings,
    pub log: Log,
    pub color: bool,
    /// Set by Ctrl-C while an answer is under way.
    interrupted: Arc<AtomicBool>,
    /// Whether an answer is under way; otherwise Ctrl-C ends the program.
    answering: Arc<AtomicBool>,
    /// What answers must look like.
    matcher: Option<Matcher>,
    load_s: f64,
    totals: (Usage, Timings),
}

/// What one generation gave.
pub struct Answer {
    pub text: String,
    /// All of its tokens, also those whose text is left out.
    pub tokens: Vec<u32>,
    pub reason: FinishReason,
}

impl<'a> Session<'a> {
    /// Loads the model and takes over Ctrl-C.
    pub fn open(settings: &'a Settings) -> anyhow::Result<Session<'a>> {
        let mut log = Log::open(&settings.output)?;
        let begin = Instant::now();
        let llm = open::llm(settings, &mut log)?;
        let matcher = matcher(settings, &llm)?;
        let (interrupted, answering) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (flag, busy) = (interrupted.clone(), answering.clone());
        ctrlc::set_handler(move || {
            // The second Ctrl-C during one answer ends the program too.
            if !busy.load(Ordering::Relaxed) || flag.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        })
        .context("Ctrl-C cannot be caught")?;
        let color = settings.output.color.unwrap_or_else(|| std::io::IsTerminal::is_terminal(&std::io::stdout()));
        let mut session = Session {
            llm,
            settings,
            log,
            color: color && !settings.chat.simple_io,
            interrupted,
            answering,
            matcher: None,
            load_s: begin.elapsed().as_secs_f64(),
            totals: Default::default(),
        };
        if settings.prompt.warmup {
            session.warm_up()?;
        }
        session.matcher = matcher;
        Ok(session)
    }

    /// Tokens of one answer at most, from `-n`.
    pub fn max_new_tokens(&self) -> Option<u32> {
        u32::try_from(self.settings.prompt.predict).ok()
    }

    /// Whether the prompt fits, asked before any of it is printed.
    pub fn check_length(&self, prompt: &[u32]) -> anyhow::Result<()> {
        let (num_prompt, context) = (prompt.len(), self.llm.context());
        if num_prompt >= context as usize {
            return Err(engine::Error::PromptTooLong { num_prompt, context }.into());
        }
        Ok(())
    }

    /// Goes on from `prompt`, handing each piece of text to `show` as it comes. Ctrl-C ends the answer.
    pub fn generate(
        &mut self,
        prompt: Vec<u32>,
        max_new_tokens: Option<u32>,
        show: &mut dyn FnMut(&str) -> std::io::Result<()>,
    ) -> anyhow::Result<Answer> {
        let request = self.request(prompt, max_new_tokens)?;
        let stages: Vec<&str> = request.sampler.stages().collect();
        let form = request.sampler.technique().map_or_else(String::new, |id| format!(", in the form of {id}"));
        self.log.trace(format_args!("seed {}, samplers: {}{form}", request.sampler.seed(), stages.join(" → ")));
        for (id, why) in request.sampler.refusals() {
            self.log.trace(format_args!("technique {id}: the sampler chain runs instead: {why}"));
        }
        let (mut text, mut tokens, mut outcome, mut broken) = (String::new(), Vec::new(), None, None);
        self.interrupted.store(false, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
        let interrupted = &self.interrupted;
        let done = self.llm.engine().answer(request, |event| {
            match event {
                Event::Prompt { .. } | Event::Embedding(_) => {}
                Event::Token { token, piece, .. } => {
                    tokens.push(token);
                    text += &piece;
                    if let Err(problem) = show(&piece) {
                        broken = Some(problem);
                    }
                }
                Event::Finished { reason, usage, timings } => outcome = Some(Ok((reason, usage, timings))),
                Event::Failed(problem) => outcome = Some(Err(problem)),
            }
            if broken.is_some() || interrupted.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        self.answering.store(false, Ordering::Relaxed);
        open::tell_notices(&mut self.llm, &mut self.log);
        done?;
        if let Some(problem) = broken {
            return Err(problem).context("standard output");
        }
        let Some(outcome) = outcome else { bail!("the engine ended without an answer") };
        let (reason, usage, timings) = outcome?;
        self.add(usage, timings);
        Ok(Answer { text, tokens, reason })
    }

    /// `--verbose-prompt`: the tokens that go in.
    pub fn show_prompt(&mut self, tokens: &[u32]) {
        if !self.settings.output.verbose_prompt && !self.log.shows(Level::Debug) {
            return;
        }
        self.log.info(format_args!("prompt: {} tokens", tokens.len()));
        for &id in tokens {
            let piece = String::from_utf8_lossy(&self.llm.tokenizer().piece(id, true)).into_owned();
            self.log.info(format_args!("{id:6} -> '{piece}'"));
        }
    }

    /// Says why an answer ended, where that is not plain to see.
    pub fn tell_end(&mut self, answer: &Answer) {
        match answer.reason {
            FinishReason::ContextFull => {
                let context = self.llm.context();
                self.log.warning(format_args!(
                    "the context of {context} tokens is full: -c N enlarges it, --context-shift goes on without the older half"
                ));
            }
            FinishReason::Aborted => self.log.info(format_args!("stopped by Ctrl-C")),
            _ => {}
        }
    }

    /// Ends the program as the shell expects when Ctrl-C stopped the only thing it had to do.
    pub fn exit_status(&self, reason: FinishReason) -> anyhow::Result<()> {
        if reason == FinishReason::Aborted {
            std::process::exit(INTERRUPTED);
        }
        Ok(())
    }

    /// The speed of everything so far, unless `--no-perf`.
    pub fn tell_timings(&mut self) {
        self.tell_ops();
        let (usage, timings) = self.totals;
        if !self.settings.output.timings || usage.num_prompt == 0 {
            return;
        }
        let computed = usage.num_prompt - usage.num_cached;
        let cached = match usage.num_cached {
            0 => String::new(),
            cached => format!(" ({cached} more were in the cache)"),
        };
        self.log.info(format_args!("load       {:9.3} s", self.load_s));
        self.log.info(format_args!("prompt     {}{cached}", speed(computed, timings.prompt_us)));
        // The first token comes out of the prompt's last step.
        self.log
            .info(format_args!("generation {}", speed(usage.num_generated.saturating_sub(1), timings.generation_us)));
    }

    /// `-v`: where the time of all steps so far went.
    fn tell_ops(&mut self) {
        if self.log.shows(Level::Trace) {
            let ceilings = ceilings::stored(&device::Hardware::probe());
            let lines = op_table::lines(&self.llm.op_counts(), ceilings.as_ref());
            lines.iter().for_each(|line| self.log.trace(format_args!("{line}")));
            let counts = self.llm.watch_counts();
            self.log.trace(format_args!(
                "watch      {} steps, {} redone on the exact plan, {} failed there too",
                counts.num_steps, counts.num_redone, counts.num_failed
            ));
        }
    }

    fn add(&mut self, usage: Usage, timings: Timings) {
        let (sum, times) = &mut self.totals;
        sum.num_prompt += usage.num_prompt;
        sum.num_cached += usage.num_cached;
        sum.num_generated += usage.num_generated;
        times.prompt_us += timings.prompt_us;
        times.generation_us += timings.generation_us;
    }

    fn request(&self, prompt: Vec<u32>, max_new_tokens: Option<u32>) -> anyhow::Result<Request> {
        let tokenizer = self.llm.tokenizer();
        let choice = &self.settings.prompt;
        let keep = match u32::try_from(choice.keep) {
            // As in llama.cpp, the begin marker always stays.
            Ok(keep) => keep.saturating_add(tokenizer.vocab().add_bos() as u32),
            Err(_) => prompt.len() as u32,
        };
        let shift = choice.context_shift && choice.predict != -2;
        Ok(Request {
            sampler: sampling::sampler(&self.llm, &self.settings.sampling)?,
            detokenizer: Box::new(TokenText::new(
                tokenizer.clone(),
                self.settings.output.special,
                StopStrings::new(prompt_text::reverse_prompts(choice)?),
            )),
            constraint: self.matcher.clone().map(|matcher| Box::new(matcher) as Box<dyn Constrain>),
            stop_tokens: tokenizer.vocab().eog().collect(),
            max_new_tokens,
            when_full: if shift { WhenFull::Shift { keep } } else { WhenFull::Stop },
            cache_prompt: true,
            report: Report::default(),
            prompt,
        })
    }

    /// One token through the whole plan, so that the weights are in memory and the threads awake.
    fn warm_up(&mut self) -> anyhow::Result<()> {
        let special = self.llm.tokenizer().vocab().special();
        let token = special.bos.or(special.eos).unwrap_or(0);
        self.generate(vec![token], Some(1), &mut |_| Ok(()))?;
        self.totals = Default::default();
        self.llm.clear_op_counts();
        Ok(())
    }
}

/// What the flags ask answers to look like, compiled.
fn matcher(settings: &Settings, llm: &Llm) -> anyhow::Result<Option<Matcher>> {
    let Some(Asked { name, constraint }) = constraint::chosen(settings.form.as_ref())? else { return Ok(None) };
    let compile = |grammars: Grammars| grammars.compile(&constraint);
    Ok(Some(Grammars::new(llm.tokenizer().clone()).and_then(compile).context(name)?))
}

/// `      12 tokens    0.345 s    34.78 tokens/s`.
fn speed(tokens: u32, time_us: u64) -> String {
    let seconds = time_us as f64 / 1e6;
    let rate = if seconds > 0.0 { f64::from(tokens) / seconds } else { 0.0 };
    format!("{seconds:9.3} s  {tokens:6} tokens  {rate:9.2} tokens/s")
}
