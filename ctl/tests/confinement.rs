//! What a confined thread can and cannot do. Confinement belongs to threads, so each test spends one of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what is wrong")]

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;

use landlock::{AccessFs, LandlockStatus, Ruleset, RulesetAttr};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use vswitch_api::version::{Confinement, SystemCalls};
use vswitch_ctl::confinement::{Mode, Places, confine};
use vswitch_ctl::privileges;

/// Runs `act` in a thread that gave up its privileges and is confined to `own`.
fn confined<T: Send + 'static>(mode: Mode, own: &Path, act: impl FnOnce(Confinement) -> T + Send + 'static) -> T {
    let places = Places { own: vec![own.to_owned()], ..Places::default() };
    let thread = thread::spawn(move || {
        privileges::drop_all().unwrap();
        act(confine(mode, &places).unwrap())
    });
    thread.join().unwrap()
}

/// The kernel's landlock, if any, asked in a thread of its own.
fn landlock_abi() -> Option<u32> {
    let ask = || {
        let ruleset = Ruleset::default().handle_access(AccessFs::Execute).unwrap().create().unwrap();
        ruleset.restrict_self().unwrap().landlock
    };
    match thread::spawn(ask).join().unwrap() {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Some(kernel_abi.unwrap_or(effective_abi as i32).unsigned_abs())
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
    }
}

/// What it says is what the kernel has.
#[test]
fn says_what_is_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let said = confined(Mode::Refuse, dir.path(), |said| said);
    assert_eq!(said, Confinement { system_calls: SystemCalls::Refused, landlock: landlock_abi() });
    let status = confined(Mode::Refuse, dir.path(), |_| fs::read_to_string("/proc/thread-self/status").unwrap());
    assert!(status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nSeccomp:\t2\n"), "{status}");
    let (said, status) =
        confined(Mode::Off, dir.path(), |said| (said, fs::read_to_string("/proc/thread-self/status").unwrap()));
    assert_eq!(said, Confinement { system_calls: SystemCalls::Unrestricted, landlock: None });
    assert!(status.contains("\nSeccomp:\t0\n"), "{status}");
}

/// What vswitchd does all day goes on: threads, files of its own, sockets, clocks, pipes.
#[test]
fn normal_work_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().to_owned();
    confined(Mode::Kill, dir.path(), move |_| {
        fs::create_dir(own.join("logs")).unwrap();
        fs::write(own.join("logs/new"), "text").unwrap();
        fs::rename(own.join("logs/new"), own.join("moved")).unwrap();
        assert_eq!(fs::read_to_string(own.join("moved")).unwrap(), "text");
        assert_eq!(fs::read_dir(&own).unwrap().count(), 2);
        fs::remove_file(own.join("moved")).unwrap();
        fs::remove_dir(own.join("logs")).unwrap();
        fs::read_to_string("/proc/net/route").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = thread::spawn(move || TcpStream::connect(listener.local_addr().unwrap()).map(|_| listener));
        client.join().unwrap().unwrap().set_nonblocking(true).unwrap();
        UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(tokio::time::sleep(std::time::Duration::from_millis(1))).await.unwrap();
            tokio::task::spawn_blocking(|| rustix::pipe::pipe().unwrap()).await.unwrap();
        });
    });
}

/// No program, no process, no namespace, no raw socket, no signal to others, no executable memory, no change of modes:
/// each is refused, and the thread lives on.
#[test]
fn the_rest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().to_owned();
    fs::write(own.join("file"), "").unwrap();
    let refused = |result: Result<(), Errno>, what: &str| assert_eq!(result, Err(Errno::PERM), "{what}");
    confined(Mode::Refuse, dir.path(), move |_| {
        let error = Command::new("/bin/true").status().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()), "a program: {error}");
        let raw = |family, kind| socket_with(family, kind, SocketFlags::CLOEXEC, None).map(drop);
        refused(raw(AddressFamily::PACKET, SocketType::RAW), "a packet socket");
        refused(raw(AddressFamily::INET, SocketType::RAW), "a raw socket");
        refused(raw(AddressFamily::NETLINK, SocketType::DGRAM), "a netlink socket");
        refused(raw(AddressFamily::UNIX, SocketType::SEQPACKET), "a connection to another agent");
        refused(raw(AddressFamily::UNIX, SocketType::STREAM), "a connection to a service of the host");
        refused(raw(AddressFamily::UNIX, SocketType::DGRAM), "a message to a service of the host");
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map(drop);
        refused(pair(SocketType::DGRAM), "a pair that could be connected anew");
        assert_eq!((pair(SocketType::STREAM), pair(SocketType::SEQPACKET)), (Ok(()), Ok(())));
        refused(pidfd_open(Pid::INIT, PidfdFlags::empty()).map(drop), "a descriptor of a process");
        let namespace = vswitch_switch::sys::namespace::unshare(vswitch_switch::sys::namespace::Unshare::User);
        assert_eq!(namespace.unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()), "a user namespace");
        refused(kill_process(Pid::INIT, Signal::WINCH), "a signal");
        refused(
            rustix::thread::set_name(c"x")
                .map(drop)
                .and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)),
            "becoming dumpable",
        );
        refused(rustix::fs::chmod(own.join("file"), 0o777.into()), "another mode");
        refused(rustix::fs::symlink("/etc", own.join("link")), "a symbolic link");
        refused(rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::empty()).map(drop), "an anonymous file");
    });
}

/// Files outside its own places are out of reach, whatever their modes and however they are named; this needs landlock,
/// and without it `says_what_is_in_effect` has shown that vswitchd says so.
#[test]
fn other_files_are_out_of_reach() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (own, precious) = (dir.path().to_owned(), other.path().join("precious"));
    fs::write(&precious, "text").unwrap();
    std::os::unix::fs::symlink(&precious, own.join("link")).unwrap();
    let enforced = landlock_abi().is_some();
    confined(Mode::Refuse, dir.path(), move |_| {
        for path in [precious.clone(), own.join("link"), own.join("..").join(precious.strip_prefix("/tmp").unwrap())] {
            let read = File::open(&path).map_err(|error| error.raw_os_error());
            assert_eq!(read.is_err(), enforced, "{} {read:?}", path.display());
        }
        assert_eq!(File::options().append(true).open(&precious).is_err(), enforced);
        assert_eq!(File::open("/etc").is_err(), enforced);
    });
    assert_eq!(fs::read_to_string(other.path().join("precious")).unwrap(), "text");
}

/// In the mode of the tests a call outside the list ends the process with SIGSYS, as the kernel does it.
#[test]
fn the_rest_is_fatal_in_tests() {
    const CHILD: &str = "VSWITCH_CONFINED_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let survived = confined(Mode::Kill, &std::env::temp_dir(), |_| kill_process(Pid::INIT, Signal::WINCH));
        panic!("{survived:?}");
    }
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own);
    child.args(["--exact", "the_rest_is_fatal_in_tests", "--nocapture"]).env(CHILD, "1");
    let status: ExitStatus = child.output().unwrap().status;
    assert_eq!(status.signal(), Some(Signal::SYS.as_raw()), "{status}");
}

/// A place of its own that is not there is an error that names it, not a silent hole.
#[test]
fn a_missing_place() {
    let places = Places { own: vec!["/nonexistent".into()], ..Places::default() };
    let refused = thread::spawn(move || confine(Mode::Refuse, &places).map_err(|error| error.to_string()));
    match refused.join().unwrap() {
        Err(sentence) => assert!(sentence.contains("/nonexistent") && sentence.contains("--confinement"), "{sentence}"),
        Ok(said) => panic!("confined to nothing: {said:?}"),
    }
}
