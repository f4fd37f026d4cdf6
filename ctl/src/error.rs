//! Why the controller refused: Docker's sentences where Docker has one.

use crate::model::Faults;

/// What a refusal means to a client, whatever its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The request makes no sense (400).
    Invalid,
    /// The request makes sense but must not be done (403).
    Forbidden,
    /// It speaks of something that does not exist (404).
    NotFound,
    /// It contradicts what exists (409).
    Conflict,
    /// Known, and not offered (501).
    Unsupported,
    /// Neither the client's fault nor expected (500).
    Internal,
}

/// A refused or failed operation.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Everything that is wrong with a request.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// Network names are unique.
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    /// No such network.
    #[error("network {0} not found")]
    NetworkNotFound(String),
    /// A prefix of several ids.
    #[error("{what} {name} is ambiguous ({count} matches found based on ID prefix)")]
    Ambiguous {
        /// `network`, `container` or `endpoint`.
        what: &'static str,
        /// As given.
        name: String,
        /// How many.
        count: usize,
    },
    /// `bridge`, `host` and `none` stay.
    #[error("{0} is a pre-defined network and cannot be removed")]
    PredefinedNetwork(String),
    /// Settings would change the network `bridge` under its endpoints.
    #[error(
        "the settings would change the network bridge, which cannot change while containers are on it ({endpoints}); \
         remove them first, or take the settings back"
    )]
    BridgeInUse {
        /// Their names.
        endpoints: String,
    },
    /// `network create bridge`.
    #[error("operation is not permitted on predefined {0} network")]
    PredefinedName(String),
    /// Subnets of one switch do not overlap.
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: \
         {subnet} meets {other} of network {network}"
    )]
    PoolOverlaps {
        /// As asked.
        subnet: String,
        /// In the way.
        other: String,
        /// Whose it is.
        network: String,
    },
    /// Networks have its settings.
    #[error("configuration network {0:?} is in use")]
    SettingsInUse(String),
    /// No network of that name holds settings.
    #[error("could not find configuration network {0:?}")]
    SettingsNotFound(String),
    /// A network that only holds settings.
    #[error("network {0} only holds settings for others (--config-only), so nobody can be on it")]
    SettingsOnly(String),
    /// No automatic subnet left.
    #[error("all predefined address pools have been fully subnetted; name a subnet with --subnet")]
    PoolsExhausted,
    /// No automatic address left.
    #[error("no available {family} addresses on this network's address pools: {network} ({id})")]
    NoAddress {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Name of the network.
        network: String,
        /// Its id.
        id: String,
    },
    /// A static address that is leased or reserved.
    #[error("Address already in use: {address} on network {network}")]
    AddressInUse {
        /// As asked.
        address: String,
        /// Name of the network.
        network: String,
    },
    /// A MAC address that another endpoint of the network has.
    #[error("MAC address {mac} is already in use by {owner} on network {network}")]
    MacInUse {
        /// As asked.
        mac: String,
        /// Name of the endpoint (or the gateway).
        owner: String,
        /// Name of the network.
        network: String,
    },
    /// `network rm` while somebody is on it.
    #[error("error while removing network: network {network} has active endpoints ({endpoints})")]
    NetworkBusy {
        /// Name.
        network: String,
        /// `name:"c1" id:"abc"`, comma separated.
        endpoints: String,
    },
    /// One endpoint per container and network.
    #[error("endpoint with name {container} already exists in network {network}")]
    EndpointExists {
        /// Name of the container.
        container: String,
        /// Name of the network.
        network: String,
    },
    /// `network disconnect` of a stranger.
    #[error("container {container} is not connected to the network {network}")]
    NotConnected {
        /// As given.
        container: String,
        /// Name of the network.
        network: String,
    },
    /// No such remote or entry of a tunnel.
    #[error("{0}")]
    TunnelNotFound(String),
    /// `network unpeer` of networks that are not joined.
    #[error("networks {0} and {1} are not joined; 'vswitchctl network inspect' shows with which one is")]
    NotPeered(String, String),
    /// No such rule.
    #[error("network {network} has no rule {number}; 'vswitchctl network policy ls {network}' lists them")]
    RuleNotFound {
        /// Name of the network.
        network: String,
        /// As given.
        number: u32,
    },
    /// No such service.
    #[error("service {0} not found; 'vswitchctl service ls' lists those that there are")]
    ServiceNotFound(String),
    /// No such backend.
    #[error("service {service} has no backend {backend}; 'vswitchctl service inspect {service}' shows them")]
    BackendNotFound {
        /// Name of the service.
        service: String,
        /// As given.
        backend: String,
    },
    /// No such container.
    #[error("No such container: {0}")]
    ContainerNotFound(String),
    /// No such further process.
    #[error("No such exec instance: {0}")]
    ExecNotFound(String),
    /// No such volume.
    #[error("get {0}: no such volume")]
    VolumeNotFound(String),
    /// Container names are unique.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    ContainerExists {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// A link to nobody.
    #[error("could not get container for {target}: {why}")]
    LinkTarget {
        /// As given.
        target: String,
        /// Why not.
        why: String,
    },
    /// A link on a default network to one that has no address yet.
    #[error("Cannot link to a non running container: /{target} AS {alias}")]
    LinkNotRunning {
        /// Name of the other container.
        target: String,
        /// `/own/alias`.
        alias: String,
    },
    /// A link on a default network to one that is not there.
    #[error("Cannot link to /{0}, as it does not belong to the default network")]
    LinkElsewhere(String),
    /// No such endpoint.
    #[error("endpoint {0} not found")]
    EndpointNotFound(String),
    /// No such port for machines.
    #[error("there is no port {0} for machines; see 'port ls'")]
    PortNotFound(String),
    /// Attachment names are unique among endpoints and containers.
    #[error("the name {0} is already in use by another endpoint; choose another with --name")]
    AttachmentExists(String),
    /// `host` and `container:` have no endpoints.
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    SharedNamespace,
    /// `none` is exclusive.
    #[error("container cannot be connected to multiple networks with one of the networks in private (none) mode")]
    PrivateMode,
    /// A host port that cannot be had.
    #[error("driver failed programming external connectivity on endpoint {name} ({endpoint}): {detail}")]
    PortUnavailable {
        /// Name of the container.
        name: String,
        /// Id of its endpoint.
        endpoint: String,
        /// What is in the way.
        detail: String,
    },
    /// A running container stays.
    #[error(
        "cannot remove container {0}: container is running: \
         stop the container before removing or force remove"
    )]
    ContainerRunning(String),
    /// Started twice.
    #[error("container {0} is running already")]
    AlreadyRunning(String),
    /// Needs a running one.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// `container:X` where X does not run.
    #[error("cannot join network of a non running container: {0}")]
    JoinNotRunning(String),
    /// The namespace to attach to does not exist (any more).
    #[error("{0}")]
    NamespaceGone(String),
    /// Not allowed to this user.
    #[error("{0}")]
    NotPermitted(String),
    /// What the request asks for collides with what is there.
    #[error("{0}")]
    Conflict(String),
    /// The program was not found (127) or cannot be executed (126).
    #[error("{message}")]
    Command {
        /// One sentence.
        message: String,
        /// What `run` and `exec` pass on.
        exit_code: i32,
    },
    /// Known and not offered.
    #[error("{0}")]
    Unsupported(String),
    /// The store, the switch or the agent failed.
    #[error("{0}")]
    Internal(String),
}

impl ControlError {
    /// One fault with its sentence.
    pub fn invalid(sentence: impl Into<String>) -> Self {
        ControlError::Faults(Faults::one(sentence))
    }

    /// What it means.
    #[must_use]
    pub const fn class(&self) -> Class {
        use ControlError as E;
        match self {
            E::Faults(faults) if faults.forbidden() => Class::Forbidden,
            E::Faults(_) | E::Ambiguous { .. } | E::SharedNamespace | E::PrivateMode | E::Command { .. } => {
                Class::Invalid
            }
            E::PoolsExhausted => Class::Invalid,
            E::PredefinedNetwork(_) | E::PredefinedName(_) | E::PoolOverlaps { .. } | E::AddressInUse { .. } => {
                Class::Forbidden
            }
            E::NetworkBusy { .. }
            | E::EndpointExists { .. }
            | E::NotPermitted(_)
            | E::SettingsInUse(_)
            | E::SettingsOnly(_) => Class::Forbidden,
            E::NetworkNotFound(_)
            | E::ExecNotFound(_)
            | E::TunnelNotFound(_)
            | E::NotPeered(..)
            | E::RuleNotFound { .. }
            | E::ServiceNotFound(_)
            | E::BackendNotFound { .. }
            | E::ContainerNotFound(_)
            | E::SettingsNotFound(_)
            | E::VolumeNotFound(_)
            | E::LinkTarget { .. }
            | E::EndpointNotFound(_)
            | E::PortNotFound(_)
            | E::NotConnected { .. }
            | E::NamespaceGone(_) => Class::NotFound,
            E::NetworkExists(_) | E::MacInUse { .. } | E::ContainerExists { .. } | E::AttachmentExists(_) => {
                Class::Conflict
            }
            E::BridgeInUse { .. } => Class::Conflict,
            E::ContainerRunning(_) | E::AlreadyRunning(_) | E::NotRunning(_) | E::JoinNotRunning(_) => Class::Conflict,
            E::LinkNotRunning { .. } | E::LinkElsewhere(_) | E::Conflict(_) => Class::Conflict,
            E::Unsupported(_) => Class::Unsupported,
            // Docker answers 500 to the first two as well: its clients know them by that.
            E::NoAddress { .. } | E::PortUnavailable { .. } | E::Internal(_) => Class::Internal,
        }
    }
}
