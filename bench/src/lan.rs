//! A container on the LAN of an interface of its host: the kernel's macvlan and vswitch's, over a veth parent, in turn.

use anyhow::Context as _;

use crate::containers::Effort;
use crate::daemon::Daemon;
use crate::report::{Better, Goal, Group, Measure, Side, Subject};
use crate::rig::{ADDRESSES, Kind, NETWORK, Rig, own_program, run, words};
use crate::traffic::{self, Path};

const KINDS: [(Kind, &str, Side); 2] =
    [(Kind::KernelMacvlan, "kernel macvlan", Side::Kernel), (Kind::VswitchMacvlan, "vswitch macvlan", Side::Own)];

const GOALS: &[Goal] = &[Goal::Kernel(0.9)];
const OUT: Measure = Measure { title: "TCP out", unit: "Gbit/s", better: Better::More, goals: GOALS };
const IN: Measure = Measure { title: "TCP in", unit: "Gbit/s", better: Better::More, goals: GOALS };
const UDP: Measure = Measure { title: "UDP out, 18 bytes", unit: "k datagrams/s", better: Better::More, goals: GOALS };
const HOST: Measure =
    Measure { title: "TCP of the host itself", unit: "Gbit/s", better: Better::More, goals: &[Goal::Kernel(0.98)] };

/// The host's own address on the LAN.
const HOST_ADDRESS: &str = "10.77.0.9";

/// All work on each.
///
/// # Errors
/// When a rig cannot be set up, or a tool fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("On the LAN of a veth parent", subjects);
    let (out, into) = (Path(0, ADDRESSES[1]), Path(1, ADDRESSES[0]));
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            let mut rig = Rig::start(kind)?;
            let server = traffic::Server::start(&rig, out)?;
            let outwards = traffic::tcp(&rig, out, effort.seconds, &[])?;
            group.note(index, OUT, outwards);
            group.note(index, UDP, traffic::udp(&rig, out, effort.seconds, (18, "0"))?.kilo_received);
            drop(server);
            let server = traffic::Server::start(&rig, into)?;
            let inwards = traffic::tcp(&rig, into, effort.seconds, &[])?;
            group.note(index, IN, inwards);
            drop(server);
            rig.enter[0] = enter(&rig.names[0]);
            let _server = traffic::Server::start(&rig, out)?;
            group.note(index, HOST, traffic::tcp(&rig, out, effort.seconds, &[])?);
            said(&format!("  round {round} {name:<18} TCP out {outwards:6.2}  in {inwards:6.2} Gbit/s"));
        }
    }
    Ok(group)
}

fn enter(namespace: &str) -> Vec<String> {
    ["ip", "netns", "exec", namespace].map(str::to_owned).to_vec()
}

impl Rig {
    /// Namespace 0 is the host with the parent `up0`, namespace 1 another machine of the LAN.
    pub(crate) fn start_lan(&mut self) -> anyhow::Result<()> {
        let own = self.kind == Kind::VswitchMacvlan;
        self.make_namespaces(if own { &["n", "b"] } else { &["n", "b", "a"] })?;
        let (host, other) = (self.names[0].clone(), self.names[1].clone());
        let ip = |line: &str| run(&mut words("ip", &line.split(' ').collect::<Vec<_>>()));
        ip(&format!("-n {host} link add up0 type veth peer name eth0 netns {other}"))?;
        for (namespace, device, address) in [(&host, "up0", HOST_ADDRESS), (&other, "eth0", ADDRESSES[1])] {
            ip(&format!("-n {namespace} addr add {address}/24 dev {device}"))?;
            ip(&format!("-n {namespace} link set {device} up"))?;
        }
        let inside = if own {
            let daemon = Daemon::start_in(&["ip", "netns", "exec", &host], &self.dir, &[])?;
            let (name, subnet) = NETWORK;
            let line = format!("network create -d macvlan --subnet {subnet} -o parent=up0 {name}");
            let mut command = words(&own_program("vswitchctl")?.display().to_string(), &[]);
            run(command.arg("--socket").arg(&daemon.socket).args(line.split(' ')))?;
            self.daemons.push(daemon.into_child());
            self.add_container("a", NETWORK, ADDRESSES[0])?
        } else {
            let inner = self.names[2].clone();
            ip(&format!("-n {host} link add m0 link up0 type macvlan mode bridge"))
                .context("the kernel's macvlan is the peer; load the module macvlan")?;
            ip(&format!("-n {host} link set m0 netns {inner}"))?;
            ip(&format!("-n {inner} addr add {}/24 dev m0", ADDRESSES[0]))?;
            ip(&format!("-n {inner} link set m0 up"))?;
            enter(&inner)
        };
        self.enter = [inside, enter(&other)];
        Ok(())
    }
}
