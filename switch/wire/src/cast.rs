//! The few conversions between kinds of numbers that wires need.

/// Whole nanoseconds or bytes of a number that is not negative; what is too large is the largest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the conversion saturates, as it should")]
pub(crate) const fn whole(value: f64) -> u64 {
    value as u64
}

/// A signed number of nanoseconds.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates, as it should")]
pub(crate) const fn signed(value: f64) -> i64 {
    value as i64
}

/// Counts and lengths as they are everywhere here.
pub(crate) const fn wide(value: usize) -> u64 {
    value as u64
}

/// A number to calculate with; above 2^53 to the nearest that there is.
pub(crate) const fn real(value: u64) -> f64 {
    value as f64
}
