//! Puts the engine under load, without HTTP:
//! `cargo run --release -p chaski --example load -- MODEL [throughput|stall|prefix|company|all] [threads]`.
//!
//! Prompts are random tokens, answers greedy and of fixed length, so only the engine is measured:
//! `throughput`: 16 requests of 128 in and 64 out at once, against one of them alone, in turns;
//! `stall`: what a prompt of 3000 tokens does to the time between tokens of 8 streams;
//! `prefix`: the time to the first token of a second request that begins with the same 2000 tokens;
//! `company`: how many of 16 answers differ when the requests are served together instead of one by one, and
//! what `--batch-invariant` costs, which lets none differ.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chaski::{Llm, Options};
use engine::batch::{Batch, Outputs, SeqId};
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Params, Sampler, VocabInfo};
use engine::stream::{Event, EventStream, Usage};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("load MODEL [throughput|stall|prefix|company|all] [threads]")?;
    let wanted = args.next().unwrap_or_else(|| "all".into());
    let mut options =
        Options { context: 8192, num_sequences: 17, kv_unified: true, cache_prompts: true, ..Options::default() };
    if let Some(threads) = args.next() {
        options.threads = threads.parse()?;
    }
    let mut load = Load::open(&path, &options)?;
    println!("{path}: {} threads, context {}", options.threads, load.llm.context());
    let wants = |name: &str| wanted == name || wanted == "all";
    if wants("throughput") {
        load.throughput()?;
    }
    if wants("stall") {
        load.stall()?;
    }
    if wants("prefix") {
        load.prefix()?;
    }
    if wants("company") {
        for batch_invariant in [false, true] {
            let options = Options { batch_invariant, cache_prompts: false, ..options.clone() };
            println!("--batch-invariant {}:", if batch_invariant { "on" } else { "off" });
            Load::open(&path, &options)?.company()?;
        }
    }
    Ok(())
}

struct Load {
    llm: Llm,
    noise: u64,
}

/// A request under way, and when its tokens came.
struct Client {
    events: EventStream,
    submitted: Instant,
    tokens: Vec<u32>,
    times: Vec<Instant>,
    usage: Option<Usage>,
}

impl Client {
    /// Takes what has come; an error if the request has failed.
    fn poll(&mut self) -> Outcome {
        while let Some(event) = self.events.try_next() {
            match event {
                Event::Token { token, .. } => {
                    self.tokens.push(token);
                    self.times.push(Instant::now());
                }
                Event::Finished { usage, .. } => self.usage = Some(usage),
                Event::Failed(error) => return Err(error.into()),
                Event::Prompt { .. } | Event::Embedding(_) => {}
            }
        }
        Ok(())
    }

    /// Milliseconds from the request to its first token.
    fn first_ms(&self) -> f64 {
        self.times.first().map_or(f64::NAN, |&time| ms(self.submitted, time))
    }

    /// Milliseconds between tokens that came within a span of time.
    fn gaps_ms(&self, from: Instant, to: Instant) -> impl Iterator<Item = f64> {
        let pairs = self.times.windows(2).filter(move |pair| pair[1] > from && pair[1] <= to);
        pairs.map(|pair| ms(pair[0], pair[1]))
    }
}

impl Load {
    fn open(path: &str, options: &Options) -> Result<Load, Box<dyn Error>> {
        Ok(Load { llm: Llm::open(Path::new(path), options)?, noise: 0x9e37_79b9_7f4a_7c15 })
    }

    fn throughput(&mut self) -> Outcome {
        let (mut alone, mut together, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..5 {
            for (num_clients, rates) in [(1, &mut alone), (16, &mut together)] {
                let begin = Instant::now();
                let mut clients =
                    (0..num_clients).map(|_| self.submit_noise(128, 64)).collect::<Result<Vec<_>, _>>()?;
                self.finish(&mut clients)?;
                rates.push(f64::from(num_clients * 64) / begin.elapsed().as_secs_f64());
                if num_clients > 1 {
                    first.push(median(clients.iter().map(Client::first_ms).collect()));
                }
            }
        }
        let (alone, together) = (median(alone), median(together));
        println!("throughput, 128 in and 64 out: 1 at a time {alone:.1} tokens/s, 16 at once {together:.1} tokens/s,");
        println!(
            "  {:.2} times as many; median time to the first token of 16: {:.0} ms",
            together / alone,
            median(first)
        );
        Ok(())
    }

    fn stall(&mut self) -> Outcome {
        let mut streams = (0..8).map(|_| self.submit_noise(64, 400)).collect::<Result<Vec<_>, _>>()?;
        self.step_until(&mut streams, |streams| streams.iter().all(|stream| stream.tokens.len() >= 64))?;
        let started = streams.iter().filter_map(|stream| stream.times.first()).max().copied();
        let (started, arrived) = (started.ok_or("no stream has begun")?, Instant::now());
        let mut long = vec![self.submit_noise(3000, 1)?];
        while long[0].usage.is_none() {
            self.llm.engine().step();
            streams.iter_mut().chain(&mut long).try_for_each(Client::poll)?;
        }
        let answered = Instant::now();
        let gaps = |from, to| streams.iter().flat_map(|stream| stream.gaps_ms(from, to)).collect::<Vec<_>>();
        let (before, during) = (gaps(started, arrived), gaps(arrived, answered));
        drop(streams);
        self.llm.engine().run_until_idle();
        let rows = self.llm.engine().rules().prompt_rows(8);
        let chunks = self.chunks_ms(3000, rows as usize)?;
        println!("8 streams, ms between tokens:   p50     p90     p99     max");
        println!("  before the long prompt   {}", quantiles(before));
        println!("  while it is read         {}", quantiles(during));
        println!("  chunks of {rows} rows alone {}", quantiles(chunks));
        println!("  the prompt of 3000 tokens took {:.0} ms", ms(arrived, answered));
        Ok(())
    }

    /// Milliseconds of each chunk of a prompt with the engine to itself.
    fn chunks_ms(&mut self, num_prompt: usize, num_rows: usize) -> Result<Vec<f64>, Box<dyn Error>> {
        let (prompt, seq, mut batch) = (self.tokens(num_prompt), SeqId(0), Batch::default());
        self.llm.truncate(seq, 0)?;
        let mut times = Vec::new();
        for (number, chunk) in prompt.chunks(num_rows).enumerate() {
            batch.clear();
            batch.push(seq, chunk, (number * num_rows) as u32, Outputs::Last);
            let begin = Instant::now();
            self.llm.step(&batch)?;
            times.push(ms(begin, Instant::now()));
        }
        let (_, cache) = self.llm.engine().parts_mut();
        cache.free(seq)?;
        Ok(times)
    }

    fn prefix(&mut self) -> Outcome {
        let (mut first, mut second, mut cached) = (Vec::new(), Vec::new(), 0);
        for _ in 0..3 {
            let shared = self.tokens(2000);
            for times in [&mut first, &mut second] {
                let prompt = [shared.clone(), self.tokens(8)].concat();
                let mut client = vec![self.submit(prompt, 1)?];
                self.finish(&mut client)?;
                times.push(client[0].first_ms());
                cached = client[0].usage.map_or(0, |usage| usage.num_cached);
            }
        }
        let (first, second) = (median(first), median(second));
        println!("prefix of 2000 tokens: first token after {first:.1} ms, at the second request {second:.1} ms:");
        println!("  {:.1} times faster, {cached} tokens from the cache", first / second);
        Ok(())
    }

    fn company(&mut self) -> Outcome {
        let prompts: Vec<_> = (0..16).map(|number| self.tokens(40 + 17 * number)).collect();
        let (mut alone, begin) = (Vec::new(), Instant::now());
        for prompt in &prompts {
            let mut client = vec![self.submit(prompt.clone(), 64)?];
            self.finish(&mut client)?;
            alone.push(std::mem::take(&mut client[0].tokens));
        }
        let (one_by_one, begin) = (begin.elapsed(), Instant::now());
        let mut clients = prompts.into_iter().map(|prompt| self.submit(prompt, 64)).collect::<Result<Vec<_>, _>>()?;
        self.finish(&mut clients)?;
        let together = begin.elapsed();
        let differing = clients.iter().zip(&alone).filter(|(client, alone)| client.tokens != **alone).count();
        println!("company: {differing} of 16 answers of 64 tokens differ from those given one by one;");
        println!("  one by one {:.2} s, together {:.2} s", one_by_one.as_secs_f64(), together.as_secs_f64());
        Ok(())
    }

    fn tokens(&mut self, count: usize) -> Vec<u32> {
        let vocab_size = self.llm.vocab_size() as u64;
        let next = |_| {
            // xorshift64: any mix will do, the same in every run.
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            (self.noise % vocab_size) as u32
        };
        (0..count).map(next).collect()
    }

    fn submit_noise(&mut self, num_prompt: usize, num_new: u32) -> Result<Client, Box<dyn Error>> {
        let prompt = self.tokens(num_prompt);
        self.submit(prompt, num_new)
    }

    /// Asks for exactly `num_new` tokens, the likeliest ones.
    fn submit(&mut self, prompt: Vec<u32>, num_new: u32) -> Result<Client, Box<dyn Error>> {
        let mut params = Params::default();
        params.parse("temperature", "0")?;
        let num_tokens = self.llm.vocab_size();
        let vocab = VocabInfo { num_tokens, end_of_generation: &[], suppressed: &[], breakers: &[] };
        let request = Request {
            prompt,
            sampler: Sampler::new(&params, &vocab, 0)?,
            detokenizer: Box::new(NoText),
            constraint: None,
            stop_tokens: Arc::from([]),
            max_new_tokens: Some(num_new),
            when_full: WhenFull::Stop,
            cache_prompt: true,
            report: Report::default(),
        };
        let events = self.llm.engine().submit(request)?;
        Ok(Client { events, submitted: Instant::now(), tokens: Vec::new(), times: Vec::new(), usage: None })
    }

    fn finish(&mut self, clients: &mut [Client]) -> Outcome {
        self.step_until(clients, |clients| clients.iter().all(|client| client.usage.is_some()))
    }

    fn step_until(&mut self, clients: &mut [Client], done: impl Fn(&[Client]) -> bool) -> Outcome {
        while !done(clients) {
            self.llm.engine().step();
            clients.iter_mut().try_for_each(Client::poll)?;
        }
        Ok(())
    }
}

fn ms(from: Instant, to: Instant) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn quantiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values.get(((values.len() as f64 - 1.0) * part).round() as usize).copied().unwrap_or(f64::NAN);
    format!("{:8.1}{:8.1}{:8.1}{:8.1}", at(0.5), at(0.9), at(0.99), at(1.0))
}
