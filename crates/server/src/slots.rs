//! What every place of the engine is doing, for `GET /slots`: an answer takes a free slot when it is submitted,
//! or when its first event comes, and gives it back when it ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// All slots, by id.
pub struct Slots {
    held: Mutex<Vec<Option<Arc<Work>>>>,
}

/// What a slot works on.
pub struct Work {
    /// Number of the answer, counted over the server's life.
    pub task: u64,
    /// The request's settings, as JSON.
    pub params: Value,
    /// Tokens of the prompt.
    pub num_prompt: u32,
    /// Tokens to generate at most; -1 for no limit.
    pub max_tokens: i64,
    /// Tokens of the prompt that are computed.
    pub num_computed: AtomicU32,
    /// Those of them that were in the cache.
    pub num_cached: AtomicU32,
    /// Tokens generated.
    pub num_generated: AtomicU32,
}

impl Slots {
    /// That many, all free.
    pub fn new(count: usize) -> Self {
        Slots { held: Mutex::new(vec![None; count]) }
    }

    /// Takes the first free slot.
    pub fn take(&self, work: &Arc<Work>) -> Option<usize> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = held.iter().position(Option::is_none)?;
        held[free] = Some(work.clone());
        Some(free)
    }

    /// Gives a slot back.
    pub fn give_back(&self, slot: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.get_mut(slot) {
            *place = None;
        }
    }

    /// All of them as JSON, and how many are free.
    pub fn shown(&self, context: u32) -> (Value, usize) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = held.iter().enumerate().map(|(id, work)| show(id, context, work.as_deref())).collect();
        (Value::Array(shown), held.iter().filter(|work| work.is_none()).count())
    }
}

fn show(id: usize, context: u32, work: Option<&Work>) -> Value {
    let mut slot = json!({"id": id, "n_ctx": context, "speculative": false, "is_processing": work.is_some()});
    if let (Some(work), Some(members)) = (work, slot.as_object_mut()) {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let decoded = load(&work.num_generated);
        let remain = if work.max_tokens < 0 { -1 } else { work.max_tokens - i64::from(decoded) };
        members.insert("id_task".into(), work.task.into());
        members.insert("n_prompt_tokens".into(), work.num_prompt.into());
        members.insert(
            "n_prompt_tokens_processed".into(),
            load(&work.num_computed).saturating_sub(load(&work.num_cached)).into(),
        );
        members.insert("n_prompt_tokens_cache".into(), load(&work.num_cached).into());
        members.insert("params".into(), work.params.clone());
        let next =
            json!([{"has_next_token": remain != 0, "has_new_line": false, "n_remain": remain, "n_decoded": decoded}]);
        members.insert("next_token".into(), next);
    }
    slot
}
