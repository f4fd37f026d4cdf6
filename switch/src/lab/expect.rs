//! Frames that somebody waits for.

use std::time::Duration;

use vswitch_capture::Filter;

use super::Story;
use super::story::{Heard, Seen, Tracer};
use crate::clock::Clock;

/// What is waited for.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Which frames.
    pub filter: Filter,
    /// The filter as it was written.
    pub filter_text: String,
    /// How many of them; none must come if it is zero.
    pub count: u64,
    /// For how long.
    pub within: Duration,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it is what was expected.
    pub met: bool,
    /// The frames that matched, at most [`MOST_KEPT`].
    pub matched: Vec<Seen>,
    /// How many matched.
    pub count: u64,
    /// How many were seen that did not.
    pub others: u64,
    /// Those of them that are nearest, with the parts of the filter that they do not match.
    pub nearest: Vec<(Seen, Vec<String>)>,
    /// What became of frames that were injected meanwhile.
    pub injected: Vec<Story>,
}

/// Looks for frames from when it was made.
#[derive(Debug)]
pub struct Expectation {
    pub(super) tracer: Tracer,
    pub(super) expected: Expected,
    /// Each part of the filter, by itself.
    parts: Vec<(String, Filter)>,
    /// How many frames had been injected before.
    pub(super) before: u64,
}

/// Most frames that are kept.
pub const MOST_KEPT: usize = 64;
/// Most that are said to be near.
const NEAREST: usize = 5;

impl Expectation {
    pub(super) fn new(tracer: Tracer, expected: Expected, before: u64) -> Expectation {
        let parts = parts(&expected.filter_text);
        let compiled = parts.into_iter().filter_map(|part| Some((part.clone(), Filter::new(&part).ok()?))).collect();
        Expectation { tracer, expected, parts: compiled, before }
    }

    /// What ends it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> super::CaptureStop {
        self.tracer.stop()
    }

    /// Waits until it is met, cannot be any more, or its time is over.
    #[must_use]
    pub fn wait(self) -> Outcome {
        let clock = Clock::start();
        let mut outcome =
            Outcome { met: false, matched: Vec::new(), count: 0, others: 0, nearest: Vec::new(), injected: Vec::new() };
        loop {
            let spent = Duration::from_nanos(clock.nanos());
            let left = self.expected.within.saturating_sub(spent);
            match self.tracer.next(left) {
                Heard::Seen(seen) if self.expected.filter.matches(&seen.frame) => {
                    outcome.count += 1;
                    if outcome.matched.len() < MOST_KEPT {
                        outcome.matched.push(seen);
                    }
                    if outcome.count >= self.expected.count.max(1) {
                        outcome.met = self.expected.count > 0;
                        break;
                    }
                }
                Heard::Seen(seen) => self.note(&mut outcome, seen),
                Heard::Story(_) => {}
                Heard::Nothing | Heard::End => {
                    outcome.met = self.expected.count == 0 && outcome.count == 0;
                    break;
                }
            }
        }
        if !outcome.met {
            outcome.injected = self.tracer.injected_since(self.before);
        }
        outcome
    }

    /// Keeps a frame that did not match, if it is among the nearest.
    fn note(&self, outcome: &mut Outcome, seen: Seen) {
        outcome.others += 1;
        let differs: Vec<String> =
            self.parts.iter().filter(|(_, part)| !part.matches(&seen.frame)).map(|(text, _)| text.clone()).collect();
        let at = outcome.nearest.partition_point(|(_, others)| others.len() <= differs.len());
        outcome.nearest.insert(at, (seen, differs));
        outcome.nearest.truncate(NEAREST);
    }
}

/// The parts of a filter that all have to hold: what `and` joins outside of brackets, where nothing else joins.
fn parts(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut parts: Vec<Vec<&str>> = vec![Vec::new()];
    for word in text.split_whitespace() {
        if depth == 0 && matches!(word, "or" | "||") {
            return vec![text.to_owned()];
        }
        if depth == 0 && matches!(word, "and" | "&&") {
            parts.push(Vec::new());
            continue;
        }
        let opened = word.matches(['(', '[']).count();
        depth = (depth + opened).saturating_sub(word.matches([')', ']']).count());
        if let Some(part) = parts.last_mut() {
            part.push(word);
        }
    }
    // `udp dst port 53` says two things.
    let mut said = Vec::new();
    for part in parts {
        match part.split_first() {
            Some((&first, rest)) if !rest.is_empty() && PROTOCOLS.contains(&first) => {
                said.push(first.to_owned());
                said.push(rest.join(" "));
            }
            _ => said.push(part.join(" ")),
        }
    }
    said
}

const PROTOCOLS: [&str; 8] = ["ip", "ip6", "arp", "tcp", "udp", "icmp", "icmp6", "sctp"];

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter is taken apart where each part has to hold, and nowhere else.
    #[test]
    fn taken_apart() {
        let apart = |text: &str| parts(text).join(" / ");
        assert_eq!(apart("udp dst port 53 and src host 10.0.0.2"), "udp / dst port 53 / src host 10.0.0.2");
        assert_eq!(apart("tcp and (port 80 and host 10.0.0.3)"), "tcp / (port 80 and host 10.0.0.3)");
        assert_eq!(apart("udp or tcp"), "udp or tcp");
        assert_eq!(apart("tcp[tcpflags] & tcp-syn != 0"), "tcp[tcpflags] & tcp-syn != 0");
    }
}
