//! Instructions of one operation, counted by valgrind's callgrind: the same on a busy machine as on a quiet one.
//!
//! A case runs twice, with a few and with many operations; the difference is what the operations cost without the set-up. The
//! counts are compared with a baseline file (`bench/instructions.toml`), and more than [`TOLERANCE`] above it is a
//! regression. A change that is meant to cost more, or costs less, moves the baseline: `bench/instructions --update`,
//! committed with the change and its reason.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// How much more than the baseline is still the same: hash seeds and the layout of memory differ from run to run.
pub const TOLERANCE: f64 = 0.05;

/// Instructions of one operation, by case.
pub type Counts = BTreeMap<String, u64>;

/// Counts one case, in a process of `program` (which runs `run NAME COUNT`) under callgrind.
///
/// # Errors
/// When valgrind is missing, or the case fails.
pub fn count(program: &Path, name: &str) -> anyhow::Result<u64> {
    const FEW: u64 = 200;
    const MANY: u64 = 2_200;
    let few = collected(program, name, FEW)?;
    let many = collected(program, name, MANY)?;
    many.checked_sub(few).map(|more| more / (MANY - FEW)).context("more operations took fewer instructions")
}

fn collected(program: &Path, name: &str, operations: u64) -> anyhow::Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--"]).arg(program);
    command.args(["run", name, &operations.to_string()]);
    let output = command.output().context("valgrind counts the instructions; install valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{name} failed: {said}");
    read(&said).with_context(|| format!("valgrind says nothing of instructions: {said}"))
}

/// The number behind `Collected :`.
fn read(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.trim().parse().ok()
}

/// The baseline of a file, one `"name" = count` a line.
///
/// # Errors
/// When it cannot be read or is no such file.
pub fn baseline(path: &Path) -> anyhow::Result<Counts> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}; make it with bench/instructions --update", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no table of counts", path.display()))
}

/// Writes a baseline.
///
/// # Errors
/// When the file cannot be written.
pub fn save(path: &Path, counts: &Counts) -> anyhow::Result<()> {
    let mut text =
        "# Instructions of one operation; see bench/src/instructions.rs. Moved by: bench/instructions --update\n"
            .to_owned();
    for (name, count) in counts {
        text.push_str(&format!("\"{name}\" = {count}\n"));
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// How a count compares with its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Less by more than the tolerance: the baseline should be moved.
    Better,
    /// More by more than the tolerance.
    Worse,
    /// The baseline does not have it.
    New,
}

/// Compares one count.
#[must_use]
pub fn judge(baseline: &Counts, name: &str, count: u64) -> Verdict {
    let Some(&before) = baseline.get(name) else { return Verdict::New };
    let ratio = count as f64 / before as f64;
    match ratio {
        _ if ratio > 1.0 + TOLERANCE => Verdict::Worse,
        _ if ratio < 1.0 - TOLERANCE => Verdict::Better,
        _ => Verdict::Same,
    }
}

/// Counts every case and compares it; prints a line for each.
///
/// # Errors
/// When a case fails, or some are worse or missing in the baseline, which are named.
#[expect(clippy::print_stdout, reason = "it is the program's output")]
pub fn compare(program: &Path, file: &Path) -> anyhow::Result<()> {
    let before = baseline(file)?;
    let mut refused = Vec::new();
    for case in crate::cases::all() {
        let count = count(program, case.name)?;
        let verdict = judge(&before, case.name, count);
        let was = before.get(case.name).map_or("–".to_owned(), u64::to_string);
        println!("{:<28} {count:>9}   baseline {was:>9}   {verdict:?}", case.name);
        if matches!(verdict, Verdict::Worse | Verdict::New) {
            refused.push(case.name);
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!(
        "more instructions than the baseline allows, or no baseline: {}; if that is meant, run bench/instructions --update and \
         commit the file with the reason",
        refused.join(", ")
    )
}

/// Counts every case and writes the baseline.
///
/// # Errors
/// When a case fails or the file cannot be written.
pub fn update(program: &Path, file: &Path) -> anyhow::Result<()> {
    let counts = crate::cases::all().into_iter().map(|case| Ok((case.name.to_owned(), count(program, case.name)?)));
    save(file, &counts.collect::<anyhow::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of valgrind's summary.
    #[test]
    fn reads_the_summary() {
        assert_eq!(read("==7== Events    : Ir\n==7== Collected : 123456\n==7==\n"), Some(123_456));
        assert_eq!(read("==7== no such thing\n"), None);
    }

    /// Up to five percent is the same, beyond is judged, and what is not there is new.
    #[test]
    fn verdicts() {
        let baseline = Counts::from([("a".to_owned(), 1000)]);
        let judged = [1050, 1051, 950, 949].map(|count| judge(&baseline, "a", count));
        assert_eq!(judged, [Verdict::Same, Verdict::Worse, Verdict::Same, Verdict::Better]);
        assert_eq!(judge(&baseline, "b", 1), Verdict::New);
    }

    /// What is saved is read again; a missing or broken file says what to do.
    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        assert!(baseline(&path).unwrap_err().to_string().contains("--update"));
        let counts = Counts::from([("a/b".to_owned(), 17), ("c".to_owned(), 3)]);
        save(&path, &counts).unwrap();
        assert_eq!(baseline(&path).unwrap(), counts);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(baseline(&path).is_err());
    }
}
