//! Tunnels of overlay networks.

use hyper::Method;

use super::Client;
use super::transport::escape;
use crate::tunnel::{EntryAdd, RemoteAdd, Tunnel};
use crate::{ClientError, PREFIX};

impl Client {
    /// The tunnels of all overlay networks, by network.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn tunnels(&self) -> Result<Vec<Tunnel>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/tunnels")).answer().await
    }

    /// The tunnel of one overlay network.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn tunnel(&self, network: &str) -> Result<Tunnel, ClientError> {
        self.call(Method::GET, path(network)).answer().await
    }

    /// Add a remote.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn add_remote(&self, network: &str, request: &RemoteAdd) -> Result<(), ClientError> {
        self.call(Method::POST, format!("{}/remotes", path(network))).json(request).done().await
    }

    /// Remove a remote.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_remote(&self, network: &str, address: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("{}/remotes/{}", path(network), escape(address))).done().await
    }

    /// Add an entry, or add to one.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn add_entry(&self, network: &str, request: &EntryAdd) -> Result<(), ClientError> {
        self.call(Method::POST, format!("{}/entries", path(network))).json(request).done().await
    }

    /// Remove an entry.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_entry(&self, network: &str, mac_address: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("{}/entries/{}", path(network), escape(mac_address))).done().await
    }
}

fn path(network: &str) -> String {
    format!("{PREFIX}/networks/{}/tunnel", escape(network))
}
