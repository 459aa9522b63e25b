//! A cache group: layers whose keys and values are stored alike, and the memory that they need.

/// Layers that share one block pool and one block table per sequence.
///
/// A physical block holds `block_size` positions of one KV head of one layer. The uniform form used here
/// allocates *runs* of `layers × heads` consecutive blocks, with one table entry per run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvGroup {
    /// Model layers, in the order of their blocks within a run.
    pub layers: Vec<u32>,
    /// KV heads of each layer.
    pub num_kv_heads: u32,
    /// Elements of a key.
    pub head_dim_k: u32,
    /// Elements of a value; 0 where only keys are stored.
    pub head_dim_v: u32,
    /// Bytes of one key, by its codec, scales included.
    pub k_bytes: u32,
    /// Bytes of one value, by its codec, scales included.
    pub v_bytes: u32,
    /// Sliding window: a token attends to itself and to `window - 1` tokens before it. `None`: to all.
    pub window: Option<u32>,
    /// Positions in a block.
    pub block_size: u32,
}

/// How much a cache is to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheLimits {
    /// Most tokens of one sequence.
    pub context: u32,
    /// Most sequences at once.
    pub num_sequences: u32,
    /// Most tokens of all sequences together, at least `context`. Below `context × num_sequences` the
    /// scheduler preempts when it must; what is above keeps prefixes for later.
    pub total_tokens: u64,
    /// Most tokens that one step adds to a sequence: windowed groups hold these beside the window.
    pub step_tokens: u32,
}

impl CacheLimits {
    /// Room for `num_sequences` full contexts.
    pub fn full(context: u32, num_sequences: u32, step_tokens: u32) -> Self {
        let total_tokens = u64::from(context) * u64::from(num_sequences);
        CacheLimits { context, num_sequences, total_tokens, step_tokens }
    }

    /// The same with as many tokens in all as `bytes` of storage hold; the context shrinks where one is more
    /// than that. `None` if there is no room for even one block of tokens.
    pub fn within(self, groups: &[KvGroup], bytes: u64) -> Option<CacheLimits> {
        let limits = |total_tokens: u64| CacheLimits {
            context: total_tokens.min(self.context.into()) as u32,
            total_tokens,
            ..self
        };
        let fits = |total_tokens| {
            let needed = groups.iter().map(|group| group.num_bytes(&limits(total_tokens)));
            needed.fold(0, u64::saturating_add) <= bytes
        };
        let block_size = groups.iter().map(|group| u64::from(group.block_size)).max().unwrap_or(1);
        // Block tables count physical blocks in 32 bits, so more tokens than that are never of use.
        let (mut fitting, mut too_many) = (block_size, u64::from(u32::MAX));
        if !fits(fitting) {
            return None;
        }
        while too_many - fitting > 1 {
            let middle = fitting.midpoint(too_many);
            *(if fits(middle) { &mut fitting } else { &mut too_many }) = middle;
        }
        Some(limits(fitting))
    }
}

impl KvGroup {
    /// Physical blocks in a run: one for each KV head of each layer.
    pub fn run_len(&self) -> u32 {
        self.layers.len() as u32 * self.num_kv_heads
    }

    /// Bytes of a run: `block_size` positions of all layers and heads.
    pub fn run_bytes(&self) -> u64 {
        u64::from(self.run_len()) * u64::from(self.block_size) * u64::from(self.k_bytes + self.v_bytes)
    }

    /// First position that the token at `position` attends to.
    pub fn window_start(&self, position: u32) -> u32 {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The least number of tokens, other than none, that a sequence can be cut to when positions before
    /// `start` are gone: the next token must find its whole window.
    pub fn reach(&self, start: u32) -> u32 {
        if start == 0 { 0 } else { start + self.window.map_or(0, |window| window - 1) }
    }

    /// Blocks that hold that many positions from 0 on.
    pub fn blocks_for(&self, num_tokens: u32) -> u32 {
        num_tokens.div_ceil(self.block_size)
    }

    /// Most runs that one sequence holds at a time.
    pub fn runs_per_sequence(&self, limits: &CacheLimits) -> u32 {
        let all = self.blocks_for(limits.context);
        match self.window {
            None => all,
            // The window before the step's first token starts anywhere in a block: one block more.
            Some(window) => {
                let tokens = u64::from(window) + u64::from(limits.step_tokens);
                all.min(tokens.div_ceil(u64::from(self.block_size)).min(u64::from(u32::MAX) - 1) as u32 + 1)
            }
        }
    }

    /// Runs that the pool is to have.
    pub fn num_runs(&self, limits: &CacheLimits) -> u64 {
        let per_sequence = u64::from(self.runs_per_sequence(limits));
        let sequences = u64::from(limits.num_sequences);
        let by_tokens = limits.total_tokens.div_ceil(u64::from(self.block_size));
        // Each sequence may leave its last block partly empty.
        let in_use = (per_sequence * sequences).min(by_tokens + sequences - 1).max(per_sequence);
        if self.window.is_some() { in_use } else { in_use.max(by_tokens) }
    }

    /// Bytes of the pool's storage.
    pub fn num_bytes(&self, limits: &CacheLimits) -> u64 {
        self.num_runs(limits).saturating_mul(self.run_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(window: Option<u32>) -> KvGroup {
        KvGroup {
            layers: vec![0, 2],
            num_kv_heads: 3,
            head_dim_k: 64,
            head_dim_v: 64,
            k_bytes: 128,
            v_bytes: 128,
            window,
            block_size: 16,
        }
    }

    #[test]
    fn memory_follows_the_context_or_the_window() {
        let limits = CacheLimits::full(4096, 2, 64);
        assert_eq!(group(None).run_bytes(), 6 * 16 * 256);
        assert_eq!(group(None).num_runs(&limits), 512);
        assert_eq!(group(Some(512)).runs_per_sequence(&limits), (512 + 64) / 16 + 1);
        assert_eq!(group(Some(512)).num_bytes(&limits), 2 * 37 * 6 * 16 * 256);
        assert_eq!(group(Some(1 << 20)).num_runs(&limits), 512);
        let tight = CacheLimits { total_tokens: 4096, ..limits };
        assert_eq!(group(None).num_runs(&tight), 257);
    }

    #[test]
    fn bytes_become_tokens() {
        let wanted = CacheLimits::full(4096, 4, 64);
        let groups = [group(None)];
        let bytes = 256 * groups[0].run_bytes();
        let limits = wanted.within(&groups, bytes).unwrap();
        // 256 runs, three of which may be partly empty.
        assert_eq!((limits.context, limits.total_tokens), (4048, 4048));
        assert_eq!(groups[0].num_bytes(&limits), bytes);
        let more = wanted.within(&groups, 10 * bytes).unwrap();
        assert_eq!((more.context, more.total_tokens), (4096, 2560 * 16));
        let ample = wanted.within(&[group(None), group(Some(32))], u64::MAX / 2).unwrap();
        assert_eq!(ample.context, 4096);
        assert_eq!(wanted.within(&groups, groups[0].run_bytes()), None, "a block for each of four sequences");
    }

    #[test]
    fn the_window_counts_the_token_itself() {
        assert_eq!(group(Some(4)).window_start(2), 0);
        assert_eq!(group(Some(4)).window_start(3), 0);
        assert_eq!(group(Some(4)).window_start(4), 1);
        assert_eq!(group(None).window_start(1000), 0);
    }
}
