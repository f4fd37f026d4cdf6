//! How a container's standard streams are handed over.
//!
//! 1. The client sends `POST …/containers/{id}/start` or `…/exec` with `Connection: Upgrade` and `Upgrade:`
//!    [`UPGRADE`]. Faults of the request are answered with an ordinary error.
//! 2. The daemon answers 101.
//! 3. The client sends one zero byte with exactly three descriptors as SCM_RIGHTS: standard input, output and error. For
//!    a terminal all three are the pty's subordinate side, which the client made (so window sizes never pass the daemon).
//! 4. The daemon answers with JSON lines, one [`StdioEvent`] each, and closes after [`StdioEvent::Exited`] or
//!    [`StdioEvent::Failed`].
//!
//! A client whose connection ends early asks `…/wait`: the container lives on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Value of the `Upgrade` header.
pub const UPGRADE: &str = "vswitch-stdio";

/// One line from the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdioEvent {
    /// The process runs.
    Started {
        /// Process id on the host.
        pid: u32,
    },
    /// The process ended.
    Exited {
        /// Exit status (128 + N for signal N).
        exit_code: i32,
    },
    /// The process could not be started.
    Failed {
        /// One sentence.
        message: String,
        /// 127: no such program; 126: cannot be executed; 125: anything else.
        exit_code: i32,
    },
}
