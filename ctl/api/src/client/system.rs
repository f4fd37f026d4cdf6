//! The daemon itself: version, statistics, description.

use hyper::Method;

use super::Client;
use crate::stats::Stats;
use crate::topology::Topology;
use crate::version::Version;
use crate::{ClientError, PREFIX};

impl Client {
    /// Whether the daemon answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.call(Method::GET, "/_ping").done().await
    }

    /// Who answers.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/version")).answer().await
    }

    /// Everything that is counted, now.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/stats")).answer().await
    }

    /// Who is connected to whom, now.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn topology(&self) -> Result<Topology, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/topology")).answer().await
    }

    /// The OpenAPI document.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/openapi.json")).answer().await
    }
}
