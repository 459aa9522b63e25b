//! Where the time of steps went, kernel by kernel: the table of `bench --ops` and `run --verbose`.

use chaski::OpCount;
use device::Ceilings;
use kernels::Unit;
use serde_json::{Value as Json, json};

/// Said where no ceilings are known.
pub const NO_CEILINGS: &str =
    "% of ceiling is unknown: run `chaski devices --measure` once on this machine while it is quiet";

const HEAD: [&str; 10] =
    ["regime", "op", "variant", "technique", "calls", "us/step", "% time", "GB/s", "GOPS", "% ceiling"];
/// Columns that stand to the left.
const LEFT: usize = 4;

/// The lines of the table, the slowest kernel of each regime first; none when nothing was counted.
pub fn lines(counts: &[OpCount], ceilings: Option<&Ceilings>) -> Vec<String> {
    if counts.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(sorted(counts).iter().map(|count| cells(count, counts, ceilings)));
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut lines: Vec<String> = rows.iter().map(|row| line(row, &widths)).collect();
    if ceilings.is_none() {
        lines.push(NO_CEILINGS.to_owned());
    }
    lines
}

/// The time of a whole step against the sum of its kernels, where a GPU timed these one by one, in steps of their own.
pub fn whole_step(counts: &[OpCount], step_us: f64) -> String {
    let sum = counts.iter().map(|count| count.time_us / count.num_steps.max(1) as f64).sum::<f64>();
    format!("a step takes {step_us:.1} us as it runs, its kernels one by one {sum:.1} us\n")
}

/// The table as a list of objects.
pub fn json(counts: &[OpCount], ceilings: Option<&Ceilings>) -> Json {
    let object = |count: &OpCount| {
        json!({
            "regime": count.regime.name(),
            "op": count.op.name(),
            "variant": count.variant,
            "technique": count.technique,
            "steps": count.num_steps,
            "calls": count.num_calls,
            "tokens": count.num_tokens,
            "time_us": count.time_us,
            "bytes": count.bytes,
            "ops": count.ops,
            "unit": match count.unit { Unit::F32 => "f32", Unit::Int8 => "int8" },
            "ceiling_share": ceilings.map(|ceilings| ceiling_share(count, ceilings)),
        })
    };
    sorted(counts).into_iter().map(object).collect()
}

fn sorted(counts: &[OpCount]) -> Vec<&OpCount> {
    let mut sorted: Vec<&OpCount> = counts.iter().collect();
    sorted.sort_by(|a, b| a.regime.cmp(&b.regime).then(b.time_us.total_cmp(&a.time_us)));
    sorted
}

/// How close to the roofline: the time that the slower of memory and arithmetic would take at their ceilings, over
/// the time it took. Above 1 where data came from a cache.
fn ceiling_share(count: &OpCount, ceilings: &Ceilings) -> f64 {
    let peak = match count.unit {
        Unit::F32 => ceilings.f32_gflops,
        Unit::Int8 => ceilings.int8_gops,
    };
    let least_us = (count.bytes as f64 / ceilings.read_gbps).max(count.ops as f64 / peak) / 1e3;
    if count.time_us > 0.0 { least_us / count.time_us } else { 0.0 }
}

fn cells(count: &OpCount, all: &[OpCount], ceilings: Option<&Ceilings>) -> [String; 10] {
    let total_us: f64 = all.iter().filter(|other| other.regime == count.regime).map(|other| other.time_us).sum();
    let per_ns = |amount: u64| if count.time_us > 0.0 { amount as f64 / count.time_us / 1e3 } else { 0.0 };
    [
        count.regime.name().to_owned(),
        count.op.name().to_owned(),
        count.variant.to_owned(),
        count.technique.unwrap_or("-").to_owned(),
        count.num_calls.to_string(),
        format!("{:.1}", count.time_us / count.num_steps.max(1) as f64),
        format!("{:.1}", 100.0 * count.time_us / total_us.max(f64::MIN_POSITIVE)),
        format!("{:.2}", per_ns(count.bytes)),
        format!("{:.2}", per_ns(count.ops)),
        ceilings.map_or("-".to_owned(), |ceilings| format!("{:.0}", 100.0 * ceiling_share(count, ceilings))),
    ]
}

fn line(cells: &[String; 10], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, &width))| {
        if column < LEFT { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    padded.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{OpKind, Rows};

    fn count(op: OpKind, variant: &'static str, time_us: f64) -> OpCount {
        OpCount {
            regime: Rows::One,
            op,
            variant,
            technique: None,
            num_steps: 2,
            num_calls: 4,
            num_tokens: 4,
            time_us,
            bytes: 1_000_000,
            ops: 2_000_000,
            unit: Unit::Int8,
        }
    }

    #[test]
    fn the_slowest_kernel_stands_first_with_its_rates() {
        let counts = [count(OpKind::Norm, "norm/f32/a", 50.0), count(OpKind::Matmul, "matmul/q8/b", 150.0)];
        let ceilings = Ceilings { read_gbps: 10.0, int8_gops: 100.0, f32_gflops: 50.0 };
        let lines = lines(&counts, Some(&ceilings));
        assert_eq!(lines.len(), 3);
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        // 1 MB in 150 us; at 10 GB/s it would have taken 100 us.
        assert_eq!(words, ["decode", "matmul", "matmul/q8/b", "-", "4", "75.0", "75.0", "6.67", "13.33", "67"]);
        assert_eq!(json(&counts, Some(&ceilings))[1]["op"], "norm");
    }

    #[test]
    fn without_ceilings_it_says_how_to_get_them() {
        let lines = lines(&[count(OpKind::Norm, "norm/f32/a", 50.0)], None);
        assert!(lines[1].ends_with('-') && lines[2].contains("chaski devices --measure"), "{lines:?}");
        assert!(super::lines(&[], None).is_empty());
    }
}
