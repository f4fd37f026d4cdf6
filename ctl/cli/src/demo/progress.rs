//! One line a step: what was done, how long it took.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::{clock, output, units};

/// Columns of a line.
const WIDTH: usize = 84;
/// Columns of a step's label.
const LABEL: usize = 11;

const GREEN: &str = "\u{1b}[32m";
const RED: &str = "\u{1b}[31m";
const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";
/// To the line's start; erase it.
const REWIND: &str = "\r\u{1b}[K";

/// Where the lines go.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    colour: bool,
    start: Instant,
}

/// A step on its way.
#[derive(Debug)]
pub(crate) struct Step {
    start: Instant,
    doing: String,
}

impl Progress {
    /// Standard output, with colour if it is a terminal and `NO_COLOR` is not set.
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && !refused(std::env::var_os("NO_COLOR"));
        Progress { terminal, colour, start: clock::instant() }
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Measure from here on: what came before does not count.
    pub(crate) fn restart(&mut self) {
        self.start = clock::instant();
    }

    /// Begin a step. Only a terminal shows what is being done; elsewhere its end tells it all.
    pub(crate) fn begin(&self, doing: &str) -> io::Result<Step> {
        if self.terminal {
            output::print(&format!("  {} {doing} …", self.paint(DIM, "·")))?;
        }
        Ok(Step { start: clock::instant(), doing: doing.to_owned() })
    }

    /// The step worked: one line, with the figure that it is about at its end.
    pub(crate) fn done(&self, step: &Step, label: &str, what: &str, figure: &str) -> io::Result<()> {
        let time = units::interval(step.start.elapsed());
        let used = 4 + LABEL + [what, figure, &time].map(|text| text.chars().count()).iter().sum::<usize>();
        let gap = " ".repeat(WIDTH.saturating_sub(used).max(2));
        let label = self.bold(&format!("{label:<LABEL$}"));
        let (tick, figure, time) = (self.paint(GREEN, "✓"), self.bold(figure), self.paint(DIM, &time));
        self.line(&format!("  {tick} {label}{what}{figure}{gap}{time}"))
    }

    /// The step did not work; the reason follows elsewhere.
    pub(crate) fn failed(&self, step: &Step) -> io::Result<()> {
        self.line(&format!("  {} {}", self.paint(RED, "✗"), step.doing))
    }

    /// Blocks of text with their titles, indented, blank lines around them.
    pub(crate) fn blocks(&self, blocks: &[(&str, String)]) -> io::Result<()> {
        let mut whole = String::new();
        for (title, text) in blocks {
            whole += "\n";
            if !title.is_empty() {
                whole += &format!("  {}\n", self.bold(title));
            }
            whole.extend(text.lines().map(|line| format!("    {line}\n")));
        }
        output::print(&(whole + "\n"))
    }

    /// A line of its own.
    pub(crate) fn line(&self, line: &str) -> io::Result<()> {
        output::print(&format!("{}{line}\n", if self.terminal { REWIND } else { "" }))
    }

    /// Something to notice.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{code}{text}{RESET}") } else { text.to_owned() }
    }
}

/// What `$NO_COLOR` says (<https://no-color.org>): anything but nothing.
fn refused(no_color: Option<OsString>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any text refuses colours, and an empty one does not.
    #[test]
    fn no_color() {
        assert!(refused(Some("1".into())) && refused(Some("0".into())));
        assert!(!refused(Some(OsString::new())) && !refused(None));
        for (colour, shown) in [(true, "\x1b[1mx\x1b[0m"), (false, "x")] {
            assert_eq!(Progress { terminal: true, colour, start: clock::instant() }.bold("x"), shown);
        }
    }
}
