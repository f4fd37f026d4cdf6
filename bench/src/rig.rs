//! Two containers, a and b, joined by one of the switches that are compared.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};

pub use crate::daemon::Daemon;
use crate::daemon::{end, wait_for, wait_until};

/// The address of container a, then of b.
pub const ADDRESSES: [&str; 2] = ["10.77.0.2", "10.77.0.3"];

/// Who joins them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Linux bridge.
    Bridge,
    /// The same with super-frames as long as vswitch's containers make them.
    BridgeLong,
    /// Open vSwitch's userspace (netdev) datapath, with TSO on.
    OpenVswitch,
    /// The same without TSO, as it is set up by default.
    OpenVswitchPlain,
    /// VDE's switch, with a TAP in each container.
    Vde,
    /// vswitchd.
    Vswitch,
    /// a behind a Linux bridge with nftables' masquerade and DNAT, b outside.
    KernelNat,
    /// The same with iptables, as Docker sets it up.
    IptablesNat,
    /// a behind vswitchd with a packet uplink, b outside.
    VswitchNat,
    /// a behind vswitchd with the sockets uplink, b outside.
    VswitchSockets,
    /// a behind slirp4netns, b outside.
    Slirp,
    /// The same as its callers start it, with an MTU of 65,520 bytes.
    SlirpLong,
    /// a behind pasta, b outside.
    Pasta,
    /// The same as its callers start it, with an MTU of 65,520 bytes.
    PastaLong,
    /// a and b at the two ends of a veth pair.
    Direct,
    /// a on the LAN of a host's interface by the kernel's macvlan, b there.
    KernelMacvlan,
    /// The same with vswitch.
    VswitchMacvlan,
    /// Two hosts: the kernel's vxlan device and bridge on both.
    KernelVxlan,
    /// The same with Open vSwitch's userspace datapath.
    OpenVswitchVxlan,
    /// The same with vswitch.
    VswitchVxlan,
}

/// The addresses of the outside rigs: the switch's on the uplink, and container b's.
pub const OUTSIDE: [&str; 2] = ["10.78.0.1", "10.78.0.2"];
/// The network of the containers, and its subnet.
pub(crate) const NETWORK: (&str, &str) = ("bench", "10.77.0.0/24");
/// What engines tell slirp4netns and pasta.
const CALLERS_MTU: u32 = 65_520;
/// Bytes of vswitch's longest super-frames.
const LONG: u32 = vswitch_frame::buffer::MAX_SUPER_PACKET;
/// The port of a that is published outside.
pub const PUBLISHED: &str = "5201";

/// A running rig. Dropping it takes everything down.
#[derive(Debug)]
pub struct Rig {
    /// Who joins the containers.
    pub kind: Kind,
    pub(crate) names: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) daemons: Vec<Child>,
    pub(crate) enter: [Vec<String>; 2],
}

/// Runs a command to its end and returns its output.
///
/// # Errors
/// When it cannot be started or fails; with what it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn words(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The path of a program of this workspace, beside the benchmark's own.
///
/// # Errors
/// When it was not built.
pub fn own_program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{} is missing; run 'cargo build --release --bins' first", path.display());
    Ok(path)
}

impl Rig {
    /// Sets the rig up, in a directory of its own below the system's temporary one.
    ///
    /// # Errors
    /// When a namespace, link or daemon cannot be made; with what was said.
    pub fn start(kind: Kind) -> anyhow::Result<Rig> {
        let dir = std::env::temp_dir().join(format!("vswitch-bench-{}-{kind:?}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let mut rig = Rig { kind, names: Vec::new(), dir, daemons: Vec::new(), enter: [Vec::new(), Vec::new()] };
        match kind {
            Kind::Vswitch => rig.start_vswitch()?,
            Kind::Bridge | Kind::BridgeLong | Kind::OpenVswitch | Kind::OpenVswitchPlain => rig.start_peer()?,
            Kind::Vde => rig.start_vde()?,
            Kind::KernelNat | Kind::IptablesNat | Kind::VswitchNat => rig.start_nat()?,
            Kind::VswitchSockets | Kind::Slirp | Kind::SlirpLong | Kind::Pasta | Kind::PastaLong | Kind::Direct => {
                rig.start_rootless()?;
            }
            Kind::KernelMacvlan | Kind::VswitchMacvlan => rig.start_lan()?,
            Kind::KernelVxlan | Kind::OpenVswitchVxlan | Kind::VswitchVxlan => rig.start_hosts()?,
        }
        Ok(rig)
    }

    /// A command that runs in container `side` (0 or 1).
    #[must_use]
    pub fn command(&self, side: usize, arguments: &[&str]) -> Command {
        let enter = &self.enter[side];
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn make_namespaces(&mut self, suffixes: &[&str]) -> anyhow::Result<()> {
        let kind = match self.kind {
            Kind::Bridge => 'k',
            Kind::BridgeLong => 'g',
            Kind::OpenVswitch => 'o',
            Kind::OpenVswitchPlain => 'p',
            Kind::Vde => 'd',
            Kind::Vswitch => 'v',
            Kind::KernelNat => 'm',
            Kind::IptablesNat => 'i',
            Kind::VswitchNat => 'w',
            Kind::VswitchSockets => 's',
            Kind::Slirp => 'l',
            Kind::SlirpLong => 'a',
            Kind::Pasta => 't',
            Kind::PastaLong => 'b',
            Kind::Direct => 'e',
            Kind::KernelMacvlan => 'c',
            Kind::VswitchMacvlan => 'u',
            Kind::KernelVxlan => 'x',
            Kind::OpenVswitchVxlan => 'y',
            Kind::VswitchVxlan => 'z',
        };
        self.names = suffixes.iter().map(|suffix| format!("vsb{}{kind}{suffix}", std::process::id())).collect();
        for name in &self.names {
            run(&mut words("ip", &["netns", "add", name]))?;
            run(&mut words("ip", &["-n", name, "link", "set", "lo", "up"]))?;
        }
        Ok(())
    }

    /// Namespace 0 holds the switch or router, with `up0` towards namespace 1, the outside.
    fn start_nat(&mut self) -> anyhow::Result<()> {
        self.make_namespaces(if self.kind == Kind::VswitchNat { &["n", "b"] } else { &["n", "b", "a"] })?;
        let (inner, outer) = (self.names[0].clone(), self.names[1].clone());
        let ip = |line: &str| run(&mut words("ip", &line.split(' ').collect::<Vec<_>>()));
        ip(&format!("-n {inner} link add up0 type veth peer name eth0 netns {outer}"))?;
        ip(&format!("-n {outer} addr add {}/24 dev eth0", OUTSIDE[1]))?;
        ip(&format!("-n {outer} link set eth0 up"))?;
        ip(&format!("-n {inner} link set up0 up"))?;
        let outside = ["ip", "netns", "exec", &outer].map(str::to_owned).to_vec();
        if self.kind == Kind::VswitchNat {
            let uplink = format!("packet:up0,address={}/24,gateway={}", OUTSIDE[0], OUTSIDE[1]);
            let daemon = Daemon::start_in(&["ip", "netns", "exec", &inner], &self.dir, &["--uplink", &uplink])?;
            let inside =
                self.container(&daemon.socket, "a", &["-p", &format!("{PUBLISHED}:{PUBLISHED}")], ADDRESSES[0])?;
            self.daemons.push(daemon.into_child());
            self.enter = [inside, outside];
            return Ok(());
        }
        let inside = self.names[2].clone();
        ip(&format!("-n {inner} link add br0 type bridge"))?;
        ip(&format!("-n {inner} link add va type veth peer name eth0 netns {inside}"))?;
        for line in ["link set va master br0", "link set va up", "link set br0 up", "addr add 10.77.0.1/24 dev br0"] {
            ip(&format!("-n {inner} {line}"))?;
        }
        ip(&format!("-n {inner} addr add {}/24 dev up0", OUTSIDE[0]))?;
        ip(&format!("-n {inside} addr add {}/24 dev eth0", ADDRESSES[0]))?;
        ip(&format!("-n {inside} link set eth0 up"))?;
        ip(&format!("-n {inside} route add default via 10.77.0.1"))?;
        run(&mut words("ip", &["netns", "exec", &inner, "sysctl", "-qw", "net.ipv4.ip_forward=1"]))?;
        if self.kind == Kind::KernelNat {
            nftables(&inner)?;
        } else {
            iptables(&inner)?;
        }
        self.enter = [["ip", "netns", "exec", &inside].map(str::to_owned).to_vec(), outside];
        Ok(())
    }

    /// Namespace 0 is the host, with `up0` towards namespace 1, the outside; namespace 2 is a, where the way out needs one.
    fn start_rootless(&mut self) -> anyhow::Result<()> {
        let alone = matches!(self.kind, Kind::VswitchSockets | Kind::Direct);
        self.make_namespaces(if alone { &["n", "b"] } else { &["n", "b", "a"] })?;
        let (host, outer) = (self.names[0].clone(), self.names[1].clone());
        let ip = |line: &str| run(&mut words("ip", &line.split(' ').collect::<Vec<_>>()));
        ip(&format!("-n {host} link add up0 type veth peer name eth0 netns {outer}"))?;
        for (namespace, device, address) in [(&host, "up0", OUTSIDE[0]), (&outer, "eth0", OUTSIDE[1])] {
            ip(&format!("-n {namespace} addr add {address}/24 dev {device}"))?;
            ip(&format!("-n {namespace} link set {device} up"))?;
        }
        ip(&format!("-n {host} route add default via {}", OUTSIDE[1]))?;
        let enter = |name: &str| ["ip", "netns", "exec", name].map(str::to_owned).to_vec();
        let inside = match self.kind {
            Kind::Direct => enter(&host),
            Kind::VswitchSockets => {
                let daemon = Daemon::start_in(&["ip", "netns", "exec", &host], &self.dir, &["--uplink", "sockets"])?;
                let published = format!("{PUBLISHED}:{PUBLISHED}");
                let inside = self.container(&daemon.socket, "a", &["-p", &published], ADDRESSES[0])?;
                self.daemons.push(daemon.into_child());
                inside
            }
            _ => {
                let inner = self.names[2].clone();
                self.start_user_stack(&host, &inner)?;
                enter(&inner)
            }
        };
        self.enter = [inside, enter(&outer)];
        Ok(())
    }

    /// slirp4netns or pasta in `host`, for the container `inner`, with the published port.
    fn start_user_stack(&mut self, host: &str, inner: &str) -> anyhow::Result<()> {
        let namespace = format!("/run/netns/{inner}");
        let api = self.dir.join("slirp.sock");
        let mtu = if matches!(self.kind, Kind::SlirpLong | Kind::PastaLong) { CALLERS_MTU } else { 1500 };
        let slirp = matches!(self.kind, Kind::Slirp | Kind::SlirpLong);
        let line = if slirp {
            let options = "--netns-type=path --configure --disable-host-loopback --api-socket";
            format!("slirp4netns --mtu={mtu} {options} {} {namespace} tap0", api.display())
        } else {
            let options = "--foreground --quiet --config-net --no-map-gw --runas 0:0 -4 -u none -T none -U none";
            format!("pasta {options} -m {mtu} -t {PUBLISHED} --netns {namespace}")
        };
        let mut command = words("ip", &["netns", "exec", host]);
        command.args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(command.spawn().with_context(|| format!("cannot start {line}"))?);
        wait_until(|| run(&mut words("ip", &["-n", inner, "route"])).is_ok_and(|text| text.contains("default")))
            .with_context(|| format!("no way out by '{line}'; install slirp4netns and passt"))?;
        if slirp {
            // Its API hangs up on those who come before its stack is ready.
            wait_until(|| forward(&api).is_ok()).or_else(|_| forward(&api))?;
        }
        Ok(())
    }

    /// From now on side 0 is another container of the rig's vswitchd.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn use_another_container(&mut self) -> anyhow::Result<()> {
        self.enter[0] = self.add_container("another", NETWORK, ADDRESSES[1])?;
        Ok(())
    }

    /// Starts another container of the rig's vswitchd; how to run commands in it.
    pub(crate) fn add_container(&self, name: &str, network: (&str, &str), ip: &str) -> anyhow::Result<Vec<String>> {
        self.container_on(network, &self.dir.join("vswitch.sock"), (name, &[]), ip)
    }

    /// The process id of the rig's vswitchd; it was started by a command that became it.
    #[must_use]
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemons.first().map(Child::id)
    }

    /// Makes the network if it is not there and starts an idle container; how to run commands in it.
    fn container(&self, socket: &Path, name: &str, flags: &[&str], ip: &str) -> anyhow::Result<Vec<String>> {
        self.container_on(NETWORK, socket, (name, flags), ip)
    }

    fn container_on(
        &self,
        (network, subnet): (&str, &str),
        socket: &Path,
        (name, flags): (&str, &[&str]),
        ip: &str,
    ) -> anyhow::Result<Vec<String>> {
        let (program, socket) = (own_program("vswitchctl")?.display().to_string(), socket.display().to_string());
        let control = |arguments: &[&str]| {
            let mut command = Command::new(&program);
            run(command.args(["--socket", &socket]).args(arguments))
        };
        let filter = format!("name={network}");
        if !control(&["network", "ls", "-q", "--filter", &filter])?.contains(char::is_alphanumeric) {
            control(&["network", "create", "--subnet", subnet, network])?;
        }
        let mut arguments = vec!["run", "-d", "--name", name, "--network", network, "--ip", ip];
        arguments.extend(flags);
        arguments.extend(["--", "sleep", "infinity"]);
        control(&arguments)?;
        Ok(["--socket", &socket, "exec", name].iter().fold(vec![program.clone()], |mut all, word| {
            all.push((*word).to_owned());
            all
        }))
    }

    fn start_vswitch(&mut self) -> anyhow::Result<()> {
        let daemon = Daemon::start(&self.dir, &[])?;
        let inside = ["a", "b"].iter().zip(ADDRESSES).map(|(name, ip)| self.container(&daemon.socket, name, &[], ip));
        let mut inside = inside.collect::<anyhow::Result<Vec<_>>>()?.into_iter();
        self.enter = std::array::from_fn(|_| inside.next().unwrap_or_default());
        self.daemons.push(daemon.into_child());
        Ok(())
    }

    fn start_peer(&mut self) -> anyhow::Result<()> {
        self.make_namespaces(&["n", "a", "b"])?;
        let [switch, sides @ ..] = &self.names[..] else { bail!("three names") };
        let quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
        run(&mut words("ip", &["netns", "exec", switch, "sysctl", "-qw", quiet[0], quiet[1]]))?;
        for ((side, port), ip) in sides.iter().zip(["va", "vb"]).zip(ADDRESSES) {
            let ip = format!("{ip}/24");
            run(&mut words(
                "ip",
                &["-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", side],
            ))?;
            run(&mut words("ip", &["-n", switch, "link", "set", port, "up"]))?;
            run(&mut words("ip", &["-n", side, "link", "set", "eth0", "up"]))?;
            run(&mut words("ip", &["-n", side, "addr", "add", &ip, "dev", "eth0"]))?;
            // Without TSO, Open vSwitch takes only finished frames; its manual has the same advice.
            if self.kind == Kind::OpenVswitchPlain {
                run(&mut words("ip", &["netns", "exec", side, "ethtool", "-K", "eth0", "tx", "off"]))?;
            }
        }
        self.enter = [0, 1].map(|side| ["ip", "netns", "exec", &sides[side]].map(str::to_owned).to_vec());
        let switch = switch.clone();
        if matches!(self.kind, Kind::Bridge | Kind::BridgeLong) {
            run(&mut words("ip", &["-n", &switch, "link", "add", "br0", "type", "bridge"]))?;
            run(&mut words("ip", &["-n", &switch, "link", "set", "br0", "up"]))?;
            for port in ["va", "vb"] {
                run(&mut words("ip", &["-n", &switch, "link", "set", port, "master", "br0"]))?;
            }
            if self.kind == Kind::BridgeLong {
                let ends = [
                    (&switch, "va"),
                    (&switch, "vb"),
                    (&switch, "br0"),
                    (&self.names[1], "eth0"),
                    (&self.names[2], "eth0"),
                ];
                let (program, bytes) = (own_program("vswitch-load")?.display().to_string(), LONG.to_string());
                for (namespace, interface) in ends {
                    let line = ["netns", "exec", namespace, &program, "super-frames", interface, &bytes];
                    run(&mut words("ip", &line))?;
                }
            }
            return Ok(());
        }
        self.start_ovs(&switch)
    }

    fn start_vde(&mut self) -> anyhow::Result<()> {
        self.make_namespaces(&["a", "b"])?;
        let control = self.dir.join("vde").display().to_string();
        let mut switch = Command::new("vde_switch");
        // It ends with its standard input.
        switch.args(["--sock", &control]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemons.push(switch.spawn().context("vde_switch is needed as a peer; install vde2")?);
        wait_for(&self.dir.join("vde").join("ctl"))?;
        for (side, ip) in self.names.clone().iter().zip(ADDRESSES) {
            let mut plug = words("ip", &["netns", "exec", side, "vde_plug2tap", "--sock", &control, "eth0"]);
            self.daemons.push(plug.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
            wait_until(|| run(&mut words("ip", &["-n", side, "link", "set", "eth0", "up"])).is_ok())
                .context("vde_plug2tap made no interface")?;
            run(&mut words("ip", &["-n", side, "addr", "add", &format!("{ip}/24"), "dev", "eth0"]))?;
        }
        self.enter = [0, 1].map(|side| ["ip", "netns", "exec", &self.names[side]].map(str::to_owned).to_vec());
        Ok(())
    }

    fn start_ovs(&mut self, switch: &str) -> anyhow::Result<()> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let (database, socket) = (path("conf.db"), path("db.sock"));
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        run(&mut words("ovsdb-tool", &["create", &database, schema]))
            .context("Open vSwitch is needed as a peer; install openvswitch-switch")?;
        let environment = [("OVS_RUNDIR", self.dir.clone()), ("OVS_LOGDIR", self.dir.clone())];
        let remote = format!("--remote=punix:{socket}");
        let mut server = words("ovsdb-server", &[&remote, &database]);
        self.daemons.push(server.envs(environment.clone()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let db = format!("--db=unix:{socket}");
        wait_for(Path::new(&socket))?;
        run(&mut words("ovs-vsctl", &[&db, "--no-wait", "init"]))?;
        if self.kind == Kind::OpenVswitch {
            let tso = ["--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true"];
            run(words("ovs-vsctl", &[&db]).args(tso))?;
        }
        let mut daemon = words("ip", &["netns", "exec", switch, "ovs-vswitchd", &format!("unix:{socket}")]);
        self.daemons.push(daemon.envs(environment).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let bridge = ["--", "set", "bridge", "br0", "datapath_type=netdev"];
        run(words("ovs-vsctl", &[&db, "--timeout=10", "add-br", "br0"]).args(bridge))?;
        run(&mut words("ovs-vsctl", &[&db, "--timeout=10", "add-port", "br0", "va", "--", "add-port", "br0", "vb"]))?;
        Ok(())
    }
}

/// Asks slirp4netns for the published port.
fn forward(api: &Path) -> anyhow::Result<()> {
    use std::io::{Read as _, Write as _};
    wait_for(api)?;
    let mut socket = std::os::unix::net::UnixStream::connect(api)?;
    let arguments = serde_json::json!({ "proto": "tcp", "host_addr": "0.0.0.0", "host_port": PUBLISHED.parse::<u16>()?,
        "guest_port": PUBLISHED.parse::<u16>()? });
    writeln!(socket, "{}", serde_json::json!({ "execute": "add_hostfwd", "arguments": arguments }))?;
    socket.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    ensure!(answer.contains("return"), "slirp4netns publishes nothing: {answer}");
    Ok(())
}

fn nftables(namespace: &str) -> anyhow::Result<()> {
    let rules = format!(
        "table ip nat {{ chain post {{ type nat hook postrouting priority 100; oifname up0 masquerade; }}; \
         chain pre {{ type nat hook prerouting priority -100; iifname up0 tcp dport {PUBLISHED} dnat to {}; }}; }}",
        ADDRESSES[0]
    );
    let done = run(&mut words("ip", &["netns", "exec", namespace, "nft", &rules]));
    done.map(|_| ()).context("nftables is a peer; install nftables")
}

/// The rules that Docker writes for a bridge network with one published port.
fn iptables(namespace: &str) -> anyhow::Result<()> {
    let rules = [
        "-t nat -A POSTROUTING -s 10.77.0.0/24 ! -o br0 -j MASQUERADE".to_owned(),
        format!("-t nat -A PREROUTING -i up0 -p tcp --dport {PUBLISHED} -j DNAT --to {}", ADDRESSES[0]),
        "-P FORWARD DROP".to_owned(),
        "-A FORWARD -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT".to_owned(),
        format!("-A FORWARD -d {} -o br0 -p tcp --dport {PUBLISHED} -j ACCEPT", ADDRESSES[0]),
        "-A FORWARD -i br0 ! -o br0 -j ACCEPT".to_owned(),
    ];
    for rule in rules {
        let mut command = words("ip", &["netns", "exec", namespace, "iptables"]);
        run(command.args(rule.split(' '))).context("iptables is a peer; install iptables")?;
    }
    Ok(())
}

impl Drop for Rig {
    fn drop(&mut self) {
        for mut daemon in self.daemons.drain(..).rev() {
            end(&mut daemon);
        }
        for name in &self.names {
            let _ = words("ip", &["netns", "pids", name]).output().map(|output| {
                for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                    let _ = words("kill", &["-9", pid]).status();
                }
            });
            let _ = words("ip", &["netns", "del", name]).status();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
