//! What of the host a container may use: flags that lift parts of the isolation, or add to it, and volumes.

use serde::{Deserialize, Serialize};

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
            no_new_privileges: false,
        };
        for option in options {
            let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
            match (key, value) {
                ("no-new-privileges", "" | "true") => isolation.no_new_privileges = true,
                ("no-new-privileges", "false") => isolation.no_new_privileges = false,
                ("seccomp", "unconfined") => isolation.all_calls = true,
                ("seccomp", "builtin") => isolation.all_calls = false,
                ("systempaths", "unconfined") => isolation.open_paths = true,
                _ => {
                    return Err(format!(
                        "invalid --security-opt {option:?}: known are no-new-privileges, seccomp=unconfined, seccomp=builtin \
                         and systempaths=unconfined"
                    ));
                }
            }
        }
        Ok(isolation)
    }
}

/// A folder or file of the host that a container shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// On the host; absolute.
    pub source: String,
    /// In the container; absolute.
    pub target: String,
    /// The container changes nothing in it.
    pub read_only: bool,
}

impl Volume {
    /// Reads `HOST:CONTAINER[:ro|:rw]`.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn parse(text: &str) -> Result<Volume, String> {
        let bad = |why: &str| format!("invalid volume {text:?}: {why}; write HOST:CONTAINER or HOST:CONTAINER:ro");
        let (source, target, read_only) = match text.split(':').collect::<Vec<_>>()[..] {
            [source, target] | [source, target, "rw"] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            _ => return Err(bad("it has not two or three parts")),
        };
        if !source.starts_with('/') || !target.starts_with('/') {
            return Err(bad("both paths must be absolute"));
        }
        if target.trim_end_matches('/').is_empty() || text.contains('\0') || target.split('/').any(|part| part == "..")
        {
            return Err(bad("the container's path must lead to a folder or file below the root directory"));
        }
        Ok(Volume { source: source.to_owned(), target: target.to_owned(), read_only })
    }
}

impl std::fmt::Display for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Volume { source, target, read_only } = self;
        write!(f, "{source}:{target}{}", if *read_only { ":ro" } else { "" })
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
        for wrong in ["apparmor=x", "seccomp=/file.json", "no-new-privileges=maybe", ""] {
            assert!(parsed(&[wrong], false).unwrap_err().contains("seccomp=unconfined"));
        }
    }

    /// Volumes are read and written alike; relative paths, the root directory and ways back up are refused.
    #[test]
    fn volumes() {
        for text in ["/a:/b", "/a:/b/c:ro"] {
            assert_eq!(Volume::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Volume::parse("/a:/b:rw").unwrap().to_string(), "/a:/b");
        for wrong in ["/a", "data:/b", "/a:b", "/a:/", "/a:/b:z", "/a:/b/../..", "/a:/b:ro:x", ""] {
            assert!(Volume::parse(wrong).unwrap_err().contains("write HOST:CONTAINER"), "{wrong}");
        }
    }
}
