//! How translation and tracking behave. The defaults are those of Linux's masquerade, except where an RFC's MUST says
//! otherwise; each variant names the rows of the standard that it meets.

use serde::{Deserialize, Serialize};

use super::PortRange;
use crate::table::Timeouts;
use crate::table::tcp::TcpSettings;

/// Which external port a flow gets, given what its source has already (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// The port that the source has already, else the source's own, else a random one, as long as the flow can be told
    /// from all others. Endpoint-independent wherever ports do not clash. Two sources may share an external port
    /// towards different destinations, which RFC 7857 section 3 permits for a translator of this kind. Answers are
    /// accepted from the flow's destination only.
    #[default]
    PortPreserving,
    /// A random port for every flow ("symmetric", Linux's `fully-random`).
    Random,
    /// One external port for each source, which no other source shares (RFC 4787 REQ-1 and REQ-3, RFC 5382 REQ-1 and
    /// REQ-7), and a choice of who may send to it.
    EndpointIndependent(Filtering),
}

/// Who may send to an external port that a source inside has (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Only the address and port that the source has sent to.
    #[default]
    AddressAndPortDependent,
    /// Any port of an address that the source has sent to.
    AddressDependent,
    /// Anybody.
    EndpointIndependent,
}

/// Whether a flow may keep its source's port, and where others come from.
///
/// Without a range, another port comes from the class of the source's port, as in Linux: 1-511, 600-1023 or
/// 1024-65535. Each is drawn at random (RFC 6056 algorithm 2); after [`crate::PORT_DRAWS`] draws the rest is a walk from
/// a random place. ICMP identifiers come from all 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortSelection {
    /// Every port, by class.
    #[default]
    Classes,
    /// Ports of this range only.
    Range(PortRange),
}

/// The source that the published endpoint sees when an endpoint inside comes through a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hairpin {
    /// The sender's external address and port (RFC 4787 REQ-9a, a MUST).
    #[default]
    External,
    /// The gateway of the target's network, as Docker's rules have it.
    Gateway,
}

/// Whether networks reach each other through their gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// Not at all, except through published ports.
    #[default]
    Isolated,
    /// They are routed, untranslated.
    Routed,
}

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which external port a flow gets.
    pub mapping: Mapping,
    /// Where ports come from.
    pub ports: PortSelection,
    /// The source of hairpinned flows.
    pub hairpin: Hairpin,
    /// Whether networks reach each other.
    pub between: Between,
    /// How long flows live.
    pub timeouts: Timeouts,
    /// How TCP connections are tracked.
    pub tcp: TcpSettings,
}
