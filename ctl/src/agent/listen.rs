//! Host ports that need a privilege, opened for vswitchd, which has none.
//!
//! This runs on the agent's first thread, which never leaves the network namespace that vswitchd was started in.

use super::network::Answer;
use super::protocol::{Failure, FailureKind, Reply};
use crate::publish::{Binding, host};

/// Takes the host port of a binding.
pub(crate) fn open(binding: &Binding) -> Answer {
    let refused = |error: std::io::Error| {
        let kind = match host::Obstacle::of(&error) {
            host::Obstacle::InUse => FailureKind::Exists,
            host::Obstacle::Privilege => FailureKind::NotPermitted,
            host::Obstacle::NoAddress | host::Obstacle::Other => FailureKind::Other,
        };
        Failure::new(kind, host::sentence(binding, &error))
    };
    let socket = host::open(binding).map_err(refused)?;
    Ok((Reply::Listening, vec![socket]))
}
