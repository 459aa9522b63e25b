//! What goes back to one client: the sampled tokens as text, scores, the vector of a prompt, the end. Kept by the
//! engine for each request, beside the sequence that the scheduler has.

use crate::engine::{Logits, Row};
use crate::error::Error;
use crate::masks::{Masks, Restraint};
use crate::request::{Detokenize, Pooling, Report, Scores};
use crate::sampler::{self, Candidates, Sampled, Sampler, logprobs};
use crate::scheduler::{Output, Scheduler, Ticket};
use crate::sequence::{FinishReason, Sequence, Status};
use crate::stream::{Event, EventSink, Timings, TokenScore, Usage};

/// What the engine keeps of a request beside its sequence.
pub(crate) struct Reply {
    pub sampler: Sampler,
    pub restraint: Option<Restraint>,
    /// Logits that wait for the mask of their token, `[vocab_size]`; empty if none do.
    pub held: Vec<f32>,
    detokenizer: Box<dyn Detokenize>,
    pub sink: Box<dyn EventSink>,
    report: Report,
    /// Tokens of the prompt whose scores have been taken, and those not yet sent.
    num_scored: u32,
    scores: Vec<TokenScore>,
    /// The prompt's vector, as far as it is.
    embedding: Vec<f32>,
    submitted_us: u64,
    pub first_step_us: Option<u64>,
    pub first_token_us: Option<u64>,
    pub error: Option<Error>,
}

impl Reply {
    /// Of a request that has just come, at `submitted_us` on the engine's clock.
    pub fn new(
        sampler: Sampler,
        restraint: Option<Restraint>,
        detokenizer: Box<dyn Detokenize>,
        sink: Box<dyn EventSink>,
        report: Report,
        submitted_us: u64,
    ) -> Self {
        Self {
            sampler,
            restraint,
            held: Vec::new(),
            detokenizer,
            sink,
            report,
            num_scored: 1,
            scores: Vec::new(),
            embedding: Vec::new(),
            submitted_us,
            first_step_us: None,
            first_token_us: None,
            error: None,
        }
    }

    /// Whether it wants no more of a row than its most likely token.
    pub fn is_greedy(&self) -> bool {
        let report = &self.report;
        let told = report.scores.is_some() || report.prompt_scores.is_some() || report.embedding.is_some();
        !told && self.restraint.is_none() && self.sampler.is_greedy()
    }

    /// Scores the tokens of the prompt that follow the rows of this step, if that was asked for.
    pub fn score_prompt(
        &mut self,
        logits: Logits<'_>,
        output: &Output,
        sequence: &Sequence,
        candidates: &mut Candidates,
    ) -> Result<(), Error> {
        let Some(num_top) = self.report.prompt_scores else { return Ok(()) };
        for row in 0..output.num_rows {
            let next = output.first_position + row + 1;
            // What a preempted sequence computes anew has been scored before.
            if next != self.num_scored || next >= sequence.num_prompt() {
                continue;
            }
            let token = sequence.tokens()[next as usize];
            let row = logits.row((output.first_row + row) as usize);
            self.scores.push(score(candidates, row, token, num_top)?);
            self.num_scored += 1;
        }
        Ok(())
    }

    /// Adds the rows of this step to the vector of the prompt, if that was asked for, and sends it when it is whole.
    pub fn pool(&mut self, logits: Logits<'_>, output: &Output, sequence: &Sequence) {
        let Some(pooling) = self.report.embedding else { return };
        let num_prompt = sequence.num_prompt();
        for row in 0..output.num_rows {
            let hidden = logits.hidden_row((output.first_row + row) as usize);
            let position = output.first_position + row;
            if position == 0 {
                // A preempted sequence begins anew.
                self.embedding.clear();
                self.embedding.resize(hidden.len(), 0.0);
            }
            let weight = match pooling {
                Pooling::Mean => 1.0 / num_prompt as f32,
                Pooling::Cls => f32::from(position == 0),
                Pooling::Last => f32::from(position + 1 == num_prompt),
            };
            self.embedding.iter_mut().zip(hidden).for_each(|(sum, value)| *sum += weight * value);
        }
        if output.samples {
            self.sink.send(Event::Embedding(std::mem::take(&mut self.embedding)));
        }
    }

    /// Tells how far the prompt is, if that was asked for.
    pub fn tell_progress(&mut self, sequence: &Sequence) {
        let wanted = self.report.progress || !self.scores.is_empty();
        if wanted && sequence.num_generated() == 0 {
            let num_cached = sequence.num_cached.unwrap_or(0);
            let scores = std::mem::take(&mut self.scores);
            self.sink.send(Event::Prompt { num_computed: sequence.num_computed(), num_cached, scores });
        }
    }

    /// Samples the next token and sends it. Says why the sequence ends, if it does.
    pub fn next_token(
        &mut self,
        row: Row<'_>,
        ticket: Ticket,
        scheduler: &mut Scheduler,
        candidates: &mut Candidates,
        masks: &mut Masks,
    ) -> Result<Option<FinishReason>, Error> {
        if scheduler.sequence(ticket).is_complete() {
            return Ok(Some(FinishReason::Length)); // no token was asked for, only the prompt
        }
        let logits = match row {
            Row::Logits(logits) => logits,
            Row::Best(_) => &[],
        };
        let sampled = match (&mut self.restraint, row) {
            (_, Row::Best(token)) => Sampled { token, probability: 1.0 },
            (None, _) => self.sampler.sample(candidates, logits)?,
            (Some(restraint), _) => {
                let Some(allowed) = restraint.allowed() else {
                    self.held.extend_from_slice(logits);
                    return Ok(None);
                };
                let allowed = allowed?;
                match self.sampler.sample_within(candidates, logits, allowed) {
                    // All that is left to do is to end, by a token that does not exist or that was excluded.
                    Err(sampler::Error::NothingLeft { .. })
                        if allowed.iter().all(|token| scheduler.sequence(ticket).ends_at(token)) =>
                    {
                        return Ok(Some(FinishReason::Eos));
                    }
                    sampled => sampled?,
                }
            }
        };
        let score = match self.report.scores {
            Some(scores) => Some(Box::new(score_sampled(scores, candidates, logits, sampled)?)),
            None => None,
        };
        let token = sampled.token;
        self.sampler.accept(token);
        let mut end = scheduler.append(ticket, token);
        let mut piece = String::new();
        let stopped = match end {
            Some(FinishReason::Eos) => None,
            _ => self.detokenizer.push(token, &mut piece),
        };
        if let Some(index) = stopped {
            end = Some(FinishReason::Stop(index));
        } else if end.is_some() {
            self.detokenizer.finish(&mut piece);
        }
        if let Some(restraint) = self.restraint.as_mut().filter(|_| end.is_none()) {
            masks.accept(restraint, token);
        }
        self.sink.send(Event::Token { token, piece, score });
        Ok(end)
    }

    /// Whether its next token waits for a mask.
    pub fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Tells the client how it ended.
    pub fn end(mut self, sequence: &Sequence, now_us: u64) {
        let reason = match sequence.status() {
            Status::Finished(reason) => reason,
            Status::Waiting | Status::Running => FinishReason::Failed,
        };
        if let Some(error) = self.error {
            return self.sink.send(Event::Failed(error));
        }
        let usage = Usage {
            num_prompt: sequence.num_prompt(),
            num_cached: sequence.num_cached.unwrap_or(0),
            num_generated: sequence.num_generated(),
        };
        let first_step_us = self.first_step_us.unwrap_or(now_us);
        let first_token_us = self.first_token_us.unwrap_or(now_us);
        let timings = Timings {
            queue_us: first_step_us - self.submitted_us,
            prompt_us: first_token_us.saturating_sub(first_step_us),
            generation_us: now_us - first_token_us,
        };
        self.sink.send(Event::Finished { reason, usage, timings });
    }
}

/// The score of a token that has just been sampled; the candidates are as the chain left them.
fn score_sampled(
    scores: Scores,
    candidates: &mut Candidates,
    logits: &[f32],
    sampled: Sampled,
) -> Result<TokenScore, Error> {
    if !scores.after_sampling {
        return score(candidates, logits, sampled.token, scores.top);
    }
    let best: Vec<usize> = candidates.best(scores.top as usize).collect();
    let top = best.into_iter().map(|index| (candidates.ids()[index], candidates.probability(index))).collect();
    Ok(TokenScore { token: sampled.token, score: sampled.probability, top })
}

/// The log-probability of a token in the model's own distribution.
fn score(candidates: &mut Candidates, logits: &[f32], token: u32, num_top: u32) -> Result<TokenScore, Error> {
    let mut top = Vec::new();
    let score = logprobs(candidates, logits, token, num_top as usize, &mut top)?;
    Ok(TokenScore { token, score, top })
}
