//! What containers wrote that were started without a client at their streams.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use tokio::sync::watch;

use super::Controller;
use crate::error::ControlError;
use crate::model::Phase;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// How often a container that writes nothing is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether what is yet to come belongs to an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Up to where it is now: a container that goes on writing must not make the answer endless.
    Now,
    /// Up to the end of the container.
    End,
}

/// A container's output, from its beginning.
#[derive(Debug)]
pub struct ContainerLog {
    file: File,
    /// Bytes that may be read still.
    left: u64,
    /// Of a container that is followed.
    phase: Option<watch::Receiver<Phase>>,
}

impl Controller {
    /// What a container wrote; nothing if there is no file.
    ///
    /// # Errors
    /// When the container is unknown or the file cannot be read.
    pub fn container_log(&self, text: &str, extent: Extent) -> Result<Option<ContainerLog>, ControlError> {
        let (id, phase) = {
            let state = self.state();
            let one = state.container(text)?;
            (one.container.id.clone(), one.phase.subscribe())
        };
        let unreadable =
            |error: io::Error| ControlError::Internal(format!("cannot read the output of container {text}: {error}"));
        let file = match File::open(self.log_path(&id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        Ok(Some(match extent {
            Extent::Now => {
                let left = file.metadata().map_err(unreadable)?.len();
                ContainerLog { file, left, phase: None }
            }
            Extent::End => ContainerLog { file, left: u64::MAX, phase: Some(phase) },
        }))
    }
}

impl ContainerLog {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // Asked first: whatever it wrote before its end is read after.
            let ended = self.phase.as_ref().is_none_or(has_ended);
            let mut chunk = vec![0; usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK))];
            let count = self.file.read(&mut chunk)?;
            if count > 0 {
                chunk.truncate(count);
                self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                return Ok(Some(chunk));
            }
            let Some(phase) = self.phase.as_mut().filter(|_| !ended) else { return Ok(None) };
            // The end wakes it at once, and so does the container's removal.
            let _ = tokio::time::timeout(PAUSE, phase.changed()).await;
        }
    }
}

/// Whether a container does not run, or is no more.
fn has_ended(phase: &watch::Receiver<Phase>) -> bool {
    phase.has_changed().is_err() || !matches!(*phase.borrow(), Phase::Running { .. })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::clock::Moment;

    fn followed(phase: Phase) -> (ContainerLog, File, watch::Sender<Phase>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (sender, receiver) = watch::channel(phase);
        let log = ContainerLog { file: file.reopen().unwrap(), left: u64::MAX, phase: Some(receiver) };
        (log, file.into_file(), sender)
    }

    /// What is written is told, waiting for more, until the container has ended or is removed; nothing of it is lost.
    #[tokio::test]
    async fn follows_to_the_end() {
        let running = Phase::Running { pid: 1, started: Moment::now() };
        let ended = Phase::Exited { code: 0, started: None, finished: Moment::now() };
        let (mut log, mut file, phase) = followed(running);
        file.write_all(b"one").unwrap();
        assert_eq!(log.next().await.unwrap().unwrap(), b"one");
        assert!(tokio::time::timeout(PAUSE, log.next()).await.is_err(), "it waits");
        file.write_all(b"two").unwrap();
        phase.send_replace(ended);
        assert_eq!(log.next().await.unwrap().unwrap(), b"two");
        assert_eq!(log.next().await.unwrap(), None);
        let (mut removed, mut file, phase) = followed(running);
        file.write_all(b"last").unwrap();
        drop(phase);
        assert_eq!(removed.next().await.unwrap().unwrap(), b"last");
        assert_eq!(removed.next().await.unwrap(), None);
    }
}
