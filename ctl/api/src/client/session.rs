//! A process with the caller's standard streams: the client's side of [`crate::stdio`].

use std::io::{self, Cursor, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use hyper::body::Bytes;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Chain, Interest};
use tokio::net::UnixStream;

use super::Client;
use crate::ClientError;
use crate::stdio::StdioEvent;

/// The three descriptors to hand over. The caller keeps its own copies and may close them afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Streams<'a> {
    /// Standard input.
    pub stdin: BorrowedFd<'a>,
    /// Standard output.
    pub stdout: BorrowedFd<'a>,
    /// Standard error.
    pub stderr: BorrowedFd<'a>,
}

impl<'a> Streams<'a> {
    /// One descriptor for all three, as a terminal has it.
    #[must_use]
    pub fn all(terminal: BorrowedFd<'a>) -> Self {
        Streams { stdin: terminal, stdout: terminal, stderr: terminal }
    }
}

/// What becomes of a process whose streams were handed over. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Session {
    client: Client,
    lines: BufReader<Chain<Cursor<Bytes>, UnixStream>>,
    /// The start of a line whose end has not arrived yet.
    line: Vec<u8>,
}

impl Session {
    /// Hand the streams over; `early` is what the daemon said right behind its 101.
    pub(super) async fn open(
        client: Client,
        stream: UnixStream,
        early: Bytes,
        streams: Streams<'_>,
    ) -> Result<Self, ClientError> {
        let sent = stream.async_io(Interest::WRITABLE, || send(&stream, streams)).await;
        sent.map_err(|error| client.broken(&format!("the streams could not be handed over: {error}")))?;
        Ok(Session { client, lines: BufReader::new(Cursor::new(early).chain(stream)), line: Vec::new() })
    }

    /// What happens next. `None`: the daemon went away without saying how the process ended.
    ///
    /// May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// [`ClientError::Broken`]: the daemon said something that is not as agreed.
    pub async fn next(&mut self) -> Result<Option<StdioEvent>, ClientError> {
        match self.lines.read_until(b'\n', &mut self.line).await {
            Ok(_) if self.line.is_empty() => Ok(None),
            Ok(_) => {
                let line = std::mem::take(&mut self.line);
                serde_json::from_slice(&line).map(Some).map_err(|error| self.client.broken(&error))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(self.client.broken(&error)),
        }
    }
}

/// One zero byte with the descriptors beside it.
fn send(stream: &UnixStream, streams: Streams<'_>) -> io::Result<()> {
    let descriptors = [streams.stdin, streams.stdout, streams.stderr];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "the space is for three descriptors");
    rustix::net::sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
