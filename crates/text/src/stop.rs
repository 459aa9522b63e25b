//! [`StopStrings`]: ends a stream of text where one of several strings occurs, wherever the
//! pieces are cut. Called by `engine` behind the [`crate::Detokenizer`].

/// Watches a stream for stop strings. Text that may still turn out to begin one is held back.
///
/// ```
/// let mut stops = text::StopStrings::new(["END", "\n\n"]);
/// assert_eq!(stops.push("one E").text, "one ");
/// assert_eq!(stops.push("N").text, "");
/// let stop = stops.push("D two");
/// assert_eq!((stop.text.as_str(), stop.stopped), ("", Some(0)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
    stopped: Option<usize>,
}

/// What may be shown after a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// Text that is certain to stand before any stop string.
    pub text: String,
    /// Which stop string has occurred, by its place in the list. Nothing comes after it.
    pub stopped: Option<usize>,
}

impl StopStrings {
    /// Watches for these strings; empty ones are never found.
    pub fn new<S: Into<String>>(strings: impl IntoIterator<Item = S>) -> Self {
        StopStrings { strings: strings.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Takes the next piece of text. Of several stop strings in it the one that is complete first
    /// ends the stream, so that the result does not depend on how the text is cut; of those that
    /// end at the same place, the one that begins first.
    pub fn push(&mut self, piece: &str) -> Stop {
        if self.stopped.is_some() {
            return Stop { text: String::new(), stopped: self.stopped };
        }
        self.held.push_str(piece);
        let places = self.strings.iter().enumerate().filter(|(_, string)| !string.is_empty());
        let found = places.filter_map(|(index, string)| {
            let start = self.held.find(string.as_str())?;
            Some((start + string.len(), start, index))
        });
        if let Some((_, start, index)) = found.min() {
            self.stopped = Some(index);
            let mut text = std::mem::take(&mut self.held);
            text.truncate(start);
            return Stop { text, stopped: self.stopped };
        }
        let rest = self.held.split_off(self.begun());
        Stop { text: std::mem::replace(&mut self.held, rest), stopped: None }
    }

    /// Ends the stream: what was held back, for it did not become a stop string.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the held text ends in the beginning of a stop string: its first such place.
    fn begun(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        let mut from = self.held.len().saturating_sub(longest.saturating_sub(1));
        while !self.held.is_char_boundary(from) {
            from += 1;
        }
        let begins = |at: &usize| {
            let tail = &self.held[*at..];
            self.strings.iter().any(|string| string.len() > tail.len() && string.starts_with(tail))
        };
        let mut places = (from..self.held.len()).filter(|&at| self.held.is_char_boundary(at));
        places.find(begins).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_held_back_is_not_lost() {
        let mut stops = StopStrings::new(["</s>", "stop", ""]);
        assert_eq!(stops.push("a <").text, "a ");
        assert_eq!(stops.push("/b> st").text, "</b> ");
        assert_eq!(stops.flush(), "st");
    }

    #[test]
    fn the_string_that_is_complete_first_wins() {
        let mut stops = StopStrings::new(["abcd", "bc"]);
        assert_eq!(stops.push("xabcd"), Stop { text: "xa".into(), stopped: Some(1) });
        assert_eq!(stops.push("more"), Stop { text: String::new(), stopped: Some(1) });
    }

    proptest! {
        /// However the text is cut, the same is shown and the same string stops it.
        #[test]
        fn cuts_do_not_matter(
            text in "[abé]{0,24}",
            strings in prop::collection::vec("[abé]{1,4}", 0..3),
            cuts in prop::collection::vec(1usize..4, 24),
        ) {
            let mut whole = StopStrings::new(strings.clone());
            let at_once = whole.push(&text);
            let expected = (at_once.text + &whole.flush(), at_once.stopped);

            let mut stops = StopStrings::new(strings.clone());
            let (mut shown, mut stopped, mut rest) = (String::new(), None, text.chars());
            for cut in cuts {
                let stop = stops.push(&rest.by_ref().take(cut).collect::<String>());
                shown.push_str(&stop.text);
                stopped = stop.stopped;
                // Nothing shown may ever have to be taken back.
                prop_assert!(expected.0.starts_with(&shown));
            }
            shown.push_str(&stops.flush());
            prop_assert_eq!(&(shown.clone(), stopped), &expected);
            if stopped.is_none() {
                prop_assert_eq!(shown, text);
                prop_assert!(!strings.iter().any(|string| expected.0.contains(string.as_str())));
            }
        }
    }
}
