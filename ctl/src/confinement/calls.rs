//! The system calls of a vswitchd that serves.
//!
//! A call that is missed here shows in the end-to-end tests, which run with `--confinement kill`: the kernel's log names
//! the number, `strace -f` the place. Before adding one, ask what somebody who runs code in vswitchd gains by it.

use libc::c_long;

/// What an argument is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    /// A number.
    Value(u64),
    /// vswitchd's process id.
    OwnProcess,
}

/// What must hold of one argument, of which the kernel looks at 32 bits unless it is a pointer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Check {
    /// Equal.
    Is(Argument),
    /// A pointer that is null.
    Null,
    /// These bits have this value.
    Masked {
        /// Which bits.
        mask: u64,
        /// Their value.
        value: u64,
    },
}

/// Checks of arguments by their index, all of which must hold.
pub(super) type Checks = [(u8, Check)];

/// Allowed with any arguments.
pub(super) const FREE: &[c_long] = &[
    // Frames and everything else that goes through descriptors.
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_splice,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_pipe2,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Sockets; which kinds can be made is narrowed below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Files, as far as landlock and their modes allow. Landlock knows nothing of modes, owners, times and attributes, so none
    // of them can be changed.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_flock,
    libc::SYS_umask,
    // Memory; none that can be executed, see below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Answered by the other filter: there is none.
    libc::SYS_clone3,
    // Signals that arrive.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    // The agent's end.
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Time, chance, and who we are.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Older spellings, which this architecture has and C libraries still use.
#[cfg(target_arch = "x86_64")]
pub(super) const LEGACY: &[c_long] = &[
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_time,
];
/// Older spellings, which this architecture has and C libraries still use.
#[cfg(target_arch = "aarch64")]
pub(super) const LEGACY: &[c_long] = &[libc::SYS_renameat];
/// Older spellings: none.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) const LEGACY: &[c_long] = &[];

const fn bits(flags: i32) -> u64 {
    // A flag word is not a number: its sign bit is a flag like the others.
    flags.cast_unsigned() as u64
}

const fn is(value: i32) -> Check {
    Check::Is(Argument::Value(bits(value)))
}

/// Flags of clone that make a namespace.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Memory that nothing is executed from.
const DATA: &Checks = &[(2, Check::Masked { mask: bits(libc::PROT_EXEC), value: 0 })];

/// The part of a socket's type that is no flag.
const KIND: u64 = 0xf;

const fn socket(family: i32, kind: i32) -> [(u8, Check); 2] {
    [(0, is(family)), (1, Check::Masked { mask: KIND, value: bits(kind) })]
}

/// `PR_SET_VMA`, by which C libraries name their memory; missing in the libc crate for some.
const PR_SET_VMA: i32 = 0x5356_4d41;

/// Allowed when one of the lists of checks holds.
pub(super) const NARROWED: &[(c_long, &[&Checks])] = &[
    // Threads, no processes and no namespaces.
    (
        libc::SYS_clone,
        &[&[(0, Check::Masked { mask: bits(NAMESPACES | libc::CLONE_THREAD), value: bits(libc::CLONE_THREAD) })]],
    ),
    (libc::SYS_mmap, &[DATA]),
    (libc::SYS_mprotect, &[DATA]),
    // Neither packet sockets, which the agent opens, nor raw ones, netlink or anything less common. None of the Unix family:
    // vswitchd keeps uid 0 where root started it, and to many services that is all that counts.
    (
        libc::SYS_socket,
        &[
            &socket(libc::AF_INET, libc::SOCK_STREAM),
            &socket(libc::AF_INET, libc::SOCK_DGRAM),
            &socket(libc::AF_INET6, libc::SOCK_STREAM),
            &socket(libc::AF_INET6, libc::SOCK_DGRAM),
        ],
    ),
    // One end of a pair of these is connected for good; one of datagrams could be connected anew, to any service.
    (libc::SYS_socketpair, &[&socket(libc::AF_UNIX, libc::SOCK_STREAM), &socket(libc::AF_UNIX, libc::SOCK_SEQPACKET)]),
    // What the standard library and its like ask about descriptors. Nothing about devices.
    (
        libc::SYS_ioctl,
        &[
            &[(1, Check::Is(Argument::Value(libc::FIONBIO)))],
            &[(1, Check::Is(Argument::Value(libc::FIONREAD)))],
            &[(1, Check::Is(Argument::Value(libc::FIOCLEX)))],
            // The number of an interface that a link-local resolver is named with.
            &[(1, Check::Is(Argument::Value(libc::SIOCGIFINDEX)))],
            &[(1, Check::Is(Argument::Value(libc::TCGETS)))],
            &[(1, Check::Is(Argument::Value(libc::TIOCOUTQ)))],
        ],
    ),
    // Names of threads and of memory.
    (libc::SYS_prctl, &[&[(0, is(libc::PR_SET_NAME))], &[(0, is(PR_SET_VMA))]]),
    // Reading the limits of our own.
    (libc::SYS_prlimit64, &[&[(0, is(0)), (2, Check::Null)]]),
    // How a panic that nobody catches ends.
    (libc::SYS_tgkill, &[&[(0, Check::Is(Argument::OwnProcess))]]),
];
