//! Errors as a client sees them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer with a status of 400 or above, in Docker's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One sentence that says what is wrong and what to do.
    pub message: String,
    /// What `run` and `exec` pass on where the program cannot be started: 127 (no such program) or 126.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody says where the socket is.
    #[error(transparent)]
    NoRuntimeDirectory(#[from] crate::client::NoRuntimeDirectory),
    /// Somebody else serves the socket.
    #[error(
        "the socket {socket} is served by user {uid}, who could have put it there to get what vswitchd is told; nothing was \
         said. Name the socket of a vswitchd of your own or of root with --socket, or one in folders that only its owner and \
         root can change"
    )]
    Stranger {
        /// The socket's path.
        socket: String,
        /// Who serves it.
        uid: u32,
    },
    /// Nobody serves the socket.
    #[error("cannot reach vswitchd at {socket} ({source}); start it with 'vswitchd' or name its socket with --socket")]
    Unreachable {
        /// The socket's path.
        socket: String,
        /// What the connect call said.
        source: std::io::Error,
    },
    /// The socket is not for this user.
    #[error(
        "the socket {socket} is not yours to use ({source}): its vswitchd is another user's. Name the socket of a vswitchd of \
         your own with --socket, or have that one started with --group and a group that you are in"
    )]
    Denied {
        /// The socket's path.
        socket: String,
        /// What the connect call said.
        source: std::io::Error,
    },
    /// The daemon refused; the sentence is its own.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The daemon's sentence.
        message: String,
        /// [`ErrorBody::exit_code`].
        exit_code: Option<i32>,
    },
    /// The connection broke or the answer made no sense.
    #[error("vswitchd at {socket} did not answer properly ({detail}); see its log, and compare 'vswitchctl version'")]
    Broken {
        /// The socket's path.
        socket: String,
        /// What went wrong.
        detail: String,
    },
}

impl ClientError {
    /// Whether there is no daemon.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, ClientError::Unreachable { .. } | ClientError::NoRuntimeDirectory(_))
    }

    /// Whether the daemon has no such object.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused { status: 404, .. })
    }
}
