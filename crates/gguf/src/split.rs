//! Names of the files of a split model: `prefix-00001-of-00003.gguf`. Called by whoever opens files.

/// The path of part `no` (counted from 0) of `count`: `split_path("m", 0, 3)` is `m-00001-of-00003.gguf`.
pub fn split_path(prefix: &str, no: usize, count: usize) -> String {
    format!("{prefix}-{:05}-of-{count:05}.gguf", no.saturating_add(1))
}

/// Takes such a path apart: prefix, part number (counted from 0) and number of parts; `None` for any other name.
pub fn split_parts(path: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, no) = rest.rsplit_once('-')?;
    let (no, count) = (part_number(no)?, part_number(count)?);
    (!prefix.is_empty() && (1..=count).contains(&no)).then(|| (prefix, no - 1, count))
}

/// Digits only, at least five (`%05d`), and not absurdly many.
fn part_number(digits: &str) -> Option<usize> {
    let fits = (5..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_as_they_were_made() {
        for (no, count) in [(0, 1), (0, 3), (2, 3), (99_998, 99_999), (99_999, 100_000)] {
            let path = split_path("dir/some-model", no, count);
            assert_eq!(split_parts(&path), Some(("dir/some-model", no, count)), "{path}");
        }
    }

    #[test]
    fn other_names_are_not_split_names() {
        for name in [
            "model.gguf",
            "model-00001-of-00002.bin",
            "model-1-of-2.gguf",
            "model-00000-of-00002.gguf",
            "model-00003-of-00002.gguf",
            "-00001-of-00002.gguf",
            "model-0000x-of-00002.gguf",
            "model-+0001-of-00002.gguf",
            "model-00001-of-99999999999999999999.gguf",
        ] {
            assert_eq!(split_parts(name), None, "{name}");
        }
    }
}
