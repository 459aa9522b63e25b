//! From the text of a regular expression to the items of a pattern: the subset that the table of
//! pre-tokenizers uses. Anything else is an error, which a test over the whole table would show.

use super::set::Set;
use super::{Item, Sequence};

/// Parses `regex` into its alternatives.
pub(super) fn parse(regex: &str) -> Result<Vec<Sequence>, String> {
    let mut parser = Parser { rest: regex, by_classes: regex.contains("\\p{") };
    let alternatives = parser.alternatives()?;
    if !parser.rest.is_empty() {
        return Err(format!("unexpected `{}`", parser.rest));
    }
    // `(?:a|b)|c` is `a|b|c`: an alternative each, so that the first byte can choose among them.
    let flat = alternatives.into_iter().flat_map(|mut sequence| match sequence.pop() {
        Some(Item::Group { alternatives, min: 1, max: 1 }) if sequence.is_empty() => alternatives,
        last => {
            sequence.extend(last);
            vec![sequence]
        }
    });
    Ok(flat.collect())
}

struct Parser<'a> {
    rest: &'a str,
    by_classes: bool,
}

impl Parser<'_> {
    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let stripped = self.rest.strip_prefix(prefix);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn alternatives(&mut self) -> Result<Vec<Sequence>, String> {
        let mut all = vec![self.sequence()?];
        while self.eat("|") {
            all.push(self.sequence()?);
        }
        Ok(all)
    }

    fn sequence(&mut self) -> Result<Sequence, String> {
        let mut items = Sequence::new();
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let item = self.item()?;
            // `(?=x)y` with single characters x and y is one character of both sets.
            let joined = match (items.last(), &item) {
                (Some(Item::Ahead { alternatives, negative: false }), Item::Run { set, min: 1, max: 1 }) => {
                    single(alternatives).and_then(|ahead| ahead.and(set))
                }
                _ => None,
            };
            match joined {
                Some(set) => {
                    items.pop();
                    items.push(Item::Run { set, min: 1, max: 1 });
                }
                None => items.push(item),
            }
        }
        Ok(items)
    }

    /// One character, set, group or look-ahead with its quantifier.
    fn item(&mut self) -> Result<Item, String> {
        let ahead = [("(?=", false), ("(?!", true)];
        if let Some((_, negative)) = ahead.into_iter().find(|(open, _)| self.eat(open)) {
            let alternatives = self.group_body()?;
            return Ok(Item::Ahead { alternatives, negative });
        }
        if self.eat("(?:") || self.eat("(") {
            let alternatives = self.group_body()?;
            let (min, max) = self.quantifier()?;
            return Ok(match single(&alternatives) {
                Some(set) => Item::Run { set, min, max },
                None => Item::Group { alternatives, min, max },
            });
        }
        let mut set = if self.eat("[") { self.bracket()? } else { self.atom()?.0 };
        set.by_classes(self.by_classes);
        let (min, max) = self.quantifier()?;
        Ok(Item::Run { set, min, max })
    }

    fn group_body(&mut self) -> Result<Vec<Sequence>, String> {
        let alternatives = self.alternatives()?;
        if self.eat(")") { Ok(alternatives) } else { Err("missing `)`".into()) }
    }

    /// The inside of `[…]` up to and with the closing bracket.
    fn bracket(&mut self) -> Result<Set, String> {
        let negated = self.eat("^");
        let mut set = Set::default();
        while !self.eat("]") {
            let (item, from) = self.atom()?;
            let range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            match from {
                Some(from) if range => {
                    self.eat("-");
                    let to = self.atom()?.1.ok_or("a range must end in a character")?;
                    set.insert(from as u32, to as u32);
                }
                _ => set = set.or(&item),
            }
        }
        Ok(if negated { set.complement() } else { set })
    }

    /// One character or escape: its set, and the character if it is a single one.
    fn atom(&mut self) -> Result<(Set, Option<char>), String> {
        let c = match self.take().ok_or("pattern ends early")? {
            '\\' => match self.take().ok_or("pattern ends in `\\`")? {
                'r' => '\r',
                'n' => '\n',
                't' => '\t',
                'p' => {
                    let name = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                    let (name, rest) = name.ok_or("`\\p` without braces")?;
                    let set = Set::named(name).ok_or_else(|| format!("unknown \\p{{{name}}}"))?;
                    self.rest = rest;
                    return Ok((set, None));
                }
                'S' => return Ok((Set::named("s").unwrap_or_default().complement(), None)),
                c @ ('s' | 'd') => {
                    return Ok((Set::named(c.encode_utf8(&mut [0; 4])).unwrap_or_default(), None));
                }
                c if c.is_ascii_punctuation() => c,
                c => return Err(format!("unknown escape `\\{c}`")),
            },
            c => c,
        };
        Ok((Set::single(c), Some(c)))
    }

    fn quantifier(&mut self) -> Result<(u32, u32), String> {
        for (sign, bounds) in [("?", (0, 1)), ("*", (0, u32::MAX)), ("+", (1, u32::MAX))] {
            if self.eat(sign) {
                return Ok(bounds);
            }
        }
        if !self.eat("{") {
            return Ok((1, 1));
        }
        let (inside, rest) = self.rest.split_once('}').ok_or("missing `}`")?;
        self.rest = rest;
        let (min, max) = inside.split_once(',').unwrap_or((inside, inside));
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| format!("{{{inside}}}"));
        Ok((number(min)?, number(max)?))
    }
}

/// The set of a group that always takes exactly one character.
fn single(alternatives: &[Sequence]) -> Option<Set> {
    let mut union: Option<Set> = None;
    for sequence in alternatives {
        let [Item::Run { set, min: 1, max: 1 }] = sequence.as_slice() else { return None };
        union = Some(union.map_or_else(|| set.clone(), |union| union.or(set)));
    }
    union
}
