//! The order in which people sort names: `net2` before `net10`.

use std::cmp::Ordering;

/// Compare with runs of digits taken as numbers.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    loop {
        let (a, b) = match (left.first(), right.first()) {
            (Some(a), Some(b)) => (*a, *b),
            (a, b) => return a.is_some().cmp(&b.is_some()),
        };
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let (a, b) = (digits(&mut left), digits(&mut right));
            let (short, long) = (significant(a), significant(b));
            let order = short.len().cmp(&long.len()).then_with(|| short.cmp(long)).then_with(|| a.len().cmp(&b.len()));
            if order != Ordering::Equal {
                return order;
            }
        } else if a != b {
            return a.cmp(&b);
        } else {
            (left, right) = (&left[1..], &right[1..]);
        }
    }
}

/// Take the run of digits off the front.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    run
}

fn significant(digits: &[u8]) -> &[u8] {
    let start = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    &digits[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers count as numbers, wherever they stand and however long they are.
    #[test]
    fn order() {
        let mut names = ["net10", "net2", "b", "net2a", "net", "a1b10", "a1b9", "net02", "9", "10", ""];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["", "9", "10", "a1b9", "a1b10", "b", "net", "net2", "net2a", "net02", "net10"]);
        assert_eq!(compare("x99999999999999999999999998", "x99999999999999999999999999"), Ordering::Less);
    }
}
