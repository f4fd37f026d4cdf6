//! Names of containers in the host's /etc/hosts.
//!
//! Whoever owns the file agrees by two lines in it, [`BEGIN`] and [`END`]: what is between them is the agent's, and nothing
//! else of the file ever changes. It is replaced as a whole, by a rename, so that no crash leaves half of one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use super::network::Answer;
use super::protocol::{Failure, FailureKind, HostLine, Reply};

/// The host's names.
const FILE: &str = "/etc/hosts";

/// Begins the lines that are the agent's.
const BEGIN: &str = "# vswitch begin";

/// Ends them.
const END: &str = "# vswitch end";

/// Largest file that is looked at, bytes.
const LONGEST: u64 = 4 << 20;

/// Puts the names of containers into the host's file, in the place of those that were put there before. Where nobody wants
/// any, a file that does not agree is fine.
pub(crate) fn write(lines: &[HostLine], wanted: bool) -> Answer {
    match replace(Path::new(FILE), lines) {
        Ok(()) => Ok((Reply::Done, Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::Unsupported && !wanted => Ok((Reply::Done, Vec::new())),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(Failure::new(
            FailureKind::NotPermitted,
            format!(
                "{FILE} does not say where names of containers may be; type as root: printf '{BEGIN}\\n{END}\\n' >>{FILE}"
            ),
        )),
        Err(error) => Err(Failure::io(format!("write the names of containers into {FILE}"), &error)),
    }
}

/// `Unsupported`: the file does not have the two lines, once each and in this order.
fn replace(path: &Path, lines: &[HostLine]) -> io::Result<()> {
    let file = fs::File::open(path)?;
    let about = file.metadata()?;
    if about.len() > LONGEST {
        return Err(io::Error::other(format!("it is longer than {} MiB", LONGEST >> 20)));
    }
    let text = io::read_to_string(file)?;
    let new = with_block(&text, lines).ok_or(io::ErrorKind::Unsupported)?;
    if new == text {
        return Ok(());
    }
    // A link's target is replaced, not the link.
    let path = path.canonicalize()?;
    let mut aside = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    aside.write_all(new.as_bytes())?;
    fchown(aside.as_file(), Some(about.uid()), Some(about.gid()))?;
    aside.as_file().set_permissions(about.permissions())?;
    aside.as_file().sync_all()?;
    aside.persist(&path)?;
    Ok(())
}

/// The file with these names; `None` if it does not say where they may be.
fn with_block(text: &str, lines: &[HostLine]) -> Option<String> {
    let only = |wanted: &str| {
        let mut found =
            text.lines().enumerate().filter(|(_, line)| line.trim_end() == wanted).map(|(number, _)| number);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    };
    let (begin, end) = (only(BEGIN)?, only(END)?);
    if begin > end {
        return None;
    }
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let (before, after) = (&all[..=begin], &all[end..]);
    let mut taken: BTreeSet<String> = before.iter().chain(after).flat_map(|line| names_of(line)).collect();
    let mut new: String = before.concat();
    for line in lines {
        let names: Vec<&str> = line
            .names
            .iter()
            .map(String::as_str)
            .filter(|name| may_be(name) && taken.insert(name.to_lowercase()))
            .collect();
        if !names.is_empty() && is_a_containers(line.address) {
            new.push_str(&format!("{}\t{}\n", line.address, names.join(" ")));
        }
    }
    new.push_str(&after.concat());
    Some(new)
}

fn names_of(line: &str) -> impl Iterator<Item = String> {
    let line = line.split('#').next().unwrap_or_default();
    line.split_whitespace().skip(1).map(str::to_lowercase)
}

/// One label, so that no container is called like a host of somebody's domain.
fn may_be(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !name.eq_ignore_ascii_case("localhost")
}

fn is_a_containers(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str, names: &[&str]) -> HostLine {
        HostLine { address: address.parse().unwrap(), names: names.iter().map(|&name| name.to_owned()).collect() }
    }

    /// What is between the two lines is replaced and nothing else, and a file without them is left alone.
    #[test]
    fn only_between_the_lines() {
        let text = "127.0.0.1 localhost mine\n# vswitch begin\n10.0.0.9\told\n# vswitch end\n::1 six # web\nlast";
        let new = with_block(text, &[line("10.5.0.9", &["web", "www"]), line("fd00::9", &["db"])]).unwrap();
        let wanted = "127.0.0.1 localhost mine\n# vswitch begin\n10.5.0.9\tweb www\nfd00::9\tdb\n# vswitch end\n::1 six # web\nlast";
        assert_eq!(new, wanted);
        let empty = with_block(&new, &[]).unwrap();
        assert_eq!(with_block(&empty, &[]).unwrap(), empty);
        assert!(!empty.contains("10.5.0.9"));
        for bad in [
            "",
            "# vswitch begin\n",
            "# vswitch end\n# vswitch begin\n",
            "# vswitch begin\n# vswitch end\n# vswitch end\n",
        ] {
            assert_eq!(with_block(bad, &[line("10.5.0.9", &["web"])]), None, "{bad:?}");
        }
    }

    /// Names that the file has already, names with a domain and the host's own are not containers'; nor is the loopback's
    /// address.
    #[test]
    fn names_that_are_taken() {
        let text = "127.0.0.1 localhost mine\n# vswitch begin\n# vswitch end\n";
        let wishes = [
            line("10.5.0.9", &["MINE", "localhost", "example.org", "a b", "x\n1.2.3.4", "web"]),
            line("10.5.0.8", &["web"]),
            line("127.0.0.1", &["lo"]),
        ];
        let new = with_block(text, &wishes).unwrap();
        assert_eq!(new, "127.0.0.1 localhost mine\n# vswitch begin\n10.5.0.9\tweb\n# vswitch end\n");
    }

    /// The file is another one afterwards, with its mode, and a link to it is still one.
    #[test]
    fn replaces_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("hosts"), folder.path().join("link"));
        fs::write(&path, "# vswitch begin\n# vswitch end\n").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("hosts", &link).unwrap();
        let before = fs::metadata(&path).unwrap();
        replace(&link, &[line("10.5.0.9", &["web"])]).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert!(before.ino() != after.ino() && before.mode() == after.mode());
        assert!(link.is_symlink() && fs::read_to_string(&path).unwrap().contains("10.5.0.9\tweb\n"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left aside");
        replace(&path, &[line("10.5.0.9", &["web"])]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), after.ino(), "what is there already is not written again");
    }
}
