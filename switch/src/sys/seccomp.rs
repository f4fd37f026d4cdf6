//! Filters of system calls for programs that may gain privileges. Read first: seccomp(2).

use std::io;

/// One instruction of a filter: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Filters the calls of the calling thread and of whatever it starts, for good. Unlike others this leaves `no_new_privs` as it
/// is, so that it needs CAP_SYS_ADMIN in the thread's user namespace.
///
/// # Errors
/// What the kernel says.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    let mut instructions: Vec<libc::sock_filter> =
        program.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let length = u16::try_from(instructions.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // SAFETY: `program` points at `length` instructions, which live until the call returns; the kernel checks and copies
    // them. The result is checked.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty filter and one that jumps out of itself are refused by the kernel.
    #[test]
    fn refuses_nonsense() {
        for program in [&[][..], &[(0x05, 0, 0, 77)]] {
            let error = install(program).unwrap_err();
            assert!([Some(libc::EINVAL), Some(libc::EACCES)].contains(&error.raw_os_error()), "{error}");
        }
    }
}
