//! How far greedy answers agree with another engine's: `agree MODEL FILE`, where FILE has lines
//! `PROMPT<TAB>CONTINUATION` with `\n` escaped. The continuation is fed token by token; wherever our most
//! likely token is another one, the gap between the two logits is printed, under the baseline plan and,
//! for the same prefix, under the exact one.

use chaski::{Llm, Options, PlanKind};
use engine::batch::{Batch, Outputs, SeqId};
use text::Encode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, file] = args.as_slice() else { return Err("usage: agree MODEL FILE".into()) };
    let options = |plan| Options { plan, context: 1024, ..Options::default() };
    let mut baseline = Llm::open(model.as_ref(), &options(PlanKind::Baseline))?;
    let mut exact = Llm::open(model.as_ref(), &options(PlanKind::Exact))?;
    let (mut answers, mut whole, mut tokens, mut agreed, mut first_gaps) = (0, 0, 0, 0, Vec::new());
    for line in std::fs::read_to_string(file)?.lines() {
        let Some((prompt, continuation)) = line.split_once('\t') else { continue };
        let text = continuation.replace("\\n", "\n");
        let prompt = baseline.tokenizer().encode(prompt, Encode { add_special: true, parse_special: false });
        let rest = baseline.tokenizer().encode(&text, Encode { add_special: false, parse_special: false });
        let rows = logits(&mut baseline, &prompt, &rest)?;
        let exact_rows = logits(&mut exact, &prompt, &rest)?;
        let mut parted = false;
        for (at, ((row, exact), &theirs)) in rows.iter().zip(&exact_rows).zip(&rest).enumerate() {
            let ours = argmax(row);
            tokens += 1;
            agreed += usize::from(ours == theirs as usize);
            if ours != theirs as usize && !parted {
                parted = true;
                let gap = row[ours] - row[theirs as usize];
                let noise = rms(row, exact);
                let exact_gap = exact[ours] - exact[theirs as usize];
                let piece = |id| String::from_utf8_lossy(&baseline.tokenizer().piece(id, true)).into_owned();
                println!(
                    "  parts at token {at}, {:?} for {:?}: gap {gap:.3}, exact plan {exact_gap:.3}, rounding of a logit {noise:.3}",
                    piece(ours as u32),
                    piece(theirs)
                );
                first_gaps.push(gap / noise);
            }
        }
        answers += 1;
        whole += usize::from(!parted);
    }
    let worst = first_gaps.iter().fold(0f32, |worst, &gap| worst.max(gap));
    println!(
        "{whole} of {answers} answers agree whole; {agreed} of {tokens} tokens; largest gap at a parting {worst:.1} x rounding"
    );
    Ok(())
}

/// The logits that predict each token of `rest`.
fn logits(llm: &mut Llm, prompt: &[u32], rest: &[u32]) -> Result<Vec<Vec<f32>>, chaski::Error> {
    llm.truncate(SeqId(0), 0)?;
    let mut batch = Batch::default();
    batch.push(SeqId(0), prompt, 0, Outputs::Last);
    let mut rows = vec![llm.step(&batch)?.to_vec()];
    for (i, &token) in rest.iter().enumerate() {
        batch.clear();
        batch.push(SeqId(0), &[token], (prompt.len() + i) as u32, Outputs::Last);
        rows.push(llm.step(&batch)?.to_vec());
    }
    Ok(rows)
}

fn argmax(row: &[f32]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

/// Root mean square difference of two rows, each less its mean (a softmax does not see a constant).
fn rms(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len() as f32;
    let shift = a.iter().zip(b).map(|(a, b)| a - b).sum::<f32>() / n;
    (a.iter().zip(b).map(|(a, b)| (a - b - shift).powi(2)).sum::<f32>() / n).sqrt()
}
