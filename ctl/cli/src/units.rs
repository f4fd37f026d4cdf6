//! Numbers as people read them.

use std::time::Duration;

pub(crate) use vswitch_api::human::duration;

/// Bytes in powers of 1000, three digits: `1.23 MB`.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count as f64, "B")
}

/// Bits a second, from bytes in a time: `35.2 Gbit/s`.
pub(crate) fn bit_rate(bytes: u64, time: Duration) -> String {
    scaled(over(bytes, time) * 8.0, "bit/s")
}

/// Events a second: `12.3 k/s`.
pub(crate) fn rate(count: u64, time: Duration) -> String {
    scaled(over(count, time), "/s")
}

/// Bits a second, counted already: `35.2 Gbit/s`.
pub(crate) fn bits_per_second(bits: u64) -> String {
    scaled(bits as f64, "bit/s")
}

/// Events a second, counted already: `12.3 k/s`.
pub(crate) fn per_second(events: u64) -> String {
    scaled(events as f64, "/s")
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A measured time, three digits: `45.2 µs`, `1.32 ms`, `2.05 s`.
pub(crate) fn interval(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_nanos() {
        0..1_000_000 => format!("{} µs", three_digits(seconds * 1e6)),
        1_000_000..1_000_000_000 => format!("{} ms", three_digits(seconds * 1e3)),
        _ => format!("{} s", three_digits(seconds)),
    }
}

fn over(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

/// Three digits with the prefix that fits; whole below a thousand.
fn scaled(mut value: f64, unit: &str) -> String {
    let mut prefixes = ["", "k", "M", "G", "T", "P"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    for next in prefixes {
        if value < 999.5 {
            break;
        }
        (value, prefix) = (value / 1000.0, next);
    }
    let number = if prefix.is_empty() { format!("{value:.0}") } else { three_digits(value) };
    if prefix.is_empty() && unit.starts_with('/') {
        format!("{number}{unit}")
    } else {
        format!("{number} {prefix}{unit}")
    }
}

fn three_digits(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three digits everywhere, also where rounding lifts a number over the next thousand.
    #[test]
    fn numbers() {
        assert_eq!(
            [0, 999, 1000, 1234, 999_499, 999_500, 12_345_678].map(bytes),
            ["0 B", "999 B", "1.00 kB", "1.23 kB", "999 kB", "1.00 MB", "12.3 MB"]
        );
        assert_eq!(bit_rate(4_400_000_000, Duration::from_secs(1)), "35.2 Gbit/s");
        assert_eq!(bit_rate(5, Duration::ZERO), "0 bit/s");
        assert_eq!(rate(24_600, Duration::from_secs(2)), "12.3 k/s");
        assert_eq!(rate(24, Duration::from_secs(2)), "12/s");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(bytes(u64::MAX), "18447 PB");
    }

    /// Measured times have three digits, too.
    #[test]
    fn times() {
        assert_eq!(interval(Duration::from_nanos(45_240)), "45.2 µs");
        assert_eq!(interval(Duration::from_micros(1320)), "1.32 ms");
        assert_eq!(interval(Duration::from_millis(2050)), "2.05 s");
    }
}
