//! vswitchd's and the agent's own log, on standard error: whatever becomes of that, nobody waits for it and nothing fails.
//!
//! Lines go through a bounded queue to a thread that writes them. A terminal that is gone, a full disk or a pipe that nobody
//! reads costs lines, and their number is told once lines can be written again; requests and frames go on.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::private;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// What went wrong.
    Error,
    /// And what may be wrong.
    Warn,
    /// And what changes.
    #[default]
    Info,
    /// And every flow and request.
    Debug,
    /// And every frame, in a debug build; others leave that out.
    Trace,
}

/// What was given is no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use error, warn, info, debug or trace")]
pub struct NoLevel;

impl FromStr for Level {
    type Err = NoLevel;

    fn from_str(text: &str) -> Result<Self, NoLevel> {
        match text {
            "error" => Ok(Level::Error),
            "warn" => Ok(Level::Warn),
            "info" => Ok(Level::Info),
            "debug" => Ok(Level::Debug),
            "trace" => Ok(Level::Trace),
            _ => Err(NoLevel),
        }
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// Lines that wait. Enough for the burst of a start with thousands of containers.
const QUEUE: usize = 4096;

/// For the last lines when the process ends.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// Begins vswitchd's log. Until [`Log::start`] lines are written at once, for there is one thread only.
#[must_use]
pub fn begin(level: Level) -> Log {
    begin_with(level, false)
}

/// Begins an agent's log, in a bounded file. Its level is that of `$RUST_LOG`, if that is one.
pub(crate) fn begin_agent() {
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    begin_with(level.unwrap_or_default(), true);
}

fn begin_with(level: Level, bounded: bool) -> Log {
    let log = Log { queue: Arc::default(), bounded };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(level))
        .with_writer(log.clone())
        .with_ansi(!plain && io::stderr().is_terminal())
        .with_target(false)
        // It would tell of failed writes on the same standard error, and panic when that fails as well.
        .log_internal_errors(false);
    // Another one is there only in tests.
    let _ = subscriber.try_init();
    log
}

/// The way to standard error.
#[derive(Debug, Clone)]
pub struct Log {
    queue: Arc<OnceLock<Queue>>,
    /// Standard error is the agent's file.
    bounded: bool,
}

#[derive(Debug)]
struct Queue {
    lines: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// All before it are written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none; then lines are written at once as before.
    pub(crate) fn start(&self) -> io::Result<()> {
        let (lines, receiver) = sync_channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&lost);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&receiver, &counted))?;
        // Nobody starts a second one.
        let _ = self.queue.set(Queue { lines, lost });
        Ok(())
    }

    /// Waits a moment for what is to be written still.
    pub fn flush(&self) {
        let Some(queue) = self.queue.get() else { return };
        let (done, written) = sync_channel(1);
        if queue.lines.try_send(Line::Flush(done)).is_ok() {
            let _ = written.recv_timeout(LAST_PATIENCE);
        }
    }

    fn line(&self, text: &[u8]) {
        match self.queue.get() {
            None => {
                put(text);
                if self.bounded {
                    // There is nobody to tell.
                    let _ = bound(io::stderr(), LARGEST);
                }
            }
            Some(queue) => match queue.lines.try_send(Line::Text(text.to_owned())) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    queue.lost.fetch_add(1, Ordering::Relaxed);
                }
            },
        }
    }
}

/// One event on its way.
#[derive(Debug)]
pub struct Event<'a> {
    log: &'a Log,
}

impl Write for Event<'_> {
    /// The subscriber writes each event in one piece.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.log.line(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { log: self }
    }
}

fn write_all(lines: &Receiver<Line>, lost: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        match line {
            Line::Text(text) => {
                put(&text);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    put(format!("{lost} lines of this log are lost: nobody took them in time\n").as_bytes());
                }
            }
            Line::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Writes to standard error, or not.
fn put(text: &[u8]) {
    let _ = io::stderr().write_all(text);
}

/// Opens the file that will be an agent's standard error, empty. Who has it appends, so that it may be cut at any time.
pub(crate) fn agent_file(path: &Path) -> io::Result<File> {
    let file = private::append_to(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// Largest size of the agent's log. With the one before it, `agent.log.1`, this is all that an agent leaves: nobody else
/// rotates a file that is open as a standard error.
const LARGEST: u64 = 4 << 20;

/// Keeps what a file of standard error holds under another name, and empties it, once it is too large.
fn bound(stderr: impl AsFd, largest: u64) -> io::Result<()> {
    let status = rustix::fs::fstat(&stderr)?;
    let is_file = rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::RegularFile;
    if !is_file || u64::try_from(status.st_size).unwrap_or_default() <= largest {
        return Ok(());
    }
    let link = format!("/proc/self/fd/{}", stderr.as_fd().as_raw_fd());
    if let Ok(mut name) = std::fs::read_link(&link).map(PathBuf::into_os_string) {
        name.push(".1");
        // The bound holds, whether or not there is room for a copy.
        let _ = std::fs::copy(&link, name);
    }
    Ok(rustix::fs::ftruncate(&stderr, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the five levels are levels.
    #[test]
    fn levels() {
        assert!(Level::Error < Level::Trace && "info".parse() == Ok(Level::default()));
        for bad in ["", "silly", "INFO", "vswitch=debug", "5"] {
            assert!(bad.parse::<Level>().is_err(), "{bad}");
        }
    }

    /// More lines than the queue holds, with nobody to take them, hold up nobody and are counted.
    #[test]
    fn nobody_waits() {
        let (lines, receiver) = sync_channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let log = Log { queue: Arc::default(), bounded: false };
        log.queue.set(Queue { lines, lost: Arc::clone(&lost) }).unwrap();
        for _ in 0..QUEUE + 7 {
            let line = b"a line\n";
            assert_eq!(log.make_writer().write(line).unwrap(), line.len());
        }
        assert_eq!(lost.load(Ordering::Relaxed), 7);
        log.flush();
        drop(receiver);
        log.line(b"another\n");
        assert_eq!(lost.load(Ordering::Relaxed), 8);
    }

    /// A file that is too large goes on empty, and what it held is beside it.
    #[test]
    fn a_bounded_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.log");
        let mut file = agent_file(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        bound(&file, 10).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
        file.write_all(b"!").unwrap();
        bound(&file, 10).unwrap();
        file.write_all(b"next").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"next");
        assert_eq!(std::fs::read(directory.path().join("agent.log.1")).unwrap(), b"0123456789!");
        assert_eq!(std::fs::read(&path).map(|_| agent_file(&path).unwrap().metadata().unwrap().len()).unwrap(), 0);
        bound(File::open("/dev/null").unwrap(), 0).unwrap();
    }
}
