//! What containers leave on the disk: volumes, and what they change of root directories of their own.
//!
//! It lies in a folder *beside* the state directory, as the orders do: vswitchd may write nothing there, so that no link of its
//! making leads the agent elsewhere, and containers see none of it but what is mounted for them.
//!
//! ```text
//! STATE-DIR.data/volumes/NAME/{volume.json, _data}
//! STATE-DIR.data/roots/CONTAINER/{upper, work}
//! STATE-DIR.data/gone/N            on its way out
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::{
    orders,
    protocol::{Failure, FailureKind, ProcessSpec, VolumeRecord},
};
use crate::clock::Moment;
use crate::model::{Changes, Root, Source, volume_name};
use crate::private;

/// Volumes and layers of one state directory.
#[derive(Debug)]
pub(crate) struct Data {
    folder: PathBuf,
    /// Names in `gone`.
    next: AtomicU64,
}

impl Data {
    /// That of this state directory.
    pub(crate) fn of(state_dir: &Path) -> Data {
        Data { folder: folder(state_dir), next: AtomicU64::new(0) }
    }

    /// Removes what an earlier agent did not finish to remove.
    pub(crate) fn finish_removals(&self) {
        for entry in fs::read_dir(self.folder.join(GONE)).into_iter().flatten().flatten() {
            remove_later(entry.path());
        }
    }

    /// No container may see it, but for its own parts.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes what a container needs of it: paths take the place of volumes, and those that nobody has used are given to its
    /// `owner`, if its root is another than the agent's. Answers where changes of its root directory go.
    pub(crate) fn prepare(
        &self,
        id: &str,
        mut spec: ProcessSpec,
        owner: Option<(u32, u32)>,
    ) -> Result<(ProcessSpec, Option<PathBuf>), Failure> {
        let own: BTreeMap<usize, String> = spec.mounts.anonymous(id).collect();
        for (index, mount) in spec.mounts.list.iter_mut().enumerate() {
            let name = match (&mount.source, own.get(&index)) {
                (Source::Bind(path), _) if mount.make => {
                    make_source(Path::new(path))?;
                    continue;
                }
                (Source::Volume(name), _) => name.clone(),
                (Source::Anonymous, Some(name)) => name.clone(),
                _ => continue,
            };
            self.make_volume(&name, BTreeMap::new(), BTreeMap::new())?;
            let path = self.volume(&name)?.join(CONTENT);
            if let Some(owner) = owner {
                give(&path, owner)
                    .map_err(|error| Failure::io(format!("give the volume {name} to the container"), &error))?;
            }
            mount.source = Source::Bind(text(&path)?);
        }
        let layer = match &spec.mounts.root {
            Root::Directory { changes: Changes::Kept, .. } => {
                let layer = self.part(ROOTS)?.join(plain(id)?);
                for part in ["upper", "work"] {
                    make(&layer.join(part), OPEN)?;
                }
                if let Some(owner) = owner {
                    give(&layer.join("upper"), owner)
                        .map_err(|error| Failure::io("give the container its root directory", &error))?;
                }
                Some(layer)
            }
            _ => None,
        };
        Ok((spec, layer))
    }

    /// Makes a volume; one that is there stays as it is.
    pub(crate) fn make_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<VolumeRecord, Failure> {
        let volume = self.volume(name)?;
        if let Some(record) = self.record(name)? {
            return Ok(record);
        }
        let failed = |error: io::Error| Failure::io(format!("make the volume {name}"), &error);
        make(&volume, CLOSED)?;
        make(&volume.join(CONTENT), OPEN)?;
        let (name, mountpoint) = (name.to_owned(), text(&volume.join(CONTENT))?);
        let record = VolumeRecord { name, created: Moment::now().to_string(), labels, options, mountpoint };
        let bytes = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        // Last of all: a volume is there when its record is.
        let fresh = volume.join("volume.new");
        private::create(&fresh).and_then(|mut file| file.write_all(&bytes)).map_err(failed)?;
        fs::rename(&fresh, volume.join(RECORD)).map_err(failed)?;
        Ok(record)
    }

    /// Volumes in the order of their names, from the first after `after` on, and whether there are more.
    pub(crate) fn list_volumes(&self, after: &str) -> Result<(Vec<VolumeRecord>, bool), Failure> {
        let mut names = self.volume_names();
        names.retain(|name| name.as_str() > after);
        names.sort();
        let (mut found, mut size) = (Vec::new(), 0);
        for name in &names {
            let Some(record) = self.record(name)? else { continue };
            size += serde_json::to_vec(&record).map_or(0, |bytes| bytes.len());
            if size > PAGE && !found.is_empty() {
                return Ok((found, true));
            }
            found.push(record);
        }
        Ok((found, false))
    }

    /// Where the content of volumes is, and what containers changed of their root directories.
    pub(crate) fn folders_of(&self, volumes: &[String], roots: &[String]) -> Result<Vec<PathBuf>, Failure> {
        let volume = |name: &String| {
            volume_name(name).map_err(Failure::other)?;
            Ok(self.folder.join(VOLUMES).join(name).join(CONTENT))
        };
        let root = |id: &String| Ok(self.folder.join(ROOTS).join(plain(id)?).join("upper"));
        volumes.iter().map(volume).chain(roots.iter().map(root)).collect()
    }

    /// Removes a volume with all that is in it; one that is not there is said to be gone.
    pub(crate) fn remove_volume(&self, name: &str) -> Result<(), Failure> {
        let volume = self.volume(name)?;
        self.remove(&volume).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(FailureKind::Gone, format!("get {name}: no such volume")),
            _ => Failure::io(format!("remove the volume {name}"), &error),
        })
    }

    /// Removes what a container had for itself.
    pub(crate) fn forget(&self, id: &str) -> Result<(), Failure> {
        let id = plain(id)?;
        let names = self.volume_names().into_iter().filter(|name| crate::model::is_anonymous_of(name, id));
        let volumes = names.map(|name| self.folder.join(VOLUMES).join(name));
        for path in volumes.chain([self.folder.join(ROOTS).join(id)]) {
            match self.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::io(format!("remove {}", path.display()), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// At once out of the way, and off the disk a little later.
    fn remove(&self, path: &Path) -> io::Result<()> {
        if !path.try_exists()? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let gone = self.folder.join(GONE);
        DirBuilder::new().mode(CLOSED).recursive(true).create(&gone)?;
        loop {
            let target = gone.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            if target.try_exists()? {
                continue;
            }
            fs::rename(path, &target)?;
            remove_later(target);
            return Ok(());
        }
    }

    fn volume_names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.join(VOLUMES)).into_iter().flatten().flatten();
        names.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn record(&self, name: &str) -> Result<Option<VolumeRecord>, Failure> {
        let failed = |error: io::Error| Failure::io(format!("read what the volume {name} is"), &error);
        match fs::read(self.folder.join(VOLUMES).join(name).join(RECORD)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn volume(&self, name: &str) -> Result<PathBuf, Failure> {
        Ok(self.part(VOLUMES)?.join(volume_name(name).map_err(Failure::other)?))
    }

    fn part(&self, name: &str) -> Result<PathBuf, Failure> {
        orders::prepare(&self.folder)
            .map_err(|error| Failure::io(format!("use the folder {} for volumes", self.folder.display()), &error))?;
        let part = self.folder.join(name);
        make(&part, CLOSED)?;
        Ok(part)
    }
}

/// Where the data of containers of `state_dir` is.
fn folder(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.as_os_str().to_owned();
    name.push(".data");
    name.into()
}

fn make(path: &Path, mode: u32) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    made.map_err(|error| Failure::io(format!("make the folder {}", path.display()), &error))
}

/// Docker's sentence, and its mode.
fn make_source(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let made = DirBuilder::new().mode(OPEN).recursive(true).create(path);
    made.map_err(|error| {
        Failure::other(format!(
            "error while creating mount source path {:?}: mkdir: {error}",
            path.display().to_string()
        ))
    })
}

/// As Docker, which has its volumes made for the container that first has them; one that is empty still is.
fn give(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let unused =
        fs::metadata(path)?.uid() == rustix::process::geteuid().as_raw() && fs::read_dir(path)?.next().is_none();
    if unused { chown(path, Some(uid), Some(gid)) } else { Ok(()) }
}

fn plain(id: &str) -> Result<&str, Failure> {
    let good = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then_some(id).ok_or_else(|| Failure::other("the id of a container consists of letters and digits"))
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| Failure::other("the path of the state directory is no text"))
}

/// A thread of its own: there may be much.
fn remove_later(path: PathBuf) {
    let shown = path.clone();
    let removal = move || {
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    };
    if let Err(error) = thread::Builder::new().name("remove".to_owned()).spawn(removal) {
        tracing::warn!("{} is left: {error}", shown.display());
    }
}

const VOLUMES: &str = "volumes";
const ROOTS: &str = "roots";
const GONE: &str = "gone";
/// As Docker names it.
const CONTENT: &str = "_data";
const RECORD: &str = "volume.json";

/// For this user alone.
const CLOSED: u32 = 0o700;
/// The topmost folder of something that containers see.
const OPEN: u32 = 0o755;

/// Bytes of records in one answer.
const PAGE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mount, Mounts};

    /// Volumes are made once, listed in pages, and removed with what is in them; names that are paths are refused.
    #[test]
    fn volumes() {
        let dir = tempfile::tempdir().unwrap();
        let data = Data::of(&dir.path().join("state"));
        let long = BTreeMap::from([("k".to_owned(), "v".repeat(PAGE / 2))]);
        for name in ["aa", "bb", "cc"] {
            data.make_volume(name, long.clone(), BTreeMap::new()).unwrap();
        }
        let (page, more) = data.list_volumes("").unwrap();
        assert!(page.len() == 1 && more);
        assert_eq!(data.list_volumes("bb").unwrap().0[0].name, "cc");
        let content = PathBuf::from(&page[0].mountpoint);
        fs::write(content.join("file"), "x").unwrap();
        assert_eq!(data.make_volume("aa", BTreeMap::new(), BTreeMap::new()).unwrap(), page[0]);
        data.remove_volume("aa").unwrap();
        assert!(!content.exists());
        assert_eq!(data.remove_volume("aa").unwrap_err().kind, FailureKind::Gone);
        assert!(data.make_volume("../x", BTreeMap::new(), BTreeMap::new()).is_err());
    }

    /// A container's own volumes and its layer are made with it and go with it; named ones stay.
    #[test]
    fn containers() {
        let dir = tempfile::tempdir().unwrap();
        let data = Data::of(&dir.path().join("state"));
        let id = "c".repeat(64);
        let host = tempfile::tempdir().unwrap();
        let bind = format!("{}:/h", host.path().join("made").display());
        let mounts = Mounts {
            root: Root::Directory { path: "/srv".to_owned(), changes: Changes::Kept },
            list: ["/own", "named:/n", &bind].map(|text| Mount::parse(text).unwrap()).to_vec(),
            ..Mounts::default()
        };
        let (spec, layer) = data.prepare(&id, ProcessSpec { mounts, ..ProcessSpec::default() }, None).unwrap();
        assert!(layer.as_ref().unwrap().join("upper").is_dir());
        let sources = spec.mounts.list.iter().map(|mount| match &mount.source {
            Source::Bind(path) => PathBuf::from(path),
            other => panic!("{other:?}"),
        });
        let sources: Vec<_> = sources.collect();
        assert!(sources[0].is_dir() && sources[1].is_dir() && sources[2] == host.path().join("made"));
        assert!(sources[2].is_dir());
        fs::write(host.path().join("file"), "").unwrap();
        let refused = make_source(&host.path().join("file/made")).unwrap_err();
        assert!(refused.message.starts_with("error while creating mount source path"), "{}", refused.message);
        data.forget(&id).unwrap();
        data.forget(&id).unwrap();
        assert!(!layer.unwrap().exists() && !sources[0].exists() && sources[1].is_dir());
    }
}
