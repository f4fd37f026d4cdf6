//! Two hosts with a container each, joined by VXLAN over a veth pair: the kernel's, Open vSwitch's userspace datapath's,
//! and vswitch's, all of them on the same underlay.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;

use crate::containers::Effort;
use crate::daemon::wait_for;
use crate::report::{Better, Goal, Group, Measure, Side, Subject};
use crate::rig::{ADDRESSES, Kind, Rig, own_program, run, words};
use crate::traffic;

const KINDS: [(Kind, &str, Side); 3] = [
    (Kind::KernelVxlan, "kernel vxlan + bridge", Side::Kernel),
    (Kind::VswitchVxlan, "vswitch", Side::Own),
    (Kind::OpenVswitchVxlan, "Open vSwitch", Side::Userspace),
];
/// Open vSwitch's place in [`KINDS`].
const OVS: usize = 2;

const GOALS: &[Goal] = &[Goal::Kernel(0.45), Goal::Kernel(0.6), Goal::Peer(OVS, 5.0)];
const TCP: Measure = Measure { title: "one TCP stream", unit: "Gbit/s", better: Better::More, goals: GOALS };
const UDP: Measure =
    Measure { title: "UDP received, 18 bytes", unit: "k datagrams/s", better: Better::More, goals: &[] };
const PING: Measure = Measure { title: "flood ping", unit: "us", better: Better::Less, goals: &[Goal::Value(25.0)] };

/// Underlay addresses of the two hosts, the network's number and its MTU.
const UNDERLAY: [&str; 2] = ["192.168.77.1", "192.168.77.2"];
const VNI: &str = "4097";
const MTU: &str = "1450";

/// All work over each tunnel, in turn.
///
/// # Errors
/// When a tunnel cannot be set up, or a tool fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    const PINGS: u32 = 20_000;
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("Between two hosts, by VXLAN", subjects);
    let path = traffic::Path(0, ADDRESSES[1]);
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            let rig = Rig::start(kind).with_context(|| format!("over {name}"))?;
            let _server = traffic::Server::start(&rig, path)?;
            let stream = traffic::tcp(&rig, path, effort.seconds, &[])?;
            group.note(index, TCP, stream);
            group.note(index, UDP, traffic::udp(&rig, path, effort.seconds, (18, "0"))?.kilo_received);
            let (micros, _) = traffic::ping(&rig, path, PINGS)?;
            group.note(index, PING, micros);
            said(&format!("  round {round} {name:<22} TCP {stream:6.2} Gbit/s   ping {micros:5.1} us"));
        }
    }
    Ok(group)
}

impl Rig {
    /// Namespaces 0 and 1 are the hosts, 2 and 3 their containers.
    pub(crate) fn start_hosts(&mut self) -> anyhow::Result<()> {
        self.make_namespaces(&["h", "i", "a", "b"])?;
        let names = self.names.clone();
        ip(&format!("-n {} link add u0 type veth peer name u0 netns {}", names[0], names[1]))?;
        for side in 0..2 {
            let (host, inside) = (&names[side], &names[2 + side]);
            let quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
            run(&mut words("ip", &["netns", "exec", host, "sysctl", "-qw", quiet[0], quiet[1]]))?;
            ip(&format!("-n {host} link set u0 up"))?;
            ip(&format!("-n {host} link add v0 type veth peer name eth0 netns {inside}"))?;
            ip(&format!("-n {host} link set v0 up"))?;
            ip(&format!("-n {inside} link set eth0 mtu {MTU} up"))?;
            ip(&format!("-n {inside} addr add {}/24 dev eth0", ADDRESSES[side]))?;
            if self.kind != Kind::OpenVswitchVxlan {
                ip(&format!("-n {host} addr add {}/24 dev u0", UNDERLAY[side]))?;
            }
            let other = UNDERLAY[1 - side];
            match self.kind {
                Kind::KernelVxlan => kernel(host, UNDERLAY[side], other)?,
                Kind::OpenVswitchVxlan => self.open_vswitch(side, other)?,
                _ => self.own_host(side, other)?,
            }
        }
        self.enter = [2, 3].map(|inside| ["ip", "netns", "exec", &names[inside]].map(str::to_owned).to_vec());
        Ok(())
    }

    /// vswitch's data plane with one port and one tunnel.
    fn own_host(&mut self, side: usize, other: &str) -> anyhow::Result<()> {
        let program = own_program("vswitch-overlay-host")?.display().to_string();
        let address = format!("{}:4789", UNDERLAY[side]);
        let inside = ["netns", "exec", &self.names[side], &program, "v0", &address, other, VNI, MTU];
        let child = words("ip", &inside).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        self.daemons.push(child.context("cannot start vswitch-overlay-host")?);
        Ok(())
    }

    /// Open vSwitch's userspace datapath: one bridge for the underlay, one for the container and the tunnel.
    fn open_vswitch(&mut self, side: usize, other: &str) -> anyhow::Result<()> {
        let (host, inside) = (self.names[side].clone(), self.names[2 + side].clone());
        // It takes only finished frames; its manual has the same advice.
        run(&mut words("ip", &["netns", "exec", &inside, "ethtool", "-K", "eth0", "tx", "off"]))?;
        let dir = self.dir.join(format!("ovs{side}"));
        std::fs::create_dir_all(&dir)?;
        let path = |name: &str| dir.join(name).display().to_string();
        let (database, socket) = (path("conf.db"), path("db.sock"));
        run(&mut words("ovsdb-tool", &["create", &database, "/usr/share/openvswitch/vswitch.ovsschema"]))
            .context("Open vSwitch is needed as a peer; install openvswitch-switch")?;
        let environment = [("OVS_RUNDIR", dir.clone()), ("OVS_LOGDIR", dir.clone())];
        let mut server = words("ovsdb-server", &[&format!("--remote=punix:{socket}"), &database]);
        self.daemons.push(server.envs(environment.clone()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        wait_for(Path::new(&socket))?;
        let db = format!("--db=unix:{socket}");
        run(&mut words("ovs-vsctl", &[&db, "--no-wait", "init"]))?;
        let mut daemon = words("ip", &["netns", "exec", &host, "ovs-vswitchd", &format!("unix:{socket}")]);
        self.daemons.push(daemon.envs(environment).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let tunnel = format!("options:remote_ip={other} options:key={VNI}");
        for line in [
            "add-br under -- set bridge under datapath_type=netdev -- add-port under u0",
            "add-br inner -- set bridge inner datapath_type=netdev -- add-port inner v0",
            &format!("add-port inner x0 -- set interface x0 type=vxlan {tunnel}"),
        ] {
            let mut command = words("ovs-vsctl", &[&db, "--timeout=10"]);
            run(command.args(line.split(' ')))?;
        }
        ip(&format!("-n {host} addr add {}/24 dev under", UNDERLAY[side]))?;
        ip(&format!("-n {host} link set under up"))?;
        Ok(())
    }
}

fn ip(line: &str) -> anyhow::Result<String> {
    run(&mut words("ip", &line.split(' ').collect::<Vec<_>>()))
}

fn kernel(host: &str, own: &str, other: &str) -> anyhow::Result<()> {
    for line in [
        &format!("link add x0 type vxlan id {VNI} dstport 4789 local {own} remote {other} dev u0")[..],
        "link add br0 type bridge",
        "link set br0 up",
        "link set x0 master br0 up",
        "link set v0 master br0",
    ] {
        ip(&format!("-n {host} {line}"))?;
    }
    Ok(())
}
