//! What the user says about a technique: `id=on|off|auto[,knob=value…]`, and what can be wrong with it.

use std::fmt;

/// What is wanted of a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On; it is an error where that cannot be.
    On,
    /// Off.
    Off,
    /// On where it is stable and can run, otherwise off.
    Auto,
}

/// One `--technique`, not yet held against a catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The technique; `all` for every one.
    pub id: String,
    /// What is wanted.
    pub mode: Mode,
    /// Knobs with their values, as given.
    pub knobs: Vec<(String, String)>,
}

/// Why the switches cannot be done. Each names the technique and what is possible instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchError(pub(super) String);

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SwitchError {}

impl Switch {
    /// The switch that stands for every technique.
    pub const ALL: &str = "all";

    /// `id=mode` without knobs.
    pub fn new(id: impl Into<String>, mode: Mode) -> Self {
        Self { id: id.into(), mode, knobs: Vec::new() }
    }

    /// Reads `id=on|off|auto[,knob=value…]`.
    ///
    /// # Errors
    /// Says which part is not of this form.
    pub fn parse(text: &str) -> Result<Self, SwitchError> {
        let mut parts = text.split(',').map(|part| part.split_once('='));
        let form = "expected ID=on|off|auto[,KNOB=VALUE…]";
        let Some((id, mode)) = parts.next().flatten().filter(|(id, _)| !id.is_empty()) else {
            return Err(SwitchError(format!("`{text}`: {form}")));
        };
        let mode = match mode {
            "on" => Mode::On,
            "off" => Mode::Off,
            "auto" => Mode::Auto,
            other => return Err(SwitchError(format!("{id}: expected on, off or auto, got `{other}`"))),
        };
        if id == Self::ALL && mode == Mode::On {
            return Err(SwitchError("all: takes auto or off; `on` is for one technique".to_owned()));
        }
        let knob = |part: Option<(&str, &str)>| part.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let knobs: Option<Vec<_>> = parts.map(knob).collect();
        let knobs = knobs.ok_or_else(|| SwitchError(format!("`{text}`: {form}")))?;
        if id == Self::ALL && !knobs.is_empty() {
            return Err(SwitchError("all: takes no knobs; they belong to one technique".to_owned()));
        }
        Ok(Self { id: id.to_owned(), mode, knobs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read() {
        let switch = Switch::parse("sage=on,form=int8,rows=4").unwrap();
        assert_eq!((switch.id.as_str(), switch.mode), ("sage", Mode::On));
        assert_eq!(switch.knobs, [("form".to_owned(), "int8".to_owned()), ("rows".to_owned(), "4".to_owned())]);
        assert_eq!(Switch::parse("all=auto"), Ok(Switch::new("all", Mode::Auto)));
    }

    #[test]
    fn what_is_no_switch_is_named() {
        for text in ["", "=on", "sage", "sage=", "sage=yes", "sage=on,", "sage=on,form", "all=on", "all=off,a=b"] {
            assert!(Switch::parse(text).is_err(), "{text}");
        }
    }
}
