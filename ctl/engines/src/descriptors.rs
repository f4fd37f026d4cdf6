//! Descriptors that whoever called this program gave it, by number.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The least number of a descriptor that is none of the three that everybody has.
const FIRST: i32 = 3;

/// Takes descriptors over that were named by number, and closes all others but the first three, so that nobody who is started
/// here has them. To be called before anything else is opened.
///
/// # Errors
/// When one of them is none.
pub(crate) fn take<const N: usize>(numbers: [Option<i32>; N]) -> io::Result<[Option<OwnedFd>; N]> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut taken = [const { None }; N];
    for (number, taken) in numbers.into_iter().zip(&mut taken) {
        if let Some(number) = number {
            *taken = Some(pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?);
        }
    }
    // Inherited ones, as far as they are not closed with the program that is executed next.
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= FIRST)
        .collect();
    for number in open {
        if is_inherited(number) {
            // One that is gone already is closed.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(taken)
}

/// Descriptors of this program's own are close-on-exec, others were there before it.
fn is_inherited(number: i32) -> bool {
    let Ok(about) = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else { return false };
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & rustix::fs::OFlags::CLOEXEC.bits() == 0)
}
