//! State that changes with accepted tokens and can be taken back, for the stages that learn (Mirostat, adaptive-p).

/// A value and what it was before each change.
#[derive(Debug, Clone)]
pub(super) struct Journal<T> {
    now: T,
    past: Vec<(usize, T)>, // (position of the token that changed it, value before)
}

impl<T: Copy> Journal<T> {
    pub fn new(start: T) -> Self {
        Self { now: start, past: Vec::new() }
    }

    pub fn now(&self) -> T {
        self.now
    }

    pub fn set(&mut self, position: usize, value: T) {
        self.past.push((position, self.now));
        self.now = value;
    }

    pub fn reserve(&mut self, num_changes: usize) {
        self.past.reserve(num_changes);
    }

    /// The value as it was before the token at `position`.
    pub fn rollback(&mut self, position: usize) {
        while let Some((_, before)) = self.past.pop_if(|(changed, _)| *changed >= position) {
            self.now = before;
        }
    }
}
