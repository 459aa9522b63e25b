//! `chaski diff`: two places compute the same prompt step by step, and what each step leaves is compared. The second
//! place goes on with the first one's values, so that what is found wrong is wrong in that step.

use std::collections::VecDeque;

use anyhow::bail;
use chaski::Llm;
use engine::batch::{Batch, Outputs, SeqId};
use kernels::ops::quantize;
use kernels::{Exactness, OpKind};
use text::Encode;

use crate::log::Log;
use crate::settings::{DiffPlace, GpuAsked, Load, Settings};
use crate::{open, prompt_text, source};

/// Read where no prompt is given.
const TEXT: &str = "The road ran along the ridge for most of its length, and the runners who carried messages on it \
                    knew every stone. A message took five days from the coast to the city.";
/// Most tokens that are compared at once.
const MOST_TOKENS: usize = 256;
const SEQ: SeqId = SeqId(0);

/// What one step left in one place.
struct Left {
    name: String,
    op: OpKind,
    variant: &'static str,
    exactness: Exactness,
    /// Whether it computed with int8 copies of its input.
    codes: bool,
    values: Vec<f32>,
}

/// One step in both places.
struct Pair {
    a: Left,
    variant_b: &'static str,
    /// Difference over the size of `a`, both as root mean squares.
    error: f64,
    /// What the exactness of both variants allows.
    allowed: f64,
}

/// Compares, prints the steps that are furthest apart, and fails where one is beyond what is declared.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut log = Log::open(&settings.output)?;
    let path = source::resolve(&settings.model)?;
    let mut places = Vec::new();
    for place in [settings.diff.a, settings.diff.b] {
        let load = load(&settings.load, place);
        let llm = open::llm_at(&path, &load, &mut log)?;
        if place == DiffPlace::Cuda && llm.gpu_layers().0 == 0 {
            println!("skipped: no GPU to compare with");
            return Ok(());
        }
        places.push(llm);
    }
    let [a, b] = &mut places[..] else { bail!("two places are compared") };
    let text = prompt_text::read_plain(&settings.prompt)?.unwrap_or_else(|| TEXT.into());
    let mut tokens = a.tokenizer().encode(&text, Encode { add_special: true, parse_special: false });
    tokens.truncate(MOST_TOKENS);
    let Some((last, prompt)) = tokens.split_last().filter(|(_, prompt)| !prompt.is_empty()) else {
        bail!("the prompt has fewer than two tokens");
    };
    let mut beyond = None;
    for (what, part, context) in [("prompt", prompt, 0), ("one token", &[*last][..], prompt.len() as u32)] {
        let mut batch = Batch::default();
        batch.push(SEQ, part, context, Outputs::Last);
        let pairs = lockstep(a, b, &batch)?;
        let first = pairs.iter().position(|pair| pair.error.is_nan() || pair.error > pair.allowed);
        print(what, &pairs, first);
        beyond = beyond.or(first.map(|index| format!("{what}: {}", pairs[index].a.name)));
    }
    match beyond {
        Some(step) => bail!("beyond its declared exactness, {step}"),
        None => Ok(()),
    }
}

/// The settings for one place.
fn load(load: &Load, place: DiffPlace) -> Load {
    let context = if load.context == 0 { 2 * MOST_TOKENS as u32 } else { load.context };
    let load = Load { context, ..load.clone() };
    match place {
        DiffPlace::Cpu => Load { no_gpu: true, ..load },
        DiffPlace::Cuda => Load { gpu_asked: GpuAsked::Command, ..load },
    }
}

/// Every step that both plans have, in the first one's order.
fn lockstep(a: &mut Llm, b: &mut Llm, batch: &Batch) -> anyhow::Result<Vec<Pair>> {
    let mut left = VecDeque::new();
    a.trace(batch, &mut |info, values| {
        left.push_back(Left {
            name: info.name.clone(),
            op: info.op,
            variant: info.variant,
            exactness: info.exactness,
            codes: info.shape.contains("input Q8"),
            values: values.to_vec(),
        });
    })?;
    let mut pairs = Vec::new();
    b.trace(batch, &mut |info, values| {
        let same = |left: &Left| left.name == info.name && left.op == info.op && left.values.len() == values.len();
        let Some(a) = left.iter().position(same).and_then(|index| left.drain(..=index).next_back()) else { return };
        let codes = usize::from(a.codes) + usize::from(info.shape.contains("input Q8"));
        let allowed = bound(a.exactness) + bound(info.exactness) + codes as f64 * bound(quantize::EXACTNESS);
        let error = distance(&a.values, values);
        values.copy_from_slice(&a.values);
        pairs.push(Pair { error, allowed, variant_b: info.variant, a });
    })?;
    Ok(pairs)
}

/// Largest error of a step relative to the size of what it leaves.
fn bound(exactness: Exactness) -> f64 {
    // Sums in another order: some roundings of f32 more.
    const REORDERED: f64 = 1e-5;
    match exactness {
        Exactness::Bitwise => REORDERED,
        Exactness::Reordered { .. } => REORDERED,
        Exactness::Rounded { rel_ppb } => f64::from(rel_ppb) * 1e-9,
        _ => f64::INFINITY,
    }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let size: f64 = a.iter().map(|&a| square(a.into())).sum();
    let apart: f64 = a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    if apart == 0.0 { 0.0 } else { (apart / size).sqrt() }
}

/// The furthest apart of each op, and the first that is too far.
fn print(what: &str, pairs: &[Pair], first: Option<usize>) {
    println!("{what}: {} steps compared", pairs.len());
    let mut ops: Vec<OpKind> = pairs.iter().map(|pair| pair.a.op).collect();
    ops.sort_unstable();
    ops.dedup();
    for op in ops {
        let of_op = pairs.iter().filter(|pair| pair.a.op == op);
        let Some(worst) = of_op.clone().max_by(|x, y| x.error.total_cmp(&y.error)) else { continue };
        println!(
            "  {:<11} {:>4} steps, error up to {:.1e} of {:.1e} allowed: {} ({}, {})",
            op.name(),
            of_op.count(),
            worst.error,
            worst.allowed,
            worst.a.name,
            worst.a.variant,
            worst.variant_b,
        );
    }
    match first {
        Some(index) => println!("  first beyond what is declared: step {index}, {}", pairs[index].a.name),
        None => println!("  none is beyond what is declared"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_relative_to_the_first() {
        assert_eq!(distance(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((distance(&[3.0, 4.0], &[3.0, 4.5]) - 0.1).abs() < 1e-9);
        assert!(distance(&[1.0], &[f32::NAN]).is_nan());
    }
}
