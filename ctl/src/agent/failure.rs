//! Failures as the agent reports them.

use std::io;

use super::protocol::{Failure, FailureKind};

impl Failure {
    /// A failure of this kind with this sentence.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into() }
    }

    /// What the kernel refused; the kind follows from its error.
    pub(crate) fn io(what: impl AsRef<str>, error: &io::Error) -> Failure {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => FailureKind::Gone,
            io::ErrorKind::PermissionDenied => FailureKind::NotPermitted,
            io::ErrorKind::AlreadyExists => FailureKind::Exists,
            _ if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => FailureKind::Gone,
            _ => FailureKind::Other,
        };
        Failure::new(kind, format!("cannot {}: {error}", what.as_ref()))
    }

    /// What netlink refused.
    pub(crate) fn netlink(what: impl AsRef<str>, error: &rtnetlink::Error) -> Failure {
        Failure::io(what, &netlink_io(error))
    }

    /// An interface of the host's that an ordinary user may not open: the `host's` or the `uplink's`.
    pub(crate) fn not_the_users(whose: &str, interface: &str) -> Failure {
        Failure::new(
            FailureKind::NotPermitted,
            format!(
                "an ordinary user may not open the {whose} interface {interface}; start vswitchd as root, or inside a user and \
                 network namespace of your own that has the interface"
            ),
        )
    }

    /// No sandbox of that id.
    pub(crate) fn no_sandbox(id: &str) -> Failure {
        Failure::new(FailureKind::Gone, format!("the agent has no sandbox {id}; start its container again"))
    }

    /// No endpoint of that id.
    pub(crate) fn no_endpoint(id: &str) -> Failure {
        Failure::new(FailureKind::Gone, format!("the agent has no endpoint {id}; attach it again"))
    }

    /// No process of that id.
    pub(crate) fn no_process(id: &str) -> Failure {
        Failure::new(FailureKind::Gone, format!("no process {id} is running; start its container first"))
    }

    /// Anything else.
    pub(crate) fn other(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Other, message)
    }
}

/// The error number inside a netlink error.
pub(crate) fn netlink_io(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
