//! Volumes.

use hyper::Method;

use super::Client;
use super::networks::{Filters, query};
use super::transport::escape;
use crate::ClientError;
use crate::docker::volume::{Volume, VolumeCreate, VolumeList, VolumesPruned};

impl Client {
    /// The volumes that pass `filters` (`dangling`, `driver`, `label`, `name`).
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn volumes(&self, filters: &Filters) -> Result<VolumeList, ClientError> {
        self.call(Method::GET, format!("/volumes{}", query(filters))).answer().await
    }

    /// One volume.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn volume(&self, name: &str) -> Result<Volume, ClientError> {
        self.call(Method::GET, format!("/volumes/{}", escape(name))).answer().await
    }

    /// Make a volume, or find it.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn create_volume(&self, request: &VolumeCreate) -> Result<Volume, ClientError> {
        self.call(Method::POST, "/volumes/create").json(request).answer().await
    }

    /// Remove a volume that no container has; with `force` also one that does not exist.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("/volumes/{}?force={force}", escape(name))).done().await
    }

    /// Remove every volume that no container has and that passes `filters` (`label`, `label!`, `until`).
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn prune_volumes(&self, filters: &Filters) -> Result<VolumesPruned, ClientError> {
        self.call(Method::POST, format!("/volumes/prune{}", query(filters))).answer().await
    }
}
