//! Networks and their forwarding databases.

use std::collections::BTreeMap;

use hyper::Method;

use super::Client;
use super::transport::escape;
use crate::fdb::{FdbAdd, FdbEntry, FdbRemoved, GroupEntry};
use crate::network::{
    Network, NetworkChange, NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect, NetworkPeer,
    NetworkPeering, NetworksPruned, PolicyAdd, PolicyAdded, PolicyRule,
};
use crate::topology::LldpNeighbour;
use crate::{ClientError, PREFIX};

/// Docker's filters: values of one key are alternatives, keys must all match.
pub type Filters = BTreeMap<String, Vec<String>>;

impl Client {
    /// The networks that pass `filters` (`driver`, `id`, `label`, `name`, `scope`, `type`, `dangling`).
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn networks(&self, filters: &Filters) -> Result<Vec<Network>, ClientError> {
        self.call(Method::GET, format!("/networks{}", query(filters))).answer().await
    }

    /// One network, by name, id or unique start of its id.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn network(&self, network: &str) -> Result<Network, ClientError> {
        self.call(Method::GET, format!("/networks/{}", escape(network))).answer().await
    }

    /// Make a network.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn create_network(&self, request: &NetworkCreate) -> Result<NetworkCreated, ClientError> {
        self.call(Method::POST, "/networks/create").json(request).answer().await
    }

    /// Remove a network that nobody uses.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_network(&self, network: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("/networks/{}", escape(network))).done().await
    }

    /// Remove every network that nobody uses and that passes `filters` (`until`, `label`, `label!`).
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn prune_networks(&self, filters: &Filters) -> Result<NetworksPruned, ClientError> {
        self.call(Method::POST, format!("/networks/prune{}", query(filters))).answer().await
    }

    /// Give a container an endpoint on one more network.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn connect_network(&self, network: &str, request: &NetworkConnect) -> Result<(), ClientError> {
        self.call(Method::POST, format!("/networks/{}/connect", escape(network))).json(request).done().await
    }

    /// Take a container's endpoint on a network away.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn disconnect_network(&self, network: &str, request: &NetworkDisconnect) -> Result<(), ClientError> {
        self.call(Method::POST, format!("/networks/{}/disconnect", escape(network))).json(request).done().await
    }

    /// Change options of a network that is in use.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn change_network(&self, network: &str, change: &NetworkChange) -> Result<(), ClientError> {
        self.call(Method::PATCH, format!("{PREFIX}/networks/{}", escape(network))).json(change).done().await
    }

    /// The networks that one is joined with.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn peerings(&self, network: &str) -> Result<Vec<NetworkPeering>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/networks/{}/peerings", escape(network))).answer().await
    }

    /// Join two networks, or say anew what may pass between them.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn peer_networks(&self, network: &str, other: &str, request: &NetworkPeer) -> Result<(), ClientError> {
        self.call(Method::PUT, peering_path(network, other)).json(request).done().await
    }

    /// Part two networks that are joined.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn unpeer_networks(&self, network: &str, other: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, peering_path(network, other)).done().await
    }

    /// The rules of a network about who may open flows to whom, in their order.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn policy(&self, network: &str) -> Result<Vec<PolicyRule>, ClientError> {
        self.call(Method::GET, policy_path(network)).answer().await
    }

    /// Add a rule.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn add_policy(&self, network: &str, request: &PolicyAdd) -> Result<PolicyAdded, ClientError> {
        self.call(Method::POST, policy_path(network)).json(request).answer().await
    }

    /// Remove a rule.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_policy(&self, network: &str, rule: u32) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("{}/{rule}", policy_path(network))).done().await
    }

    /// Who asked for which group of a network that snoops.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn mdb(&self, network: &str) -> Result<Vec<GroupEntry>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/networks/{}/mdb", escape(network))).answer().await
    }

    /// Who announces itself by LLDP.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn lldp(&self) -> Result<Vec<LldpNeighbour>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/lldp")).answer().await
    }

    /// The forwarding database of a network.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn fdb(&self, network: &str) -> Result<Vec<FdbEntry>, ClientError> {
        self.call(Method::GET, fdb_path(network)).answer().await
    }

    /// Add a static entry.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn add_fdb(&self, network: &str, request: &FdbAdd) -> Result<(), ClientError> {
        self.call(Method::POST, fdb_path(network)).json(request).done().await
    }

    /// Forget all learned entries.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn flush_fdb(&self, network: &str) -> Result<FdbRemoved, ClientError> {
        self.call(Method::DELETE, fdb_path(network)).answer().await
    }

    /// Remove one entry, learned or static.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_fdb(&self, network: &str, mac_address: &str) -> Result<FdbRemoved, ClientError> {
        self.call(Method::DELETE, format!("{}/{}", fdb_path(network), escape(mac_address))).answer().await
    }
}

fn peering_path(network: &str, other: &str) -> String {
    format!("{PREFIX}/networks/{}/peerings/{}", escape(network), escape(other))
}

fn policy_path(network: &str) -> String {
    format!("{PREFIX}/networks/{}/policy", escape(network))
}

fn fdb_path(network: &str) -> String {
    format!("{PREFIX}/networks/{}/fdb", escape(network))
}

pub(super) fn query(filters: &Filters) -> String {
    if filters.is_empty() {
        return String::new();
    }
    format!("?filters={}", escape(&serde_json::json!(filters).to_string()))
}
