//! Two programs that measure the same tests, run in turn on a noisy machine. Called by every bench.
//!
//! A round runs each program once; which goes first changes from round to round, so that slow phases of the machine fall
//! on both. The ratio is the median of the rounds' ratios: it holds although the absolute rates wander.

use crate::process;
use anyhow::{Context, Result, bail, ensure};
use evidence::measure::Summary;
use std::path::PathBuf;
use std::process::Command;

/// A comparison to be made.
pub struct Duel {
    /// Heading under which the rows stand.
    pub group: String,
    pub model: String,
    /// What stands behind a test's name where the sides are set up in an unusual way.
    pub setting: String,
    /// Bytes of weights that ours reads for each token of a `tg` test, where reading them is what takes the time.
    pub token_bytes: Option<f64>,
    pub ours: Side,
    pub theirs: Side,
}

/// A program and how its output is read.
#[derive(Clone, Debug)]
pub struct Side {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub read: fn(&str) -> Result<Vec<Reading>>,
}

/// One test, measured once.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub test: String,
    /// Units of work per second: more is better.
    pub rate: f64,
}

/// One test, measured on both sides in every round.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub group: String,
    pub model: String,
    pub test: String,
    /// Rates, round by round.
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    /// As in [`Duel`].
    pub token_bytes: Option<f64>,
}

impl Duel {
    /// Runs both sides `rounds` times and hands the rows of each round to `take`, so that a bench that is broken off keeps
    /// what it has.
    pub fn fight(&self, rounds: usize, mut take: impl FnMut(Vec<Row>) -> Result<()>) -> Result<()> {
        for round in 0..rounds {
            let (ours, theirs) = if round % 2 == 0 {
                let ours = self.ours.measure()?;
                (ours, self.theirs.measure()?)
            } else {
                let theirs = self.theirs.measure()?;
                (self.ours.measure()?, theirs)
            };
            let shown: Vec<String> =
                ours.iter().zip(&theirs).map(|(a, b)| format!("{} {:.1} : {:.1}", a.test, a.rate, b.rate)).collect();
            eprintln!("{}, {}, round {}/{rounds}: {}", self.group, self.model, round + 1, shown.join(", "));
            take(self.rows(&ours, &theirs)?)?;
        }
        Ok(())
    }

    /// One round as rows.
    fn rows(&self, ours: &[Reading], theirs: &[Reading]) -> Result<Vec<Row>> {
        ensure!(!ours.is_empty() && ours.len() == theirs.len(), "{} tests here, {} there", ours.len(), theirs.len());
        let row = |(a, b): (&Reading, &Reading)| {
            ensure!(a.test == b.test, "`{}` here, `{}` there", a.test, b.test);
            Ok(Row {
                group: self.group.clone(),
                model: self.model.clone(),
                test: format!("{}{}", a.test, self.setting),
                ours: vec![a.rate],
                theirs: vec![b.rate],
                token_bytes: self.token_bytes.filter(|_| a.test.starts_with("tg")),
            })
        };
        ours.iter().zip(theirs).map(row).collect()
    }
}

impl Side {
    fn measure(&self) -> Result<Vec<Reading>> {
        let name = self.program.file_name().unwrap_or_default().display();
        let output = Command::new(&self.program)
            .args(&self.args)
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let last = words.trim_end().lines().next_back().unwrap_or("it said nothing");
            bail!("{name} {} failed with {}: {last}", self.args.join(" "), output.status);
        }
        let text = process::utf8(output.stdout)?;
        (self.read)(&text).with_context(|| format!("cannot read what {name} {} printed", self.args.join(" ")))
    }
}

impl Row {
    /// How many times as fast as theirs ours is, over the rounds.
    pub fn ratio(&self) -> Option<Summary> {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        Summary::of(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Side {
        let read = |text: &str| Ok(vec![Reading { test: "t".into(), rate: text.trim().parse()? }]);
        Side { program: "sh".into(), args: vec!["-c".into(), script.into()], read }
    }

    fn duel(ours: &str, theirs: &str) -> Duel {
        Duel {
            token_bytes: None,
            group: "g".into(),
            model: "m".into(),
            setting: " (x)".into(),
            ours: shell(ours),
            theirs: shell(theirs),
        }
    }

    #[test]
    fn each_round_is_handed_over_and_ratios_have_a_median() {
        let mut rounds = Vec::new();
        let keep = |rows| {
            rounds.extend(rows);
            Ok(())
        };
        duel("echo 6", "echo 2").fight(3, keep).unwrap();
        assert_eq!(rounds.len(), 3);
        assert_eq!(
            (rounds[0].test.as_str(), &rounds[0].ours[..], &rounds[0].theirs[..]),
            ("t (x)", &[6.0][..], &[2.0][..])
        );
        let wandering = Row { ours: vec![2.0, 30.0, 4.0], theirs: vec![1.0, 10.0, 4.0], ..rounds[0].clone() };
        assert_eq!(wandering.ratio().map(|ratio| ratio.median), Some(2.0));
    }

    #[test]
    fn a_side_that_fails_or_speaks_in_tongues_ends_it() {
        let failed = duel("echo 1", "echo no such model >&2; exit 3").fight(1, |_| Ok(())).unwrap_err().to_string();
        assert!(failed.contains("no such model"), "{failed}");
        assert!(duel("echo one", "echo 1").fight(1, |_| Ok(())).is_err());
    }
}
