//! What of the host a container may use: flags that lift parts of the isolation, or add to it.

use serde::{Deserialize, Serialize};

use super::{Changes, Root, seccomp::is_profile};

/// How far a container is separated from the host; the default is Docker's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// System calls are not filtered.
    pub all_calls: bool,
    /// Nothing in /proc and /sys is masked or read-only.
    pub open_paths: bool,
    /// /dev is the host's, and device nodes work.
    pub all_devices: bool,
    /// Programs cannot gain privileges when they are executed.
    pub no_new_privileges: bool,
    /// It is in the host's user namespace even where containers have one of their own.
    pub host_users: bool,
}

impl Isolation {
    /// Takes `--security-opt`s and `--privileged` together.
    ///
    /// # Errors
    /// A sentence for an option that does not exist here.
    pub fn parse(options: &[String], privileged: bool) -> Result<Isolation, String> {
        let mut isolation = Isolation {
            all_calls: privileged,
            open_paths: privileged,
            all_devices: privileged,
            ..Isolation::default()
        };
        for option in options {
            let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
            match (key, value) {
                ("no-new-privileges", "" | "true") => isolation.no_new_privileges = true,
                ("no-new-privileges", "false") => isolation.no_new_privileges = false,
                ("seccomp", "unconfined") => isolation.all_calls = true,
                ("seccomp", "builtin") => isolation.all_calls = false,
                ("systempaths", "unconfined") => isolation.open_paths = true,
                ("seccomp", text) if is_profile(text) => isolation.all_calls = false,
                _ => {
                    return Err(format!(
                        "invalid --security-opt {option:?}: known are no-new-privileges, seccomp=unconfined, seccomp=builtin, \
                         seccomp= with the text of a profile, and systempaths=unconfined"
                    ));
                }
            }
        }
        Ok(isolation)
    }
}

/// Holds a container's user namespace against the rest, where containers have one of their own (`--userns-remap`).
///
/// # Errors
/// Docker's sentences, and one for a root directory whose files are all the host's root's.
pub fn check_users(isolation: Isolation, root: &Root, host_network: bool, bounded: bool) -> Result<(), &'static str> {
    match isolation {
        Isolation { host_users: true, .. } if bounded => Err(
            "vswitchd was started with --allow-cap, which does not allow the host's user namespace; leave --userns=host out",
        ),
        Isolation { host_users: true, .. } => Ok(()),
        _ if host_network => {
            Err("cannot share the host's network namespace when user namespaces are enabled; add --userns=host")
        }
        Isolation { all_devices: true, .. } => {
            Err("privileged mode is incompatible with user namespaces; add --userns=host to run it in the host's")
        }
        _ if matches!(root, Root::Directory { changes: Changes::Shared, .. }) => Err(
            "a root directory that is changed itself (--rootfs DIR:rw) is incompatible with user namespaces: what root made in it \
             would be the host's root's; leave :rw out, which keeps changes apart, or add --userns=host",
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str], privileged: bool) -> Result<Isolation, String> {
        Isolation::parse(&options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>(), privileged)
    }

    /// Docker's spellings are understood, the last one counts, and what does not exist here is refused.
    #[test]
    fn options() {
        assert_eq!(parsed(&[], false).unwrap(), Isolation::default());
        let both = parsed(&["no-new-privileges:true", "seccomp=unconfined"], false).unwrap();
        assert_eq!(both, Isolation { no_new_privileges: true, all_calls: true, ..Isolation::default() });
        assert!(parsed(&["systempaths=unconfined"], false).unwrap().open_paths);
        assert!(parsed(&[], true).unwrap().all_devices);
        assert!(!parsed(&["seccomp=builtin"], true).unwrap().all_calls);
        assert!(!parsed(&["seccomp={}"], true).unwrap().all_calls);
        for wrong in ["apparmor=x", "seccomp=/file.json", "no-new-privileges=maybe", ""] {
            assert!(parsed(&[wrong], false).unwrap_err().contains("seccomp=unconfined"));
        }
    }
}
