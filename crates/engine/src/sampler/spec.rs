//! Sampling parameters as data. A stage declares its parameters as `ParamSpec` rows beside its code; the command line
//! makes a flag of each row, the HTTP doors a field. What was given lies in [`super::Params`].

use super::registry::{known_stages, stage_by_letter, stage_by_name};
use super::{Error, StageSpec};

/// One parameter: what the wire, the command line, the help page and the range check need to know of it.
#[derive(Debug)]
pub struct ParamSpec {
    /// Name of the HTTP field, verbatim; also the key of [`super::Params::set`].
    pub field: &'static str,
    /// Flags of the command line, llama.cpp's names, preferred one first; empty when only HTTP offers it.
    pub flags: &'static [&'static str],
    /// Type, allowed range and default.
    pub kind: Kind,
    /// One line for `--help`.
    pub help: &'static str,
    /// Heading under which help and docs list it.
    pub group: &'static str,
}

/// Type, range and default of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number in `min..=max`.
    Int {
        /// Smallest value allowed.
        min: i64,
        /// Largest value allowed.
        max: i64,
        /// Value when nothing is given.
        default: i64,
    },
    /// A finite number in `min..=max`.
    Float {
        /// Smallest value allowed.
        min: f32,
        /// Largest value allowed.
        max: f32,
        /// Value when nothing is given.
        default: f32,
    },
    /// Off unless given; the flag takes no value.
    Switch,
    /// Names of stages, `a;b;c` on the command line.
    Stages {
        /// Order when nothing is given.
        default: &'static [&'static str],
    },
    /// The same order as one letter per stage, without separators. Setting it sets `samplers`.
    StageLetters,
    /// A list of texts: the flag repeats, the first one replaces the default, `none` empties the list.
    Texts {
        /// List when nothing is given.
        default: &'static [&'static str],
    },
    /// Token biases: the flag repeats, as `15043+1` or `15043-inf`.
    Biases,
}

/// A value on its way into [`super::Params`], or out of it.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// A whole number (accepted for [`Kind::Float`] too).
    Int(i64),
    /// A number.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// One text; for [`Kind::StageLetters`], and for any kind that [`super::Params::parse`] can read.
    Text(String),
    /// A list of texts, or of stage names.
    Texts(Vec<String>),
    /// Biases as (token, addend); the addend is finite or -infinity.
    Biases(Vec<(u32, f32)>),
}

impl ParamSpec {
    /// Field and flag for messages: `top_p (--top-p)`.
    pub fn label(&self) -> String {
        match self.flags.last() {
            Some(flag) => format!("{} ({flag})", self.field),
            None => self.field.to_owned(),
        }
    }

    /// Whether the flag is followed by a value.
    pub fn takes_value(&self) -> bool {
        self.kind != Kind::Switch
    }

    /// Whether the flag may be given more than once.
    pub fn repeats(&self) -> bool {
        matches!(self.kind, Kind::Texts { .. } | Kind::Biases)
    }

    /// The value when nothing is given.
    pub fn default(&self) -> ParamValue {
        match self.kind {
            Kind::Int { default, .. } => ParamValue::Int(default),
            Kind::Float { default, .. } => ParamValue::Float(default.into()),
            Kind::Switch => ParamValue::Bool(false),
            Kind::Stages { default } | Kind::Texts { default } => {
                ParamValue::Texts(default.iter().map(|&text| text.to_owned()).collect())
            }
            Kind::StageLetters => ParamValue::Texts(Vec::new()),
            Kind::Biases => ParamValue::Biases(Vec::new()),
        }
    }

    /// The default as the help page shows it; empty where nothing is worth showing.
    pub fn default_text(&self) -> String {
        match self.kind {
            Kind::Int { default, .. } => default.to_string(),
            Kind::Float { default, .. } => format!("{default:.2}"),
            Kind::Stages { default } => default.join(";"),
            Kind::Texts { default } => default.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "),
            Kind::Switch | Kind::StageLetters | Kind::Biases => String::new(),
        }
    }

    /// The allowed values in words.
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Int { min, max, .. } => {
                bounds("a whole number", (min > i32::MIN.into()).then_some(min), (max < i32::MAX.into()).then_some(max))
            }
            Kind::Float { min, .. } if min == f32::MIN_POSITIVE => "a finite number greater than 0".to_owned(),
            Kind::Float { min, max, .. } => {
                bounds("a finite number", (min > f32::MIN).then_some(min), (max < f32::MAX).then_some(max))
            }
            Kind::Switch => "true or false".to_owned(),
            Kind::Stages { .. } => "sampler names separated by `;`".to_owned(),
            Kind::StageLetters => "one letter per sampler".to_owned(),
            Kind::Texts { .. } => "a list of texts".to_owned(),
            Kind::Biases => "TOKEN_ID followed by + or - and a number".to_owned(),
        }
    }

    /// The value as this parameter stores it, and the field under which it is stored.
    pub(super) fn check(&self, value: &ParamValue) -> Result<(&'static str, ParamValue), Error> {
        let value = match value {
            ParamValue::Text(text) => self.read(text).ok_or_else(|| self.wrong_type(text))?,
            other => other.clone(),
        };
        let checked = match (self.kind, value) {
            (Kind::Int { min, max, .. }, ParamValue::Int(number)) if (min..=max).contains(&number) => {
                ParamValue::Int(number)
            }
            (Kind::Int { .. }, ParamValue::Int(number)) => return Err(self.out_of_range(number)),
            (Kind::Int { .. }, ParamValue::Float(number)) if number.fract() == 0.0 => {
                return self.check(&ParamValue::Int(number as i64));
            }
            (Kind::Float { min, max, .. }, ParamValue::Float(number)) => match number as f32 {
                narrow if narrow.is_finite() && (min..=max).contains(&narrow) => ParamValue::Float(narrow.into()),
                _ => return Err(self.out_of_range(number)),
            },
            (Kind::Float { .. }, ParamValue::Int(number)) => return self.check(&ParamValue::Float(number as f64)),
            (Kind::Switch, ParamValue::Bool(on)) => ParamValue::Bool(on),
            (Kind::Stages { .. }, ParamValue::Texts(names)) => self.stages(names, stage_by_name)?,
            (Kind::StageLetters, ParamValue::Texts(letters)) => {
                let by_letter = |text: &str| text.chars().next().and_then(stage_by_letter);
                return Ok((super::chain::SAMPLERS.field, self.stages(letters, by_letter)?));
            }
            (Kind::Texts { .. }, ParamValue::Texts(texts)) => ParamValue::Texts(texts),
            (Kind::Biases, ParamValue::Biases(biases)) => {
                if let Some((token, bias)) = biases.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
                    return Err(self.out_of_range(format!("{token}:{bias}")));
                }
                ParamValue::Biases(biases)
            }
            (_, other) => return Err(self.wrong_type(&format!("{other:?}"))),
        };
        Ok((self.field, checked))
    }

    /// Reads command-line text.
    fn read(&self, text: &str) -> Option<ParamValue> {
        let list = |texts: &mut dyn Iterator<Item = String>| ParamValue::Texts(texts.collect());
        Some(match self.kind {
            Kind::Int { .. } => ParamValue::Int(text.trim().parse().ok()?),
            Kind::Float { .. } => ParamValue::Float(text.trim().parse().ok()?),
            Kind::Switch => ParamValue::Bool(text.parse().ok()?),
            Kind::Stages { .. } => list(&mut text.split(';').filter(|name| !name.is_empty()).map(str::to_owned)),
            Kind::StageLetters => list(&mut text.chars().map(String::from)),
            Kind::Texts { .. } if text == "none" => ParamValue::Texts(Vec::new()),
            Kind::Texts { .. } => ParamValue::Texts(vec![text.to_owned()]),
            Kind::Biases => ParamValue::Biases(vec![parse_bias(text)?]),
        })
    }

    /// Canonical names of the stages, or an error about the first one that does not exist.
    fn stages(
        &self,
        given: Vec<String>,
        find: impl Fn(&str) -> Option<&'static StageSpec>,
    ) -> Result<ParamValue, Error> {
        let canonical = |name: String| match find(&name) {
            Some(stage) => Ok(stage.name.to_owned()),
            None => Err(Error::UnknownStage { param: self.label(), name, known: known_stages() }),
        };
        given.into_iter().map(canonical).collect::<Result<_, _>>().map(ParamValue::Texts)
    }

    fn out_of_range(&self, value: impl ToString) -> Error {
        Error::OutOfRange { param: self.label(), value: value.to_string(), range: self.range() }
    }

    fn wrong_type(&self, value: &str) -> Error {
        Error::WrongType { param: self.label(), expected: self.range(), value: format!("`{value}`") }
    }
}

fn bounds<T: std::fmt::Display>(what: &str, min: Option<T>, max: Option<T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), None) => format!("{what}, at least {min}"),
        (None, Some(max)) => format!("{what}, at most {max}"),
        (None, None) => what.to_owned(),
    }
}

/// `15043+1`, `15043-0.5`, `15043-inf`.
fn parse_bias(text: &str) -> Option<(u32, f32)> {
    let text = text.trim();
    let sign = text.find(['+', '-'])?;
    let amount: f32 = text[sign + 1..].parse().ok()?;
    let bias = if text[sign..].starts_with('-') { -amount } else { amount };
    Some((text[..sign].trim().parse().ok()?, bias))
}
