//! The output of containers that nobody listens to, on its way into bounded files.
//!
//! A container writes into a pipe, and one thread carries what comes out into [`logfile`](crate::logfile)'s files, a piece
//! of each container's at a time. So whatever a container prints, and however full or slow the disk is, the files are
//! bounded, and no request waits for them.
//!
//! The pipe has a name, and the container has it open in both directions: when an agent is killed, the container is not (it
//! waits once the pipe is full), and the next agent finds the pipe by its name and goes on.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat},
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use crate::logfile::{Limit, Writer, fifo};
use crate::private;

/// All outputs that are carried.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// To the thread, once there is one.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    /// How to end one, by process.
    running: BTreeMap<String, Ender>,
}

/// Asks a job to take what is there and end; it answers then.
type Ender = oneshot::Sender<oneshot::Sender<()>>;

struct Job {
    pipe: File,
    writer: Writer,
    end: oneshot::Receiver<oneshot::Sender<()>>,
}

impl Outputs {
    /// A pipe for a process's output and errors.
    pub(crate) fn open(&self, process: &str, log: &Path, limit: Limit) -> io::Result<OwnedFd> {
        let (reader, writer) = named(&fifo(log)).or_else(|error| {
            tracing::warn!("the output of {process} would not survive this agent: no pipe {}: {error}", log.display());
            anonymous()
        })?;
        self.carry(process, reader, Writer::new(log.to_owned(), limit))?;
        Ok(writer)
    }

    /// Goes on with the output of a process that an earlier agent started. Without a pipe there is nothing to do.
    pub(crate) fn resume(&self, process: &str, log: &Path, limit: Limit) -> io::Result<()> {
        if self.table().running.contains_key(process) {
            return Ok(());
        }
        match open_reader(&fifo(log)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            reader => self.carry(process, reader?, Writer::new(log.to_owned(), limit)),
        }
    }

    /// Waits until what an ended process wrote is in its file.
    pub(crate) async fn finish(&self, process: &str) {
        let Some(end) = self.table().running.remove(process) else { return };
        let (done, finished) = oneshot::channel();
        // One that ended by itself is finished, too.
        if end.send(done).is_ok() && tokio::time::timeout(PATIENCE, finished).await.is_err() {
            tracing::warn!("the output of {process} is not written yet; the disk is slow");
        }
    }

    fn carry(&self, process: &str, pipe: File, writer: Writer) -> io::Result<()> {
        let mut table = self.table();
        let (ender, end) = oneshot::channel();
        let mut job = Job { pipe, writer, end };
        if let Some(jobs) = &table.jobs {
            match jobs.send(job) {
                Ok(()) => {
                    table.running.insert(process.to_owned(), ender);
                    return Ok(());
                }
                Err(refused) => job = refused.0,
            }
        }
        let jobs = start()?;
        // It has just begun to listen.
        let _ = jobs.send(job);
        table.jobs = Some(jobs);
        table.running.insert(process.to_owned(), ender);
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread.
fn start() -> io::Result<mpsc::UnboundedSender<Job>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (jobs, mut receiver) = mpsc::unbounded_channel::<Job>();
    thread::Builder::new().name("outputs".to_owned()).spawn(move || {
        runtime.block_on(async {
            while let Some(job) = receiver.recv().await {
                tokio::spawn(job.run());
            }
        });
    })?;
    Ok(jobs)
}

impl Job {
    async fn run(self) {
        let Job { pipe, mut writer, mut end } = self;
        let pipe = match pipe::Receiver::from_file_unchecked(pipe) {
            Ok(pipe) => pipe,
            Err(error) => return tracing::warn!("the output of a container is lost: {error}"),
        };
        loop {
            // Nobody left who could ask says the same.
            let asked = tokio::select! {
                _ = pipe.readable() => None,
                asked = &mut end => Some(asked.ok()),
            };
            // Those that have it open are gone, or about to be; what they wrote is there.
            let turns = if asked.is_some() { LAST_TURNS } else { 1 };
            for _ in 0..turns {
                let taken = take(&mut writer, |piece| match asked {
                    None => pipe.try_read(piece),
                    // The runtime may not have heard yet that there is something.
                    Some(_) => Ok(rustix::io::read(&pipe, piece)?),
                });
                match taken {
                    Ok(0) => {
                        return answer(match asked {
                            Some(asked) => asked,
                            None => end.await.ok(),
                        });
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return tracing::warn!("the output of a container is lost: {error}"),
                }
            }
            if let Some(asked) = asked {
                return answer(asked);
            }
        }
    }
}

/// Tells whoever asked for the end of an output; by now that may be nobody.
fn answer(asked: Option<oneshot::Sender<()>>) {
    if let Some(done) = asked {
        let _ = done.send(());
    }
}

/// One piece into the file.
fn take(writer: &mut Writer, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    // Not kept: most containers are silent most of the time, and there may be thousands.
    let mut piece = vec![0; PIECE];
    let count = read(&mut piece)?;
    writer.append(&piece[..count]);
    Ok(count)
}

/// A pipe that the next agent can find: its reading end, and one for the container.
fn named(path: &Path) -> io::Result<(File, OwnedFd)> {
    private::remove(path)?;
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // Also for reading, so that there is a reader even while there is no agent.
    let writer = OpenOptions::new().read(true).write(true).open(path)?;
    Ok((open_reader(path)?, writer.into()))
}

fn open_reader(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::Fifo {
        return Err(io::Error::other("it is no pipe"));
    }
    Ok(file)
}

fn anonymous() -> io::Result<(File, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, fcntl_getfl(&reader)? | OFlags::NONBLOCK)?;
    Ok((reader.into(), writer))
}

/// Bytes that are carried at a time.
const PIECE: usize = 64 << 10;

/// Pieces that a pipe may still hold when its process has ended: as many as fit into the largest.
const LAST_TURNS: usize = 1 << 20 >> 16;

/// For the disk to take the last of an output.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What is written comes into the file; an agent that ends leaves the pipe usable, and the next one goes on.
    #[tokio::test]
    async fn carries_and_resumes() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("c.log");
        let outputs = Outputs::default();
        let mut pipe = File::from(outputs.open("c", &log, Limit::default()).unwrap());
        pipe.write_all(b"one\n").unwrap();
        outputs.finish("c").await;
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\n");
        // Nobody reads now.
        pipe.write_all(b"two\n").unwrap();
        let next = Outputs::default();
        next.resume("c", &log, Limit::default()).unwrap();
        pipe.write_all(b"three\n").unwrap();
        drop(pipe);
        next.finish("c").await;
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\nthree\n");
        next.resume("gone", &directory.path().join("gone.log"), Limit::default()).unwrap();
    }

    /// Where no pipe can have a name, and no file be written, a container starts nevertheless.
    #[tokio::test]
    async fn never_fails() {
        let outputs = Outputs::default();
        let nowhere = Path::new("/proc/none/c.log");
        let mut pipe = File::from(outputs.open("c", nowhere, Limit::default()).unwrap());
        pipe.write_all(&vec![0; 1 << 20]).unwrap();
        drop(pipe);
        outputs.finish("c").await;
    }
}
