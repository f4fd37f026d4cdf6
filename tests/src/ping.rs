//! ping, told apart from its habits.

use std::fmt::Display;

/// A script that fails unless each of three echo requests is answered. They are sent one by one, since a ping that has
/// seen an answer waits for a late one only twice as long as the earlier ones took, which is little on a busy machine.
#[must_use]
pub fn thrice(target: impl Display) -> String {
    format!("for one in 1 2 3; do ping -n -c 1 -W 5 {target} || exit 1; done")
}

/// How many requests a ping has sent and how many answers it has seen, from its summary.
///
/// # Panics
/// When there is no summary.
#[must_use]
#[track_caller]
pub fn summary(said: &str) -> (u64, u64) {
    let line = said.lines().find(|line| line.contains(" packets transmitted, "));
    let line = line.unwrap_or_else(|| panic!("no summary of a ping:\n{said}"));
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}
