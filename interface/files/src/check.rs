//! Checks that every kind of file needs: names, ranges, addresses, times. Each adds a problem and answers something
//! legal, so that the rest of the file is still looked at.

use std::time::Duration;

use crate::{Addresses, At, Problems, TimeText};

const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Names become part of file names.
pub const LONGEST_NAME: usize = 40;

impl Problems<'_> {
    pub fn name(&mut self, name: &At<String>) {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.value.is_empty() || name.value.len() > LONGEST_NAME || !name.value.chars().all(good) {
            let label = format!("1 to {LONGEST_NAME} letters, digits, - and _");
            self.add(&name.span, "this cannot be a name", label);
        }
    }

    /// `0` or `"0..9"`, both ends included.
    pub fn addresses(&mut self, at: &At<Addresses>) -> Option<(u16, u16)> {
        let parse = |s: &str| s.trim().parse::<i64>().ok();
        let range = match &at.value {
            Addresses::One(n) => Some((*n, *n)),
            Addresses::Text(text) => match text.split_once("..") {
                Some((first, last)) => parse(first).zip(parse(last)),
                None => parse(text).map(|n| (n, n)),
            },
        };
        let wrong = match range {
            None => "write an address such as 0, or a range such as \"0..9\" (both ends included)".to_owned(),
            Some((first, last)) => match (u16::try_from(first), u16::try_from(last)) {
                (Ok(first), Ok(last)) if first <= last => return Some((first, last)),
                (Ok(_), Ok(_)) => "the first address is above the last".to_owned(),
                _ => "addresses go from 0 to 65535".to_owned(),
            },
        };
        self.add(&at.span, "this is not an address", wrong);
        None
    }

    pub fn address(&mut self, at: &At<i64>) -> u16 {
        self.number(at, 0..=65_535, "an address") as u16
    }

    /// Checks a range; answers its start when the number is outside.
    pub fn number(&mut self, at: &At<i64>, range: std::ops::RangeInclusive<i64>, what: &str) -> i64 {
        if range.contains(&at.value) {
            return at.value;
        }
        let (low, high) = (*range.start(), *range.end());
        let label = if high == i64::MAX {
            format!("{what} is {low} or more")
        } else {
            format!("{what} is a whole number from {low} to {high}")
        };
        self.add(&at.span, format!("{} is out of range", at.value), label);
        low
    }

    /// Answers `instead` when it is wrong.
    pub fn time(&mut self, at: &At<TimeText>, instead: Duration) -> Duration {
        match parse_time(&at.value.0) {
            Some(time) if time.is_zero() => {
                self.add(&at.span, "no time at all", "this must be longer than zero");
            }
            Some(time) if time > LONGEST => {
                self.add(&at.span, "too long a time", "24 hours (1440min) at most");
            }
            Some(time) => return time,
            None => {
                let label = "write a number and us, ms, s or min, for example \"10ms\" or \"1.5s\"";
                self.add(&at.span, format!("`{}` is not a time", at.value.0), label);
            }
        }
        instead
    }
}

/// `None` if it is no time.
pub fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        _ => return None,
    };
    if number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// A time as people read it: three figures, a fitting unit.
pub fn show_time(time: Duration) -> String {
    let us = time.as_nanos() as f64 / 1000.0;
    let (value, unit) = match us {
        us if us < 1000.0 => (us, "us"),
        us if us < 1_000_000.0 => (us / 1000.0, "ms"),
        us => (us / 1_000_000.0, "s"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}
