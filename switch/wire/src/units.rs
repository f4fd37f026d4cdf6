//! Times, rates, lengths and shares as people write them.

use crate::cast::whole;

/// Nanoseconds of `50ms`.
pub(crate) fn time(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 6e10,
        _ => return None,
    };
    bounded(number * scale)
}

/// Bits in a second of `10mbit`; as `tc` has it, `mbps` are bytes.
pub(crate) fn rate(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = unit.to_ascii_lowercase();
    let (unit, scale) = match unit.strip_suffix("bit") {
        Some(rest) => (rest, 1.0),
        None => (unit.strip_suffix("bps")?, 8.0),
    };
    let scale = scale
        * match unit {
            "" => 1.0,
            "k" => 1e3,
            "m" => 1e6,
            "g" => 1e9,
            "ki" => 1024.0,
            "mi" => 1_048_576.0,
            "gi" => 1_073_741_824.0,
            _ => return None,
        };
    bounded(number * scale).filter(|bits| *bits > 0)
}

/// Bytes of `64k`, `64kb` or `1500b`: as `tc` has it, k is 1024.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1_048_576.0,
        _ => return None,
    };
    bounded(number * scale)
}

/// A share of `1%`, from 0 to 1. As `tc` has it, a number alone is percent, too.
pub(crate) fn share(text: &str) -> Option<f64> {
    let number: f64 = decimal(text.strip_suffix('%').unwrap_or(text))?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    Some((decimal(number)?, unit))
}

/// No signs, no exponents, no infinities.
fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| plain && text.len() < 24)
}

/// Times are shorter than half a year and rates less than what that many bits take, so that sums stay numbers.
fn bounded(value: f64) -> Option<u64> {
    (value <= 1e16).then(|| whole(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people write is what they mean, and what is no such thing is none.
    #[test]
    fn read() {
        assert_eq!(
            ["50ms", "1.5s", "100us", "7ns", "2m"].map(time),
            [Some(50_000_000), Some(1_500_000_000), Some(100_000), Some(7), Some(120_000_000_000)]
        );
        assert_eq!(
            ["10mbit", "1gbit", "56kbit", "1mbps", "1MiBit", "9bit"].map(rate),
            [Some(10_000_000), Some(1_000_000_000), Some(56_000), Some(8_000_000), Some(1_048_576), Some(9)]
        );
        assert_eq!(["1500b", "64k", "1.5mb"].map(bytes), [Some(1500), Some(65_536), Some(1_572_864)]);
        assert_eq!(["1%", "0.1%", "100", "0"].map(share), [Some(0.01), Some(0.001), Some(1.0), Some(0.0)]);
        for wrong in ["", "5", "ms", "-5ms", "1e3ms", "infs", "5 ms", "99999999999999999999s", "1..2s"] {
            assert_eq!(time(wrong), None, "{wrong:?}");
        }
        for wrong in ["10", "0bit", "mbit", "10mb", "1tbit"] {
            assert_eq!(rate(wrong), None, "{wrong:?}");
        }
        for wrong in ["101%", "-1%", "1%%", "nan", ""] {
            assert_eq!(share(wrong), None, "{wrong:?}");
        }
    }
}
