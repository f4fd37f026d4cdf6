//! `--userns-remap`: which users of the host those of containers are. Read first: user_namespaces(7), subuid(5), and
//! "Isolate containers with a user namespace" in Docker's documentation.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Whose subordinate ids containers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemapWish {
    user: String,
    group: Option<String>,
}

impl RemapWish {
    /// Reads `default` or `USER[:GROUP]`.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn parse(text: &str) -> Result<RemapWish, String> {
        let plain = |name: &str| !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_whitespace());
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if !plain(user) || !group.is_none_or(plain) {
            return Err(format!("invalid userns-remap {text:?}: write default, USER or USER:GROUP"));
        }
        Ok(RemapWish { user: user.to_owned(), group: group.map(str::to_owned) })
    }

    /// As [`IdMap::find`] in the host's /etc.
    ///
    /// # Errors
    /// As there.
    pub fn on_this_host(&self) -> Result<IdMap, RemapError> {
        IdMap::find(self, Path::new("/etc"))
    }
}

/// Why nobody can be mapped.
#[derive(Debug, thiserror::Error)]
pub enum RemapError {
    /// There is no file of ranges, or it cannot be read.
    #[error("cannot read {path} ({source}), where --userns-remap finds ids for containers; {}", remedy(.name, .path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The user or group.
        name: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file has none for this user.
    #[error("--userns-remap: there is no range of ids for {name} in {path}; {}", remedy(.name, .path))]
    None {
        /// The user or group.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// A line means nothing, or too much.
    #[error(
        "--userns-remap: the range {line:?} in {path} cannot be used; write NAME:FIRST:COUNT without the host's own root \
         and other ranges of the same name"
    )]
    Bad {
        /// The line.
        line: String,
        /// The file.
        path: PathBuf,
    },
}

/// What to type.
fn remedy(name: &str, path: &Path) -> String {
    let add = format!("add one, such as 'echo {name}:231072:65536 >> {}'", path.display());
    match name {
        DEFAULT_USER => format!("make the user with 'useradd --system {DEFAULT_USER}' and {add}, or name another user"),
        _ => format!("{add}, or name another user"),
    }
}

/// The ids of the host that stand behind those of a user namespace, from 0 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct IdRange {
    first: u32,
    count: u32,
}

impl IdMap {
    /// The host's numbers of user and group 0.
    #[must_use]
    pub fn root(&self) -> (u32, u32) {
        let first = |ranges: &[IdRange]| ranges.first().map_or(0, |range| range.first);
        (first(&self.uids), first(&self.gids))
    }

    /// The ranges that `subuid` and `subgid` in `etc` have for somebody.
    ///
    /// # Errors
    /// A sentence that says what to type when there are none.
    pub fn find(wish: &RemapWish, etc: &Path) -> Result<IdMap, RemapError> {
        let user = if wish.user == "default" { DEFAULT_USER } else { &wish.user };
        let group = wish.group.as_deref().unwrap_or(user);
        let ranges = |file: &str, name: &str, accounts: &str| {
            let path = etc.join(file);
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(source) => return Err(RemapError::Unreadable { path, name: name.to_owned(), source }),
            };
            // Accounts may come from elsewhere than these files; then the words must be the same.
            let accounts = std::fs::read_to_string(etc.join(accounts)).unwrap_or_default();
            let found = parse(&text, &same(name, &accounts));
            let found = found.map_err(|line| RemapError::Bad { line, path: path.clone() })?;
            if found.is_empty() { Err(RemapError::None { name: name.to_owned(), path }) } else { Ok(found) }
        };
        Ok(IdMap { uids: ranges("subuid", user, "passwd")?, gids: ranges("subgid", group, "group")? })
    }

    /// As the kernel takes them: those of users, and those of groups.
    #[must_use]
    pub fn texts(&self) -> [String; 2] {
        [&self.uids, &self.gids].map(|ranges| {
            let mut inside = 0;
            ranges.iter().fold(String::new(), |mut text, IdRange { first, count }| {
                let _ = writeln!(text, "{inside} {first} {count}");
                inside += count;
                text
            })
        })
    }
}

/// Name and number of whom `name` names.
fn same<'t>(name: &'t str, accounts: &'t str) -> Vec<&'t str> {
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = fields.filter(|fields| fields.len() > 2 && (fields[0] == name || fields[2] == name));
    found.next().map_or_else(|| vec![name], |fields| vec![name, fields[0], fields[2]])
}

fn parse(text: &str, names: &[&str]) -> Result<Vec<IdRange>, String> {
    let mut found: Vec<IdRange> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, first, count] = fields[..] else { continue };
        if !names.contains(&name) {
            continue;
        }
        let range = || {
            let range = IdRange { first: first.parse().ok()?, count: count.parse().ok()? };
            let end = |range: &IdRange| u64::from(range.first) + u64::from(range.count);
            let apart = |other: &IdRange| end(other) <= u64::from(range.first) || end(&range) <= u64::from(other.first);
            let inside: u64 = found.iter().map(|other| u64::from(other.count)).sum();
            let fits = range.first > 0
                && range.count > 0
                && end(&range) < u64::from(u32::MAX)
                && inside + u64::from(range.count) < u64::from(u32::MAX);
            (fits && found.iter().all(apart)).then_some(range)
        };
        let range = range().ok_or_else(|| line.to_owned())?;
        found.push(range);
    }
    Ok(found)
}

/// Docker's, for `default`.
const DEFAULT_USER: &str = "dockremap";

#[cfg(test)]
mod tests {
    use super::*;

    fn find(wish: &str, files: [&str; 4]) -> Result<[String; 2], String> {
        let etc = tempfile::tempdir().unwrap();
        for (name, text) in ["subuid", "subgid", "passwd", "group"].iter().zip(files) {
            std::fs::write(etc.path().join(name), text).unwrap();
        }
        let wish = RemapWish::parse(wish)?;
        IdMap::find(&wish, etc.path()).map(|map| map.texts()).map_err(|error| error.to_string())
    }

    /// Ranges follow each other inside, whatever they are outside; user and group may differ, and be named by number.
    #[test]
    fn ranges() {
        let (uids, gids) = ("bob:1000:5\ndockremap:100000:65536\nbob:5000:10\n", "dockremap:200000:65536\nweb:7:8\n");
        let passwd = "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
        assert_eq!(find("default", [uids, gids, passwd, ""]).unwrap(), ["0 100000 65536\n", "0 200000 65536\n"]);
        let both = ["0 1000 5\n5 5000 10\n", "0 7 8\n"];
        assert_eq!(find("bob:web", [uids, gids, passwd, ""]).unwrap(), both);
        assert_eq!(find("1001:web", [uids, gids, passwd, ""]).unwrap(), both);
    }

    /// Whoever has no range is told what to type; the host's root, overlaps and nonsense are refused.
    #[test]
    fn refusals() {
        assert!(find("default", ["", "", "", ""]).unwrap_err().contains("useradd --system dockremap"));
        let error = find("bob", ["bob:1000:5", "", "", ""]).unwrap_err();
        assert!(error.contains("echo bob:231072:65536 >>") && error.contains("subgid"), "{error}");
        for bad in ["bob:0:10", "bob:5:0", "bob:x:1", "bob:5:10\nbob:14:5", "bob:4294967295:1", "bob:-1:5"] {
            let error = find("bob", [bad, "bob:1:1", "", ""]).unwrap_err();
            assert!(error.contains("cannot be used"), "{bad}: {error}");
        }
        for wrong in ["", ":", "a:", "a b", "a:b:c"] {
            assert!(RemapWish::parse(wrong).unwrap_err().contains("USER:GROUP"), "{wrong}");
        }
    }
}
