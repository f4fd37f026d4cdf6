//! Descriptors that must not reach the next program. Read first: close_range(2).

use std::io;

use super::checked;

/// Marks every descriptor from `first` on, so that it is closed when this process executes a program. They stay open and
/// usable until then.
///
/// # Errors
/// What the kernel says (before Linux 5.11 it does not know this).
pub fn close_on_exec(first: u32) -> io::Result<()> {
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).map_err(io::Error::other)?;
    // SAFETY: with CLOSE_RANGE_CLOEXEC no descriptor is closed, so nobody loses one that it owns.
    checked(unsafe { libc::close_range(first, libc::c_uint::MAX, flags) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A descriptor that a program would have inherited is not there any more.
    #[test]
    fn hides_descriptors_from_programs() {
        let (reader, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::empty()).unwrap();
        close_on_exec(3).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let status = Command::new("test").args(["!", "-e", &path]).status().unwrap();
        assert!(status.success());
    }
}
