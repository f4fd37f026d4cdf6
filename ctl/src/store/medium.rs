//! What a database is kept in: the file, or a copy of it in memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// A place for a database that outlives it, so that the database can be closed after an error and opened again. Clones
/// are the same place.
#[derive(Debug, Clone)]
pub(super) struct Medium(Arc<dyn StorageBackend>);

impl Medium {
    pub(super) fn new(backend: impl StorageBackend) -> Medium {
        Medium(Arc::new(backend))
    }

    /// A file, which is locked already if it must be.
    pub(super) fn file(file: File) -> Medium {
        Medium::new(FileMedium(file))
    }

    /// All that it holds.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.0.len()?).map_err(io::Error::other)?];
        self.0.read(0, &mut bytes)?;
        Ok(bytes)
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[derive(Debug)]
struct FileMedium(File);

impl StorageBackend for FileMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// A database in memory.
pub(super) struct Image(Mutex<Vec<u8>>);

/// An image may grow by this much. What a damaged header asks for may be anything, and memory that is not there ends the
/// process.
const GROWTH: usize = 64 << 20;

impl Image {
    pub(super) const fn new(bytes: Vec<u8>) -> Image {
        Image(Mutex::new(bytes))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("len", &self.lock().len()).finish()
    }
}

impl StorageBackend for Image {
    fn len(&self) -> io::Result<u64> {
        u64::try_from(self.lock().len()).map_err(io::Error::other)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.copy_from_slice(self.lock().get(range(offset, out.len())?).ok_or_else(beyond)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.lock();
        let len = usize::try_from(len).map_err(io::Error::other)?;
        if len > bytes.len().saturating_add(GROWTH) {
            return Err(io::Error::other(format!("it asks to be {len} bytes long")));
        }
        bytes.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock().get_mut(range(offset, data.len())?).ok_or_else(beyond)?.copy_from_slice(data);
        Ok(())
    }
}

fn range(offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    Ok(start..start.checked_add(length).ok_or_else(beyond)?)
}

fn beyond() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "beyond its end")
}
