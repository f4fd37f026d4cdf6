//! Text that somebody else chose, on its way to a terminal.

use std::borrow::Cow;

/// `text` with everything escaped that does more than show a letter: control characters (ESC begins a terminal's commands) and
/// those that change the order in which others are shown (Unicode's "Trojan Source"). Line ends stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter| letter != '\n' && is_hostile(letter)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter != '\n' && is_hostile(letter) {
            safe.extend(letter.escape_default());
        } else {
            safe.push(letter);
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal would do something else with it than show it in its place.
#[must_use]
pub fn is_hostile(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal would obey is spelled out; letters of all scripts, and lines, stay.
    #[test]
    fn escapes() {
        assert!(matches!(printable("größe 网络 שלום\nnext"), Cow::Borrowed(_)));
        assert_eq!(printable("a\u{1b}]0;x\u{7}\u{202e}b\r\u{9b}m"), r"a\u{1b}]0;x\u{7}\u{202e}b\r\u{9b}m");
    }
}
