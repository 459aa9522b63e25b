//! What is measured, and how much cache that needs: depths, numbers of sequences, tests. Made once for a comparison, from
//! the flags and the model's own context.

use anyhow::bail;

use crate::settings::Ab;

/// Depths measured unless others are asked for.
const DEPTHS: [usize; 3] = [128, 1024, 4096];
/// Sequences at once unless asked for.
const PARALLEL: [usize; 3] = [1, 4, 8];
/// Tokens of the prompt whose first answer is waited for.
pub const FIRST_TOKEN_PROMPT: usize = 256;
/// Rows sampled in one measurement of the sampler alone.
pub const SAMPLED_ROWS: usize = 32;
/// Most positions that a block of the cache holds: a sequence may leave as many unused.
const BLOCK: usize = 64;

/// The sizes of everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Contexts that stay in the cache, ascending.
    pub depths: Vec<usize>,
    /// Most sequences generated for at once.
    pub workers: usize,
    /// Tokens of a timed prompt.
    pub prompt: usize,
    pub tests: Vec<Test>,
}

/// One thing that is timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    pub name: String,
    pub kind: Kind,
    /// Tokens that one measurement computes.
    pub tokens: usize,
}

/// What is timed. A home is the index of a depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A prompt, behind a context or behind nothing.
    Prefill { home: Option<usize>, tokens: usize },
    /// Steps of generation with sampling, for several sequences behind one context.
    Decode { home: usize, parallel: usize, steps: usize },
    /// From the text of a prompt to the first token of the answer, through the engine.
    FirstToken { tokens: usize },
    /// The sampler alone.
    Sampling { rows: usize },
}

impl Layout {
    /// For a model trained on `trained` tokens.
    pub fn of(choice: &Ab, trained: usize) -> anyhow::Result<Layout> {
        let room = trained.saturating_sub(choice.prompt.max(choice.generate));
        if let Some(depth) = choice.depths.iter().find(|depth| **depth > room) {
            bail!(
                "-d {depth}: with {} tokens behind it, this goes beyond the model's context of {trained}",
                trained - room
            );
        }
        let mut depths = if choice.depths.is_empty() { DEPTHS.to_vec() } else { choice.depths.clone() };
        depths.retain(|depth| *depth <= room);
        depths.sort_unstable();
        depths.dedup();
        let (Some(&first), Some(&last)) = (depths.first(), depths.last()) else {
            let (prompt, generate) = (choice.prompt, choice.generate);
            bail!(
                "-p {prompt} and -n {generate}: the model's context of {trained} tokens has no room for them; give less"
            );
        };
        let mut parallel = if choice.parallel.is_empty() { PARALLEL.to_vec() } else { choice.parallel.clone() };
        parallel.sort_unstable();
        parallel.dedup();

        let mut tests = vec![Test::prefill(None, 0, choice.prompt)];
        if last > first {
            // Behind a long context every token costs more.
            tests.push(Test::prefill(Some(depths.len() - 1), last, choice.prompt.div_ceil(8)));
        }
        tests.extend(depths.iter().enumerate().map(|(home, depth)| Test::decode(home, *depth, 1, choice.generate)));
        let several = parallel.iter().filter(|count| **count > 1);
        tests.extend(several.map(|count| Test::decode(0, first, *count, choice.generate.div_ceil(*count).max(4))));
        let tokens = FIRST_TOKEN_PROMPT.min(trained / 2);
        tests.push(Test { name: format!("first token of {tokens}"), kind: Kind::FirstToken { tokens }, tokens: 1 });
        let kind = Kind::Sampling { rows: SAMPLED_ROWS };
        tests.push(Test { name: "sampling".into(), kind, tokens: SAMPLED_ROWS });
        let workers = parallel.last().copied().unwrap_or(1);
        Ok(Layout { depths, workers, prompt: choice.prompt, tests })
    }

    /// The longest context.
    pub fn deepest(&self) -> usize {
        self.depths.last().copied().unwrap_or(0)
    }

    /// Sequences in the cache: the homes, the workers, and one for a request.
    pub fn num_sequences(&self) -> usize {
        self.depths.len() + self.workers + 1
    }

    /// Tokens of all sequences together. The homes share what they have in common, and workers share their home.
    pub fn num_tokens(&self) -> usize {
        let generated = |test: &Test| match test.kind {
            Kind::Decode { parallel, steps, .. } => parallel * steps,
            Kind::Prefill { tokens, .. } | Kind::FirstToken { tokens } => tokens,
            Kind::Sampling { .. } => 0,
        };
        let own = self.tests.iter().map(generated).max().unwrap_or(0);
        self.deepest() + own + 2 * BLOCK * self.num_sequences()
    }
}

impl Test {
    fn prefill(home: Option<usize>, depth: usize, tokens: usize) -> Test {
        let place = if depth > 0 { format!(" @ {depth}") } else { String::new() };
        Test { name: format!("prefill {tokens}{place}"), kind: Kind::Prefill { home, tokens }, tokens }
    }

    fn decode(home: usize, depth: usize, parallel: usize, steps: usize) -> Test {
        let times = if parallel > 1 { format!(" {parallel}×") } else { String::new() };
        let kind = Kind::Decode { home, parallel, steps };
        Test { name: format!("decode{times} @ {depth}"), kind, tokens: parallel * steps }
    }

    /// Whether it is told as tokens per second.
    pub fn is_rate(&self) -> bool {
        matches!(self.kind, Kind::Prefill { .. } | Kind::Decode { .. })
    }

    /// Whether the verdict looks at it: sampling is a part of generation.
    pub fn decides(&self) -> bool {
        !matches!(self.kind, Kind::Sampling { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layout: &Layout) -> Vec<&str> {
        layout.tests.iter().map(|test| &test.name[..]).collect()
    }

    #[test]
    fn depths_go_as_far_as_the_models_context() {
        let choice = Ab::default();
        let layout = Layout::of(&choice, 8192).unwrap();
        assert_eq!(layout.depths, [128, 1024, 4096]);
        let expected = [
            "prefill 512",
            "prefill 64 @ 4096",
            "decode @ 128",
            "decode @ 1024",
            "decode @ 4096",
            "decode 4× @ 128",
            "decode 8× @ 128",
            "first token of 256",
            "sampling",
        ];
        assert_eq!(names(&layout), expected);
        assert_eq!((layout.num_sequences(), layout.deepest()), (12, 4096));
        assert!(layout.num_tokens() > 4096 + 512 && layout.num_tokens() < 8192);
        assert_eq!(Layout::of(&choice, 2048).unwrap().depths, [128, 1024]);
        assert_eq!(layout.tests.iter().filter(|test| !test.decides()).count(), 1);
    }

    #[test]
    fn lists_are_sorted_and_what_does_not_fit_is_named() {
        let choice = Ab { depths: vec![64, 32, 64], parallel: vec![2], prompt: 16, generate: 8, ..Ab::default() };
        let layout = Layout::of(&choice, 128).unwrap();
        let expected = ["prefill 16", "prefill 2 @ 64", "decode @ 32", "decode @ 64", "decode 2× @ 32"];
        assert_eq!(names(&layout)[..5], expected);
        assert_eq!(layout.tests[4].tokens, 8);
        let problem = |choice: &Ab, trained| Layout::of(choice, trained).unwrap_err().to_string();
        assert!(problem(&choice, 72).starts_with("-d 64: with 16 tokens behind it"));
        assert!(problem(&Ab::default(), 512).starts_with("-p 512 and -n 8"));
        let one = Layout::of(&Ab { depths: vec![40], ..choice }, 128).unwrap();
        assert_eq!(names(&one)[..2], ["prefill 16", "decode @ 40"], "no second prompt behind the only depth");
    }
}
