//! Signal dispositions that must not reach the next program. Read first: signal(7), execve(2): what is ignored stays ignored.

/// Gives every signal its default action. For a process that is about to execute a program for somebody else: whoever
/// started this one may have had signals ignored, as a shell does for what it runs in the background.
pub fn reset() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no function of ours is installed. What cannot be changed (SIGKILL, SIGSTOP, those of libc itself) is refused and
        // has its default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
