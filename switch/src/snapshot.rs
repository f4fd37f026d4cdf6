//! What the workers see of the configuration: an immutable table that control replaces as a whole.

use std::sync::{Arc, Mutex};

use vswitch_frame::{Generation, NetworkIndex, PortId};

use crate::port::Port;
use crate::{Counters, NetworkConfig};

/// Networks and ports by index, of one generation.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Grows by one with every change.
    pub generation: Generation,
    /// By [`NetworkIndex`].
    pub networks: Vec<Option<Arc<Network>>>,
    /// By [`PortId`].
    pub ports: Vec<Option<Arc<Port>>>,
}

/// One broadcast domain.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its index in the snapshot.
    pub index: NetworkIndex,
    /// What control said.
    pub config: NetworkConfig,
    /// Its ports, which a flood goes to.
    pub members: Vec<PortId>,
    /// What ports counted that are gone; shared by all generations of this network.
    pub retired: Arc<Mutex<Counters>>,
}

impl Snapshot {
    /// The network with this index.
    #[inline]
    #[must_use]
    pub fn network(&self, index: NetworkIndex) -> Option<&Arc<Network>> {
        self.networks.get(index.index())?.as_ref()
    }

    /// The port with this index.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&Arc<Port>> {
        self.ports.get(id.index())?.as_ref()
    }
}

/// Puts `value` at `index`, growing the table as needed.
pub(crate) fn put<T>(table: &mut Vec<Option<T>>, index: usize, value: Option<T>) {
    if table.len() <= index {
        table.resize_with(index + 1, || None);
    }
    table[index] = value;
}
