//! Sampling parameters as data. A stage declares its parameters as `ParamSpec` rows beside its code; the command line
//! makes a flag of each row, the HTTP doors a field, and [`Params`] keeps the values that were given.

use super::Error;
use super::registry::{PARAMS, stage_by_letter, stage_by_name};

/// One parameter: what the wire, the command line, the help page and the range check need to know of it.
#[derive(Debug)]
pub struct ParamSpec {
    /// Name of the HTTP field, verbatim; also the key of [`Params::set`].
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

/// A value on its way into [`Params`], or out of it.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamValue {
    /// A whole number (accepted for [`Kind::Float`] too).
    Int(i64),
    /// A number.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// One text; for [`Kind::StageLetters`], and for any kind that [`Params::parse`] can read.
    Text(String),
    /// A list of texts, or of stage names.
    Texts(Vec<String>),
    /// Biases as (token, addend); the addend is finite or -infinity.
    Biases(Vec<(u32, f32)>),
}

/// The sampling parameters of a request: what was given, over the defaults of the specs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params {
    given: Vec<(&'static str, ParamValue)>,
}

impl Params {
    /// Sets a parameter by field name, checking type and range. A list replaces what was there.
    pub fn set(&mut self, field: &str, value: &ParamValue) -> Result<(), Error> {
        let spec = spec(field)?;
        let (field, value) = spec.check(value)?;
        self.put(field, value);
        Ok(())
    }

    /// Sets a parameter from command-line text. The repeating kinds append to what earlier flags gave.
    pub fn parse(&mut self, field: &str, text: &str) -> Result<(), Error> {
        let spec = spec(field)?;
        let (field, mut value) = spec.check(&ParamValue::Text(text.to_owned()))?;
        match (&mut value, self.given.iter().find(|(name, _)| *name == field)) {
            (ParamValue::Biases(new), Some((_, ParamValue::Biases(old)))) => {
                new.splice(..0, old.iter().copied()).for_each(drop)
            }
            (ParamValue::Texts(new), Some((_, ParamValue::Texts(old))))
                if matches!(spec.kind, Kind::Texts { .. }) && !new.is_empty() =>
            {
                new.splice(..0, old.iter().cloned()).for_each(drop);
            }
            _ => {}
        }
        self.put(field, value);
        Ok(())
    }

    /// Whether the parameter was given, as opposed to defaulted (a model's own defaults must not overrule the user).
    pub fn is_set(&self, field: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == field)
    }

    /// The value given, or the spec's default.
    pub fn value(&self, spec: &ParamSpec) -> ParamValue {
        self.given
            .iter()
            .find(|(name, _)| *name == spec.field)
            .map_or_else(|| spec.default(), |(_, value)| value.clone())
    }

    /// The value of an `Int` parameter.
    pub fn int(&self, spec: &ParamSpec) -> i64 {
        match self.value(spec) {
            ParamValue::Int(value) => value,
            _ => 0,
        }
    }

    /// The value of a `Float` parameter.
    pub fn float(&self, spec: &ParamSpec) -> f32 {
        match self.value(spec) {
            ParamValue::Float(value) => value as f32,
            _ => 0.0,
        }
    }

    /// The value of a `Switch` parameter.
    pub fn switch(&self, spec: &ParamSpec) -> bool {
        self.value(spec) == ParamValue::Bool(true)
    }

    /// The value of a `Texts` or `Stages` parameter.
    pub fn texts(&self, spec: &ParamSpec) -> Vec<String> {
        match self.value(spec) {
            ParamValue::Texts(value) => value,
            _ => Vec::new(),
        }
    }

    /// The value of a `Biases` parameter.
    pub fn biases(&self, spec: &ParamSpec) -> Vec<(u32, f32)> {
        match self.value(spec) {
            ParamValue::Biases(value) => value,
            _ => Vec::new(),
        }
    }

    fn put(&mut self, field: &'static str, value: ParamValue) {
        match self.given.iter_mut().find(|(name, _)| *name == field) {
            Some((_, slot)) => *slot = value,
            None => self.given.push((field, value)),
        }
    }
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
    fn check(&self, value: &ParamValue) -> Result<(&'static str, ParamValue), Error> {
        let checked = match (self.kind, value) {
            (Kind::Int { min, max, .. }, ParamValue::Int(number)) if (min..=max).contains(number) => {
                ParamValue::Int(*number)
            }
            (Kind::Int { .. }, ParamValue::Int(number)) => return Err(self.out_of_range(number)),
            (Kind::Int { .. }, ParamValue::Float(number)) if number.fract() == 0.0 => {
                return self.check(&ParamValue::Int(*number as i64));
            }
            (Kind::Int { .. }, ParamValue::Text(text)) => match text.trim().parse() {
                Ok(number) => return self.check(&ParamValue::Int(number)),
                Err(_) => return Err(self.wrong_type(text)),
            },
            (Kind::Float { min, max, .. }, ParamValue::Float(number)) => match *number as f32 {
                narrow if narrow.is_finite() && (min..=max).contains(&narrow) => ParamValue::Float(narrow.into()),
                _ => return Err(self.out_of_range(number)),
            },
            (Kind::Float { .. }, ParamValue::Int(number)) => return self.check(&ParamValue::Float(*number as f64)),
            (Kind::Float { .. }, ParamValue::Text(text)) => match text.trim().parse() {
                Ok(number) => return self.check(&ParamValue::Float(number)),
                Err(_) => return Err(self.wrong_type(text)),
            },
            (Kind::Switch, ParamValue::Bool(on)) => ParamValue::Bool(*on),
            (Kind::Switch, ParamValue::Text(text)) => match text.parse() {
                Ok(on) => ParamValue::Bool(on),
                Err(_) => return Err(self.wrong_type(text)),
            },
            (Kind::Stages { .. }, ParamValue::Text(text)) => {
                let names = text.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
                return self.check(&ParamValue::Texts(names));
            }
            (Kind::Stages { .. }, ParamValue::Texts(names)) => {
                self.stages(names.iter().map(|name| (name.clone(), stage_by_name(name))))?
            }
            (Kind::StageLetters, ParamValue::Text(letters)) => {
                let stages =
                    self.stages(letters.chars().map(|letter| (letter.to_string(), stage_by_letter(letter))))?;
                return Ok((super::chain::SAMPLERS.field, stages));
            }
            (Kind::Texts { .. }, ParamValue::Text(text)) if text == "none" => ParamValue::Texts(Vec::new()),
            (Kind::Texts { .. }, ParamValue::Text(text)) => ParamValue::Texts(vec![text.clone()]),
            (Kind::Texts { .. }, ParamValue::Texts(texts)) => ParamValue::Texts(texts.clone()),
            (Kind::Biases, ParamValue::Text(text)) => match parse_bias(text) {
                Some(bias) => return self.check(&ParamValue::Biases(vec![bias])),
                None => return Err(self.wrong_type(text)),
            },
            (Kind::Biases, ParamValue::Biases(biases)) => {
                match biases.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
                    Some((token, bias)) => return Err(self.out_of_range(format!("{token}:{bias}"))),
                    None => ParamValue::Biases(biases.clone()),
                }
            }
            (_, other) => return Err(self.wrong_type(format!("{other:?}"))),
        };
        Ok((self.field, checked))
    }

    /// Canonical names of the stages, or the first one that does not exist.
    fn stages(
        &self,
        given: impl Iterator<Item = (String, Option<&'static super::StageSpec>)>,
    ) -> Result<ParamValue, Error> {
        given
            .map(|(name, stage)| match stage {
                Some(stage) => Ok(stage.name.to_owned()),
                None => Err(Error::UnknownStage { param: self.label(), name, known: super::registry::known_stages() }),
            })
            .collect::<Result<_, _>>()
            .map(ParamValue::Texts)
    }

    fn out_of_range(&self, value: impl ToString) -> Error {
        Error::OutOfRange { param: self.label(), value: value.to_string(), range: self.range() }
    }

    fn wrong_type(&self, value: impl AsRef<str>) -> Error {
        Error::WrongType { param: self.label(), expected: self.range(), value: format!("`{}`", value.as_ref()) }
    }
}

fn spec(field: &str) -> Result<&'static ParamSpec, Error> {
    PARAMS
        .iter()
        .copied()
        .find(|spec| spec.field == field)
        .ok_or_else(|| Error::UnknownParam { field: field.to_owned() })
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
