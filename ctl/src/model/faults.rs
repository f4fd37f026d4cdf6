//! All faults of one request.

use std::fmt;

/// What is wrong with a request, one sentence per fault. Shown as Docker does: a heading, then one fault a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    heading: &'static str,
    forbidden: bool,
    sentences: Vec<String>,
}

impl Faults {
    /// None yet. `heading` comes before the list; empty for none.
    #[must_use]
    pub const fn new(heading: &'static str) -> Self {
        Faults { heading, forbidden: false, sentences: Vec::new() }
    }

    /// Just this one.
    pub fn one(sentence: impl Into<String>) -> Self {
        Faults { heading: "", forbidden: false, sentences: vec![sentence.into()] }
    }

    /// Just this one, which Docker answers with 403.
    pub fn forbidden_one(sentence: impl Into<String>) -> Self {
        Faults { heading: "", forbidden: true, sentences: vec![sentence.into()] }
    }

    /// Adds one.
    pub fn add(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }

    /// Adds one that Docker answers with 403.
    pub fn forbid(&mut self, sentence: impl Into<String>) {
        self.forbidden = true;
        self.sentences.push(sentence.into());
    }

    /// The value, or the fault of it.
    pub fn take<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(error.to_string())).ok()
    }

    /// Adds another list's faults.
    pub fn append(&mut self, other: Faults) {
        self.forbidden |= other.forbidden;
        self.sentences.extend(other.sentences);
    }

    /// `value` if there is no fault.
    ///
    /// # Errors
    /// The faults, if there are any.
    pub fn finish<T>(self, value: T) -> Result<T, Faults> {
        if self.sentences.is_empty() { Ok(value) } else { Err(self) }
    }

    /// Whether there are any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.sentences.is_empty()
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.sentences.len()
    }

    /// Whether one of them is forbidden rather than invalid.
    #[must_use]
    pub const fn forbidden(&self) -> bool {
        self.forbidden
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.heading.is_empty() {
            writeln!(f, "{}", self.heading)?;
        }
        match &self.sentences[..] {
            [only] => f.write_str(only),
            several => f.write_str(&several.iter().map(|s| format!("* {s}")).collect::<Vec<_>>().join("\n")),
        }
    }
}

impl std::error::Error for Faults {}
