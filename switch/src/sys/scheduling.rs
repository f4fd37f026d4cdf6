//! How the kernel shares cores among threads. Read first: sched_setattr(2); Linux `Documentation/scheduler/sched-eevdf.rst`.

use std::io;
use std::mem::{self, size_of};

use super::checked;

/// `struct sched_attr` of `linux/sched/types.h`, in its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks for slices of so many nanoseconds for the calling thread and the threads that it starts. Its share of the cores stays
/// the same; it is taken in smaller pieces, so that a thread that wakes up waits for less of somebody else's slice (of 3 ms
/// otherwise), and others wait for less of its own.
///
/// Needs no privilege. Kernels before 6.12 take the wish and do nothing about it. A thread that somebody put under another
/// policy than the usual one keeps it.
///
/// # Errors
/// What the kernel says.
pub fn ask_for_slices(nanos: u64) -> io::Result<()> {
    let size = u32::try_from(size_of::<Attributes>()).expect("48");
    // SAFETY: the structure is plain data for which zero is valid.
    let mut attributes: Attributes = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live structure of the size that is given; thread 0 is the calling one.
    checked(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) })?;
    if attributes.policy != u32::try_from(libc::SCHED_OTHER).expect("0") {
        return Ok(());
    }
    attributes.size = size;
    attributes.runtime = nanos;
    // SAFETY: as above; the kernel only reads the structure.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel takes the wish and tells it; what else it knows of the thread is as before.
    #[test]
    fn slices() {
        let read = || {
            // SAFETY: the structure is plain data for which zero is valid, and the pointer is to a live one of that size.
            unsafe {
                let mut attributes: Attributes = mem::zeroed();
                let size = size_of::<Attributes>();
                assert_eq!(libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0), 0);
                attributes
            }
        };
        let before = read();
        ask_for_slices(300_000).unwrap();
        let after = read();
        assert_eq!((after.policy, after.nice, after.flags), (before.policy, before.nice, before.flags));
        assert!(after.runtime == 300_000 || after.runtime == before.runtime, "Linux before 6.12 has no such slices");
    }
}
