//! What every handler works with: the model's facts, the door to the engine, settings and counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::handle::Handle;
use engine::technique::ActiveForm;
use text::Tokenizer;
use text::grammar::{Grammars, Problem};
use text::template::ChatTemplate;

use tower_http::cors::CorsLayer;

use crate::config::Config;
use crate::error::ServeError;
use crate::guard::{self, Keys};
use crate::metrics::Metrics;
use crate::slots::Slots;

/// What the server says about builds of itself.
pub const BUILD: &str = concat!("chaski-", env!("CARGO_PKG_VERSION"));

/// The model that is served, as far as the wire shows it.
pub struct Model {
    /// Names under which it is known, the first of them in answers.
    pub names: Vec<String>,
    /// Tags, for information.
    pub tags: Vec<String>,
    /// Path of its file.
    pub path: String,
    /// Type of most of its weights, as `Q4_K_M`.
    pub ftype: String,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template in use.
    pub template: ChatTemplate,
    /// Its source.
    pub template_source: String,
    /// Tokens of one sequence at most.
    pub context: u32,
    /// Tokens of context that it was trained for.
    pub trained_context: u32,
    /// Entries in a row of logits.
    pub vocab_size: usize,
    /// Values per token between layers.
    pub hidden_size: usize,
    /// Elements of all weights.
    pub num_parameters: u64,
    /// Bytes of all weights.
    pub weight_bytes: u64,
    /// Forms of sampler chains that techniques offer.
    pub sampler_forms: Vec<ActiveForm>,
    /// Sequences decoded side by side.
    pub num_slots: usize,
}

impl Model {
    /// The name in answers.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The text of a special token; empty if there is none.
    pub fn marker(&self, token: Option<u32>) -> String {
        token.map_or_else(String::new, |id| String::from_utf8_lossy(&self.tokenizer.piece(id, true)).into_owned())
    }
}

/// Shared by all handlers.
pub struct App {
    pub model: Model,
    pub config: Config,
    pub engine: Handle,
    pub metrics: Arc<Metrics>,
    pub slots: Slots,
    pub keys: Keys,
    pub cors: Option<CorsLayer>,
    /// Made for the first request that asks for one.
    grammars: OnceLock<Result<Grammars, Problem>>,
    next_id: AtomicU64,
    next_task: AtomicU64,
    /// Makes ids differ from one start of the server to the next.
    salt: u64,
}

impl App {
    pub fn new(model: Model, config: Config, engine: Handle, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let slots = Slots::new(model.num_slots);
        let keys = Keys::new(&config.api_keys);
        let cors = config.cors.as_ref().map(guard::cors).transpose()?;
        let salt = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let grammars = OnceLock::new();
        let (next_id, next_task) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(App { model, config, engine, metrics, slots, keys, cors, grammars, next_id, next_task, salt })
    }

    /// What compiles grammars for this model's tokens.
    pub fn grammars(&self) -> Result<&Grammars, Problem> {
        self.grammars.get_or_init(|| Grammars::new(self.model.tokenizer.clone())).as_ref().map_err(Clone::clone)
    }

    /// The next of a sequence of numbers that look random; never the same twice in one run.
    pub fn fresh(&self) -> u64 {
        let count = self.next_id.fetch_add(1, Ordering::Relaxed);
        // splitmix64: a bijection, so that ids cannot meet.
        let mut state = self.salt.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    }

    /// The number of the next answer.
    pub fn next_task(&self) -> u64 {
        self.next_task.fetch_add(1, Ordering::Relaxed)
    }

    /// An id as `chatcmpl-…`.
    pub fn fresh_id(&self, prefix: &str) -> String {
        format!("{prefix}-{:016x}{:016x}", self.fresh(), self.fresh())
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
