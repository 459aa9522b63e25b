//! Numbers and texts as people read them. Used by every command that prints a report.

/// `98.4 MiB`; whole numbers below one KiB.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64 / 1024.0;
    if value < 1.0 {
        return format!("{count} B");
    }
    for unit in UNITS {
        if value < 1024.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

/// `134.52 M`, as llama.cpp writes parameter counts.
pub fn parameters(count: u64) -> String {
    let count = count as f64;
    for (unit, size) in [("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)] {
        if count >= size {
            return format!("{:.2} {unit}", count / size);
        }
    }
    format!("{count}")
}

/// Text from a file, safe to show on a terminal: control characters are escaped, and at most `longest` characters stay.
pub fn shown(text: &str, longest: usize) -> String {
    let mut shown: String = text.chars().take(longest).flat_map(escaped).collect();
    if text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}

fn escaped(letter: char) -> Vec<char> {
    if letter.is_control() { letter.escape_debug().collect() } else { vec![letter] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_units() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(98_362_432), "93.8 MiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(parameters(134_515_008), "134.52 M");
        assert_eq!(parameters(7), "7");
    }

    #[test]
    fn nothing_from_a_file_can_drive_the_terminal() {
        assert_eq!(shown("\u{1b}[2Jhi\n", 10), "\\u{1b}[2Jhi\\n");
        assert_eq!(shown("abcdef", 3), "abc…");
    }
}
