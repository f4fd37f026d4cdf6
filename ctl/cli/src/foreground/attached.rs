//! Streams that the agent keeps, brought to the caller: they can be left, and come back to.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;
use rustix::process::Signal;
use tokio::sync::oneshot;
use vswitch_api::client::{Frames, StreamsWanted};
use vswitch_api::keys::detach_keys;
use vswitch_api::{Client, ClientError};

use super::signals::Signals;
use super::terminal::{RawMode, size};
use super::{RESTART_TIME, RETRY_PAUSE, exit_code};
use crate::output;

/// How to leave.
#[derive(Debug, Clone, Args)]
pub(crate) struct LeaveArgs {
    /// Keys that leave a container with -i and -t, which goes on
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub(crate) detach_keys: String,
    /// Accepted for Docker's sake: signals are passed on unless the container has a terminal
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: Option<bool>,
}

/// What to be connected with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attachment<'a> {
    /// The container.
    pub(crate) container: &'a str,
    /// It has a terminal.
    pub(crate) tty: bool,
    /// With which of its streams, and how it is left.
    pub(crate) streams: StreamsWanted<'a>,
    /// Start it once we listen.
    pub(crate) start: bool,
}

impl Attachment<'_> {
    /// Anything of what it writes.
    const fn hears(&self) -> bool {
        self.streams.output || self.streams.errors
    }
}

/// Connect until the container ends or is left; its exit status.
pub(crate) async fn attach(client: &Client, wanted: Attachment<'_>) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let keys = keys(wanted.streams.detach_keys)?;
    let left = Arc::new(AtomicBool::new(false));
    let (waiting, id) = (client.clone(), wanted.container.to_owned());
    // Before the start: a container that is removed at its end is gone at once.
    let mut ended = tokio::spawn(async move { waiting.wait_container(&id).await });
    let mut closed = connect(client, wanted, &keys, &left).await?;
    let raw = if wanted.tty && wanted.streams.input { RawMode::enter()? } else { None };
    if wanted.start {
        client.start_container(wanted.container).await?;
    }
    resize(client, wanted).await;
    let deadline = crate::clock::instant() + RESTART_TIME;
    let outcome = loop {
        tokio::select! {
            _ = &mut closed => {
                if left.load(Ordering::Relaxed) {
                    break Ok(End::Left);
                }
                if !wanted.hears() {
                    break Ok(End::Told);
                }
                match (&mut ended).await {
                    Ok(Ok(status)) => break Ok(End::Status(status.exit_code)),
                    Ok(Err(refused @ ClientError::Refused { .. })) => break Err(refused),
                    _ if crate::clock::instant() >= deadline => {
                        break Err(client.container(wanted.container).await.err().unwrap_or(ClientError::Broken {
                            socket: String::new(),
                            detail: "vswitchd does not come back".to_owned(),
                        }));
                    }
                    _ => {}
                }
                // vswitchd went away; the container lives on.
                tokio::time::sleep(RETRY_PAUSE).await;
                let (waiting, id) = (client.clone(), wanted.container.to_owned());
                ended = tokio::spawn(async move { waiting.wait_container(&id).await });
                if let Ok(again) = connect_output(client, wanted).await {
                    closed = again;
                }
            },
            signal = signals.next() => match signal {
                Signal::WINCH => resize(client, wanted).await,
                // The keys of a terminal reach the process as bytes; who signals us means us.
                signal if wanted.tty => break Ok(End::Status(128 + signal.as_raw())),
                signal => {
                    if let Err(error) = client.kill_container(wanted.container, signal.as_raw()).await {
                        output::note(&format!("warning: the signal was not passed on: {error}"));
                    }
                }
            },
        }
    };
    drop(raw);
    Ok(match outcome? {
        End::Status(status) => exit_code(status),
        End::Told => ExitCode::SUCCESS,
        End::Left => {
            output::note("read escape sequence");
            ExitCode::SUCCESS
        }
    })
}

/// How it ended, as far as we are concerned.
enum End {
    /// With the container's exit status.
    Status(i32),
    /// We have sent everything, and were not to hear anything.
    Told,
    /// By the keys.
    Left,
}

/// Carries both directions; what comes says that nothing more comes.
async fn connect(
    client: &Client,
    wanted: Attachment<'_>,
    keys: &[u8],
    left: &Arc<AtomicBool>,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (stream, early) = client.attach_container(wanted.container, wanted.streams).await?;
    let stream = blocking(stream)?;
    let (sent, told) = oneshot::channel();
    if wanted.streams.input {
        let (mut to, left) = (stream.try_clone()?, left.clone());
        let keys = if wanted.tty { keys.to_vec() } else { Vec::new() };
        thread::Builder::new().name("input".into()).spawn(move || {
            carry_input(&mut to, &keys, &left);
            // Nobody waits where something is to be heard.
            let _ = sent.send(());
        })?;
    }
    if wanted.hears() { carry_output(stream, &early, wanted.tty) } else { Ok(told) }
}

/// What the container writes, after vswitchd has gone and come back.
async fn connect_output(client: &Client, wanted: Attachment<'_>) -> anyhow::Result<oneshot::Receiver<()>> {
    let streams = StreamsWanted { input: false, ..wanted.streams };
    let (stream, early) = client.attach_container(wanted.container, streams).await?;
    carry_output(blocking(stream)?, &early, wanted.tty)
}

fn blocking(stream: tokio::net::UnixStream) -> io::Result<UnixStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn carry_output(stream: UnixStream, early: &[u8], tty: bool) -> anyhow::Result<oneshot::Receiver<()>> {
    let (sender, closed) = oneshot::channel();
    let early = early.to_vec();
    thread::Builder::new().name("output".into()).spawn(move || {
        let mut frames = (!tty).then(Frames::default);
        let mut buffer = vec![0; 64 << 10];
        let mut written = show(frames.as_mut(), &early);
        while written.is_ok() {
            match rustix::io::retry_on_intr(|| rustix::io::read(&stream, &mut buffer)) {
                Ok(length @ 1..) => written = show(frames.as_mut(), &buffer[..length]),
                _ => break,
            }
        }
        // Nobody waits any more: that is fine.
        let _ = sender.send(());
    })?;
    Ok(closed)
}

fn show(frames: Option<&mut Frames>, bytes: &[u8]) -> io::Result<()> {
    let Some(frames) = frames else {
        io::stdout().write_all(bytes)?;
        return io::stdout().flush();
    };
    for piece in frames.take(bytes) {
        if piece.errors {
            io::stderr().write_all(&piece.bytes)?;
        } else {
            io::stdout().write_all(&piece.bytes)?;
        }
    }
    io::stdout().flush()
}

/// Until our input ends, or holds the keys that leave.
fn carry_input(to: &mut UnixStream, keys: &[u8], left: &AtomicBool) {
    let stdin = io::stdin();
    let mut buffer = [0; 4096];
    let mut recent: Vec<u8> = Vec::new();
    while let Ok(length @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(stdin.as_fd(), &mut buffer)) {
        recent.extend_from_slice(&buffer[..length]);
        if !keys.is_empty() && recent.windows(keys.len()).any(|part| part == keys) {
            left.store(true, Ordering::Relaxed);
        }
        recent.drain(..recent.len().saturating_sub(keys.len().saturating_sub(1)));
        // vswitchd looks for the keys, too, and closes the connection.
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

async fn resize(client: &Client, wanted: Attachment<'_>) {
    if let Some(size) = size().filter(|_| wanted.tty) {
        // A size is a courtesy.
        let _ = client.resize_container(wanted.container, size.ws_row, size.ws_col).await;
    }
}

fn keys(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(detach_keys(text).map_err(crate::failure::Usage)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys are letters with and without control; everything else is refused.
    #[test]
    fn detach_keys() {
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), [0x10, 0x11]);
        assert_eq!(keys("ctrl-a,x").unwrap(), [1, b'x']);
        assert!(keys("ctrl-1").is_err() && keys("").is_err());
    }
}
