//! Ending with the process that started this one.
//!
//! A signal at its death (PR_SET_PDEATHSIG) does not do: by then it is vswitchd, whose confinement lets no signal out to
//! others, not even that one.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getppid, pidfd_open};

/// The process that started this one.
#[derive(Debug)]
pub(super) struct Parent(OwnedFd);

impl Parent {
    /// To be called first: who has ended by then cannot be waited for.
    ///
    /// # Errors
    /// When it has ended already.
    pub(super) fn open() -> io::Result<Self> {
        let gone = || io::Error::other("whoever started this worker has ended");
        let parent = getppid().ok_or_else(gone)?;
        let opened = pidfd_open(parent, PidfdFlags::empty())?;
        if getppid() == Some(parent) { Ok(Parent(opened)) } else { Err(gone()) }
    }

    /// Waits for its end.
    pub(super) fn ended(&self) -> io::Result<()> {
        while let Err(error) = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(())
    }
}
