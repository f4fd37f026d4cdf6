//! Figures against their targets.

use serde::Serialize;

/// A figure and what it should be.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value as a person reads it.
    pub shown: String,
    /// What it should be, and whether it is.
    pub target: Option<(String, bool)>,
}

impl Figure {
    /// A figure that should be at least `least`.
    #[must_use]
    pub fn at_least(name: &str, value: f64, least: f64, unit: &str) -> Self {
        let target = Some((format!(">= {least}{unit}"), value >= least));
        Figure { name: name.to_owned(), shown: format!("{value:.2}{unit}"), target }
    }

    /// A figure that should be at most `most`.
    #[must_use]
    pub fn at_most(name: &str, value: f64, most: f64, unit: &str) -> Self {
        let target = Some((format!("<= {most}{unit}"), value <= most));
        Figure { name: name.to_owned(), shown: format!("{value:.2}{unit}"), target }
    }

    /// A figure without a target.
    #[must_use]
    pub fn plain(name: &str, shown: String) -> Self {
        Figure { name: name.to_owned(), shown, target: None }
    }

    /// Whether the target was missed.
    #[must_use]
    pub fn missed(&self) -> bool {
        matches!(self.target, Some((_, false)))
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<52} {:>16}", self.name, self.shown)?;
        match &self.target {
            Some((target, met)) => write!(f, "   {target:<14} {}", if *met { "met" } else { "MISSED" }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A missed target says so.
    #[test]
    fn targets() {
        assert!(Figure::at_least("x", 0.6, 0.7, "").missed());
        assert!(!Figure::at_most("x", 0.6, 0.7, "").missed());
        assert!(Figure::at_least("x", 0.6, 0.7, "").to_string().contains("MISSED"));
    }
}
