//! What a container sees as files.

use clap::Args;
use vswitch_api::container::{MountKind, MountRequest};

/// Its root directory and what lies on it.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// Share a folder or file of the host, or a volume by its name; without a source one of its own (repeat for more)
    #[arg(short, long = "volume", value_name = "[SOURCE:]CONTAINER[:ro]", value_parser = volume)]
    pub(super) volumes: Vec<String>,
    /// The same in Docker's long form: type=bind|volume|tmpfs,source=…,target=…,readonly (repeat for more)
    #[arg(long = "mount", value_name = "KEY=VALUE,…", value_parser = mount)]
    pub(super) mounts: Vec<MountRequest>,
    /// A file system in memory (repeat for more)
    #[arg(long, value_name = "DIR[:OPTIONS]", value_parser = tmpfs)]
    pub(super) tmpfs: Vec<(String, String)>,
    /// A directory as its /; changes stay with the container (DIR:rw: in the directory). 'host-rw': the host's, homes writable
    #[arg(long, value_name = "DIR", value_parser = rootfs)]
    pub(super) rootfs: Option<String>,
    /// Let nothing of its root file system be changed
    #[arg(long)]
    pub(super) read_only: bool,
}

/// Whose home the container's user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// The caller's, which is there.
    Callers,
    /// That of a root directory of the container's own.
    Own,
}

impl FileArgs {
    pub(super) fn home(&self) -> Home {
        match self.rootfs.as_deref() {
            None | Some("host" | "host-rw") => Home::Callers,
            Some(_) => Home::Own,
        }
    }

    /// Where something lies on the root directory.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        let volumes = self.volumes.iter().map(|volume| volume.split(':').nth(1).unwrap_or(volume));
        let mounts = self.mounts.iter().map(|mount| mount.target.as_str());
        volumes.chain(mounts).chain(self.tmpfs.iter().map(|(target, _)| target.as_str()))
    }
}

/// `SOURCE:CONTAINER` and perhaps options; a path of the host may begin with a dot.
fn volume(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((source, rest)) => Ok(format!("{}:{rest}", host_path(source)?)),
        None if text.starts_with('/') => Ok(text.to_owned()),
        None => Err("write it as HOST:CONTAINER, NAME:CONTAINER or CONTAINER, and :ro".into()),
    }
}

/// A path that begins with a dot, from here; anything else as it is.
fn host_path(path: &str) -> Result<String, String> {
    if path != "." && path != ".." && !path.starts_with("./") && !path.starts_with("../") {
        return Ok(path.to_owned());
    }
    absolute(path)
}

fn absolute(path: &str) -> Result<String, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    path.into_os_string().into_string().map_err(|_| "the host's path must be text (UTF-8)".into())
}

/// `DIR`, `DIR:rw`, `host` or `host-rw`.
fn rootfs(text: &str) -> Result<String, String> {
    match (text, text.strip_suffix(":rw")) {
        ("", _) => Err("name a directory".into()),
        ("host" | "host-rw", _) => Ok(text.to_owned()),
        (_, Some(path)) => Ok(absolute(path)? + ":rw"),
        (path, None) => absolute(path),
    }
}

/// `DIR` and perhaps options.
fn tmpfs(text: &str) -> Result<(String, String), String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    Ok((target.to_owned(), options.to_owned()))
}

/// Docker's long form: fields as in a line of CSV.
fn mount(text: &str) -> Result<MountRequest, String> {
    let mut mount = MountRequest::default();
    for field in fields(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value.to_owned()),
            None => (field.to_ascii_lowercase(), "true".to_owned()),
        };
        let lone = !field.contains('=');
        match key.as_str() {
            "readonly" | "ro" => mount.read_only = flag(&key, &value)?,
            "bind-create-src" => mount.make_source = flag(&key, &value)?,
            "volume-nocopy" => mount.no_copy = flag(&key, &value)?,
            "bind-nonrecursive" if !flag(&key, &value)? => {}
            _ if lone => return Err(format!("invalid field '{field}' must be a key=value pair")),
            "type" => {
                mount.kind = match value.to_ascii_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "volume" => MountKind::Volume,
                    "tmpfs" => MountKind::Tmpfs,
                    _ => return Err(format!("there is no type '{value}'; known are bind, volume and tmpfs")),
                };
            }
            "source" | "src" => mount.source = host_path(&value)?,
            "target" | "dst" | "destination" => mount.target = value,
            "tmpfs-size" => mount.tmpfs_size = Some(size(&value).ok_or_else(|| invalid(&key, &value))?),
            "tmpfs-mode" => {
                mount.tmpfs_mode = Some(u32::from_str_radix(&value, 8).map_err(|_| invalid(&key, &value))?);
            }
            "bind-propagation" if matches!(value.as_str(), "private" | "rprivate") => {}
            "volume-driver" if value == "local" => {}
            "consistency" | "volume-label" => {}
            "bind-propagation" | "volume-driver" | "bind-nonrecursive" | "volume-opt" | "bind-recursive" => {
                return Err(format!("{key}={value} is not possible here; leave it out"));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if mount.target.is_empty() { Err("target is required".into()) } else { Ok(mount) }
}

fn invalid(key: &str, value: &str) -> String {
    format!("invalid value for {key}: {value}")
}

fn flag(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid(key, value)),
    }
}

/// Bytes, with a unit of 1024s.
pub(super) fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, shift) = match bare.char_indices().last() {
        Some((at, 'k')) => (&bare[..at], 10),
        Some((at, 'm')) => (&bare[..at], 20),
        Some((at, 'g')) => (&bare[..at], 30),
        _ => (bare, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Fields between commas, of which some may be in quotes.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => {
                if let Some(field) = fields.last_mut() {
                    field.push(letter);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    /// --mount takes Docker's keys with all their names, and says what is wrong with others.
    #[test]
    fn mounts() {
        let bind = mount("type=bind,src=/a,\"dst=/b,c\",readonly").unwrap();
        assert_eq!(
            (bind.kind, bind.source.as_str(), bind.target.as_str(), bind.read_only),
            (MountKind::Bind, "/a", "/b,c", true)
        );
        let memory = mount("type=tmpfs,destination=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
        assert_eq!((memory.tmpfs_size, memory.tmpfs_mode), (Some(64 << 20), Some(0o1770)));
        assert_eq!(mount("source=data,target=/d,ro=false").unwrap().kind, MountKind::Volume);
        for (text, says) in [
            ("type=bind,src=/a", "target is required"),
            ("target=/x,foo=1", "unexpected key 'foo'"),
            ("target", "must be a key=value pair"),
            ("type=npipe,target=/x", "known are bind, volume and tmpfs"),
            ("target=/x,readonly=maybe", "invalid value for readonly: maybe"),
            ("target=/x,bind-propagation=shared", "not possible here"),
        ] {
            assert!(mount(text).unwrap_err().contains(says), "{text}: {:?}", mount(text));
        }
    }

    /// Paths that begin with a dot are the caller's; names stay names.
    #[test]
    fn volumes() {
        assert_eq!(volume("data:/d").unwrap(), "data:/d");
        assert_eq!(volume("/d").unwrap(), "/d");
        assert!(volume("./x:/d:ro").unwrap().ends_with("/x:/d:ro") && volume("./x:/d").unwrap().starts_with('/'));
        assert!(volume("data").is_err());
        assert!(rootfs("x:rw").unwrap().starts_with('/') && rootfs("").is_err());
        assert_eq!(rootfs("host-rw").unwrap(), "host-rw");
        assert_eq!(tmpfs("/t:size=1m").unwrap(), ("/t".to_owned(), "size=1m".to_owned()));
    }
}
