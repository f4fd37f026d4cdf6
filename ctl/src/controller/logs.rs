//! What containers wrote that were started without a client at their streams.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

use super::Controller;
use crate::agent::protocol::Request;
use crate::clock::Moment;
use crate::error::ControlError;
use crate::ids::Id;
use crate::logfile::{self, Inode, Limit};
use crate::logline::{Decoder, Record};
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

/// A container's output, from the beginning of what is kept.
#[derive(Debug)]
pub struct ContainerLog {
    path: PathBuf,
    limit: Limit,
    /// What is read yet, oldest first; the first is being read.
    files: VecDeque<File>,
    /// The newest that was seen.
    newest: Option<Inode>,
    /// Bytes that may be read still.
    left: u64,
    /// Of a container that is followed.
    phase: Option<watch::Receiver<Phase>>,
}

impl Controller {
    /// What a container wrote.
    ///
    /// # Errors
    /// When the container is unknown or a file cannot be read.
    pub fn container_log(&self, text: &str, extent: Extent) -> Result<ContainerLog, ControlError> {
        let (path, limit, phase, begun) = {
            let state = self.state();
            let one = state.container(text)?;
            let container = &one.container;
            let begun = !matches!(container.phase, Phase::Created) && !one.starting;
            (self.log_path(&container.id), container.spec.log_limit, one.phase.subscribe(), begun)
        };
        // The agent makes the file at the start, unless a client brought descriptors of its own.
        if begun && logfile::generations(&path, limit).is_ok_and(|files| files.is_empty()) {
            return Err(ControlError::Conflict(format!(
                "nothing of what container {text} prints is kept, for it has the standard streams of the client that ran it; run it with \
                 -d, or with -it, to have it kept"
            )));
        }
        let unreadable =
            |error: io::Error| ControlError::Internal(format!("cannot read the output of container {text}: {error}"));
        ContainerLog::open(path, limit, (extent == Extent::End).then_some(phase)).map_err(unreadable)
    }

    /// What a container wrote, taken apart, and what of it a client asks for.
    ///
    /// # Errors
    /// As [`Controller::container_log`].
    pub fn docker_log(&self, text: &str, extent: Extent, query: &LogQuery) -> Result<Records, ControlError> {
        let log = self.container_log(text, extent)?;
        Ok(Records { log, decoder: Decoder::default(), query: *query, past: query.tail.map(|_| VecDeque::new()) })
    }

    /// Has the agent go on with the output of a container that an agent before it may have started.
    pub(super) async fn resume_output(&self, id: &Id) {
        let log = self.log_path(id);
        let Ok(limit) = self.state().container_by_id(id).map(|one| one.container.spec.log_limit) else { return };
        if logfile::fifo(&log).exists() {
            let (process, log) = (id.to_string(), log.to_string_lossy().into_owned());
            self.ask_anyway(Request::ProcessOutput { process, log, limit }).await;
        }
    }
}

/// What of an output is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogQuery {
    /// Nothing that was written before.
    pub since: Option<Moment>,
    /// Nothing that was written after.
    pub until: Option<Moment>,
    /// Of what is there already, this many lines from its end.
    pub tail: Option<usize>,
}

/// An output's records.
#[derive(Debug)]
pub struct Records {
    log: ContainerLog,
    decoder: Decoder,
    query: LogQuery,
    /// What is there already is kept until its end is known, as far as it may be asked for.
    past: Option<VecDeque<Record>>,
}

impl Records {
    /// The next ones; `None` at the end.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Vec<Record>>> {
        loop {
            if let Some(mut past) = self.past.take() {
                let most = self.query.tail.unwrap_or_default();
                while let Some(chunk) = self.log.read()? {
                    past.extend(self.decoder.take(&chunk).into_iter().filter(|record| wanted(&self.query, record)));
                    cut(&mut past, most);
                }
                if !past.is_empty() {
                    return Ok(Some(past.into()));
                }
            }
            let records = match self.log.next().await? {
                Some(chunk) => self.decoder.take(&chunk),
                None => match self.decoder.finish() {
                    Some(last) => vec![last],
                    None => return Ok(None),
                },
            };
            // What is written after the end that was asked for ends it.
            let over = |record: &Record| self.query.until.zip(record.moment).is_some_and(|(until, at)| at > until);
            let ended = records.iter().any(over);
            let records: Vec<Record> = records.into_iter().filter(|record| wanted(&self.query, record)).collect();
            if !records.is_empty() {
                return Ok(Some(records));
            }
            if ended {
                return Ok(None);
            }
        }
    }
}

fn wanted(query: &LogQuery, record: &Record) -> bool {
    // What has no time is from before there were times.
    let Some(moment) = record.moment else { return query.since.is_none() };
    query.since.is_none_or(|since| moment >= since) && query.until.is_none_or(|until| moment <= until)
}

/// Keeps the last lines; a line that has not ended is one, too.
fn cut(past: &mut VecDeque<Record>, most: usize) {
    let ends = |record: &Record| record.text.ends_with(b"\n");
    let open = usize::from(past.back().is_some_and(|last| !ends(last)));
    let mut lines = past.iter().filter(|record| ends(record)).count() + open;
    while lines > most
        && let Some(first) = past.pop_front()
    {
        lines -= usize::from(ends(&first) || past.is_empty());
    }
}

impl ContainerLog {
    fn open(path: PathBuf, limit: Limit, phase: Option<watch::Receiver<Phase>>) -> io::Result<ContainerLog> {
        let mut log = ContainerLog { path, limit, files: VecDeque::new(), newest: None, left: u64::MAX, phase };
        log.look()?;
        if log.phase.is_none() {
            let sizes = log.files.iter().map(|file| Ok(file.metadata()?.len()));
            log.left = sizes.sum::<io::Result<u64>>()?;
        }
        Ok(log)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // Asked first: whatever it wrote before its end is read after.
            let ended = self.phase.as_ref().is_none_or(has_ended);
            if let Some(chunk) = self.read()? {
                return Ok(Some(chunk));
            }
            if self.phase.is_some() && self.look()? {
                continue;
            }
            let Some(phase) = self.phase.as_mut().filter(|_| !ended) else { return Ok(None) };
            // The end wakes it at once, and so does the container's removal.
            let _ = tokio::time::timeout(PAUSE, phase.changed()).await;
        }
    }

    /// What is there of the files that are known.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(file) = self.files.front_mut() {
            let mut chunk = vec![0; usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK))];
            let count = file.read(&mut chunk)?;
            if count > 0 {
                chunk.truncate(count);
                self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                return Ok(Some(chunk));
            }
            if self.files.len() == 1 {
                break;
            }
            // Whoever wrote it had gone on to the next before this was read to its end.
            self.files.pop_front();
        }
        Ok(None)
    }

    /// Looks for files that have begun since the newest that is known; whether there are any.
    fn look(&mut self) -> io::Result<bool> {
        let found = logfile::generations(&self.path, self.limit)?;
        let known = self.newest;
        self.newest = found.first().map(|(_, inode)| *inode).or(known);
        let begun: Vec<File> =
            found.into_iter().take_while(|(_, inode)| Some(*inode) != known).map(|(file, _)| file).collect();
        let any = !begun.is_empty();
        self.files.extend(begun.into_iter().rev());
        Ok(any)
    }
}

/// Whether a container does not run, or is no more.
fn has_ended(phase: &watch::Receiver<Phase>) -> bool {
    phase.has_changed().is_err() || !matches!(*phase.borrow(), Phase::Running { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::logfile::Writer;

    const LIMIT: Limit = Limit { max_bytes: 1000, max_files: 3 };

    fn running() -> Phase {
        Phase::Running { pid: 1, started: Moment::now() }
    }

    async fn all(log: &mut ContainerLog) -> String {
        let mut text = Vec::new();
        while let Some(chunk) = log.next().await.unwrap() {
            text.extend(chunk);
        }
        String::from_utf8(text).unwrap()
    }

    /// What is written is told, waiting for more, until the container has ended or is removed; nothing of it is lost.
    #[tokio::test]
    async fn follows_to_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.log");
        let (phase, receiver) = watch::channel(running());
        let mut log = ContainerLog::open(path.clone(), LIMIT, Some(receiver)).unwrap();
        assert!(tokio::time::timeout(PAUSE, log.next()).await.is_err(), "it waits for the file, too");
        let mut writer = Writer::new(path.clone(), LIMIT);
        writer.append(b"one");
        assert_eq!(log.next().await.unwrap().unwrap(), b"one");
        assert!(tokio::time::timeout(PAUSE, log.next()).await.is_err(), "it waits");
        writer.append(b"two");
        phase.send_replace(Phase::Exited { code: 0, started: None, finished: Moment::now() });
        assert_eq!(all(&mut log).await, "two");
        let (phase, receiver) = watch::channel(running());
        let mut removed = ContainerLog::open(path, LIMIT, Some(receiver)).unwrap();
        writer.append(b"last");
        drop(phase);
        assert_eq!(all(&mut removed).await, "onetwolast");
    }

    /// Over the change from one file to the next nothing is lost or told twice, and what is kept is told from its beginning.
    #[tokio::test]
    async fn follows_over_rotations() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.log");
        let (phase, receiver) = watch::channel(running());
        let mut log = ContainerLog::open(path.clone(), LIMIT, Some(receiver)).unwrap();
        let mut writer = Writer::new(path.clone(), LIMIT);
        let (mut written, mut told) = (String::new(), String::new());
        for round in 0..100 {
            for line in 0..17 {
                let line = format!("line {line} of round {round}\n");
                writer.append(line.as_bytes());
                written.push_str(&line);
            }
            while told.len() < written.len() {
                told.push_str(std::str::from_utf8(&log.next().await.unwrap().unwrap()).unwrap());
            }
        }
        drop(phase);
        assert_eq!(all(&mut log).await, "");
        assert_eq!(told, written);
        let kept = all(&mut ContainerLog::open(path, LIMIT, None).unwrap()).await;
        assert!(written.ends_with(&kept) && (2001..=3000).contains(&kept.len()), "{}", kept.len());
    }
}
