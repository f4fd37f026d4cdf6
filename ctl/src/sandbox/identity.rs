//! Whose a command is: names become numbers by the container's own files. Read first: passwd(5), group(5).

use std::{fs, io};

use rustix::{
    fs::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{agent::protocol::Failure, model::User};

/// Numbers of a user and its groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Where it is at home.
    pub(super) home: String,
}

impl Identity {
    /// Looks it up in the present root directory.
    pub(super) fn find(user: &User) -> Result<Identity, Failure> {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Identity::among(user, &text("/etc/passwd"), &text("/etc/group"))
    }

    fn among(user: &User, passwd: &str, group: &str) -> Result<Identity, Failure> {
        let (name, chosen) =
            user.text.split_once(':').map_or((user.text.as_str(), None), |(name, group)| (name, Some(group)));
        let name = if name.is_empty() { ROOT } else { name };
        let number = name.parse::<u32>().ok();
        let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mut entries = fields.filter(|fields| fields.len() >= PASSWD_FIELDS);
        let entry = entries.find(|fields| fields[0] == name || (number.is_some() && fields[2].parse().ok() == number));
        let uid = match (&entry, number) {
            (Some(fields), _) => fields[2].parse().ok(),
            (None, number) => number,
        };
        let uid = uid
            .ok_or_else(|| Failure::other(format!("unable to find user {name}: no matching entries in passwd file")))?;
        let own = entry.as_ref().and_then(|fields| fields[3].parse().ok()).unwrap_or(0);
        let mut groups = Vec::new();
        let gid = match chosen.filter(|chosen| !chosen.is_empty()) {
            Some(chosen) => find_group(chosen, group)?,
            None => {
                if let Some(fields) = &entry {
                    groups = memberships(fields[0], group);
                }
                own
            }
        };
        for more in &user.groups {
            groups.push(find_group(more, group)?);
        }
        groups.sort_unstable();
        groups.dedup();
        let home = entry.map(|fields| fields[5].to_owned()).filter(|home| !home.is_empty());
        Ok(Identity { uid, gid, groups, home: home.unwrap_or_else(|| "/".to_owned()) })
    }

    /// Becomes it. Capabilities go with root's number.
    pub(super) fn assume(&self, user: &User) -> Result<(), Failure> {
        let failed = |error: io::Error| {
            Failure::other(format!(
                "cannot become user {} ({error}): this vswitchd runs for an ordinary user and has not this many user ids; install \
                 newuidmap (package uidmap), give the user ranges in /etc/subuid and /etc/subgid, and start vswitchd again",
                self.uid
            ))
        };
        if user.text.is_empty() && user.groups.is_empty() {
            return Ok(());
        }
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        match set_thread_groups(&groups) {
            // In a namespace of one group there is nothing to give up.
            Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
            done => done.map_err(|error| failed(error.into()))?,
        }
        set_thread_res_gid(gid, gid, gid).map_err(|error| failed(error.into()))?;
        set_thread_res_uid(uid, uid, uid).map_err(|error| failed(error.into()))
    }

    /// Its number.
    pub(super) const fn uid(&self) -> u32 {
        self.uid
    }
}

fn find_group(text: &str, group: &str) -> Result<u32, Failure> {
    let mut fields = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.find(|fields| fields.len() >= GROUP_FIELDS && fields[0] == text);
    let number = found.and_then(|fields| fields[2].parse().ok()).or_else(|| text.parse().ok());
    number.ok_or_else(|| Failure::other(format!("unable to find group {text}: no matching entries in group file")))
}

/// The groups that name a user as a member.
fn memberships(name: &str, group: &str) -> Vec<u32> {
    let fields = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let with = fields
        .filter(|fields| fields.len() > GROUP_FIELDS && fields[GROUP_FIELDS].split(',').any(|member| member == name));
    with.filter_map(|fields| fields[2].parse().ok()).collect()
}

const ROOT: &str = "0";
const PASSWD_FIELDS: usize = 7;
/// Before the members.
const GROUP_FIELDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlogs:x:4:web,other\n";

    fn found(text: &str, groups: &[&str]) -> Result<(u32, u32, Vec<u32>, String), String> {
        let user = User { text: text.to_owned(), groups: groups.iter().map(|&group| group.to_owned()).collect() };
        let found = Identity::among(&user, PASSWD, GROUP).map_err(|failure| failure.message)?;
        Ok((found.uid, found.gid, found.groups, found.home))
    }

    /// By name and number, with and without a group, in the files or not; memberships count where no group is named.
    #[test]
    fn finds() {
        let is = |uid, gid, groups: &[u32], home: &str| Ok((uid, gid, groups.to_vec(), home.to_owned()));
        assert_eq!(found("", &[]), is(0, 0, &[], "/root"));
        assert_eq!(found("web", &[]), is(33, 33, &[4], "/var/www"));
        assert_eq!(found("33", &[]), is(33, 33, &[4], "/var/www"));
        assert_eq!(found("web:logs", &["7", "root"]), is(33, 4, &[0, 7], "/var/www"));
        assert_eq!(found("1000:1000", &[]), is(1000, 1000, &[], "/"));
        assert_eq!(found("1000", &[]), is(1000, 0, &[], "/"));
        assert!(
            found("nobody", &[])
                .unwrap_err()
                .contains("unable to find user nobody: no matching entries in passwd file")
        );
        assert!(found("web:none", &[]).unwrap_err().contains("unable to find group none"));
        assert!(Identity::among(&User::default(), "", "").is_ok(), "root needs no file");
    }
}
