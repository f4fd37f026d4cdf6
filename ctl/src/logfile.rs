//! Files of containers' output, bounded: when one is full, it gets a number and the next begins; the oldest goes.
//!
//! `ID.log` is being written, `ID.log.1` was before, and so on, as Docker's `json-file` names them. The agent writes
//! ([`Writer`]), vswitchd reads ([`generations`]); both may happen at once, so a reader knows files by their inode.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::Faults;
use crate::private;

/// How much of a container's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Bytes of one file.
    pub max_bytes: u64,
    /// Files, the one that is written included.
    pub max_files: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Limit { max_bytes: 10 << 20, max_files: 3 }
    }
}

/// Smallest file that is worth its name.
const LEAST_BYTES: u64 = 1 << 10;

/// Largest number of files: each is looked for when the output is read.
const MOST_FILES: u32 = 100;

impl Limit {
    /// Docker's `max-size` (`10m`) and `max-file` (`3`); what is not among them stays as it is here.
    ///
    /// # Errors
    /// One sentence for each option that makes no sense.
    pub fn with(self, options: &BTreeMap<String, String>) -> Result<Limit, Faults> {
        let mut faults = Faults::new("");
        let mut limit = self;
        for (key, value) in options {
            match key.as_str() {
                "max-size" => match parse_size(value).filter(|bytes| *bytes >= LEAST_BYTES) {
                    Some(bytes) => limit.max_bytes = bytes,
                    None => faults.add(format!(
                        "invalid log option max-size={value}: write a size of at least 1k such as 500k, 10m or 1g"
                    )),
                },
                "max-file" => match value.parse().ok().filter(|files| (1..=MOST_FILES).contains(files)) {
                    Some(files) => limit.max_files = files,
                    None => faults.add(format!("invalid log option max-file={value}: use 1 to {MOST_FILES}")),
                },
                _ => faults.add(format!("unknown log option {key:?} (known options: max-size, max-file)")),
            }
        }
        faults.finish(limit)
    }
}

/// As Docker reads sizes: powers of 1024, `b` or nothing behind the unit.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if text.ends_with('k') => (digits, 10),
        Some(digits) if text.ends_with('m') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Writes one container's output. Nothing about it fails: what cannot be written is lost, and that is logged once.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    limit: Limit,
    current: Option<(File, u64)>,
    /// Bytes that could not be written since it last worked.
    lost: u64,
}

impl Writer {
    /// Goes on with what is there.
    pub(crate) fn new(path: PathBuf, limit: Limit) -> Writer {
        let mut writer = Writer { path, limit, current: None, lost: 0 };
        if let Err(error) = writer.open() {
            writer.complain(&error);
        }
        writer.rest();
        writer
    }

    /// Holds no descriptor until there is more to write: most containers are silent, and there may be thousands.
    pub(crate) fn rest(&mut self) {
        self.current = None;
    }

    /// Writes all of it, the end of one file and the beginning of the next if need be.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.append_some(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) => {
                    if self.lost == 0 {
                        self.complain(&error);
                    }
                    self.lost += bytes.len() as u64;
                    // A full disk may have room later, a folder may come back.
                    self.current = None;
                    return;
                }
            }
        }
        if self.lost > 0 {
            tracing::info!("{} is written again; {} bytes of output were lost", self.path.display(), self.lost);
            self.lost = 0;
        }
    }

    fn append_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = self.limit.max_bytes;
        let (file, size) = self.open()?;
        let room = usize::try_from(limit.saturating_sub(*size)).unwrap_or(usize::MAX);
        let mut part = bytes.len().min(room);
        if part < bytes.len() {
            // Files end with whole lines, where there are any.
            let whole = bytes[..part].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            part = if whole > 0 || *size > 0 { whole } else { part };
        }
        if part == 0 {
            self.rotate()?;
            return Ok(0);
        }
        let written = file.write(&bytes[..part])?;
        *size += written as u64;
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        if self.current.is_none() {
            let file = private::append_to(&self.path)?;
            let size = file.metadata()?.len();
            self.current = Some((file, size));
        }
        self.current.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives the full file its number. If that cannot be done, its text goes: the bound holds in any case.
    fn rotate(&mut self) -> io::Result<()> {
        self.current = None;
        for number in (1..self.limit.max_files).rev() {
            match std::fs::rename(generation(&self.path, number - 1), generation(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!("cannot rename {}: {error}", self.path.display());
                }
                _ => {}
            }
        }
        private::remove(&self.path)
    }

    fn complain(&self, error: &io::Error) {
        tracing::warn!("cannot write {} ({error}); output is lost until it can be written", self.path.display());
    }
}

/// The file with this number; 0 is the one that is written.
fn generation(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.to_owned(),
        _ => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}

/// The files that there are, newest first. While they get other numbers one may be seen twice, and is named once.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn generations(path: &Path, limit: Limit) -> io::Result<Vec<(File, Inode)>> {
    let mut found: Vec<(File, Inode)> = Vec::new();
    for number in 0..limit.max_files {
        match File::open(generation(path, number)) {
            Ok(file) => {
                let inode = Inode::of(&file)?;
                if !found.iter().any(|(_, other)| *other == inode) {
                    found.push((file, inode));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What a file is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inode(u64, u64);

impl Inode {
    fn of(file: &File) -> io::Result<Inode> {
        let metadata = file.metadata()?;
        Ok(Inode(metadata.dev(), metadata.ino()))
    }
}

/// Removes all that belongs to an output; what cannot be removed is logged.
pub(crate) fn remove(path: &Path, limit: Limit) {
    let files = (0..limit.max_files).map(|number| generation(path, number)).chain([fifo(path), errors_fifo(path)]);
    for file in files {
        if let Err(error) = private::remove(&file) {
            tracing::warn!("cannot remove {}: {error}", file.display());
        }
    }
}

/// The pipe by which output comes to the file.
pub(crate) fn fifo(path: &Path) -> PathBuf {
    path.with_extension("fifo")
}

/// The same for standard error.
pub(crate) fn errors_fifo(path: &Path) -> PathBuf {
    path.with_extension("errors")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Limit, String> {
        let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Limit::default().with(&options).map_err(|faults| faults.to_string())
    }

    /// Docker's two options and its sizes; everything else is refused, all at once.
    #[test]
    fn limits() {
        assert_eq!(options(&[]), Ok(Limit { max_bytes: 10 << 20, max_files: 3 }));
        for (size, bytes) in [("4096", 4096), ("500k", 500 << 10), ("10M", 10 << 20), ("1gb", 1 << 30)] {
            assert_eq!(options(&[("max-size", size), ("max-file", "1")]), Ok(Limit { max_bytes: bytes, max_files: 1 }));
        }
        for bad in ["", "-1", "10", "1t", "m", "99999999999g"] {
            assert!(options(&[("max-size", bad)]).unwrap_err().contains("max-size"), "{bad}");
        }
        let all = options(&[("max-file", "0"), ("max-size", "x"), ("tag", "x")]).unwrap_err();
        assert_eq!(all.lines().count(), 3, "{all}");
    }

    /// However much is written, in whatever pieces, no file is larger than it may be, there are no more of them than there
    /// may be, and together they are the end of what was written, in whole lines.
    #[test]
    fn bounded() {
        for max_files in [1, 2, 4] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("c.log");
            let limit = Limit { max_bytes: 1000, max_files };
            let mut all = Vec::new();
            for number in 0..2000 {
                all.extend_from_slice(format!("line {number}\n").as_bytes());
            }
            for (index, piece) in all.chunks(777).enumerate() {
                // An agent that goes on where another one ended.
                let mut writer = Writer::new(path.clone(), limit);
                writer.append(piece);
                assert_eq!(writer.lost, 0, "{index}");
            }
            let mut kept = Vec::new();
            for (mut file, _) in generations(&path, limit).unwrap().into_iter().rev() {
                let before = kept.len();
                file.read_to_end(&mut kept).unwrap();
                assert!(kept.len() - before <= 1000);
                assert!(kept[before..].starts_with(b"line "));
            }
            assert!(all.ends_with(&kept) && kept.len() > 900 * (max_files as usize - 1), "{}", kept.len());
            assert_eq!(directory.path().read_dir().unwrap().count(), max_files as usize);
            remove(&path, limit);
            assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        }
    }

    /// A line longer than a file is cut, and where nothing can be written nothing fails, and it goes on when it can.
    #[test]
    fn odd_cases() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/c.log");
        let limit = Limit { max_bytes: 1000, max_files: 2 };
        let mut writer = Writer::new(path.clone(), limit);
        writer.append(b"lost");
        assert_eq!(writer.lost, 4);
        std::fs::create_dir(directory.path().join("logs")).unwrap();
        writer.append(&[b'x'; 2500]);
        assert_eq!(writer.lost, 0);
        let sizes: Vec<_> =
            generations(&path, limit).unwrap().iter().map(|(file, _)| file.metadata().unwrap().len()).collect();
        assert_eq!(sizes, [500, 1000]);
    }
}
