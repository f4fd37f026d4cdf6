//! The switch as control sees it.

use vswitch_frame::{MacAddr, NetworkIndex, PortId};

use crate::{Counters, FdbEntry, FdbStats, NetworkConfig, PortConfig, PortDevice, Settings, Stats};

/// Why the switch refused.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A descriptor, thread or poll could not be made.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No such network.
    #[error("{0:?} does not exist")]
    UnknownNetwork(NetworkIndex),
    /// No such port.
    #[error("port {0} does not exist")]
    UnknownPort(PortId),
    /// Ports are on the network.
    #[error("{0:?} still has ports")]
    NetworkBusy(NetworkIndex),
    /// All indices are taken.
    #[error("the switch has no room for another network")]
    TooManyNetworks,
    /// All indices are taken.
    #[error("the switch has no room for another port")]
    TooManyPorts,
    /// The address cannot be an entry.
    #[error("{0} is no unicast address, so it cannot be a static entry")]
    NotUnicast(MacAddr),
    /// The FDB is full of static entries.
    #[error("the forwarding database is full of static entries; remove some")]
    FdbFull,
}

/// A running switch.
#[derive(Debug)]
pub struct Switch;

#[allow(missing_docs, clippy::missing_errors_doc, clippy::needless_pass_by_value)]
impl Switch {
    pub fn start(_settings: Settings) -> Result<Switch, SwitchError> {
        Ok(Switch)
    }
    pub fn add_network(&self, _config: NetworkConfig) -> Result<NetworkIndex, SwitchError> {
        Err(SwitchError::TooManyNetworks)
    }
    pub fn update_network(&self, _network: NetworkIndex, _config: NetworkConfig) -> Result<(), SwitchError> {
        Ok(())
    }
    pub fn remove_network(&self, _network: NetworkIndex) -> Result<(), SwitchError> {
        Ok(())
    }
    pub fn add_port(&self, _config: PortConfig, _device: PortDevice) -> Result<PortId, SwitchError> {
        Err(SwitchError::TooManyPorts)
    }
    pub fn remove_port(&self, _port: PortId) -> Result<(), SwitchError> {
        Ok(())
    }
    pub fn fdb_entries(&self, _network: NetworkIndex) -> Vec<FdbEntry> {
        Vec::new()
    }
    pub fn fdb_add_static(&self, _network: NetworkIndex, _mac: MacAddr, _port: PortId) -> Result<(), SwitchError> {
        Ok(())
    }
    pub fn fdb_remove(&self, _network: NetworkIndex, _mac: MacAddr) -> bool {
        false
    }
    pub fn fdb_flush(&self, _network: NetworkIndex) -> usize {
        0
    }
    pub fn lost_ports(&self) -> Vec<PortId> {
        Vec::new()
    }
    pub fn stats(&self) -> Stats {
        Stats {
            uptime_ms: 0,
            workers: 0,
            generation: 0,
            total: Counters::default(),
            networks: Vec::new(),
            ports: Vec::new(),
            fdb: FdbStats::default(),
        }
    }
    pub fn stop(self) {}
}
