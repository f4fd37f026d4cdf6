//! What a container sees as files: its root directory, and what lies on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use vswitch_api::container::{MountKind, MountRequest};

use super::Faults;
use crate::logfile::parse_size;

/// Root directory and mounts, as asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mounts {
    /// Its `/`.
    pub root: Root,
    /// Nothing of that is changed, nor of its own folders.
    pub read_only: bool,
    /// What lies on it, in this order; no place twice.
    pub list: Vec<Mount>,
}

/// A container's root directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// The host's, with its users' homes read-only.
    #[default]
    Host,
    /// The host's, as its user may use it.
    HostWritable,
    /// A directory of the host.
    Directory {
        /// Absolute.
        path: String,
        /// What becomes of changes.
        changes: Changes,
    },
}

/// What becomes of what a container writes into its root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changes {
    /// The container keeps them beside the directory until it is removed.
    Kept,
    /// The directory itself is changed.
    Shared,
}

/// Something that lies on the root directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub source: Source,
    /// Where; absolute.
    pub target: String,
    /// The container changes nothing in it.
    pub read_only: bool,
    /// A volume that is empty is filled with what the container's own root directory has there.
    #[serde(default)]
    pub fill: bool,
    /// A folder of the host that is not there is made, as `-v` has it.
    #[serde(default)]
    pub make: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A folder or file of the host, by its absolute path.
    Bind(String),
    /// A volume that the agent keeps, by its name.
    Volume(String),
    /// A volume of this container alone, which goes with it.
    Anonymous,
    /// Memory.
    Tmpfs(Tmpfs),
}

/// A file system in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// `size=`, `mode=` and the like, as the kernel takes them.
    pub options: Vec<String>,
    /// Programs may be run.
    pub exec: bool,
    /// Programs may change who they are.
    pub suid: bool,
}

impl Mounts {
    /// Takes together what was asked in all ways.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(
        rootfs: Option<&str>,
        read_only: bool,
        volumes: &[String],
        requests: &[MountRequest],
        tmpfs: &BTreeMap<String, String>,
    ) -> Result<Mounts, Faults> {
        let mut faults = Faults::new("");
        let root = rootfs.and_then(|text| faults.take(Root::parse(text))).unwrap_or_default();
        let mut list: Vec<Mount> = volumes.iter().filter_map(|text| faults.take(Mount::parse(text))).collect();
        list.extend(requests.iter().filter_map(|wanted| faults.take(Mount::wanted(wanted))));
        list.extend(tmpfs.iter().filter_map(|(target, options)| faults.take(Mount::tmpfs(target, options))));
        let mut places = BTreeSet::new();
        for mount in &list {
            if !places.insert(mount.target.trim_end_matches('/').to_owned()) {
                faults.add(format!("Duplicate mount point: {}", mount.target));
            }
        }
        faults.finish(Mounts { root, read_only, list })
    }

    /// The named volumes among them.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|mount| match &mount.source {
            Source::Volume(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Names for the volumes of container `id` alone, each with its place among the mounts.
    pub fn anonymous(&self, id: &str) -> impl Iterator<Item = (usize, String)> {
        let places = self.list.iter().enumerate().filter(|(_, mount)| mount.source == Source::Anonymous);
        places.map(move |(index, _)| (index, format!("{}{index:08x}", id.get(..ANONYMOUS_DIGITS).unwrap_or(id))))
    }
}

/// Whether a volume is one of container `id` alone.
#[must_use]
pub fn is_anonymous_of(name: &str, id: &str) -> bool {
    name.len() == ANONYMOUS_DIGITS + 8 && id.get(..ANONYMOUS_DIGITS).is_some_and(|start| name.starts_with(start))
}

/// Digits of a container's id in the names of its own volumes, which are as long as an id.
const ANONYMOUS_DIGITS: usize = 56;

impl Root {
    /// Reads `DIR`, `DIR:rw` or `host-rw`.
    fn parse(text: &str) -> Result<Root, String> {
        let (path, changes) = match text {
            "" | "host" => return Ok(Root::Host),
            "host-rw" => return Ok(Root::HostWritable),
            _ => text.strip_suffix(":rw").map_or((text, Changes::Kept), |path| (path, Changes::Shared)),
        };
        if !path.starts_with('/') || path.contains('\0') {
            return Err(format!(
                "invalid root directory {text:?}: write an absolute path, DIR:rw to have the directory itself changed, or host-rw"
            ));
        }
        Ok(Root::Directory { path: path.to_owned(), changes })
    }

    /// Which directory of the host it is.
    #[must_use]
    pub fn directory(&self) -> &str {
        match self {
            Root::Host | Root::HostWritable => "/",
            Root::Directory { path, .. } => path,
        }
    }

    /// As asked; empty for the default.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Root::Host => String::new(),
            Root::HostWritable => "host-rw".to_owned(),
            Root::Directory { path, changes: Changes::Kept } => path.clone(),
            Root::Directory { path, changes: Changes::Shared } => format!("{path}:rw"),
        }
    }
}

impl Source {
    /// Whether the agent keeps it.
    fn is_volume(&self) -> bool {
        matches!(self, Source::Volume(_) | Source::Anonymous)
    }
}

impl Mount {
    /// Reads `HOST:CONTAINER[:OPTIONS]`, `NAME:CONTAINER[:OPTIONS]` or `CONTAINER`.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn parse(text: &str) -> Result<Mount, String> {
        let bad = |why: &str| {
            format!("invalid volume {text:?}: {why}; write HOST:CONTAINER, NAME:CONTAINER or CONTAINER, and :ro")
        };
        let (source, target, options) = match text.split(':').collect::<Vec<_>>()[..] {
            [target] => ("", target, ""),
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, options),
            _ => return Err(bad("it has not two or three parts")),
        };
        let (mut read_only, mut fill) = (false, true);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => read_only = true,
                "nocopy" => fill = false,
                // There is no SELinux to tell, and nothing of a container is seen outside.
                "rw" | "z" | "Z" | "private" | "rprivate" => {}
                _ => return Err(bad(&format!("invalid mode: {option}"))),
            }
        }
        let source = match source {
            "" if text.starts_with(':') => return Err(bad("it names nothing")),
            "" => Source::Anonymous,
            path if path.starts_with('/') => Source::Bind(path.to_owned()),
            name => Source::Volume(volume_name(name)?),
        };
        let (fill, make) = (fill && source.is_volume(), matches!(source, Source::Bind(_)));
        Ok(Mount { source, target: checked(target).map_err(bad)?.to_owned(), read_only, fill, make })
    }

    /// One of `--mount`.
    fn wanted(wanted: &MountRequest) -> Result<Mount, String> {
        let bad = |why: &str| format!("invalid mount config for type {:?}: {why}", wanted.kind.word());
        let target = checked(&wanted.target).map_err(bad)?.to_owned();
        let source = match wanted.kind {
            MountKind::Bind if wanted.source.is_empty() => return Err(bad("field Source must not be empty")),
            MountKind::Bind if !wanted.source.starts_with('/') || wanted.source.contains('\0') => {
                return Err(bad(&format!("invalid mount path: '{}' mount path must be absolute", wanted.source)));
            }
            MountKind::Bind => Source::Bind(wanted.source.clone()),
            MountKind::Volume if wanted.source.is_empty() => Source::Anonymous,
            MountKind::Volume => Source::Volume(volume_name(&wanted.source)?),
            MountKind::Tmpfs if !wanted.source.is_empty() => return Err(bad("field Source must not be specified")),
            MountKind::Tmpfs => {
                let size = wanted.tmpfs_size.map(|size| format!("size={size}"));
                let mode = wanted.tmpfs_mode.map(|mode| format!("mode={mode:o}"));
                Source::Tmpfs(Tmpfs { options: size.into_iter().chain(mode).collect(), ..Tmpfs::default() })
            }
        };
        let fill = source.is_volume() && !wanted.no_copy;
        Ok(Mount { source, target, read_only: wanted.read_only, fill, make: wanted.make_source })
    }

    /// One of `--tmpfs`: a place, and options as mount(8) has them.
    fn tmpfs(target: &str, options: &str) -> Result<Mount, String> {
        let bad =
            |why: &str| format!("invalid tmpfs mount {target:?}: {why}; write DIR or DIR:size=64m,mode=1777,exec,ro");
        let (mut tmpfs, mut read_only) = (Tmpfs::default(), false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                None => match option {
                    "ro" => read_only = true,
                    "rw" => read_only = false,
                    "exec" => tmpfs.exec = true,
                    "noexec" => tmpfs.exec = false,
                    "suid" => tmpfs.suid = true,
                    "nosuid" => tmpfs.suid = false,
                    "nodev" | "noatime" | "relatime" | "sync" | "async" | "private" | "rprivate" | "tmpcopyup" => {}
                    _ => return Err(bad(&format!("invalid tmpfs option {option:?}"))),
                },
                Some(("size", size)) if size.ends_with('%') || parse_size(size).is_some() => {
                    tmpfs.options.push(option.to_owned());
                }
                Some(("mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks", value))
                    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
                {
                    tmpfs.options.push(option.to_owned());
                }
                Some(_) => return Err(bad(&format!("invalid tmpfs option {option:?}"))),
            }
        }
        let target = checked(target).map_err(bad)?.to_owned();
        Ok(Mount { source: Source::Tmpfs(tmpfs), target, read_only, fill: false, make: false })
    }
}

/// As `-v` has it.
impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Bind(source) | Source::Volume(source) => write!(f, "{source}:{}", self.target)?,
            Source::Anonymous => write!(f, "{}", self.target)?,
            Source::Tmpfs(tmpfs) => write!(f, "tmpfs:{}:{}", self.target, tmpfs.options.join(","))?,
        }
        let nocopy = self.source.is_volume() && !self.fill;
        f.write_str(match (self.read_only, nocopy) {
            (false, false) => "",
            (true, false) => ":ro",
            (false, true) => ":nocopy",
            (true, true) => ":ro,nocopy",
        })
    }
}

/// A place in a container.
fn checked(target: &str) -> Result<&str, &'static str> {
    if !target.starts_with('/') {
        return Err("the container's path must be absolute");
    }
    let up = target.split('/').any(|part| part == "..");
    if target.trim_end_matches('/').is_empty() || target.contains(['\0', '\n']) || up {
        return Err("the container's path must lead to a folder or file below the root directory");
    }
    // As Docker. The first process mounts its own there, after everything else.
    if std::path::Path::new(target).starts_with("/proc") {
        return Err("/proc is the container's own, and nothing can be put into it");
    }
    Ok(target)
}

/// A name for a volume.
///
/// # Errors
/// Docker's sentence.
pub fn volume_name(name: &str) -> Result<String, String> {
    if name.len() < 2 {
        return Err("volume name is too short, names should be at least two alphanumeric characters".to_owned());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    let good = name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'_' | b'.' | b'-'));
    if good {
        return Ok(name.to_owned());
    }
    Err(format!(
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you \
         intended to pass a host directory, use absolute path"
    ))
}

/// A name is that of a folder.
const LONGEST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    /// Volumes are read and written alike; relative places, the root directory and ways back up are refused.
    #[test]
    fn volumes() {
        for text in ["/a:/b", "/a:/b/c:ro", "data:/b", "data:/b:ro", "/b"] {
            assert_eq!(Mount::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Mount::parse("/a:/b:rw,z").unwrap().to_string(), "/a:/b");
        for wrong in ["/a:b", "/a:/", "/a:/b:q", "/a:/b/../..", "/a:/b:ro:x", "", ":/b", "a b:/c", "x:/c", "data"] {
            assert!(Mount::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Mount::parse("./x:/b").unwrap_err().contains("use absolute path"));
    }

    /// --mount and --tmpfs mean what they mean to Docker, and one place is taken once.
    #[test]
    fn all_ways() {
        let request = |kind, source: &str| MountRequest {
            kind,
            source: source.to_owned(),
            target: "/t".to_owned(),
            ..MountRequest::default()
        };
        let list = |wanted: MountRequest| Mounts::parse(None, false, &[], &[wanted], &BTreeMap::new());
        assert_eq!(list(request(MountKind::Bind, "/s")).unwrap().list[0].source, Source::Bind("/s".to_owned()));
        assert_eq!(list(request(MountKind::Volume, "")).unwrap().list[0].source, Source::Anonymous);
        assert_eq!(list(request(MountKind::Volume, "vv")).unwrap().volumes().collect::<Vec<_>>(), ["vv"]);
        for (kind, source) in [(MountKind::Bind, ""), (MountKind::Bind, "s"), (MountKind::Tmpfs, "/s")] {
            assert!(list(request(kind, source)).unwrap_err().to_string().contains("invalid mount config"));
        }
        let tmpfs = |target: &str, options: &str| {
            let wanted = BTreeMap::from([(target.to_owned(), options.to_owned())]);
            Mounts::parse(None, false, &["/s:/t".to_owned()], &[], &wanted).map(|mounts| mounts.list[1].clone())
        };
        let made = tmpfs("/x", "size=64m,exec,ro").unwrap();
        let wanted = Tmpfs { options: vec!["size=64m".to_owned()], exec: true, suid: false };
        assert_eq!((made.source, made.read_only), (Source::Tmpfs(wanted), true));
        assert!(tmpfs("/t/", "").unwrap_err().to_string().contains("Duplicate mount point"));
        for wrong in ["size=x", "mode=1,context=y", "bind", "uid=1\0"] {
            assert!(tmpfs("/x", wrong).is_err(), "{wrong}");
        }
    }

    /// A root directory is a directory, or one of two words.
    #[test]
    fn roots() {
        for text in ["", "host-rw", "/srv/box", "/srv/box:rw"] {
            assert_eq!(Root::parse(text).unwrap().text(), text);
        }
        assert!(Root::parse("srv").is_err());
    }

    /// Volumes of a container alone have names as long as an id, each its own.
    #[test]
    fn anonymous() {
        let mounts = Mounts::parse(None, false, &["/a".to_owned(), "/b".to_owned()], &[], &BTreeMap::new()).unwrap();
        let names: Vec<_> = mounts.anonymous(&"f".repeat(64)).map(|(_, name)| name).collect();
        assert!(names[0] != names[1] && names.iter().all(|name| name.len() == 64), "{names:?}");
        assert!(is_anonymous_of(&names[1], &"f".repeat(64)) && !is_anonymous_of(&names[1], &"e".repeat(64)));
    }
}
