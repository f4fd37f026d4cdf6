//! How much of the disk containers and volumes take.

use std::collections::BTreeMap;

use super::{Controller, unexpected};
use crate::agent::protocol::{Reply, Request};
use crate::error::ControlError;

impl Controller {
    /// Bytes that containers have changed of root directories of their own, by id; those of the host's root directory change what
    /// is not theirs, and have none.
    ///
    /// # Errors
    /// When the agent cannot say.
    pub async fn container_sizes(&self, ids: Vec<String>) -> Result<BTreeMap<String, u64>, ControlError> {
        self.sizes(ids, |roots| Request::Sizes { volumes: Vec::new(), roots }).await
    }

    /// Bytes in volumes, by name.
    ///
    /// # Errors
    /// When the agent cannot say.
    pub async fn volume_sizes(&self, names: Vec<String>) -> Result<BTreeMap<String, u64>, ControlError> {
        self.sizes(names, |volumes| Request::Sizes { volumes, roots: Vec::new() }).await
    }

    async fn sizes(
        &self,
        names: Vec<String>,
        request: impl Fn(Vec<String>) -> Request,
    ) -> Result<BTreeMap<String, u64>, ControlError> {
        let mut all = BTreeMap::new();
        for some in names.chunks(AT_ONCE) {
            match self.inner.agent.call(request(some.to_vec()), Vec::new()).await? {
                (Reply::Sizes { bytes }, _) => all.extend(some.iter().cloned().zip(bytes)),
                (reply, _) => return Err(unexpected(&reply)),
            }
        }
        Ok(all)
    }
}

/// What fits into a message, and what may be looked at before the agent counts as late.
const AT_ONCE: usize = 16;
