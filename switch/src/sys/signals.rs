//! Signal dispositions that must not reach the next program, and signals that have no name.
//! Read first: signal(7), execve(2): what is ignored stays ignored; pidfd_send_signal(2).

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use super::checked;

/// Gives every signal its default action. For a process that is about to execute a program for somebody else: whoever
/// started this one may have had signals ignored, as a shell does for what it runs in the background.
pub fn reset() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no function of ours is installed. What cannot be changed (SIGKILL, SIGSTOP, those of libc itself) is refused and
        // has its default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Sends a process a signal by its number, which may be one of real time.
///
/// # Errors
/// What the kernel says.
pub fn send(process: impl AsFd, number: i32) -> io::Result<()> {
    let process = process.as_fd().as_raw_fd();
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor lives as long as the call; without a siginfo the kernel makes its own.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, number, info, 0) };
    checked(sent).map(drop)
}
