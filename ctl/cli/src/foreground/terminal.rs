//! A terminal for the process, mirrored on ours.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};
use tokio::sync::oneshot;

/// End of transmission: what Ctrl-D sends.
const EOT: u8 = 4;
/// After the process has ended, its last output has arrived once it has been silent for so long.
const SILENCE: Duration = Duration::from_millis(200);
const UNKNOWN_SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// Whether the process gets a terminal.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TtyArgs {
    /// Give the process a terminal [default: if standard input and output are terminals]
    #[arg(short, long, overrides_with = "no_tty")]
    tty: bool,
    /// Give the process no terminal
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// Keep standard input open: with -d for whoever attaches, with -t so that the terminal can be left and come back to
    #[arg(short, long)]
    interactive: bool,
}

impl TtyArgs {
    /// A terminal is asked for, whatever the caller has.
    pub(crate) const fn explicit(self) -> bool {
        self.tty
    }

    /// Standard input is to be kept open.
    pub(crate) const fn interactive(self) -> bool {
        self.interactive
    }

    pub(crate) fn wanted(self) -> bool {
        self.tty || (!self.no_tty && io::stdin().is_terminal() && io::stdout().is_terminal())
    }
}

/// A pty, and our own terminal in raw mode while bytes are carried between the two.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: Arc<OwnedFd>,
    subordinate: Option<OwnedFd>,
    raw: Option<RawMode>,
    output: Option<Output>,
}

/// What the process writes, on its way to our standard output.
#[derive(Debug)]
struct Output {
    bytes: Arc<AtomicU64>,
    closed: oneshot::Receiver<()>,
}

impl Terminal {
    /// A new pty of our terminal's size.
    pub(crate) fn open() -> anyhow::Result<Self> {
        let make = || -> rustix::io::Result<(OwnedFd, OwnedFd)> {
            let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
            rustix::pty::grantpt(&master)?;
            rustix::pty::unlockpt(&master)?;
            let name = rustix::pty::ptsname(&master, Vec::new())?;
            let subordinate = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
            Ok((master, subordinate))
        };
        let (master, subordinate) =
            make().context("no terminal can be made for the process (is /dev/pts mounted?); -T does without")?;
        let terminal = Terminal { master: Arc::new(master), subordinate: Some(subordinate), raw: None, output: None };
        terminal.resize();
        Ok(terminal)
    }

    /// The side for the process.
    pub(crate) fn subordinate(&self) -> anyhow::Result<BorrowedFd<'_>> {
        self.subordinate.as_ref().map(AsFd::as_fd).context("the terminal was handed over already")
    }

    /// The subordinate side is handed over: switch our terminal to raw mode and carry bytes.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        self.subordinate = None;
        self.raw = RawMode::enter()?;
        let master = self.master.clone();
        thread::Builder::new().name("terminal-in".into()).spawn(move || carry_input(&master))?;
        let (sender, closed) = oneshot::channel();
        let bytes = Arc::new(AtomicU64::new(0));
        self.output = Some(Output { bytes: bytes.clone(), closed });
        let master = self.master.clone();
        thread::Builder::new().name("terminal-out".into()).spawn(move || {
            carry_output(&master, &bytes);
            // Nobody waits any more: that is fine.
            let _ = sender.send(());
        })?;
        Ok(())
    }

    /// Make the pty as large as our terminal.
    pub(crate) fn resize(&self) {
        let ours = size().unwrap_or(UNKNOWN_SIZE);
        // A size is a courtesy.
        let _ = rustix::termios::tcsetwinsize(&self.master, ours);
    }

    /// Wait for the last output, then give our terminal back as it was.
    pub(crate) async fn end(mut self) {
        let Some(mut output) = self.output.take() else { return };
        loop {
            let before = output.bytes.load(Ordering::Relaxed);
            let closed = tokio::time::timeout(SILENCE, &mut output.closed).await.is_ok();
            if closed || output.bytes.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// The size of our terminal, if we have one.
pub(super) fn size() -> Option<Winsize> {
    [io::stdout().as_fd(), io::stdin().as_fd()].into_iter().find_map(|side| rustix::termios::tcgetwinsize(side).ok())
}

/// Our terminal in raw mode; as it was again when this is dropped.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// `None` if our standard input is no terminal.
    pub(super) fn enter() -> anyhow::Result<Option<Self>> {
        let stdin = io::stdin();
        let Ok(before) = rustix::termios::tcgetattr(&stdin) else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Drain, &raw)
            .context("the terminal cannot be switched to raw mode; -T does without")?;
        Ok(Some(RawMode { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing is left to be done if the terminal is gone.
        let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

fn carry_input(master: &OwnedFd) {
    let stdin = io::stdin();
    let mut buffer = [0; 4096];
    let mut last = b'\n';
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&stdin, &mut buffer)) {
            Ok(length @ 1..) => {
                last = buffer[length - 1];
                if write_all(master, &buffer[..length]).is_err() {
                    return;
                }
            }
            // In the middle of a line, the first only ends the line's input.
            _ => {
                let _ = write_all(master, if last == b'\n' { &[EOT] } else { &[EOT, EOT] });
                return;
            }
        }
    }
}

/// Ends when nobody has the subordinate side open any more, or nobody reads our output.
fn carry_output(master: &OwnedFd, bytes: &AtomicU64) {
    let stdout = io::stdout();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(master, &mut buffer)) {
        if write_all(stdout.as_fd(), &buffer[..length]).is_err() {
            return;
        }
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

fn write_all(to: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&to, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}
