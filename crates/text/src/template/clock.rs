//! The time a template may tell: a value passed in, never read here. `strftime` in the C locale.

use std::fmt::Write;

/// A moment and the offset of the local time from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub unix_seconds: i64,
    /// Local time minus UTC, in seconds.
    pub utc_offset_seconds: i32,
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Local calendar fields.
struct Calendar {
    year: i64,
    month: usize,
    day: i64,
    weekday: usize,
    day_of_year: i64,
    second_of_day: i64,
}

impl Now {
    /// Formats like C's `strftime`; a directive that is not known stays as it stands.
    pub fn format(&self, format: &str) -> String {
        let calendar = self.calendar();
        let mut text = String::with_capacity(format.len() + 16);
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            match chars.next() {
                // glibc's `-`: no padding
                Some('-') => match chars.next() {
                    Some(directive) => {
                        let mut padded = String::new();
                        self.directive(&calendar, directive, &mut padded);
                        let bare = padded.trim_start_matches(['0', ' ']);
                        text.push_str(if bare.is_empty() { "0" } else { bare });
                    }
                    None => text.push_str("%-"),
                },
                Some(directive) => self.directive(&calendar, directive, &mut text),
                None => text.push('%'),
            }
        }
        text
    }

    fn directive(&self, at: &Calendar, directive: char, text: &mut String) {
        let (hour, minute, second) = (at.second_of_day / 3600, at.second_of_day / 60 % 60, at.second_of_day % 60);
        let hour12 = (hour + 11) % 12 + 1;
        let offset = i64::from(self.utc_offset_seconds);
        // Writing to a `String` cannot fail.
        let _ = match directive {
            'Y' => write!(text, "{}", at.year),
            'y' => write!(text, "{:02}", at.year.rem_euclid(100)),
            'm' => write!(text, "{:02}", at.month + 1),
            'd' => write!(text, "{:02}", at.day),
            'e' => write!(text, "{:2}", at.day),
            'j' => write!(text, "{:03}", at.day_of_year + 1),
            'H' => write!(text, "{hour:02}"),
            'I' => write!(text, "{hour12:02}"),
            'M' => write!(text, "{minute:02}"),
            'S' => write!(text, "{second:02}"),
            'p' => write!(text, "{}", if hour < 12 { "AM" } else { "PM" }),
            'A' => write!(text, "{}", DAYS[at.weekday]),
            'a' => write!(text, "{}", &DAYS[at.weekday][..3]),
            'w' => write!(text, "{}", at.weekday),
            'u' => write!(text, "{}", if at.weekday == 0 { 7 } else { at.weekday }),
            'B' => write!(text, "{}", MONTHS[at.month]),
            'b' | 'h' => write!(text, "{}", &MONTHS[at.month][..3]),
            'F' => write!(text, "{}-{:02}-{:02}", at.year, at.month + 1, at.day),
            'D' | 'x' => write!(text, "{:02}/{:02}/{:02}", at.month + 1, at.day, at.year.rem_euclid(100)),
            'T' | 'X' => write!(text, "{hour:02}:{minute:02}:{second:02}"),
            'R' => write!(text, "{hour:02}:{minute:02}"),
            'c' => write!(
                text,
                "{} {} {:2} {hour:02}:{minute:02}:{second:02} {}",
                &DAYS[at.weekday][..3],
                &MONTHS[at.month][..3],
                at.day,
                at.year
            ),
            's' => write!(text, "{}", self.unix_seconds),
            'z' => {
                let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
                write!(text, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
            }
            'Z' if offset == 0 => write!(text, "UTC"),
            'n' => writeln!(text),
            't' => write!(text, "\t"),
            '%' => write!(text, "%"),
            other => write!(text, "%{other}"),
        };
    }

    fn calendar(&self) -> Calendar {
        let local = self.unix_seconds.saturating_add(i64::from(self.utc_offset_seconds));
        let (days, second_of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        // Days are counted from 0000-03-01, so that the leap day ends a year, in eras of 400 years (146097 days).
        let from_march = days + 719_468;
        let (era, day_of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12;
        let year = era * 400 + year_of_era + i64::from(month < 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month < 2 { day_of_march_year - 306 } else { day_of_march_year + 59 + i64::from(leap) };
        Calendar {
            year,
            month: month as usize,
            day,
            weekday: (days + 4).rem_euclid(7) as usize,
            day_of_year,
            second_of_day,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Now;

    #[test]
    fn formats_as_c_does() {
        // (seconds, offset, what `date -d @seconds` prints)
        let cases = [
            (0, 0, "Thu Jan  1 00:00:00 1970 001 1970-01-01 12 AM"),
            (951_782_400, 0, "Tue Feb 29 00:00:00 2000 060 2000-02-29 12 AM"),
            (1_735_689_599, 0, "Tue Dec 31 23:59:59 2024 366 2024-12-31 11 PM"),
            (1_735_689_599, 3600, "Wed Jan  1 00:59:59 2025 001 2025-01-01 12 AM"),
            (-1, 0, "Wed Dec 31 23:59:59 1969 365 1969-12-31 11 PM"),
        ];
        for (unix_seconds, utc_offset_seconds, expected) in cases {
            assert_eq!(Now { unix_seconds, utc_offset_seconds }.format("%c %j %F %I %p"), expected);
        }
    }

    #[test]
    fn keeps_what_it_does_not_know() {
        let now = Now { unix_seconds: 951_782_400, utc_offset_seconds: -5400 };
        assert_eq!(now.format("%-d %B %Y %z %Q %"), "28 February 2000 -0130 %Q %");
    }
}
