//! Ports for machines: programs that send and receive frames by a socket.
//!
//! Nothing of them is stored. A port is there for as long as whoever opened it keeps its connection, and a machine for as long as whoever
//! plugged it in keeps that one; the sockets by which machines come are never vswitchd's to make.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use tokio::net::UnixStream;
use tokio::sync::watch;
use vswitch_api::machine::{Machine, MachinePort};
use vswitch_frame::PortId;
use vswitch_switch::{MachineDevice, MachineEnd, Parting, PortConfig, PortDevice, PortStats};

use super::state::{State, gateway_of, prefix_of};
use super::{Controller, services};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{MachinePortSpec, Owner};
use crate::namegen;

/// Most machines behind one port.
const MOST_MACHINES: usize = 256;

/// A port for machines, as long as it is open.
#[derive(Debug)]
pub(super) struct MachinePortState {
    /// Tells it from an earlier one of its name.
    id: Id,
    network: Id,
    listen: String,
    /// Of the one machine that may be behind it.
    endpoint: Option<Id>,
    /// How many there were.
    count: u64,
    machines: BTreeMap<u64, Plugged>,
    closed: watch::Sender<bool>,
}

/// A machine on the switch.
#[derive(Debug)]
struct Plugged {
    name: String,
    /// Once it has one. With an identity, it is the endpoint's.
    port: Option<PortId>,
}

/// A port that is open until this is dropped.
#[derive(Debug)]
pub struct OpenMachinePort {
    controller: Controller,
    name: String,
    id: Id,
    closed: watch::Receiver<bool>,
}

/// A machine that is plugged in until this is dropped.
#[derive(Debug)]
pub struct PluggedMachine {
    controller: Controller,
    /// The name of its port, and which of that name.
    port: (String, Id),
    number: u64,
    end: MachineEnd,
    /// Readable when it is gone.
    line: UnixStream,
    closed: watch::Receiver<bool>,
}

impl OpenMachinePort {
    /// Waits until somebody closes the port, and says so.
    pub async fn closed(&mut self) -> String {
        is_closed(&mut self.closed).await
    }
}

impl Drop for OpenMachinePort {
    fn drop(&mut self) {
        self.controller.end_machine_port(&self.name, &self.id);
    }
}

impl PluggedMachine {
    /// Waits until the machine is gone or sent away, and says why.
    pub async fn gone(&mut self) -> String {
        tokio::select! {
            why = is_closed(&mut self.closed) => why,
            _ = self.line.readable() => match self.end.parting() {
                Some(Parting::Nonsense) => {
                    "the machine sent a length that is no frame's, so it lost its connection".to_owned()
                }
                Some(Parting::Closed) | None => "the machine closed its connection".to_owned(),
            },
        }
    }
}

impl Drop for PluggedMachine {
    fn drop(&mut self) {
        self.controller.unplug_machine(&self.port.0, &self.port.1, self.number);
    }
}

async fn is_closed(closed: &mut watch::Receiver<bool>) -> String {
    // That the other side is gone says the same.
    let _ = closed.wait_for(|closed| *closed).await;
    "the port was closed".to_owned()
}

impl Controller {
    /// Opens a port for machines.
    ///
    /// # Errors
    /// When the network, the name or an address cannot be had.
    pub fn open_machine_port(&self, spec: MachinePortSpec) -> Result<(MachinePort, OpenMachinePort), ControlError> {
        let mut state = self.turn();
        let on = state.network(&spec.network)?;
        let (network, network_name) = (on.network.id.clone(), on.network.name.clone());
        if on.index.is_none() {
            return Err(ControlError::invalid(format!(
                "network {network_name} is not on the switch, so it has no ports"
            )));
        }
        if on.network.options.lan.is_some() && spec.identity.is_none() {
            return Err(ControlError::invalid(format!(
                "network {network_name} is on a LAN, where each station's addresses are known; give the machine some with --ip or \
                 --mac-address"
            )));
        }
        let name = match spec.name {
            Some(name) if state.name_taken(&name) => return Err(ControlError::AttachmentExists(name)),
            Some(name) => {
                services::check_name(&state, &name)?;
                name
            }
            None => namegen::generate(&mut rand::rng(), |name| state.name_taken(name)),
        };
        let endpoint = match &spec.identity {
            Some(identity) => Some(state.add_endpoint(&network, Owner::Machine, &name, identity)?.id),
            None => None,
        };
        let id = Id::random(&mut rand::rng());
        let (sender, closed) = watch::channel(false);
        let listen = spec.listen;
        let machines = BTreeMap::new();
        let port = MachinePortState { id: id.clone(), network, listen, endpoint, count: 0, machines, closed: sender };
        state.machines.insert(name.clone(), port);
        tracing::info!(port = name, network = network_name, "port for machines open");
        let shown = self.shown_machine_port(&state, &name, &[]).unwrap_or_default();
        Ok((shown, OpenMachinePort { controller: self.clone(), name, id, closed }))
    }

    /// Plugs a machine into a port by its connected socket.
    ///
    /// # Errors
    /// When there is no such port, it has as many machines as it may, or the descriptor is no such socket.
    pub fn plug_machine(&self, name: &str, socket: OwnedFd) -> Result<(Machine, PluggedMachine), ControlError> {
        let unsuited =
            |error| ControlError::invalid(format!("the descriptor is no machine's: {error}; send a connected socket"));
        let (device, end) = MachineDevice::new(socket).map_err(unsuited)?;
        let line = end.line().and_then(UnixStream::from_std);
        let line = line.map_err(|error| ControlError::Internal(format!("cannot watch a machine's socket: {error}")))?;
        let (held, network, endpoint, called) = {
            let mut state = self.turn();
            let one = state.machines.get_mut(name).ok_or_else(|| not_there(name))?;
            let most = if one.endpoint.is_some() { 1 } else { MOST_MACHINES };
            if one.machines.len() >= most {
                return Err(ControlError::Conflict(format!(
                    "port {name} has as many machines as it may ({most}); end one of them, or open another port"
                )));
            }
            let number = one.count;
            one.count += 1;
            let called = if one.endpoint.is_some() { name.to_owned() } else { format!("{name}.{}", one.count) };
            one.machines.insert(number, Plugged { name: called.clone(), port: None });
            let closed = one.closed.subscribe();
            let port = (name.to_owned(), one.id.clone());
            let (network, endpoint) = (one.network.clone(), one.endpoint.clone());
            (PluggedMachine { controller: self.clone(), port, number, end, line, closed }, network, endpoint, called)
        };
        let device = PortDevice::Machine(device);
        let port = match &endpoint {
            Some(endpoint) => {
                self.plug_in(endpoint, String::new(), device)?;
                self.state().endpoints.get(endpoint).and_then(|one| one.port)
            }
            None => {
                let (index, config) = {
                    let state = self.state();
                    let on = state.networks.get(&network).ok_or_else(|| not_there(name))?;
                    let index = on.index.and_then(|index| self.inner.switch.network(index));
                    let index = index.ok_or_else(|| not_there(name))?;
                    let mac_limit = on.network.options.mac_limit;
                    (index, PortConfig { mac_limit, ..PortConfig::new(&called, index.index) })
                };
                Some(self.inner.switch.add_port_on(index, config, device)?)
            }
        };
        let mut state = self.turn();
        let one = state.machines.get_mut(name).filter(|one| one.id == held.port.1);
        let Some(plugged) = one.and_then(|one| one.machines.get_mut(&held.number)) else {
            drop(state);
            if let (Some(port), None) = (port, &endpoint) {
                let _ = self.inner.switch.remove_port(port);
            }
            return Err(not_there(name));
        };
        plugged.port = port;
        tracing::info!(port = name, machine = called, "machine plugged in");
        let machine = Machine { name: called, port: port.map_or(0, PortId::value), ..Machine::default() };
        drop(state);
        Ok((machine, held))
    }

    fn unplug_machine(&self, name: &str, id: &Id, number: u64) {
        let (plugged, endpoint) = {
            let mut state = self.turn();
            let Some(one) = state.machines.get_mut(name).filter(|one| one.id == *id) else { return };
            (one.machines.remove(&number), one.endpoint.clone())
        };
        match (plugged, endpoint) {
            (Some(Plugged { port: Some(_), .. }), Some(endpoint)) => self.unplug(&endpoint),
            (Some(Plugged { port: Some(port), .. }), None) => self.remove_machine(port),
            _ => return,
        }
        tracing::info!(port = name, "machine gone");
    }

    fn remove_machine(&self, port: PortId) {
        if let Err(error) = self.inner.switch.remove_port(port) {
            tracing::warn!("the switch could not remove {port}: {error}");
        }
    }

    /// Closes a port for machines.
    ///
    /// # Errors
    /// When there is none.
    pub fn close_machine_port(&self, name: &str) -> Result<(), ControlError> {
        let id = self.state().machines.get(name).map(|one| one.id.clone());
        self.end_machine_port(name, &id.ok_or_else(|| not_there(name))?);
        Ok(())
    }

    fn end_machine_port(&self, name: &str, id: &Id) {
        let endpoint = {
            let mut state = self.turn();
            let Some(one) = state.machines.get(name).filter(|one| one.id == *id) else { return };
            let endpoint = one.endpoint.clone();
            self.forget_machine_port(&mut state, name);
            endpoint
        };
        if let Some(endpoint) = endpoint {
            self.unplug(&endpoint);
            self.turn().remove_endpoint(&endpoint);
        }
        tracing::info!(port = name, "port for machines closed");
    }

    /// Closes the ports for machines of a network that goes. Its endpoints go with it.
    pub(super) fn close_machine_ports(&self, state: &mut State, network: &Id) {
        let names = state.machine_ports_on(network).map(ToOwned::to_owned).collect::<Vec<_>>();
        for name in names {
            let endpoint = state.machines.get(&name).and_then(|one| one.endpoint.as_ref());
            let port = endpoint.and_then(|id| state.endpoints.get(id)).and_then(|one| one.port);
            port.into_iter().for_each(|port| self.remove_machine(port));
            self.forget_machine_port(state, &name);
        }
    }

    fn forget_machine_port(&self, state: &mut State, name: &str) {
        let Some(one) = state.machines.remove(name) else { return };
        let own = one.machines.into_values().filter(|_| one.endpoint.is_none());
        own.filter_map(|machine| machine.port).for_each(|port| self.remove_machine(port));
        one.closed.send_replace(true);
    }

    /// All ports for machines, by name.
    #[must_use]
    pub fn machine_ports(&self) -> Vec<MachinePort> {
        let counted = self.inner.switch.stats().ports;
        let state = self.state();
        state.machines.keys().filter_map(|name| self.shown_machine_port(&state, name, &counted)).collect()
    }

    fn shown_machine_port(&self, state: &State, name: &str, counted: &[PortStats]) -> Option<MachinePort> {
        let one = state.machines.get(name)?;
        let on = state.networks.get(&one.network)?;
        let endpoint = one.endpoint.as_ref().and_then(|id| state.endpoints.get(id)).map(|one| &one.endpoint);
        let address =
            |fixed: crate::model::StaticAddress| format!("{}/{}", fixed.address, prefix_of(Some(&on.network), fixed));
        let gateway = |fixed| gateway_of(Some(&on.network), fixed).map(|gateway| gateway.to_string());
        let (ipv4, ipv6) = (endpoint.and_then(|one| one.ipv4), endpoint.and_then(|one| one.ipv6));
        let machines = one.machines.values().filter_map(|machine| {
            let port = machine.port?;
            let counters = counted.iter().find(|one| one.port == port).map(|one| &one.counters);
            let count = |field: fn(&vswitch_switch::Counters) -> u64| counters.map_or(0, field);
            Some(Machine {
                name: machine.name.clone(),
                port: port.value(),
                in_frames: count(|one| one.in_frames),
                in_bytes: count(|one| one.in_bytes),
                out_frames: count(|one| one.out_frames),
                out_bytes: count(|one| one.out_bytes),
                dropped: count(vswitch_switch::Counters::total_dropped),
            })
        });
        Some(MachinePort {
            name: name.to_owned(),
            network: on.network.name.clone(),
            listen: one.listen.clone(),
            mac_address: endpoint.map(|one| one.mac.to_string()),
            ipv4_address: ipv4.map(address),
            ipv6_address: ipv6.map(address),
            ipv4_gateway: ipv4.and_then(gateway),
            ipv6_gateway: ipv6.and_then(gateway),
            mtu: self.mtu_on(on),
            machines: machines.collect(),
        })
    }
}

impl State {
    /// The names of ports for machines of a network.
    pub(super) fn machine_ports_on<'a>(&'a self, network: &'a Id) -> impl Iterator<Item = &'a str> {
        self.machines.iter().filter(move |(_, one)| one.network == *network).map(|(name, _)| name.as_str())
    }
}

fn not_there(name: &str) -> ControlError {
    ControlError::PortNotFound(name.to_owned())
}
