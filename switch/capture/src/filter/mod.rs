//! tcpdump's filter language (pcap-filter(7)).
//!
//! Text becomes words ([`token`]), words become questions with `and`, `or` and `not` between them ([`parse`], [`primitive`]), and
//! those become a program ([`program`]) that is run for each frame.

mod names;
mod parse;
mod primitive;
mod program;
mod token;

use program::Program;

/// Which frames somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter(Program);

/// A filter that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at character {}: {message}", at + 1)]
pub struct FilterError {
    /// Bytes before what is wrong.
    pub at: usize,
    /// What is wrong with it.
    pub message: String,
}

impl FilterError {
    fn new(at: usize, message: String) -> Self {
        FilterError { at, message }
    }
}

/// Bytes of the longest filter.
const LONGEST: usize = 8192;

impl Filter {
    /// Compiles a filter. An empty one matches every frame.
    ///
    /// # Errors
    /// When it is no filter; the error says where and why.
    pub fn new(text: &str) -> Result<Filter, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::new(LONGEST, format!("it is longer than {LONGEST} bytes")));
        }
        let tokens = token::tokens(text)?;
        if tokens.is_empty() {
            return Ok(Filter::default());
        }
        Program::new(&parse::parse(&tokens, text.len())?).map(Filter)
    }

    /// Whether a frame, which begins with its Ethernet header, is wanted.
    #[inline]
    #[must_use]
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.0.run(frame).unwrap_or(false)
    }

    /// As [`Filter::matches`], but nothing when the frame ends before what is asked of it.
    #[must_use]
    pub fn decide(&self, frame: &[u8]) -> Option<bool> {
        self.0.run(frame)
    }
}

#[cfg(test)]
mod tests;
