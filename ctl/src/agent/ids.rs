//! The user ids of an ordinary user's namespace. Read first: user_namespaces(7) "User and group ID mappings", subuid(5),
//! newuidmap(1).
//!
//! The user itself is root there. That there are others, newuidmap and newgidmap arrange, which the host's root has installed
//! with that right, from ranges that it gave the user in /etc/subuid and /etc/subgid. They work on a process from outside of its
//! namespace, so one waits there while the agent enters.

use std::{
    fs,
    io::{self, Write},
    process::{Child, Command, Stdio},
};

/// A range of ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// Waits outside of a user namespace to fill in the maps of a process that enters it.
#[derive(Debug)]
pub(super) struct Mapper(Child);

impl Mapper {
    /// For the calling process; an error says why there will be one id only.
    pub(super) fn start() -> Result<Mapper, String> {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let name = name_of(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
        let range = |file: &str| {
            let found = find(uid, name.as_deref(), &fs::read_to_string(file).unwrap_or_default());
            found.ok_or_else(|| format!("{file} gives this user no range"))
        };
        let (uids, gids) = (range("/etc/subuid")?, range("/etc/subgid")?);
        let numbers = [std::process::id(), uid, uids.first, uids.count, gid, gids.first, gids.count];
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).args(numbers.map(|number| number.to_string()));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map(Mapper).map_err(|error| format!("no shell to run newuidmap: {error}"))
    }

    /// The namespace is entered.
    pub(super) fn map(mut self) -> Result<(), String> {
        let told = self.0.stdin.take().map(|mut stdin| stdin.write_all(b"go\n")).transpose();
        let ended = told.and_then(|_| self.0.wait_with_output());
        let ended = ended.map_err(|error: io::Error| error.to_string())?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(said.lines().next().unwrap_or("newuidmap failed").to_owned())
    }
}

/// As many as the range has, or as a container may name.
const SCRIPT: &str = r#"
read -r go || exit 1
newgidmap "$1" 0 "$5" 1 1 "$6" "$7" && newuidmap "$1" 0 "$2" 1 1 "$3" "$4"
"#;

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let mut fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = fields.find(|fields| fields.get(2).and_then(|field| field.parse().ok()) == Some(uid))?;
    own.first().map(|&name| name.to_owned())
}

/// The first range that a file gives a user, by its name or its number.
fn find(uid: u32, name: Option<&str>, text: &str) -> Option<Range> {
    text.lines().find_map(|line| {
        let [owner, first, count] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        let own = Some(owner) == name || owner.parse().ok() == Some(uid);
        let (first, count) = (first.trim().parse().ok()?, count.trim().parse().ok()?);
        (own && count > 0).then_some(Range { first, count })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges are found by name and by number; other users', empty and broken ones are not.
    #[test]
    fn ranges() {
        let text = "# x\nother:100000:65536\nme:0:0\nme:x:1\nme:200000:65536\n1001:300000:10\n";
        assert_eq!(find(1000, Some("me"), text), Some(Range { first: 200_000, count: 65_536 }));
        assert_eq!(find(1001, None, text), Some(Range { first: 300_000, count: 10 }));
        assert_eq!(find(1002, None, text), None);
        assert_eq!(name_of(1000, "root:x:0:0\nme:x:1000:1000::/:/bin/sh\n").as_deref(), Some("me"));
    }
}
