//! Who takes part in the next step: continuous batching, pure bookkeeping, no device and no clock.
//!
//! Called by the engine, once per step: `schedule` fills the batch, the runner computes it, `commit`
//! counts it, `append` adds the sampled tokens, and `pop_finished` hands out those that have ended.
//!
//! The rules. A step has a budget of rows, the smaller the more sequences decode. Each of these gets its row; what
//! is left ([`Rules::prompt_rows`]) goes to running ones whose prompt is not through, in chunks, then to
//! new ones, in the order of arrival. When blocks run out, the youngest running sequence gives up its
//! place, goes back to the head of the queue and is computed anew later, from its prefix if that is still
//! in the cache. So the oldest gets on in every step, and nobody starves.

use crate::batch::{Batch, Outputs, SeqId};
use crate::cache::{CacheLimits, KvCache};
use crate::error::Error;
use crate::sequence::{FinishReason, Sequence, Status};
use std::collections::VecDeque;

/// Fewest rows of a step that are worth reading all weights for, whoever's they are: at 64 rows a prompt goes at about
/// nine tenths of its best speed, at 16 at half.
const WORTHY_ROWS: u32 = 64;

/// Prompt rows that a step has room for however many sequences decode, or a prompt would crawl.
const MIN_PROMPT_ROWS: u32 = 32;

/// Names a sequence in the scheduler until it is popped as finished.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u32);

/// What a sequence gets of the logits of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Output {
    /// The sequence.
    pub ticket: Ticket,
    /// Its first row of logits.
    pub first_row: u32,
    /// Its rows of logits; the position of the first of them is `first_position`.
    pub num_rows: u32,
    /// Position in the sequence of the token that the first row was computed from.
    pub first_position: u32,
    /// Whether the last row is that of its last token, so that the next one can be sampled.
    pub samples: bool,
}

/// What a scheduler keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Most rows of a step.
    pub max_rows: u32,
    /// Most tokens of a sequence.
    pub context: u32,
    /// Most sequences at once.
    pub num_sequences: u32,
    /// Most sequences that wait beside those; more are refused.
    pub max_waiting: u32,
    /// Makes the rows of every step a function of each sequence alone, whatever the company: a prompt is
    /// computed in chunks that end at multiples of this, an answer token by token, also after a preemption,
    /// and only whole chunks of prompts are shared. `None`: chunks fill the steps.
    pub fixed_chunk: Option<u32>,
}

impl Rules {
    /// What the limits of a cache make necessary, and a queue without end.
    pub fn of(limits: &CacheLimits) -> Rules {
        let CacheLimits { context, num_sequences, step_tokens, .. } = *limits;
        Rules { max_rows: step_tokens.max(1), context, num_sequences, max_waiting: u32::MAX, fixed_chunk: None }
    }

    /// The same with fixed chunks, small enough for one to fit into a step beside all others' tokens.
    pub fn with_fixed_chunks(self) -> Rules {
        let room = self.max_rows.saturating_sub(self.num_sequences.saturating_sub(1)).clamp(1, WORTHY_ROWS);
        // Whole blocks, where that can be: only they are shared.
        let chunk = if room < 16 { room } else { room / 16 * 16 };
        Rules { fixed_chunk: Some(chunk), ..self }
    }

    /// Most prompt rows of a step in which so many sequences decode. All of them wait for the step: the more there are,
    /// the smaller it is, so that what the streams lose together stays about one full step. Their own rows count, so
    /// that a token comes at most a step of [`WORTHY_ROWS`] later than without the prompt.
    pub fn prompt_rows(&self, num_decoding: u32) -> u32 {
        let step = (self.max_rows / num_decoding.saturating_add(1)).max(WORTHY_ROWS);
        let least = self.fixed_chunk.unwrap_or(MIN_PROMPT_ROWS);
        step.saturating_sub(num_decoding).max(least).min(self.max_rows)
    }
}

/// The sequences and their order.
pub struct Scheduler {
    rules: Rules,
    /// Prompt rows that the step being put together may still take.
    prompt_rows: u32,
    /// By ticket; those in `vacant` are empty.
    sequences: Vec<Sequence>,
    vacant: Vec<Ticket>,
    /// Not in the cache, oldest first; all are younger than any that runs.
    waiting: VecDeque<Ticket>,
    /// In the cache, oldest first.
    running: Vec<Ticket>,
    /// Ended and not yet popped.
    finished: VecDeque<Ticket>,
    /// Beside `batch.spans`.
    in_step: Vec<Ticket>,
    /// They cover `batch.output_rows`, in its order.
    outputs: Vec<Output>,
    num_preempted: u32,
    /// Tokens that the sequences let in by the last `schedule` have found in the cache.
    num_cached: u32,
}

impl Scheduler {
    /// A scheduler without sequences.
    pub fn new(rules: Rules) -> Self {
        Scheduler {
            rules,
            prompt_rows: 0,
            sequences: Vec::new(),
            vacant: Vec::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            finished: VecDeque::new(),
            in_step: Vec::new(),
            outputs: Vec::new(),
            num_preempted: 0,
            num_cached: 0,
        }
    }

    /// What it keeps to.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes a sequence in, behind all others.
    pub fn add(&mut self, mut sequence: Sequence) -> Result<Ticket, Error> {
        let Rules { context, num_sequences, max_waiting, .. } = self.rules;
        let num_prompt = sequence.tokens.len();
        if num_prompt == 0 {
            return Err(Error::EmptyPrompt);
        }
        if num_prompt >= context as usize {
            return Err(Error::PromptTooLong { num_prompt, context });
        }
        if self.waiting.len() + self.running.len() >= num_sequences.saturating_add(max_waiting) as usize {
            return Err(Error::QueueFull { num_waiting: self.waiting.len(), max_waiting });
        }
        sequence.set_context(context);
        let ticket = self.vacant.pop().unwrap_or(Ticket(self.sequences.len() as u32));
        if ticket.0 as usize == self.sequences.len() {
            self.sequences.push(Sequence::default());
            // Every queue can hold them all, so that no step has to grow one.
            let num_sequences = self.sequences.len();
            for queue in [&mut self.waiting, &mut self.finished] {
                queue.reserve(num_sequences - queue.len());
            }
            for list in [&mut self.running, &mut self.in_step, &mut self.vacant] {
                list.reserve(num_sequences - list.len());
            }
            self.outputs.reserve(num_sequences - self.outputs.len());
        }
        self.sequences[ticket.0 as usize] = sequence;
        self.waiting.push_back(ticket);
        Ok(ticket)
    }

    /// A sequence that has not been popped.
    pub fn sequence(&self, ticket: Ticket) -> &Sequence {
        &self.sequences[ticket.0 as usize]
    }

    /// Sequences in the cache, oldest first.
    pub fn running(&self) -> &[Ticket] {
        &self.running
    }

    /// Sequences that wait for a place in the cache.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no sequence is left to compute.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The sequences of the step, in the order of `batch.spans`.
    pub fn in_step(&self) -> &[Ticket] {
        &self.in_step
    }

    /// The sequences that get logits of this step, in the order of `batch.output_rows`.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Sequences that the last `schedule` has preempted.
    pub fn num_preempted(&self) -> u32 {
        self.num_preempted
    }

    /// Tokens that the sequences let in by the last `schedule` have found in the cache. Those that come
    /// back after a preemption do not count.
    pub fn num_cached(&self) -> u32 {
        self.num_cached
    }

    /// Rows of the step that belong to sequences that did not decode: prompts, and what is computed anew.
    pub fn num_prompt_rows(&self, batch: &Batch) -> u32 {
        let spans = batch.spans.iter().zip(&self.in_step);
        let prompts = spans.filter(|(span, ticket)| span.num_rows > 1 || self.sequence(**ticket).num_generated() == 0);
        prompts.map(|(span, _)| span.num_rows).sum()
    }

    /// Fills `batch` with the next step. It stays empty only when nothing is left to compute, when all that was
    /// left has just failed or given up its place, or when all that run wait for the token to be appended.
    pub fn schedule(&mut self, cache: &mut KvCache, batch: &mut Batch) {
        batch.clear();
        self.in_step.clear();
        self.outputs.clear();
        self.num_preempted = 0;
        self.num_cached = 0;
        for index in 0..self.running.len() {
            let sequence = self.get(self.running[index]);
            if sequence.is_full() {
                shift(sequence, cache, batch);
            }
        }
        let decoding = self.running.iter().filter(|&&ticket| self.sequence(ticket).num_pending() == 1);
        self.prompt_rows = self.rules.prompt_rows(decoding.count() as u32);
        self.place_running(cache, batch);
        self.admit(cache, batch);
    }

    /// Counts the rows of the step as computed.
    pub fn commit(&mut self, cache: &mut KvCache, batch: &Batch) -> Result<(), Error> {
        for (span, &ticket) in batch.spans.iter().zip(&self.in_step) {
            let sequence = &mut self.sequences[ticket.0 as usize];
            cache.commit(span.seq, span.num_rows)?;
            sequence.num_computed += span.num_rows;
            if sequence.exact {
                // What was computed otherwise than usual is not shared.
                sequence.exact = sequence.num_pending() > 0;
                continue;
            }
            let shared = self.rules.fixed_chunk.map_or(sequence.tokens.len(), |chunk| sequence.whole_chunks(chunk));
            cache.publish_prefix(span.seq, &sequence.tokens[..shared])?;
        }
        Ok(())
    }

    /// Has the sequences of the step computed anew from their first token, on the exact plan.
    pub fn compute_again(&mut self, cache: &mut KvCache) -> Result<(), Error> {
        for &ticket in &self.in_step {
            let sequence = &mut self.sequences[ticket.0 as usize];
            if let Some(slot) = sequence.slot {
                cache.truncate(slot, 0)?;
                sequence.num_computed = 0;
                sequence.exact = true;
            }
        }
        Ok(())
    }

    /// Adds a sampled token, and says whether it is the last one, and why. The caller then finishes it.
    pub fn append(&mut self, ticket: Ticket, token: u32) -> Option<FinishReason> {
        self.get(ticket).append(token)
    }

    /// Ends a sequence, at any time between two steps, and gives back what it holds.
    pub fn finish(&mut self, ticket: Ticket, reason: FinishReason, cache: &mut KvCache) {
        let sequence = self.get(ticket);
        if matches!(sequence.status, Status::Finished(_)) {
            return;
        }
        leave(sequence, cache);
        sequence.status = Status::Finished(reason);
        self.running.retain(|&other| other != ticket);
        self.waiting.retain(|&other| other != ticket);
        self.finished.push_back(ticket);
    }

    /// Hands out the next sequence that has ended; its ticket is void from here on.
    pub fn pop_finished(&mut self) -> Option<(Ticket, Sequence)> {
        let ticket = self.finished.pop_front()?;
        self.vacant.push(ticket);
        Some((ticket, std::mem::take(self.get(ticket))))
    }

    /// Places the running sequences, oldest first; a row is kept for each that decodes.
    fn place_running(&mut self, cache: &mut KvCache, batch: &mut Batch) {
        let mut index = 0;
        while index < self.running.len() {
            let ticket = self.running[index];
            loop {
                let younger = self.running[index + 1..].iter();
                let kept = younger.filter(|&&other| self.sequence(other).num_pending() == 1).count() as u32;
                let mut max_rows = self.budget(batch).saturating_sub(kept);
                if self.sequence(ticket).num_pending() > 1 {
                    max_rows = max_rows.min(self.prompt_rows);
                }
                if self.place(ticket, max_rows, cache, batch) || self.preempt(cache) == Some(ticket) {
                    break;
                }
            }
            index += 1;
        }
    }

    /// Lets sequences in from the queue, strictly in its order, while there is room for all their tokens.
    fn admit(&mut self, cache: &mut KvCache, batch: &mut Batch) {
        while self.num_preempted == 0 && self.running.len() < self.rules.max_rows as usize {
            let max_rows = self.budget(batch).min(self.prompt_rows);
            let Some(&ticket) = self.waiting.front().filter(|_| max_rows > 0) else { return };
            let fits = self.enter(ticket, cache) && self.num_rows(ticket, max_rows) > 0;
            if fits && self.place(ticket, max_rows, cache, batch) {
                self.waiting.pop_front();
                self.running.push(ticket);
                self.note_cached(ticket);
                continue;
            }
            leave(self.get(ticket), cache);
            if self.running.is_empty() {
                // It has the cache to itself and still no room: waiting would not help.
                self.finish(ticket, FinishReason::ContextFull, cache);
            }
            return;
        }
    }

    /// Gives a sequence its place in the cache, with what is known of its tokens. Whether there is room
    /// for the rest.
    fn enter(&mut self, ticket: Ticket, cache: &mut KvCache) -> bool {
        let fixed_chunk = self.rules.fixed_chunk;
        let sequence = self.get(ticket);
        if sequence.is_full() {
            shift(sequence, cache, &mut Batch::default());
        }
        let Some(slot) = cache.unused() else { return false };
        sequence.slot = Some(slot);
        let known = &sequence.tokens[..sequence.tokens.len() - 1];
        let known = if sequence.adopts_prefix() { known } else { &[] };
        let adopted = cache.create(slot).and_then(|()| match fixed_chunk {
            None => cache.adopt_prefix(slot, known),
            Some(chunk) => adopt_chunks(cache, slot, known, chunk),
        });
        let Ok(num_cached) = adopted else { return false };
        self.get(ticket).num_computed = num_cached;
        // A block more for each that runs, or the newcomer would soon be turned out again.
        cache.has_room(slot, self.sequence(ticket).num_pending(), self.running.len() as u32)
    }

    /// Counts what a sequence has found in the cache when it was first let in.
    fn note_cached(&mut self, ticket: Ticket) {
        let sequence = &mut self.sequences[ticket.0 as usize];
        if sequence.num_cached.is_none() {
            sequence.num_cached = Some(sequence.num_computed);
            self.num_cached += sequence.num_computed;
        }
    }

    /// Puts as much of a sequence into the step as `max_rows` allows. `false`: no blocks for it.
    fn place(&mut self, ticket: Ticket, max_rows: u32, cache: &mut KvCache, batch: &mut Batch) -> bool {
        let num_rows = self.num_rows(ticket, max_rows);
        let sequence = &mut self.sequences[ticket.0 as usize];
        let Some(slot) = sequence.slot else { return false };
        if num_rows == 0 {
            return true;
        }
        if cache.reserve(slot, num_rows, &mut batch.copies).is_err() {
            return false;
        }
        let first = sequence.num_computed;
        if sequence.num_pending() > 1 || sequence.num_generated() == 0 {
            self.prompt_rows = self.prompt_rows.saturating_sub(num_rows);
        }
        let samples = num_rows == sequence.num_pending();
        let rows = &sequence.tokens[first as usize..(first + num_rows) as usize];
        let outputs = match (sequence.scores_rows(), samples) {
            (true, _) => Outputs::All,
            (false, true) => Outputs::Last,
            (false, false) => Outputs::None,
        };
        let first_row = batch.output_rows.len() as u32;
        batch.push(slot, rows, first, outputs);
        batch.exact |= sequence.exact;
        sequence.status = Status::Running;
        self.in_step.push(ticket);
        let num_outputs = batch.output_rows.len() as u32 - first_row;
        if num_outputs > 0 {
            let first_position = first + num_rows - num_outputs;
            self.outputs.push(Output { ticket, first_row, num_rows: num_outputs, first_position, samples });
        }
        true
    }

    /// Rows that a sequence gets of `max_rows`.
    fn num_rows(&self, ticket: Ticket, max_rows: u32) -> u32 {
        let sequence = self.sequence(ticket);
        match self.rules.fixed_chunk.map(|chunk| sequence.fixed_rows(chunk)) {
            None => sequence.num_pending().min(max_rows),
            Some(fixed) if fixed <= max_rows => fixed,
            Some(_) => 0,
        }
    }

    /// Takes the youngest running sequence out of the cache; being the last to be placed, it is not in
    /// the step.
    fn preempt(&mut self, cache: &mut KvCache) -> Option<Ticket> {
        let ticket = self.running.pop()?;
        leave(self.get(ticket), cache);
        self.waiting.push_front(ticket);
        self.num_preempted += 1;
        Some(ticket)
    }

    fn budget(&self, batch: &Batch) -> u32 {
        self.rules.max_rows - batch.num_rows() as u32
    }

    fn get(&mut self, ticket: Ticket) -> &mut Sequence {
        &mut self.sequences[ticket.0 as usize]
    }
}

/// Adopts as many whole chunks of a prefix as are known.
fn adopt_chunks(cache: &mut KvCache, slot: SeqId, mut known: &[u32], chunk: u32) -> Result<u32, Error> {
    loop {
        let adopted = cache.adopt_prefix(slot, known)?;
        let whole = adopted / chunk * chunk;
        if whole == adopted {
            return Ok(adopted);
        }
        cache.truncate(slot, 0)?;
        known = &known[..whole as usize];
    }
}

/// Takes a sequence out of the cache; all of it will have to be computed anew.
fn leave(sequence: &mut Sequence, cache: &mut KvCache) {
    if let Some(slot) = sequence.slot.take() {
        // The slot was created by `enter`, so there is nothing that could fail.
        let _ = cache.free(slot);
    }
    sequence.num_computed = 0;
    sequence.status = Status::Waiting;
}

/// Makes room in a full context: in the cache if the sequence is all there, else by computing what is
/// left of it anew. The latter is also the way out when sliding windows have lost what would be needed.
fn shift(sequence: &mut Sequence, cache: &mut KvCache, batch: &mut Batch) {
    let discard = sequence.discard();
    if let Some(slot) = sequence.slot {
        let shifted = sequence.num_pending() == 1 && cache.seq_shift(slot, discard.clone(), &mut batch.copies).is_ok();
        if shifted {
            sequence.num_computed -= discard.end - discard.start;
        } else if cache.truncate(slot, 0).is_ok() {
            sequence.num_computed = 0;
        }
    }
    sequence.tokens.drain(discard.start as usize..discard.end as usize);
}
