//! Which capabilities a container keeps.

/// Docker's default set.
pub const DOCKER_DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Names by number, linux/capability.h.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default set plus `add` minus `drop`, as capability numbers. `ALL` stands for all, with or without `CAP_`.
///
/// # Errors
/// One sentence for the first unknown name.
pub fn resolve(add: &[String], drop: &[String]) -> Result<Vec<u8>, String> {
    let (add, drop) = (parse(add)?, parse(drop)?);
    let mut keep = DOCKER_DEFAULT.iter().fold(0u64, |set, name| set | number(name).map_or(0, |bit| 1 << bit));
    // As Docker: `--cap-drop ALL --cap-add X` leaves X, `--cap-add ALL --cap-drop X` leaves all but X.
    if drop == ALL {
        keep = 0;
    }
    if add == ALL || drop == ALL {
        keep |= add;
        keep &= if drop == ALL { u64::MAX } else { !drop };
    } else {
        keep = (keep & !drop) | add;
    }
    Ok((0..u8::try_from(NAMES.len()).expect("there are 41")).filter(|bit| keep >> bit & 1 == 1).collect())
}

const ALL: u64 = (1 << NAMES.len()) - 1;

fn parse(names: &[String]) -> Result<u64, String> {
    let mut set = 0;
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match (bare, number(bare)) {
            ("ALL", _) => set = ALL,
            (_, Some(bit)) => set |= 1 << bit,
            _ => return Err(format!("unknown capability {name}; the names are those of capabilities(7), or ALL")),
        }
    }
    Ok(set)
}

/// The name of a capability, or its number.
#[must_use]
pub fn capability_name(number: u8) -> String {
    NAMES.get(usize::from(number)).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// The number of a capability, with or without `CAP_`.
#[must_use]
pub fn capability_number(name: &str) -> Option<u8> {
    u8::try_from(number(name.strip_prefix("CAP_").unwrap_or(name))?).ok()
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(add: &[&str], drop: &[&str]) -> Vec<u8> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        resolve(&owned(add), &owned(drop)).unwrap()
    }

    /// Adding, dropping and ALL act as Docker's flags do.
    #[test]
    fn sets() {
        assert_eq!(resolved(&[], &[]), [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]);
        assert_eq!(resolved(&["cap_net_admin"], &["all"]), [12]);
        assert_eq!(resolved(&["ALL"], &["NET_RAW"]).len(), 40);
        assert!(!resolved(&[], &["NET_RAW"]).contains(&13));
        assert_eq!(resolved(&["ALL"], &["ALL"]).len(), 41);
        assert!(resolve(&["NET_ROW".into()], &[]).is_err());
    }
}
