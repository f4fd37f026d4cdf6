//! Load-balanced services: `/vswitch/v1/services…`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /services`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceCreate {
    /// The name, unique among services; it resolves to the service's addresses.
    pub name: String,
    /// The network that it and its backends are on, by name or id.
    pub network: String,
    /// Its own addresses, at most one of each family; empty: the next free ones of the families that the network has.
    pub addresses: Vec<String>,
    /// `PORT[:TARGET][/PROTO]`: at which ports it is reached, and those of the backends.
    pub ports: Vec<String>,
    /// The ports are published on the host, too.
    pub publish: bool,
    /// Names of containers or attached namespaces.
    pub backends: Vec<String>,
    /// `KEY` or `KEY=VALUE`: containers with all of these labels, now and later.
    pub selector: Vec<String>,
    /// `rr` (also when empty), `least` or `hash`.
    pub algorithm: String,
    /// `tcp` or `http:/path`; empty: whoever is there is asked.
    pub health: String,
    /// Milliseconds between two looks at a backend; 2000 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_interval_ms: Option<u64>,
}

/// Body of `POST /services/{service}/update`: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceUpdate {
    /// Backends that it is to have as well.
    pub backend_add: Vec<String>,
    /// Backends that get no new connections any more, and keep those that they have.
    pub backend_remove: Vec<String>,
    /// `rr`, `least` or `hash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// `tcp`, `http:/path` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Milliseconds between two looks at a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_interval_ms: Option<u64>,
}

/// Body of `POST /services/{service}/drain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceDrain {
    /// The backend, by name.
    pub backend: String,
    /// It gets new connections again.
    pub undo: bool,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// The name.
    pub name: String,
    /// Name of its network.
    pub network: String,
    /// Its own addresses.
    pub addresses: Vec<String>,
    /// `PORT:TARGET/PROTO`.
    pub ports: Vec<String>,
    /// `HOST:PORT/PROTO`: where the host publishes it.
    pub published: Vec<String>,
    /// Names of its backends, as given.
    pub named: Vec<String>,
    /// Labels of its backends, as given.
    pub selector: Vec<String>,
    /// `rr`, `least` or `hash`.
    pub algorithm: String,
    /// `tcp`, `http:/path`, or empty.
    pub health: String,
    /// Milliseconds between two looks at a backend.
    pub health_interval_ms: u64,
    /// Those that it has now, by name.
    pub backends: Vec<ServiceBackend>,
}

/// A backend of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceBackend {
    /// Name of the container or attached namespace.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `up`, `partly` (it serves at some of its addresses, and is led to there), `checking` (it has not answered yet), `down`,
    /// `draining`, `elsewhere` (named by address, on another host), or `absent`.
    pub state: String,
    /// Connections that it was given since the service or vswitchd began.
    pub connections: u64,
    /// Flows of any kind that it holds now.
    pub flows: u64,
}
