//! How much the KV cache is to hold: `-c`, `-np`, `-kvu` and `--kv-memory` as llama-server means them, made
//! into the cache's limits. Used by [`crate::Llm::open`].

use engine::cache::{CacheLimits, KvGroup};

use crate::{Error, Options};

/// Contexts that share a cache evenly are rounded up to this many tokens.
const CONTEXT_STEP: u32 = 256;

/// The limits that `options` ask for, of a model trained on `trained` tokens whose cache has these groups.
///
/// One context is divided among the sequences, unless the cache is unified: then each of them may have all of
/// it as long as the others leave it. Memory, where it is given, says how many tokens there are in all; a
/// context is never larger than its part of them.
pub(crate) fn limits(options: &Options, trained: u32, groups: &[KvGroup]) -> Result<CacheLimits, Error> {
    let num_sequences = options.num_sequences.clamp(1, u32::MAX as usize) as u32;
    let asked = if options.context == 0 { trained } else { options.context };
    let context = match num_sequences {
        1 => asked,
        _ if options.kv_unified => asked,
        _ => (asked / num_sequences).max(1).next_multiple_of(CONTEXT_STEP),
    };
    let total_tokens = u64::from(context) * if options.kv_unified { 1 } else { u64::from(num_sequences) };
    let most_rows = total_tokens.clamp(1, u64::from(u32::MAX)) as usize;
    let step_tokens = options.ubatch.min(options.batch).clamp(1, most_rows) as u32;
    let limits = CacheLimits { context, num_sequences, total_tokens, step_tokens };
    let Some(bytes) = options.kv_memory else { return Ok(limits) };
    let too_small = || Error::KvMemory { bytes, least: least_bytes(&limits, groups) };
    let within = limits.within(groups, bytes).ok_or_else(too_small)?;
    if options.kv_unified || num_sequences == 1 {
        return Ok(within);
    }
    let part = (within.total_tokens / u64::from(num_sequences)).min(within.context.into()) as u32;
    if part == 0 { Err(too_small()) } else { Ok(CacheLimits { context: part, ..within }) }
}

/// Bytes of the smallest cache that makes sense: a block of tokens for each sequence.
fn least_bytes(limits: &CacheLimits, groups: &[KvGroup]) -> u64 {
    let context = groups.iter().map(|group| group.block_size).max().unwrap_or(1);
    let least = CacheLimits { context, ..CacheLimits::full(context, limits.num_sequences, limits.step_tokens) };
    groups.iter().map(|group| group.num_bytes(&least)).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 512 bytes per token.
    fn groups() -> Vec<KvGroup> {
        let group = KvGroup {
            layers: vec![0, 1],
            num_kv_heads: 1,
            head_dim_k: 64,
            head_dim_v: 64,
            k_bytes: 128,
            v_bytes: 128,
            window: None,
            block_size: 16,
        };
        vec![group]
    }

    fn asked(context: u32, num_sequences: usize, kv_unified: bool, kv_memory: Option<u64>) -> (u32, u64) {
        let options = Options { context, num_sequences, kv_unified, kv_memory, ..Options::default() };
        let limits = limits(&options, 8192, &groups()).unwrap();
        assert!(groups()[0].num_bytes(&limits) <= kv_memory.unwrap_or(u64::MAX), "the memory is never exceeded");
        (limits.context, limits.total_tokens)
    }

    #[test]
    fn contexts_are_what_llama_server_makes_of_them() {
        assert_eq!(asked(0, 1, false, None), (8192, 8192));
        assert_eq!(asked(1000, 1, false, None), (1000, 1000));
        // n_ctx_seq = 4096 / 3 rounded up to 256, n_ctx = 3 of them.
        assert_eq!(asked(4096, 3, false, None), (1536, 4608));
        assert_eq!(asked(4096, 4, true, None), (4096, 4096));
    }

    #[test]
    fn memory_says_how_many_tokens_there_are() {
        let mib = Some(1 << 20);
        assert_eq!(asked(0, 1, false, mib), (2048, 2048));
        assert_eq!(asked(512, 1, false, mib), (512, 2048), "the rest keeps prefixes");
        // Three of four blocks may stay partly empty.
        assert_eq!(asked(0, 4, true, mib), (2000, 2000));
        assert_eq!(asked(0, 4, false, mib), (500, 2000));
        let options = Options { num_sequences: 4, kv_memory: Some(8192), ..Options::default() };
        let refused = limits(&options, 8192, &groups()).unwrap_err().to_string();
        assert!(refused.contains("8192") && refused.contains("32768"), "{refused}");
    }
}
