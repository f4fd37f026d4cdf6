//! Signals by name: one table for every place where somebody writes one.

use rustix::process::Signal;

/// Names without `SIG`, in the order of their numbers.
const NAMES: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// Other names of the same.
const ALIASES: [(&str, Signal); 3] = [("IOT", Signal::ABORT), ("CLD", Signal::CHILD), ("POLL", Signal::IO)];

/// The number of a signal that is written as `TERM`, `SIGTERM`, `sigterm` or `15`; `None` if there is none.
#[must_use]
pub fn number(text: &str) -> Option<i32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().and_then(Signal::from_named_raw).map(Signal::as_raw);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = NAMES.iter().chain(&ALIASES).find(|(known, _)| *known == bare);
    found.map(|(_, signal)| signal.as_raw())
}

/// Every name, without `SIG`.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signals are known by name in any case, with and without SIG, and by number; the table is in order and whole.
    #[test]
    fn signals() {
        for text in ["TERM", "sigterm", "SIGTERM", "15"] {
            assert_eq!(number(text), Some(15), "{text}");
        }
        for (place, name) in (1..).zip(names()) {
            assert_eq!(number(name), Some(place), "{name}");
            assert_eq!(number(&place.to_string()), Some(place));
        }
        assert_eq!((number("SIGPOLL"), number("IOT")), (Some(29), Some(6)));
        for text in ["0", "32", "64", "-1", "+1", "SIG", "SIG-1", "9x", "NOPE", "", "99999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
