//! What a container's processes are besides their command: whose they are, and what limits and settings hold for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vswitch_api::container::ContainerCreate;
use vswitch_api::signal;

use super::Faults;

/// As asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessOptions {
    /// Whose processes they are.
    pub user: User,
    /// Limits of what they use.
    pub ulimits: Vec<Ulimit>,
    /// Settings of the kernel, as far as the container has its own.
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<u64>,
    /// NIS domain.
    pub domainname: String,
}

/// Whose a process is. Names are looked up in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// `USER[:GROUP]` by names or numbers; empty for root.
    pub text: String,
    /// Further groups.
    pub groups: Vec<String>,
}

/// A limit of what a process uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's word.
    pub name: String,
    /// What holds; `None`: no limit.
    pub soft: Option<u64>,
    /// To where a process may raise it itself; `None`: no limit.
    pub hard: Option<u64>,
}

impl ProcessOptions {
    /// Takes them from a request.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(wire: &ContainerCreate) -> Result<ProcessOptions, Faults> {
        let mut faults = Faults::new("");
        let ulimits = wire.ulimits.iter().filter_map(|text| faults.take(Ulimit::parse(text))).collect();
        for key in wire.sysctls.keys() {
            faults.take(check_sysctl(key, &wire.network));
        }
        if wire.shm_size == Some(0) {
            faults.add("SHM size can not be less than 0; write a size such as 64m");
        }
        for text in wire.group_add.iter().chain([&wire.user, &wire.domainname]) {
            if text.contains(['\0', '\n']) {
                faults.add(format!("{text:?} is no name of a user, group or domain"));
            }
        }
        faults.finish(ProcessOptions {
            user: User { text: wire.user.clone(), groups: wire.group_add.clone() },
            ulimits,
            sysctls: wire.sysctls.clone(),
            shm_size: wire.shm_size,
            domainname: wire.domainname.clone(),
        })
    }
}

impl ProcessOptions {
    /// Those of a further process, of this user if one is named.
    #[must_use]
    pub fn of_exec(&self, user: &str) -> ProcessOptions {
        let mut options = self.clone();
        if !user.is_empty() {
            options.user.text = user.to_owned();
        }
        options
    }
}

impl Ulimit {
    /// Reads `NAME=SOFT[:HARD]`; -1 is no limit.
    ///
    /// # Errors
    /// Docker's sentence.
    pub fn parse(text: &str) -> Result<Ulimit, String> {
        let wrong = || format!("invalid ulimit argument: {text}");
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        if !ULIMITS.contains(&name) {
            return Err(format!("invalid ulimit type: {name}; known are {}", ULIMITS.join(" ")));
        }
        let number = |text: &str| match text.parse::<i64>() {
            Ok(-1) => Ok(None),
            Ok(number) => u64::try_from(number).map(Some).map_err(|_| wrong()),
            Err(_) => Err(wrong()),
        };
        let (soft, hard) = match values.split_once(':') {
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(values)?, number(values)?),
        };
        if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
            let shown = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
            let (soft, hard) = (shown(soft), shown(hard));
            return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
        }
        Ok(Ulimit { name: name.to_owned(), soft, hard })
    }
}

impl std::fmt::Display for Ulimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |limit: Option<u64>| limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

/// Docker's words.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Only what belongs to a namespace of the container's own.
fn check_sysctl(key: &str, network: &str) -> Result<(), String> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    let plain = key.bytes().all(word) && !key.contains("..") && !key.starts_with(['.', '/']);
    if plain && key.starts_with("net.") {
        return match network {
            "host" => Err(format!("sysctl {key:?} not allowed in host network namespace")),
            _ => Ok(()),
        };
    }
    if plain && (IPC.contains(&key) || key.starts_with("fs.mqueue.")) {
        return Ok(());
    }
    Err(format!("sysctl {key:?} is not in a separate kernel namespace"))
}

/// The number of a signal: `TERM`, `SIGTERM` or `15`.
///
/// # Errors
/// Docker's sentence.
pub fn signal_number(text: &str) -> Result<i32, String> {
    signal::number(text).ok_or_else(|| format!("invalid signal: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits are read and written alike, in Docker's words.
    #[test]
    fn ulimits() {
        assert_eq!(Ulimit::parse("nofile=10:20").unwrap().to_string(), "nofile=10:20");
        assert_eq!(Ulimit::parse("core=-1").unwrap().to_string(), "core=-1:-1");
        for (text, says) in [
            ("nofile", "invalid ulimit argument"),
            ("files=1", "invalid ulimit type: files"),
            ("nofile=x", "invalid ulimit argument"),
            ("nofile=2:1", "2 > 1"),
            ("nofile=-1:1", "-1 > 1"),
        ] {
            assert!(Ulimit::parse(text).unwrap_err().contains(says), "{text}");
        }
    }

    /// Settings of the host are nobody's to change, nor those of its network for who shares it.
    #[test]
    fn sysctls() {
        for good in ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max", "net.ipv4.conf.eth0/1.x"] {
            assert!(check_sysctl(good, "n").is_ok(), "{good}");
        }
        for bad in ["vm.swappiness", "kernel.core_pattern", "net../../kernel.x", "kernel.domainname", ""] {
            assert!(check_sysctl(bad, "n").unwrap_err().contains("not in a separate kernel namespace"), "{bad}");
        }
        assert!(check_sysctl("net.core.somaxconn", "host").unwrap_err().contains("host network namespace"));
    }
}
