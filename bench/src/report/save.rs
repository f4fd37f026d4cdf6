//! Writing a report's three files.

use std::path::Path;

use anyhow::Context as _;

use super::Report;

/// Writes `latest.json`, `latest.md` and `latest.svg` into `folder`, all or none: each is written beside its place first.
///
/// # Errors
/// When the folder cannot be made or written to.
pub fn save(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let files = [
        ("latest.json", serde_json::to_string_pretty(report)? + "\n"),
        ("latest.md", report.markdown("latest.svg")),
        ("latest.svg", report.svg()),
    ];
    let context = || format!("cannot write the results to {}; name another folder with --results", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let place = |name: &str| (folder.join(format!(".{name}.new")), folder.join(name));
    for (name, text) in &files {
        std::fs::write(place(name).0, text).with_context(context)?;
    }
    for (name, _) in &files {
        let (from, to) = place(name);
        std::fs::rename(from, to).with_context(context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Machine, Report, tests::group};
    use super::*;

    /// Three files, no remains, and the JSON has the values of every round.
    #[test]
    fn three_files() {
        let folder = tempfile::tempdir().unwrap();
        let report = Report {
            machine: Machine::here(),
            command: "bench/run".into(),
            groups: vec![group()],
            curves: Vec::new(),
            sections: Vec::new(),
        };
        save(&report, folder.path()).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["latest.json", "latest.md", "latest.svg"]);
        let text = std::fs::read_to_string(folder.path().join("latest.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["groups"][0]["works"][0]["values"][1], serde_json::json!([16.0, 7.0, 15.0]));
    }

    /// A folder that cannot be made is named, with what to do.
    #[test]
    fn no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let report = Report {
            machine: Machine::here(),
            command: String::new(),
            groups: vec![],
            curves: vec![],
            sections: vec![],
        };
        let error = save(&report, &file.path().join("x")).unwrap_err();
        assert!(error.to_string().contains("--results"), "{error}");
    }
}
