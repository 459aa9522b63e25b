//! Faults put in on purpose, to prove that the watch finds them, and that comparisons do:
//! `--inject nan@step=5,op=matmul,layer=3`, `noise=0.01@step=1-999,op=norm`, `slow=3@step=1-999`.
//! Only builds with debug assertions act on them; the program refuses the flag elsewhere.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Instant;

use kernels::{Executor, OpKind, Slot, StepInputs};
use model::{Plan, StepOutput};

/// Whether this build acts on faults.
pub const IN_THIS_BUILD: bool = cfg!(debug_assertions);

/// One fault, in some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Inject {
    fault: Fault,
    /// Steps of the runner, from 1.
    steps: RangeInclusive<u64>,
    /// Whose output it is put into; `None` where the step as a whole is meant.
    op: Option<OpKind>,
    /// `None`: the first op of its kind.
    layer: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The first value of every row that the op writes becomes this.
    Value(f32),
    /// All of its values are off by up to this share of themselves, upwards or downwards.
    Noise(f32),
    /// The step takes this share longer.
    Slow(f64),
}

impl Inject {
    /// Reads `KIND@step=N[-M],op=OP[,layer=L]`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once('@').ok_or_else(|| format!("`{text}`: expected KIND@step=N,op=OP"))?;
        let fault = Fault::parse(kind)?;
        let (mut steps, mut op, mut layer) = (None, None, None);
        for part in rest.split(',') {
            let bad = || format!("`{part}`: expected step=N, step=N-M, op=OP or layer=L");
            let (key, value) = part.split_once('=').ok_or_else(bad)?;
            match key {
                "step" => {
                    let (from, to) = value.split_once('-').unwrap_or((value, value));
                    steps = Some(from.parse().map_err(|_| bad())?..=to.parse().map_err(|_| bad())?);
                }
                "op" => op = Some(op_called(value)?),
                "layer" => layer = Some(value.parse().map_err(|_| bad())?),
                _ => return Err(bad()),
            }
        }
        if op.is_none() && !matches!(fault, Fault::Slow(_)) {
            return Err("op=OP is missing".into());
        }
        Ok(Self { fault, steps: steps.ok_or("step=N is missing")?, op, layer })
    }

    /// Whether `plan` has a place for it.
    pub fn fits(&self, plan: &Plan) -> bool {
        self.op.is_none() || self.place(plan).is_some()
    }

    /// Which step of `plan` it follows.
    fn place(&self, plan: &Plan) -> Option<usize> {
        let fits = |(index, info): &(usize, &model::StepInfo)| {
            Some(info.op) == self.op
                && self.layer.is_none_or(|layer| info.layer() == Some(layer))
                && plan.output(*index).is_some()
        };
        plan.info.iter().enumerate().find(fits).map(|(index, _)| index)
    }
}

/// The faults of one step of the runner, with their places.
pub struct Injected(Vec<(usize, StepOutput, usize, Fault)>);

impl Injected {
    /// Those of step `number`, run on `plan`.
    pub fn of(faults: &[Inject], number: u64, plan: &Plan, inputs: &StepInputs<'_>) -> Self {
        if !IN_THIS_BUILD || faults.is_empty() {
            return Self(Vec::new());
        }
        let due = faults.iter().filter(|fault| fault.steps.contains(&number));
        let placed = due.filter_map(|fault| {
            let step = fault.place(plan)?;
            let output = plan.output(step)?;
            Some((step, output, output.num_rows(inputs.tokens.len(), inputs.output_rows.len()), fault.fault))
        });
        Self(placed.collect())
    }

    /// Whether nothing goes wrong on purpose.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the faults that belong into the output of the step that has just run.
    pub fn strike(&mut self, step: usize, executor: &mut Executor) {
        for &(_, output, num_rows, fault) in self.0.iter().filter(|fault| fault.0 == step) {
            for row in 0..num_rows {
                let first = Slot(output.slot.0 + 4 * row * output.width);
                if let Ok(values) = executor.values_mut(first, output.width) {
                    fault.strike(values);
                }
            }
        }
    }
}

/// Lets step `number`, which began at `begin`, last as long as the faults want it to.
pub fn slow_down(faults: &[Inject], number: u64, begin: Instant) {
    let share = |inject: &Inject| match inject.fault {
        Fault::Slow(share) if inject.steps.contains(&number) => share,
        _ => 0.0,
    };
    let end = begin.elapsed().mul_f64(1.0 + faults.iter().map(share).sum::<f64>());
    while begin.elapsed() < end {
        std::hint::spin_loop();
    }
}

impl Fault {
    fn parse(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once('=').unwrap_or((text, ""));
        let number = |most: f64| {
            let number = value.parse::<f64>().ok().filter(|number| (0.0..=most).contains(number));
            number.ok_or_else(|| format!("`{text}`: expected {kind}=NUMBER, from 0 to {most}"))
        };
        match kind {
            "nan" if value.is_empty() => Ok(Self::Value(f32::NAN)),
            "inf" if value.is_empty() => Ok(Self::Value(f32::INFINITY)),
            "scale" if value.is_empty() => Ok(Self::Value(1e30)),
            "noise" => Ok(Self::Noise(number(1.0)? as f32)),
            "slow" => Ok(Self::Slow(number(1000.0)? / 100.0)),
            _ => Err(format!("`{text}` is none of nan, inf, scale, noise=SHARE, slow=PERCENT")),
        }
    }

    /// Puts it into a row.
    fn strike(self, row: &mut [f32]) {
        match self {
            Self::Value(value) => row.iter_mut().take(1).for_each(|first| *first = value),
            // The same in every run: what a value is off by comes from its own bits.
            Self::Noise(share) => row.iter_mut().for_each(|value| {
                let mixed = value.to_bits().wrapping_mul(0x9e37_79b9) >> 8;
                *value *= 1.0 + share * (2.0 * mixed as f32 / (1 << 24) as f32 - 1.0);
            }),
            Self::Slow(_) => {}
        }
    }
}

impl fmt::Display for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Value(value) => write!(f, "{value}")?,
            Fault::Noise(share) => write!(f, "noise={share}")?,
            Fault::Slow(share) => write!(f, "slow={}", 100.0 * share)?,
        }
        write!(f, " after {}", self.op.map_or("the step", OpKind::name))?;
        self.layer.map_or(Ok(()), |layer| write!(f, " of layer {layer}"))
    }
}

fn op_called(name: &str) -> Result<OpKind, String> {
    let kinds = kernels::table::OPS.iter().map(|row| row.kind);
    let writes = |kind: &OpKind| !matches!(kind, OpKind::KvStore | OpKind::Quantize);
    let names = || kinds.clone().filter(writes).map(OpKind::name).collect::<Vec<_>>().join(", ");
    kinds
        .clone()
        .filter(writes)
        .find(|kind| kind.name() == name)
        .ok_or_else(|| format!("op `{name}` is none of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_bad_ones_named() {
        let inject = Inject::parse("inf@step=5-7,op=matmul,layer=3").unwrap();
        let fault = Fault::Value(f32::INFINITY);
        let expected = Inject { fault, steps: 5..=7, op: Some(OpKind::Matmul), layer: Some(3) };
        assert_eq!(inject, expected);
        let slow = Inject { fault: Fault::Slow(0.03), steps: 1..=9, op: None, layer: None };
        assert_eq!(Inject::parse("slow=3@step=1-9"), Ok(slow));
        assert_eq!(Inject::parse("scale@op=norm,step=1").unwrap().layer, None);
        for (text, named) in [
            ("nan", "KIND@step"),
            ("nul@step=1,op=norm", "nul"),
            ("nan=1@step=1,op=norm", "nan=1"),
            ("noise@step=1,op=norm", "noise=NUMBER"),
            ("slow=-1@step=1", "slow=NUMBER"),
            ("noise=0.1@step=1", "op=OP"),
            ("nan@step=x,op=norm", "step=x"),
            ("nan@step=1,op=quantize", "quantize"),
            ("nan@step=1", "op=OP"),
            ("nan@op=norm", "step=N"),
            ("nan@step=1,op=norm,row=2", "row=2"),
        ] {
            let problem = Inject::parse(text).unwrap_err();
            assert!(problem.contains(named), "{text}: {problem}");
        }
    }

    #[test]
    fn noise_is_small_of_both_signs_and_the_same_again() {
        let row: Vec<f32> = (1..1000).map(|value| value as f32 / 7.0).collect();
        let mut noisy = row.clone();
        Fault::Noise(0.01).strike(&mut noisy);
        let off: Vec<f32> = noisy.iter().zip(&row).map(|(noisy, value)| noisy / value - 1.0).collect();
        assert!(off.iter().all(|off| off.abs() < 0.0101));
        let upwards = off.iter().filter(|off| **off > 0.0).count();
        assert!((400..600).contains(&upwards), "{upwards}");
        let mut again = row;
        Fault::Noise(0.01).strike(&mut again);
        assert_eq!(again, noisy);
    }

    #[test]
    fn a_slow_step_lasts_as_long_as_it_should() {
        let begin = Instant::now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let alone = begin.elapsed();
        slow_down(&[Inject::parse("slow=100@step=2").unwrap()], 2, begin);
        assert!(begin.elapsed() >= 2 * alone);
    }
}
