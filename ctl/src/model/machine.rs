//! What may be asked of a port for machines.

use vswitch_api::machine::MachinePortOpen;

use super::{EndpointSpec, Faults, container_name, parse_endpoint};

/// A port for machines.
#[derive(Debug, Clone)]
pub struct MachinePortSpec {
    /// Its name, if somebody chose one.
    pub name: Option<String>,
    /// Name or id of the network.
    pub network: String,
    /// Where machines find it, as shown.
    pub listen: String,
    /// Who is behind it, unless that is anybody.
    pub identity: Option<EndpointSpec>,
}

/// Longest text about where machines find a port.
const LONGEST_LISTEN: usize = 300;

/// Checks the body of `POST /ports`.
///
/// # Errors
/// All faults at once.
pub fn parse_machine_port(wire: MachinePortOpen) -> Result<MachinePortSpec, Faults> {
    let mut faults = Faults::new("");
    let name = wire.name.filter(|name| !name.is_empty());
    let name = name.and_then(|name| faults.take(container_name(&name)));
    if wire.network.is_empty() {
        faults.add("name the network of the port");
    }
    if wire.listen.len() > LONGEST_LISTEN {
        faults.add(format!("where machines find the port is said in at most {LONGEST_LISTEN} bytes"));
    }
    let identity = wire.identity.and_then(|config| match parse_endpoint(&config) {
        Ok(spec) => Some(spec),
        Err(more) => {
            faults.append(more);
            None
        }
    });
    faults.finish(MachinePortSpec { name, network: wire.network, listen: wire.listen, identity })
}
