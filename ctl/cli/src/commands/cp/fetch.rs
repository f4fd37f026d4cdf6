//! Out of a container.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use tokio::sync::mpsc;
use vswitch_api::Client;
use vswitch_api::client::ContainerOutput;

use super::place::{Place, There, is_contents, split};
use super::{CpArgs, followed};
use crate::output;

/// Copy `path` of a container to `here`; answers how many bytes of files that were.
pub(super) async fn run(
    client: &Client,
    container: &str,
    path: &str,
    here: &str,
    args: &CpArgs,
) -> anyhow::Result<Option<u64>> {
    let source = if args.follow_link { followed(client, container, path).await } else { path.to_owned() };
    let (stat, mut archive) = client.container_archive(container, &source).await?;
    if here == "-" {
        while let Some(bytes) = archive.next().await? {
            output::bytes(&bytes)?;
        }
        return Ok(None);
    }
    let there = match fs::metadata(here) {
        Ok(there) if there.is_dir() => There::Folder,
        Ok(_) => There::Other,
        Err(_) => There::Nothing,
    };
    let mut place = Place::new(here, there, stat.is_folder())?;
    let contents = is_contents(path);
    if place.name.is_none() && !contents {
        place.name = Some(split(path).1.to_owned());
    }
    let owners = args.archive;
    let (sender, receiver) = mpsc::channel(DEPTH);
    let unpacking = tokio::task::spawn_blocking(move || unpack(Incoming::new(receiver), &place, contents, owners));
    let received = forward(&mut archive, sender).await;
    let unpacked = unpacking.await?;
    // A connection that broke is why an archive is short.
    received?;
    unpacked.map(Some)
}

/// Pieces that wait to be unpacked.
const DEPTH: usize = 16;

async fn forward(archive: &mut ContainerOutput, sender: mpsc::Sender<Vec<u8>>) -> anyhow::Result<()> {
    while let Some(bytes) = archive.next().await? {
        if sender.send(bytes.to_vec()).await.is_err() {
            // Whoever unpacks says why it ended.
            break;
        }
    }
    Ok(())
}

/// Into a folder of its own beside the place first: what is there is replaced by whole files, and only by its like.
fn unpack(archive: Incoming, place: &Place, contents: bool, owners: bool) -> anyhow::Result<u64> {
    let folder = Path::new(&place.folder);
    let fresh = tempfile::Builder::new().prefix(".vswitchctl-cp-").tempdir_in(folder);
    let fresh = fresh.with_context(|| format!("cannot write into {}", folder.display()))?;
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_ownerships(owners);
    let (mut bytes, mut folders) = (0, Vec::new());
    for entry in archive.entries().context("what came is no archive")? {
        let mut entry = entry.context("the archive broke off")?;
        let kind = entry.header().entry_type();
        let name = entry.path().context("the archive has a name that is none")?.into_owned();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link() || kind.is_gnu_sparse()) {
            output::note(&format!("{} is left out: it is no file, folder or link", name.display()));
            continue;
        }
        if entry.unpack_in(fresh.path()).with_context(|| format!("cannot unpack {}", name.display()))? {
            bytes += if kind.is_dir() { 0 } else { entry.size() };
            if kind.is_dir() {
                folders.push((name.clone(), entry.header().mode()?));
                // One that may not be written into gets its mode when all is in it.
                set_mode(&fresh.path().join(name), 0o700)?;
            }
        }
    }
    let target = place.name.as_ref().map_or_else(|| folder.to_owned(), |name| folder.join(name));
    if contents {
        if fs::symlink_metadata(&target).is_err() {
            fs::create_dir(&target)?;
        }
        settle(fresh.path(), &target)?;
    } else {
        settle(&only_entry(fresh.path())?, &target)?;
    }
    for (name, mode) in folders.iter().rev() {
        let below: PathBuf = name
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .skip(usize::from(!contents))
            .collect();
        set_mode(&target.join(below), mode & 0o777)?;
    }
    Ok(bytes)
}

fn only_entry(folder: &Path) -> anyhow::Result<PathBuf> {
    let entry = fs::read_dir(folder)?.next().context("the archive is empty")??;
    Ok(entry.path())
}

/// Of a folder; what a link leads to keeps its own.
fn set_mode(folder: &Path, mode: u32) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(there) if there.is_dir() => fs::set_permissions(folder, fs::Permissions::from_mode(mode)),
        _ => Ok(()),
    }
}

/// Moves what was unpacked to where it belongs.
fn settle(from: &Path, to: &Path) -> anyhow::Result<()> {
    let is_folder = fs::symlink_metadata(from)?.is_dir();
    let there = fs::symlink_metadata(to).ok().map(|there| there.is_dir() || (is_folder && to.is_dir()));
    match (is_folder, there) {
        (true, Some(true)) => {
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                settle(&entry.path(), &to.join(entry.file_name()))?;
            }
            Ok(())
        }
        (true, Some(false)) => anyhow::bail!("{} is no folder, and would become one; move it away", to.display()),
        (false, Some(true)) => anyhow::bail!("{} is a folder, and would become a file; move it away", to.display()),
        (_, None) | (false, Some(false)) => {
            fs::rename(from, to).with_context(|| format!("cannot write {}", to.display()))
        }
    }
}

/// The archive as it comes.
struct Incoming {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Incoming {
    fn new(pieces: mpsc::Receiver<Vec<u8>>) -> Incoming {
        Incoming { pieces, piece: Vec::new(), taken: 0 }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.piece.len() {
            let Some(piece) = self.pieces.blocking_recv() else { return Ok(0) };
            (self.piece, self.taken) = (piece, 0);
        }
        let length = buffer.len().min(self.piece.len() - self.taken);
        buffer[..length].copy_from_slice(&self.piece[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

    use std::os::unix::fs::symlink;

    use super::*;

    type Entry<'a> = (tar::EntryType, &'a str, &'a str);

    /// Unpacks what these entries are, with the text of files or the target of links, under a name.
    fn unpacked(entries: &[Entry<'_>], folder: &Path, name: Option<&str>, contents: bool) -> anyhow::Result<u64> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, path, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if kind.is_dir() { 0o555 } else { 0o4644 });
            if kind.is_symlink() {
                builder.append_link(&mut header, path, text).unwrap();
            } else {
                header.set_size(u64::try_from(text.len()).unwrap());
                // As a stranger writes it, who does not ask a library what is allowed.
                header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                builder.append(&header, text.as_bytes()).unwrap();
            }
        }
        let archive = builder.into_inner().unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let feeding = std::thread::spawn(move || {
            for piece in archive.chunks(700) {
                if sender.blocking_send(piece.to_vec()).is_err() {
                    return;
                }
            }
        });
        let place = Place { folder: folder.to_str().unwrap().to_owned(), name: name.map(str::to_owned) };
        let bytes = unpack(Incoming::new(receiver), &place, contents, false);
        feeding.join().unwrap();
        bytes
    }

    const FOLDER: tar::EntryType = tar::EntryType::Directory;
    const FILE: tar::EntryType = tar::EntryType::Regular;
    const LINK: tar::EntryType = tar::EntryType::Symlink;

    /// A folder comes with its modes, but nobody's rights; into one that is there, its files go beside those that are there.
    #[test]
    fn folders() {
        let here = tempfile::tempdir().unwrap();
        let entries = [(FOLDER, "in", ""), (FOLDER, "in/deep", ""), (FILE, "in/deep/file", "text"), (FIFO, "in/p", "")];
        assert_eq!(unpacked(&entries, here.path(), Some("out"), false).unwrap(), 4);
        let mode = |path: &str| fs::metadata(here.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("out"), mode("out/deep"), mode("out/deep/file")), (0o555, 0o555, 0o644));
        fs::set_permissions(here.path().join("out"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(here.path().join("out/own"), "stays").unwrap();
        unpacked(&[(FOLDER, "./", ""), (FILE, "./new", "x")], here.path(), Some("out"), true).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(here.path().join("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["deep", "new", "own"]);
        assert_eq!(fs::read_dir(here.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    const FIFO: tar::EntryType = tar::EntryType::Fifo;

    /// Only like replaces like.
    #[test]
    fn kinds() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("file"), "old").unwrap();
        fs::create_dir(here.path().join("folder")).unwrap();
        unpacked(&[(FILE, "a", "new")], here.path(), Some("file"), false).unwrap();
        assert_eq!(fs::read_to_string(here.path().join("file")).unwrap(), "new");
        let error = unpacked(&[(FILE, "a", "new")], here.path(), Some("folder"), false).unwrap_err();
        assert!(error.to_string().contains("is a folder"), "{error}");
        let error = unpacked(&[(FOLDER, "a", ""), (FILE, "a/b", "")], here.path(), Some("file"), false).unwrap_err();
        assert!(error.to_string().contains("is no folder"), "{error}");
    }

    /// What a container writes reaches nothing outside of the place.
    #[test]
    fn strangers() {
        let here = tempfile::tempdir().unwrap();
        let (place, outside) = (here.path().join("place"), here.path().join("outside"));
        fs::create_dir_all(&place).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
        let link = outside.to_str().unwrap();
        for entries in [
            [(FILE, "../outside/x", "x"), (FILE, "a", "")],
            [(LINK, "a", link), (FILE, "a/x", "x")],
            [(LINK, "a", link), (FOLDER, "a", "")],
            [(LINK, "a", "../outside"), (FOLDER, "a/x", "")],
        ] {
            // Whether it is refused or left out.
            let _ = unpacked(&entries, &place, Some("copy"), false);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{entries:?}");
            assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o750, "{entries:?}");
        }
        // Nor does a link that is there lead a file elsewhere.
        fs::write(outside.join("x"), "theirs").unwrap();
        symlink(outside.join("x"), place.join("link")).unwrap();
        unpacked(&[(FILE, "a", "ours")], &place, Some("link"), false).unwrap();
        assert_eq!(fs::read_to_string(outside.join("x")).unwrap(), "theirs");
    }
}
