//! Logits as a real model gives them: those of every position of a text, and rows of another length with the same
//! profile.

use std::error::Error;

use chaski::Llm;
use engine::batch::{Batch, Outputs, SeqId};
use text::Encode;

/// Prose and code, so that some tokens are certain and others are anything but.
const TEXT: &str = "\
The keeper of the lighthouse had not spoken to anyone for eleven days when the boat came in. He put down his cup, took \
the lamp from its hook and went out onto the rocks, wondering who would sail on such a night, and why. There were three \
of them: a tall woman in a yellow coat, a boy who carried a wooden box, and somebody old, wrapped in blankets, who \
laughed at every wave.

Here is a small program in Rust that counts the words of a text and prints the ten most frequent ones:

```rust
use std::collections::HashMap;

fn main() {
    let text = std::io::read_to_string(std::io::stdin()).unwrap();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for word in text.split_whitespace() {
        *counts.entry(word).or_default() += 1;
    }
";

/// Rows that are kept: one in every few positions.
const ROWS: usize = 24;

/// Rows of the model's own vocabulary.
pub fn captured(llm: &mut Llm) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let tokens = llm.tokenizer().encode(TEXT, Encode::TEXT);
    let vocab_size = llm.vocab_size();
    let mut batch = Batch::default();
    let mut rows = Vec::new();
    llm.truncate(SeqId(0), 0)?;
    for (position, &token) in tokens.iter().enumerate() {
        batch.clear();
        batch.push(SeqId(0), &[token], position as u32, Outputs::Last);
        let logits = llm.step(&batch)?;
        rows.push(logits[..vocab_size].to_vec());
    }
    llm.engine().parts_mut().1.free(SeqId(0))?;
    let step = (rows.len() / ROWS).max(1);
    Ok(rows.into_iter().step_by(step).take(ROWS).collect())
}

/// A row of another length whose values, sorted, follow the same curve, the best ones being the same; shuffled.
pub fn of_length(row: &[f32], len: usize, seed: u32) -> Vec<f32> {
    let mut sorted = row.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let same = 1_000.min(len);
    let mut values: Vec<f32> = (0..len)
        .map(|nth| match nth < same {
            true => sorted[nth],
            false => sorted[same + (nth - same) * (sorted.len() - same) / (len - same)],
        })
        .collect();
    let mut state = seed | 1;
    for last in (1..len).rev() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        values.swap(last, ((u64::from(state) * (last as u64 + 1)) >> 32) as usize);
    }
    values
}
