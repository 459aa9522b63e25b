//! A flag as it was given, and the ways a row of the table may read its value. Every failure says what was expected.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The value of a flag: `text` for one that takes a value, `on` for a switch.
pub struct Given<'a> {
    pub text: &'a str,
    pub on: bool,
}

impl Given<'_> {
    /// A number within `range`, both ends included.
    pub fn number<T>(&self, range: RangeInclusive<T>) -> Result<T, String>
    where
        T: FromStr + PartialOrd + Display,
    {
        number(self.text, &range)
    }

    /// One of the named values.
    pub fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Result<T, String> {
        choices.iter().find(|(name, _)| *name == self.text).map(|(_, value)| value.clone()).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            format!("expected {}, got `{}`", names.join(" or "), self.text)
        })
    }

    /// llama.cpp's three-way switch; `None` is `auto`.
    pub fn on_off_auto(&self) -> Result<Option<bool>, String> {
        match self.text {
            "auto" | "-1" => Ok(None),
            text => truth(text).map(Some).ok_or_else(|| format!("expected on, off or auto, got `{text}`")),
        }
    }

    /// A list as llama-bench takes it: `1,2,4`, `16-64+16` (steps) or `1-8*2` (factors).
    pub fn numbers(&self, range: RangeInclusive<usize>) -> Result<Vec<usize>, String> {
        let mut values = Vec::new();
        for part in self.text.split(',') {
            values.extend(span(part, &range)?);
        }
        Ok(values)
    }

    /// One of the values that say what is so anyhow; any other is refused with the reason.
    pub fn only(&self, allowed: &[&str], why: &str) -> Result<(), String> {
        if allowed.contains(&self.text) { Ok(()) } else { Err(format!("`{}` is not supported: {why}", self.text)) }
    }

    /// A switch that says what is so anyhow; switching it off is refused with the reason.
    pub fn must_be_on(&self, why: &str) -> Result<(), String> {
        if self.on { Ok(()) } else { Err(format!("not supported: {why}")) }
    }

    /// The text itself, which must not be empty.
    pub fn filled(&self) -> Result<String, String> {
        if self.text.is_empty() { Err("the value is empty".into()) } else { Ok(self.text.to_owned()) }
    }
}

/// The words llama.cpp takes for yes and no.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "on" | "enabled" | "true" | "1" => Some(true),
        "off" | "disabled" | "false" | "0" => Some(false),
        _ => None,
    }
}

fn number<T>(text: &str, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    match text.parse::<T>() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(format!("expected a number from {} to {}, got `{text}`", range.start(), range.end())),
    }
}

/// One element of a list: a number, or `first-last`, `first-last+step`, `first-last*factor`.
fn span(part: &str, range: &RangeInclusive<usize>) -> Result<Vec<usize>, String> {
    // More values than anybody would wait for; guards against `0-1000000000`.
    const MOST: usize = 1000;
    let Some((first, rest)) = part.split_once('-') else { return Ok(vec![number(part, range)?]) };
    let (last, step, grow) = if let Some((last, step)) = rest.split_once('+') {
        (last, number(step, &(1..=*range.end()))?, false)
    } else if let Some((last, factor)) = rest.split_once('*') {
        (last, number(factor, &(2..=*range.end()))?, true)
    } else {
        (rest, 1, false)
    };
    let (first, last) = (number(first, range)?, number(last, range)?);
    if grow && first == 0 {
        return Err(format!("`{part}` never grows: a list with * must start above 0"));
    }
    let mut values = Vec::new();
    let mut value = first;
    while value <= last {
        if values.len() == MOST {
            return Err(format!("`{part}` has more than {MOST} values"));
        }
        values.push(value);
        value = if grow { value.saturating_mul(step) } else { value.saturating_add(step) };
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given<'_> {
        Given { text, on: true }
    }

    #[test]
    fn numbers_out_of_range_name_the_range() {
        assert_eq!(given("7").number(1..=8), Ok(7));
        assert_eq!(given("9").number(1..=8), Err("expected a number from 1 to 8, got `9`".into()));
        assert!(given("7x").number(1..=8).is_err());
        assert!(given("nan").number(0.0..=1.0f32).is_err());
    }

    #[test]
    fn lists_have_llama_bench_ranges() {
        let list = |text| given(text).numbers(0..=4096);
        assert_eq!(list("1,2,4"), Ok(vec![1, 2, 4]));
        assert_eq!(list("1-8*2"), Ok(vec![1, 2, 4, 8]));
        assert_eq!(list("16-64+16"), Ok(vec![16, 32, 48, 64]));
        assert_eq!(list("3-5"), Ok(vec![3, 4, 5]));
        assert!(list("0-8*2").is_err() && list("0-4096").is_err() && list("a").is_err());
    }

    #[test]
    fn choices_list_what_is_allowed() {
        let format = given("xml").choice(&[("text", 0), ("json", 1)]);
        assert_eq!(format, Err("expected text or json, got `xml`".into()));
        assert_eq!(given("0").on_off_auto(), Ok(Some(false)));
        assert!(given("maybe").on_off_auto().is_err());
    }
}
