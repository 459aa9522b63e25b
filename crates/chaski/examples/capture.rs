//! Writes what one attention head of a real model is given: `capture MODEL LAYER TEXT FILE`.
//!
//! FILE is `[256 tokens, 3, head_dim]` little-endian f16: for each of the first 256 tokens of TEXT the query of the layer's
//! first head, and the key and value it is matched with, as the exact plan computes them (queries and keys after RoPE).
//! `fixtures/attention` was made with it.

use chaski::{Llm, Options, PlanKind};
use engine::batch::{Batch, Outputs, SeqId};
use half::f16;
use text::Encode;

const NUM_TOKENS: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, layer, text, file] = args.as_slice() else { return Err("usage: capture MODEL LAYER TEXT FILE".into()) };
    let options = Options { plan: PlanKind::Exact, context: NUM_TOKENS as u32, ..Options::default() };
    let mut llm = Llm::open(model.as_ref(), &options)?;
    let text = std::fs::read_to_string(text)?;
    let tokens = llm.tokenizer().encode(&text, Encode { add_special: true, parse_special: false });
    let tokens = tokens.get(..NUM_TOKENS).ok_or(format!("the text has only {} tokens", tokens.len()))?;
    let mut batch = Batch::default();
    batch.push(SeqId(0), tokens, 0, Outputs::Last);

    let names = ["rope_q", "rope_k", "attn_v.weight"].map(|name| format!("blk.{layer}.{name}"));
    let mut found: [Vec<f32>; 3] = Default::default();
    let mut heads = 0;
    llm.trace(&batch, &mut |step, values| {
        if let Some(nth) = names.iter().position(|name| *name == step.name) {
            found[nth] = values.to_vec();
            // "9 heads of 64"
            heads =
                if nth == 0 { step.shape.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0) } else { heads };
        }
    })?;
    let [q, k, v] = &found;
    if heads == 0 || k.is_empty() || v.is_empty() {
        return Err(format!("{model}: no layer {layer} with rotated queries and keys").into());
    }
    let dim = q.len() / NUM_TOKENS / heads;
    let mut bytes = Vec::new();
    for token in 0..NUM_TOKENS {
        for values in [q, k, v] {
            let row = &values[token * (values.len() / NUM_TOKENS)..][..dim];
            bytes.extend(row.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
        }
    }
    std::fs::write(file, bytes)?;
    for (name, values) in ["q", "k", "v"].iter().zip(&found) {
        let width = values.len() / NUM_TOKENS;
        let rms = |channel: usize| -> f32 {
            let squares = (0..NUM_TOKENS).map(|token| values[token * width + channel].powi(2));
            (squares.sum::<f32>() / NUM_TOKENS as f32).sqrt()
        };
        let mut all: Vec<f32> = (0..dim).map(rms).collect();
        all.sort_by(f32::total_cmp);
        println!(
            "{name}: a channel's root mean square is {:.2} at the median, {:.2} at most",
            all[dim / 2],
            all[dim - 1]
        );
    }
    Ok(())
}
