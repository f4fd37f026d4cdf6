//! The only places that write to standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;
use vswitch_api::text::printable;

/// Write `text` to standard output, all of it, now.
pub(crate) fn print(text: &str) -> io::Result<()> {
    bytes(text.as_bytes())
}

/// Write bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Print a value as JSON that a person can read as well.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(print(&text)?)
}

/// One sentence on standard error that ends a command, or one of its objects.
pub(crate) fn complain(sentence: &dyn Display) {
    note(&format!("error: {sentence}"));
}

/// One line on standard error. Where nobody reads it, nothing is lost.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(line));
}

/// The first 12 digits of an id, as people quote it.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
