//! Files with lists of variables and labels (`--env-file`, `--label-file`), as Docker reads them.

use std::path::{Path, PathBuf};

use crate::failure::Usage;

/// What a name without a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare {
    /// Our own variable of that name, if there is one.
    Inherit,
    /// An empty value.
    Empty,
}

/// All entries of these files, `KEY=VALUE` each.
pub(super) fn read(files: &[PathBuf], bare: Bare) -> anyhow::Result<Vec<String>> {
    let mut entries = Vec::new();
    for file in files {
        let text = std::fs::read(file).map_err(|error| Usage(format!("open {}: {error}", file.display())))?;
        entries.extend(parse(file, &text, bare)?);
    }
    Ok(entries)
}

fn parse(file: &Path, text: &[u8], bare: Bare) -> Result<Vec<String>, Usage> {
    let wrong = |why: String| Usage(format!("invalid env file ({}): {why}", file.display()));
    let text = str::from_utf8(text).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    let mut entries = Vec::new();
    // Editors of another system put a mark in front.
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err(wrong(format!("no variable name on line '{line}'")));
        }
        if key.contains(char::is_whitespace) {
            return Err(wrong(format!("variable '{key}' contains whitespaces")));
        }
        match (value, bare) {
            (Some(value), _) => entries.push(format!("{key}={value}")),
            (None, Bare::Empty) => entries.push(format!("{key}=")),
            (None, Bare::Inherit) => entries.extend(std::env::var(key).ok().map(|value| format!("{key}={value}"))),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Comments and empty lines are nothing, values are what comes after the first sign, and faults are Docker's.
    #[test]
    fn lines() {
        let parse = |text: &str, bare| parse(Path::new("f"), text.as_bytes(), bare).map_err(|error| error.0);
        let text = "\u{feff}# c\n\n  A=1 =2 \nB=\nABSENT_VARIABLE\nCARGO_PKG_NAME\n";
        assert_eq!(parse(text, Bare::Inherit).unwrap(), ["A=1 =2 ", "B=", "CARGO_PKG_NAME=vswitch-cli"]);
        assert_eq!(parse("x\n", Bare::Empty).unwrap(), ["x="]);
        assert!(parse("=x", Bare::Empty).unwrap_err().contains("no variable name on line '=x'"));
        assert!(parse("a b=x", Bare::Empty).unwrap_err().contains("variable 'a b' contains whitespaces"));
    }
}
