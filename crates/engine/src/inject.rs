//! Faults put in on purpose, to prove that the watch finds them: `--inject nan@step=5,op=matmul,layer=3`.
//! Only builds with debug assertions act on them; the program refuses the flag elsewhere.

use std::fmt;
use std::ops::RangeInclusive;

use kernels::{Executor, OpKind, Slot, StepInputs};
use model::{Plan, StepOutput};

/// Whether this build acts on faults.
pub const IN_THIS_BUILD: bool = cfg!(debug_assertions);

/// One fault: the first value of every row that an op writes, in some steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Inject {
    value: f32,
    /// Steps of the runner, from 1.
    steps: RangeInclusive<u64>,
    op: OpKind,
    /// `None`: the first op of its kind.
    layer: Option<u32>,
}

impl Inject {
    /// Reads `KIND@step=N[-M],op=OP[,layer=L]`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once('@').ok_or_else(|| format!("`{text}`: expected KIND@step=N,op=OP"))?;
        let value = match kind {
            "nan" => f32::NAN,
            "inf" => f32::INFINITY,
            "scale" => 1e30,
            _ => return Err(format!("`{kind}` is none of nan, inf, scale")),
        };
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
        let steps = steps.ok_or("step=N is missing")?;
        Ok(Self { value, steps, op: op.ok_or("op=OP is missing")?, layer })
    }

    /// Whether `plan` has a place for it.
    pub fn fits(&self, plan: &Plan) -> bool {
        self.place(plan).is_some()
    }

    /// Which step of `plan` it follows.
    fn place(&self, plan: &Plan) -> Option<usize> {
        let fits = |(index, info): &(usize, &model::StepInfo)| {
            info.op == self.op
                && self.layer.is_none_or(|layer| info.layer() == Some(layer))
                && plan.output(*index).is_some()
        };
        plan.info.iter().enumerate().find(fits).map(|(index, _)| index)
    }
}

/// The faults of one step of the runner, with their places.
pub struct Injected(Vec<(usize, StepOutput, usize, f32)>);

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
            Some((step, output, output.num_rows(inputs.tokens.len(), inputs.output_rows.len()), fault.value))
        });
        Self(placed.collect())
    }

    /// Whether nothing goes wrong on purpose.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the faults that belong into the output of the step that has just run.
    pub fn strike(&mut self, step: usize, executor: &mut Executor) {
        for &(_, output, num_rows, value) in self.0.iter().filter(|fault| fault.0 == step) {
            for row in 0..num_rows {
                let first = Slot(output.slot.0 + 4 * row * output.width);
                if let Ok(values) = executor.values_mut(first, 1) {
                    values[0] = value;
                }
            }
        }
    }
}

impl fmt::Display for Inject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {}", self.value, self.op.name())?;
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
        let expected = Inject { value: f32::INFINITY, steps: 5..=7, op: OpKind::Matmul, layer: Some(3) };
        assert_eq!(inject, expected);
        assert_eq!(Inject::parse("scale@op=norm,step=1").unwrap().layer, None);
        for (text, named) in [
            ("nan", "KIND@step"),
            ("nul@step=1,op=norm", "nul"),
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
}
