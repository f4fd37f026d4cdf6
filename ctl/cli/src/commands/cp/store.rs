//! Into a container.

use std::fs::{self, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::mpsc;
use vswitch_api::Client;

use super::place::{Place, There, is_contents};
use super::{CpArgs, followed};
use crate::output;

/// Copy `here` to `path` of a container; answers how many bytes of files that were.
pub(super) async fn run(
    client: &Client,
    here: &str,
    container: &str,
    path: &str,
    args: &CpArgs,
) -> anyhow::Result<Option<u64>> {
    let (sender, receiver) = mpsc::channel(DEPTH);
    if here == "-" {
        tokio::task::spawn_blocking(move || pass_on(&sender));
        client.unpack_in_container(container, path, args.archive, receiver).await?;
        return Ok(None);
    }
    let source = Source::new(here, args.follow_link)?;
    let destination = followed(client, container, path).await;
    let there = match client.container_path(container, &destination).await {
        Ok(stat) if stat.is_folder() => There::Folder,
        Ok(_) => There::Other,
        // Whatever else is wrong is said when the copy is made.
        Err(_) => There::Nothing,
    };
    let place = Place::new(&destination, there, source.metadata.is_dir())?;
    let name = place.name.or(source.name.clone());
    let packing = tokio::task::spawn_blocking(move || pack(&source, name.as_deref(), &sender));
    let stored = client.unpack_in_container(container, &place.folder, args.archive, receiver).await;
    let packed = packing.await?;
    // A refusal ends the packing, and a file that cannot be read the request: who was first says what is wrong.
    match packed {
        Err(own) if !is_cut_off(&own) => Err(own),
        packed => {
            stored?;
            packed.map(Some)
        }
    }
}

/// Pieces that wait to be sent.
const DEPTH: usize = 16;

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;

/// What is copied.
struct Source {
    path: PathBuf,
    metadata: Metadata,
    /// Its own; `None`: what is in it.
    name: Option<String>,
}

impl Source {
    fn new(here: &str, follow: bool) -> anyhow::Result<Source> {
        let path = PathBuf::from(here);
        let contents = is_contents(here);
        let metadata = match follow || contents || here.ends_with('/') {
            true => fs::metadata(&path),
            false => fs::symlink_metadata(&path),
        };
        let metadata = metadata.with_context(|| format!("cannot read {here}"))?;
        let name = match path.file_name().filter(|_| !contents) {
            Some(name) => Some(name.to_string_lossy().into_owned()),
            None if contents => None,
            // `..` has a name of its own.
            None => fs::canonicalize(&path)?.file_name().map(|name| name.to_string_lossy().into_owned()),
        };
        Ok(Source { path, metadata, name })
    }
}

/// The archive of a source under a name; without one, of what is in it.
fn pack(source: &Source, name: Option<&str>, sender: &mpsc::Sender<io::Result<Vec<u8>>>) -> anyhow::Result<u64> {
    let outgoing = Outgoing(sender.clone());
    let mut builder = tar::Builder::new(BufWriter::with_capacity(PIECE, outgoing));
    builder.follow_symlinks(false);
    let mut bytes = 0;
    let packed = add(&mut builder, &source.path, &source.metadata, Path::new(name.unwrap_or(".")), &mut bytes);
    let packed = packed.and_then(|()| Ok(builder.into_inner()?.flush()?));
    if let Err(error) = &packed {
        // Not an end that looks like a good one.
        let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
    }
    packed.map(|()| bytes)
}

fn add(
    builder: &mut tar::Builder<BufWriter<Outgoing>>,
    path: &Path,
    metadata: &Metadata,
    name: &Path,
    bytes: &mut u64,
) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", path.display());
    let kind = metadata.file_type();
    if kind.is_dir() {
        builder.append_dir(name, path).with_context(unreadable)?;
        let mut entries = fs::read_dir(path).with_context(unreadable)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let metadata = entry.metadata().with_context(unreadable)?;
            add(builder, &entry.path(), &metadata, &name.join(entry.file_name()), bytes)?;
        }
    } else if kind.is_file() {
        // Its metadata are those of the file that is open, also where it was named by a link.
        builder.append_file(name, &mut fs::File::open(path).with_context(unreadable)?).with_context(unreadable)?;
        *bytes += metadata.len();
    } else if kind.is_symlink() {
        builder.append_path_with_name(path, name).with_context(unreadable)?;
    } else {
        output::note(&format!("{} is left out: it is no file, folder or link", path.display()));
    }
    Ok(())
}

/// An archive that was made elsewhere.
fn pass_on(sender: &mpsc::Sender<io::Result<Vec<u8>>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut piece = vec![0; PIECE];
        let read = input.read(&mut piece).map(|length| {
            piece.truncate(length);
            piece
        });
        let last = read.as_ref().map_or(true, Vec::is_empty);
        if matches!(&read, Ok(piece) if piece.is_empty()) || sender.blocking_send(read).is_err() || last {
            return;
        }
    }
}

/// The archive as it is sent.
struct Outgoing(mpsc::Sender<io::Result<Vec<u8>>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Ok(bytes.to_vec())).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether nobody wanted the rest of the archive.
fn is_cut_off(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
