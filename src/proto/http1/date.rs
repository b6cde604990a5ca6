//! Dates as HTTP has them (RFC 9110, section 5.6.7).

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// A date as IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HttpDate([u8; 29]);

/// 9999-12-31 23:59:59; the format has four digits for a year.
const LAST_SECOND: u64 = 253_402_300_799;

impl HttpDate {
    /// The date of now, formatted once a second on each thread.
    pub(crate) fn now() -> HttpDate {
        thread_local! {
            static LAST: Cell<Option<(u64, HttpDate)>> = const { Cell::new(None) };
        }
        let second = second_of(SystemTime::now());
        match LAST.get() {
            Some((last, date)) if last == second => date,
            _ => {
                let date = HttpDate::at(second);
                LAST.set(Some((second, date)));
                date
            }
        }
    }

    /// The date of `time`: from 1970 to 9999, or the nearer end of that.
    pub(crate) fn of(time: SystemTime) -> HttpDate {
        HttpDate::at(second_of(time))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn at(second: u64) -> HttpDate {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let (day, clock) = (second / 86_400, second % 86_400);
        let weekday = DAYS[(day % 7) as usize];
        let mut left = day;
        let mut year = 1970;
        while left >= days_of(year) {
            left -= days_of(year);
            year += 1;
        }
        let february = if days_of(year) == 366 { 29 } else { 28 };
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while left >= lengths[month] {
            left -= lengths[month];
            month += 1;
        }
        let text = format!(
            "{weekday}, {:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            left + 1,
            MONTHS[month],
            clock / 3600,
            clock / 60 % 60,
            clock % 60
        );
        let mut bytes = [0; 29];
        bytes.copy_from_slice(text.as_bytes());
        HttpDate(bytes)
    }
}

fn second_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().min(LAST_SECOND)
}

fn days_of(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if is_leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_from_the_first_to_the_last() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (LAST_SECOND + 1, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let date = HttpDate::of(UNIX_EPOCH + Duration::from_secs(second));
            assert_eq!(str::from_utf8(date.as_bytes()).unwrap(), text);
        }
        let before = HttpDate::of(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(before, HttpDate::of(UNIX_EPOCH));
    }

    #[test]
    fn now_is_now() {
        let before = second_of(SystemTime::now());
        let now = HttpDate::now();
        let after = second_of(SystemTime::now());
        assert!((before..=after).any(|second| HttpDate::at(second) == now));
    }
}
