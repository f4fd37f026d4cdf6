//! The table of mounts. Read first: proc_pid_mountinfo(5).

use std::{ffi::OsString, io, os::unix::ffi::OsStringExt, path::PathBuf};

/// One line of /proc/self/mountinfo, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The kernel's number.
    pub(super) id: u64,
    /// Of the file system: `major:minor`.
    pub(super) device: String,
    /// Which folder (or file) of the file system is mounted.
    pub(super) root: PathBuf,
    /// Where, as the calling process sees it.
    pub(super) point: PathBuf,
}

impl Mount {
    /// All mounts of the calling process's namespace, in the order in which they were made.
    pub(super) fn all() -> io::Result<Vec<Mount>> {
        let table = std::fs::read("/proc/self/mountinfo")?;
        Ok(table.split(|&byte| byte == b'\n').filter_map(Mount::parse).collect())
    }

    fn parse(line: &[u8]) -> Option<Mount> {
        let mut fields = line.split(|&byte| byte == b' ');
        let mut text = || fields.next().map(unescaped);
        let id = text()?.into_string().ok()?.parse().ok()?;
        let _parent = text()?;
        let device = text()?.into_string().ok()?;
        Some(Mount { id, device, root: text()?.into(), point: text()?.into() })
    }
}

/// Spaces and the like are written as `\040`.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers, roots and places are read, with their escapes; what makes no sense is left out.
    #[test]
    fn parses() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402\134 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let wanted = Mount { id: 36, device: "98:0".to_owned(), root: "/mnt1".into(), point: r"/mnt 2\".into() };
        assert_eq!(Mount::parse(line), Some(wanted));
        assert_eq!(Mount::parse(b""), None);
        assert_eq!(Mount::parse(b"x 35 98:0 / /"), None);
        assert!(Mount::all().unwrap().iter().any(|mount| mount.point == std::path::Path::new("/")));
    }
}
