//! Terminals of processes that no client brings one for. Read first: pty(7).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

/// The side that is kept, non-blocking, and the one for the process.
pub(super) fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let kept = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&kept)?;
    unlockpt(&kept)?;
    let name = ptsname(&kept, Vec::new())?;
    let given = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    fcntl_setfl(&kept, fcntl_getfl(&kept)? | OFlags::NONBLOCK)?;
    resize(&kept, USUAL)?;
    Ok((kept, given))
}

/// Rows and columns.
pub(super) fn resize(terminal: impl AsFd, (rows, columns): (u16, u16)) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Until a client says its own.
const USUAL: (u16, u16) = (24, 80);
