//! `strftime` for the dates that system prompts mention; UTC, English names, the Gregorian calendar.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment in civil time.
struct Civil {
    year: i64,
    /// 1 to 12.
    month: i64,
    day: i64,
    /// 1 to 366.
    year_day: i64,
    /// 0 is Sunday.
    week_day: i64,
    second_of_day: i64,
}

impl Civil {
    /// After "chrono-Compatible Low-Level Date Algorithms" (H. Hinnant): years begin in March, so that the
    /// leap day is the last.
    fn new(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_secs() as i64,
            Err(before) => -(before.duration().as_secs() as i64),
        };
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][(month - 1) as usize];
        let year_day = before + day + i64::from(leap && month > 2);
        Self { year, month, day, year_day, week_day: (days + 4).rem_euclid(7), second_of_day }
    }
}

/// Formats `time` as C's and Python's `strftime` do in the C locale.
///
/// # Errors
/// If the format has a code that is not known.
pub(super) fn strftime(time: SystemTime, format: &str) -> Result<String, Error> {
    let civil = Civil::new(time);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut code = characters.next();
        let bare = code == Some('-');
        if bare {
            code = characters.next();
        }
        field(&civil, code, bare, &mut out).map_err(|()| {
            let code = code.map_or_else(String::new, String::from);
            Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know `%{code}`"))
        })?;
    }
    Ok(out)
}

fn field(civil: &Civil, code: Option<char>, bare: bool, out: &mut String) -> Result<(), ()> {
    let (hour, minute, second) =
        (civil.second_of_day / 3600, civil.second_of_day / 60 % 60, civil.second_of_day % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let month = MONTHS[(civil.month - 1) as usize];
    let day = DAYS[civil.week_day as usize];
    let number = |value: i64, width: usize| {
        if bare { value.to_string() } else { format!("{value:0width$}") }
    };
    let two = |value| number(value, 2);
    let text = match code.ok_or(())? {
        'Y' => civil.year.to_string(),
        'y' => two(civil.year.rem_euclid(100)),
        'm' => two(civil.month),
        'd' => two(civil.day),
        'e' => format!("{:2}", civil.day),
        'j' => number(civil.year_day, 3),
        'B' => month.to_owned(),
        'b' | 'h' => month[..3].to_owned(),
        'A' => day.to_owned(),
        'a' => day[..3].to_owned(),
        'w' => civil.week_day.to_string(),
        'u' => ((civil.week_day + 6) % 7 + 1).to_string(),
        'H' => two(hour),
        'I' => two(hour12),
        'M' => two(minute),
        'S' => two(second),
        'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
        'Z' => "UTC".to_owned(),
        'z' => "+0000".to_owned(),
        'F' => format!("{}-{:02}-{:02}", civil.year, civil.month, civil.day),
        'T' => format!("{hour:02}:{minute:02}:{second:02}"),
        'D' | 'x' => format!("{:02}/{:02}/{:02}", civil.month, civil.day, civil.year.rem_euclid(100)),
        '%' => "%".to_owned(),
        _ => return Err(()),
    };
    // Writing to a string cannot fail.
    let _ = out.write_str(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: i64, format: &str) -> String {
        let offset = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset };
        strftime(time, format).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(at(0, "%A %F %T %j"), "Thursday 1970-01-01 00:00:00 001");
        assert_eq!(at(1_709_208_000, "%d %b %Y, %-d. %B %y"), "29 Feb 2024, 29. February 24");
        assert_eq!(at(1_735_689_599, "%a %d/%m/%Y %I:%M %p %j"), "Tue 31/12/2024 11:59 PM 366");
        assert_eq!(at(-1, "%Y-%m-%d %H:%M:%S %w"), "1969-12-31 23:59:59 3");
        assert_eq!(at(951_782_400, "%Y%m%d 100%%"), "20000229 100%");
        assert!(strftime(UNIX_EPOCH, "%Q").is_err() && strftime(UNIX_EPOCH, "%").is_err());
    }
}
