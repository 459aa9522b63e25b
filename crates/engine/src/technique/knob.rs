//! Knobs: what of a technique can be set, with its range, and the values of one technique that is on.

use std::fmt;

/// Something that can be set.
#[derive(Debug)]
pub struct Knob {
    /// Its name: `--technique ID=on,NAME=VALUE`.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// What it takes, and what it is when not given.
    pub kind: KnobKind,
}

/// What a knob takes. Bounds belong to the range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KnobKind {
    /// `on` or `off`.
    Bool {
        /// When not given.
        default: bool,
    },
    /// A whole number.
    Int {
        /// Least.
        min: i64,
        /// Most.
        max: i64,
        /// When not given.
        default: i64,
    },
    /// A finite number.
    Float {
        /// Least.
        min: f64,
        /// Most.
        max: f64,
        /// When not given.
        default: f64,
    },
    /// One of some words.
    Choice {
        /// The words.
        values: &'static [&'static str],
        /// When not given.
        default: &'static str,
    },
}

/// A value of a knob, inside its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KnobValue {
    /// Of [`KnobKind::Bool`].
    Bool(bool),
    /// Of [`KnobKind::Int`].
    Int(i64),
    /// Of [`KnobKind::Float`].
    Float(f64),
    /// Of [`KnobKind::Choice`].
    Choice(&'static str),
}

impl KnobKind {
    /// The value when none is given.
    pub const fn default(self) -> KnobValue {
        match self {
            KnobKind::Bool { default } => KnobValue::Bool(default),
            KnobKind::Int { default, .. } => KnobValue::Int(default),
            KnobKind::Float { default, .. } => KnobValue::Float(default),
            KnobKind::Choice { default, .. } => KnobValue::Choice(default),
        }
    }

    /// The value that `text` means, if it is in range.
    pub fn parse(self, text: &str) -> Option<KnobValue> {
        match self {
            KnobKind::Bool { .. } => match text {
                "on" | "true" | "1" => Some(KnobValue::Bool(true)),
                "off" | "false" | "0" => Some(KnobValue::Bool(false)),
                _ => None,
            },
            KnobKind::Int { min, max, .. } => {
                text.parse().ok().filter(|value| (min..=max).contains(value)).map(KnobValue::Int)
            }
            KnobKind::Float { min, max, .. } => {
                text.parse().ok().filter(|value| (min..=max).contains(value)).map(KnobValue::Float)
            }
            KnobKind::Choice { values, .. } => {
                values.iter().find(|&&value| value == text).map(|value| KnobValue::Choice(value))
            }
        }
    }

    /// What is allowed, readable.
    pub fn range(self) -> String {
        match self {
            KnobKind::Bool { .. } => "on or off".to_owned(),
            KnobKind::Int { min, max, .. } => format!("a whole number from {min} to {max}"),
            KnobKind::Float { min, max, .. } => format!("a number from {min} to {max}"),
            KnobKind::Choice { values, .. } => values.join(" or "),
        }
    }
}

impl fmt::Display for KnobValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KnobValue::Bool(value) => f.write_str(if *value { "on" } else { "off" }),
            KnobValue::Int(value) => value.fmt(f),
            KnobValue::Float(value) => value.fmt(f),
            KnobValue::Choice(value) => f.write_str(value),
        }
    }
}

/// The values given for one technique's knobs; whatever was not given has its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Knobs {
    given: Vec<(&'static str, KnobValue)>,
}

impl Knobs {
    /// Sets a knob; a value of another kind than the knob's is never read.
    pub fn set(&mut self, knob: &Knob, value: KnobValue) {
        self.given.retain(|(name, _)| *name != knob.name);
        self.given.push((knob.name, value));
    }

    /// The value given, or the default.
    pub fn value(&self, knob: &Knob) -> KnobValue {
        let given = self.given.iter().find(|(name, _)| *name == knob.name);
        given.map_or_else(|| knob.kind.default(), |(_, value)| *value)
    }

    /// The value of a `Bool` knob.
    pub fn bool(&self, knob: &Knob) -> bool {
        self.value(knob) == KnobValue::Bool(true)
    }

    /// The value of an `Int` knob.
    pub fn int(&self, knob: &Knob) -> i64 {
        match self.value(knob) {
            KnobValue::Int(value) => value,
            _ => 0,
        }
    }

    /// The value of a `Float` knob.
    pub fn float(&self, knob: &Knob) -> f64 {
        match self.value(knob) {
            KnobValue::Float(value) => value,
            _ => 0.0,
        }
    }

    /// The value of a `Choice` knob.
    pub fn choice(&self, knob: &Knob) -> &'static str {
        match self.value(knob) {
            KnobValue::Choice(value) => value,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: Knob = Knob { name: "depth", help: "", kind: KnobKind::Int { min: 1, max: 8, default: 2 } };
    const RATE: Knob = Knob { name: "rate", help: "", kind: KnobKind::Float { min: 0.0, max: 1.0, default: 0.5 } };
    const FORM: Knob = Knob { name: "form", help: "", kind: KnobKind::Choice { values: &["a", "b"], default: "a" } };
    const EAGER: Knob = Knob { name: "eager", help: "", kind: KnobKind::Bool { default: true } };

    #[test]
    fn values_outside_the_range_are_no_values() {
        for (knob, good, bad) in [
            (&DEPTH, &["1", "8"][..], &["0", "9", "1.5", "", "nine", "99999999999999999999"][..]),
            (&RATE, &["0", "1", "0.25"], &["-0.1", "1.1", "nan", "inf", ""]),
            (&FORM, &["a", "b"], &["c", "A", ""]),
            (&EAGER, &["on", "off", "true", "0"], &["maybe", ""]),
        ] {
            good.iter().for_each(|text| assert!(knob.kind.parse(text).is_some(), "{} {text}", knob.name));
            bad.iter().for_each(|text| assert_eq!(knob.kind.parse(text), None, "{} {text}", knob.name));
        }
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let mut knobs = Knobs::default();
        assert_eq!((knobs.int(&DEPTH), knobs.float(&RATE)), (2, 0.5));
        assert_eq!((knobs.choice(&FORM), knobs.bool(&EAGER)), ("a", true));
        knobs.set(&DEPTH, KnobValue::Int(3));
        knobs.set(&DEPTH, KnobValue::Int(4));
        knobs.set(&EAGER, KnobValue::Bool(false));
        assert_eq!((knobs.int(&DEPTH), knobs.bool(&EAGER)), (4, false));
    }
}
