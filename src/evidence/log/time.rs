//! Times in logs.

/// Seconds since 1970 of a time as RFC 3339 writes it, or nearly so: `2026-11-21T06:31:09.1234567Z`, a blank in place of
/// the `T`, `,` before the fraction, `+01:00`. Without a zone it is taken for UTC.
pub fn parse(text: &str) -> Option<f64> {
    parse_prefix(text).map(|(time, _)| time)
}

/// The same at the beginning of a text, and how many bytes it takes.
pub fn parse_prefix(text: &str) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let digits = |at: usize, count: usize| -> Option<i64> {
        let part = bytes.get(at..at + count)?;
        if !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(part.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|b| any.contains(b));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"T ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let mut end = 19;
    let mut fraction = 0.0;
    if is(end, b".,") && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end += 1;
        let mut scale = 0.1;
        while let Some(b) = bytes.get(end).filter(|b| b.is_ascii_digit()) {
            fraction += f64::from(b - b'0') * scale;
            scale /= 10.0;
            end += 1;
        }
    }
    let mut zone = 0;
    if is(end, b"Z") {
        end += 1;
    } else if is(end, b"+-")
        && let Some(hours) = digits(end + 1, 2)
    {
        let sign = if is(end, b"-") { -1 } else { 1 };
        let colon = usize::from(is(end + 3, b":"));
        let minutes = digits(end + 3 + colon, 2);
        zone = sign * (hours * 3600 + minutes.unwrap_or(0) * 60);
        end += 3 + minutes.map_or(0, |_| 2 + colon);
    }
    #[allow(clippy::cast_precision_loss)]
    let whole = (days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - zone) as f64;
    Some((whole + fraction, end))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_ci_systems_write_them() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(parse("2024-02-29T12:00:00.5Z"), Some(1_709_208_000.5));
        assert_eq!(parse("2024-02-29 13:00:00+01:00"), Some(1_709_208_000.0));
        assert_eq!(parse_prefix("2026-11-21T06:31:09.1234567Z #5"), Some((1_795_242_669.123_456_7, 28)));
        assert_eq!(parse("2026-13-21T06:31:09Z"), None);
        assert_eq!(parse("06:31:09"), None);
    }
}
