//! The time of day as people write it.

use core::fmt;

/// Nanoseconds since 1970, shown as RFC 3339 with milliseconds, in UTC.
pub(crate) struct Utc(pub(crate) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ns) = (self.0 / 86_400_000_000_000, self.0 % 86_400_000_000_000);
        let (year, month, day) = civil(days);
        let s = ns / 1_000_000_000;
        let (h, m, s, ms) = (s / 3600, s / 60 % 60, s % 60, ns / 1_000_000 % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01: `civil_from_days` of
/// Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::Utc;
    use alloc::string::ToString;

    #[test]
    fn days_that_calendars_get_wrong() {
        let at = |s: u64| Utc(s * 1_000_000_000).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_709_164_800), "2024-02-29T00:00:00.000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(Utc(1_234_567_890_123_456_789).to_string(), "2009-02-13T23:31:30.123Z");
    }
}
