//! Two containers, a and b, joined by one of the switches that are compared.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// The address of container a, then of b.
pub const ADDRESSES: [&str; 2] = ["10.77.0.2", "10.77.0.3"];

/// Who joins them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Linux bridge.
    Bridge,
    /// Open vSwitch's userspace (netdev) datapath, with TSO on.
    OpenVswitch,
    /// vswitchd.
    Vswitch,
}

/// A running rig. Dropping it takes everything down.
#[derive(Debug)]
pub struct Rig {
    /// Who joins the containers.
    pub kind: Kind,
    names: Vec<String>,
    dir: PathBuf,
    daemons: Vec<Child>,
    enter: [Vec<String>; 2],
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

fn words(program: &str, arguments: &[&str]) -> Command {
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
            Kind::Bridge | Kind::OpenVswitch => rig.start_peer()?,
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

    fn start_vswitch(&mut self) -> anyhow::Result<()> {
        let daemon = Daemon::start(&self.dir, &[])?;
        let (control, socket) = (own_program("vswitchctl")?, daemon.socket.display().to_string());
        self.daemons.push(daemon.into_child());
        let control = |arguments: &[&str]| run(Command::new(&control).args(["--socket", &socket]).args(arguments));
        control(&["network", "create", "--subnet", "10.77.0.0/24", "bench"])?;
        for (name, ip) in ["a", "b"].into_iter().zip(ADDRESSES) {
            control(&["run", "-d", "--name", name, "--network", "bench", "--ip", ip, "--", "sleep", "infinity"])?;
        }
        let program = own_program("vswitchctl")?.display().to_string();
        self.enter = ["a", "b"].map(|name| {
            vec![program.clone(), "--socket".to_owned(), socket.clone(), "exec".to_owned(), name.to_owned()]
        });
        Ok(())
    }

    fn start_peer(&mut self) -> anyhow::Result<()> {
        let prefix = format!("vsb{}{}", std::process::id(), if self.kind == Kind::Bridge { "k" } else { "o" });
        self.names = ["n", "a", "b"].map(|suffix| format!("{prefix}{suffix}")).to_vec();
        let [switch, sides @ ..] = &self.names[..] else { bail!("three names") };
        for name in &self.names {
            run(&mut words("ip", &["netns", "add", name]))?;
        }
        let quiet = ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"];
        run(&mut words("ip", &["netns", "exec", switch, "sysctl", "-qw", quiet[0], quiet[1]]))?;
        for ((side, port), ip) in sides.iter().zip(["va", "vb"]).zip(ADDRESSES) {
            let ip = format!("{ip}/24");
            run(&mut words(
                "ip",
                &["-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", side],
            ))?;
            run(&mut words("ip", &["-n", switch, "link", "set", port, "up"]))?;
            run(&mut words("ip", &["-n", side, "link", "set", "lo", "up"]))?;
            run(&mut words("ip", &["-n", side, "link", "set", "eth0", "up"]))?;
            run(&mut words("ip", &["-n", side, "addr", "add", &ip, "dev", "eth0"]))?;
        }
        self.enter = [0, 1].map(|side| ["ip", "netns", "exec", &sides[side]].map(str::to_owned).to_vec());
        let switch = switch.clone();
        if self.kind == Kind::Bridge {
            run(&mut words("ip", &["-n", &switch, "link", "add", "br0", "type", "bridge"]))?;
            run(&mut words("ip", &["-n", &switch, "link", "set", "br0", "up"]))?;
            for port in ["va", "vb"] {
                run(&mut words("ip", &["-n", &switch, "link", "set", port, "master", "br0"]))?;
            }
            return Ok(());
        }
        self.start_ovs(&switch)
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
        let tso = ["--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true"];
        run(words("ovs-vsctl", &[&db]).args(tso))?;
        let mut daemon = words("ip", &["netns", "exec", switch, "ovs-vswitchd", &format!("unix:{socket}")]);
        self.daemons.push(daemon.envs(environment).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let bridge = ["--", "set", "bridge", "br0", "datapath_type=netdev"];
        run(words("ovs-vsctl", &[&db, "--timeout=10", "add-br", "br0"]).args(bridge))?;
        run(&mut words("ovs-vsctl", &[&db, "--timeout=10", "add-port", "br0", "va", "--", "add-port", "br0", "vb"]))?;
        Ok(())
    }
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

/// A vswitchd of the benchmark's own.
#[derive(Debug)]
pub struct Daemon {
    /// Its control socket.
    pub socket: PathBuf,
    /// From the start of the process to its ready line.
    pub started_in: Duration,
    child: Option<Child>,
}

impl Daemon {
    /// Starts vswitchd with its state in `dir` and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or says anything else than that it is ready.
    pub fn start(dir: &Path, arguments: &[&str]) -> anyhow::Result<Daemon> {
        use std::io::BufRead as _;
        let socket = dir.join("vswitch.sock");
        let mut command = Command::new(own_program("vswitchd")?);
        command.arg("--ephemeral").arg("--socket").arg(&socket).arg("--state-dir").arg(dir.join("state"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let start = std::time::Instant::now();
        let mut child = command.spawn().context("cannot start vswitchd")?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        std::io::BufReader::new(output).read_line(&mut line)?;
        let started_in = start.elapsed();
        ensure!(line.starts_with("vswitchd ready"), "vswitchd did not get ready; what it said is above");
        Ok(Daemon { socket, started_in, child: Some(child) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn into_child(mut self) -> Child {
        self.child.take().expect("only taken here")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// Asks a daemon to end, and insists after five seconds.
fn end(child: &mut Child) {
    let _ = words("kill", &["-TERM", &child.id().to_string()]).status();
    for _ in 0..100 {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_for(path: &Path) -> anyhow::Result<()> {
    for _ in 0..200 {
        if path.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{} did not appear", path.display())
}
