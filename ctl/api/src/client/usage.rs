//! What containers use, and holding them still. These are Docker's paths.

use hyper::Method;

use super::Client;
use super::transport::escape;
use crate::ClientError;
use crate::docker::usage::{ContainerTop, UsageStats};

impl Client {
    /// The processes of a container, in the columns that these options of ps choose; without any, as `ps -ef` shows them.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn container_processes(&self, container: &str, options: &str) -> Result<ContainerTop, ClientError> {
        let path = format!("/containers/{}/top?ps_args={}", escape(container), escape(options));
        self.call(Method::GET, path).answer().await
    }

    /// What a container uses, beside what it used a second before.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn container_usage(&self, container: &str) -> Result<UsageStats, ClientError> {
        self.call(Method::GET, format!("/containers/{}/stats?stream=false", escape(container))).answer().await
    }

    /// Hold all processes of a container still.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn pause_container(&self, container: &str) -> Result<(), ClientError> {
        self.call(Method::POST, format!("/containers/{}/pause", escape(container))).done().await
    }

    /// Let the processes of a container that was held still go on.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn unpause_container(&self, container: &str) -> Result<(), ClientError> {
        self.call(Method::POST, format!("/containers/{}/unpause", escape(container))).done().await
    }
}
