//! A daemon under test and the command line that drives it.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vswitch_api::stats::{Counters, PortStats, Stats};

use crate::{Background, Container, Output, command, eventually, guard::BIN};

/// The uplink's name in statistics.
const UPLINK: &str = "(uplink)";

/// Longest that a daemon may take to say that it serves, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A `vswitchd` with a state directory and a socket of its own. When a test fails, it prints what an operator would
/// look at first.
#[derive(Debug)]
pub struct Vswitch {
    dir: PathBuf,
    /// Words before the daemon's own.
    prefix: Vec<String>,
    args: Vec<String>,
    child: RefCell<Option<Child>>,
    silent: Cell<bool>,
}

impl Vswitch {
    /// A running daemon.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A running daemon with further arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn with(args: &[&str]) -> Self {
        let vswitch = Self::stopped("/tmp/vs", args);
        vswitch.up();
        vswitch
    }

    /// A daemon in `dir` that is not started yet.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn stopped(dir: &str, args: &[&str]) -> Self {
        Self::stopped_inside(dir, &[], args)
    }

    /// As [`Vswitch::stopped`]; the words of `prefix` come before the daemon's own, to start it in other namespaces.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn stopped_inside(dir: &str, prefix: &[String], args: &[&str]) -> Self {
        fs::create_dir_all(dir).unwrap();
        Vswitch {
            dir: PathBuf::from(dir),
            prefix: prefix.to_vec(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            child: RefCell::new(None),
            silent: Cell::new(false),
        }
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("vswitch.sock")
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What the daemon has logged, all its lives together.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The command that starts the daemon.
    #[must_use]
    pub fn daemon_command(&self) -> Command {
        let program = Path::new(BIN).join("vswitchd");
        let mut command = match self.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--socket").arg(self.socket()).arg("--state-dir").arg(self.state_dir()).args(&self.args);
        if !self.args.iter().any(|arg| arg == "--confinement") {
            // Whatever a vswitchd does that its filter does not know ends it, and with it the test.
            command.args(["--confinement", "kill"]);
        }
        command
    }

    /// Starts the daemon and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn up(&self) {
        self.up_within(START_LIMIT);
    }

    /// As [`Vswitch::up`], with another limit.
    ///
    /// # Panics
    /// As there.
    pub fn up_within(&self, limit: Duration) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).unwrap();
        let mut command = self.daemon_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("vswitchd was built with the tests");
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let line = receiver.recv_timeout(limit).unwrap_or_default();
        let wanted = format!("vswitchd ready: socket {}", self.socket().display());
        *self.child.borrow_mut() = Some(child);
        assert!(line == wanted, "vswitchd said '{line}' instead of '{wanted}'; its log:\n{}", self.log());
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// When it is not started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.borrow().as_ref().unwrap().id()
    }

    /// Kills the daemon without warning.
    ///
    /// # Panics
    /// When it does not run.
    pub fn crash(&self) {
        self.crash_within(10);
    }

    /// As [`Vswitch::crash`], when its end takes up to so many seconds.
    ///
    /// # Panics
    /// As there.
    pub fn crash_within(&self, seconds: u64) {
        self.signal(Signal::KILL);
        assert!(self.wait_end(seconds) == 128 + 9, "vswitchd had ended before");
    }

    /// Asks the daemon to end and returns its exit status.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn terminate(&self) -> i32 {
        self.signal(Signal::TERM);
        self.wait_end(30)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.borrow().as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the daemon's end and returns its exit status, 128 + N for signal N.
    ///
    /// # Panics
    /// When it does not end within `seconds`.
    #[track_caller]
    pub fn wait_end(&self, seconds: u64) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let mut child = self.child.borrow_mut().take().unwrap();
        let status = crate::until("vswitchd ends", seconds, || child.try_wait().unwrap());
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// The command line of this daemon, without arguments.
    #[must_use]
    pub fn ctl_command(&self) -> Command {
        let mut command = Command::new(Path::new(BIN).join("vswitchctl"));
        command.env("VSWITCH_SOCKET", self.socket());
        command
    }

    /// Runs `vswitchctl` with `args`.
    ///
    /// # Panics
    /// When it hangs.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> Output {
        command::run(self.ctl_command().args(args))
    }

    /// Runs `vswitchctl` with the words of `line`, which must work, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.words(line).ok()
    }

    /// Runs `vswitchctl` with the words of `line`, which must be refused with a sentence that contains `text`.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn refuses(&self, line: &str, text: &str) {
        let output = self.words(line).refused(text);
        assert!(output.stderr.trim_end().lines().count() == 1, "one sentence, please:\n{output}");
    }

    /// Runs `vswitchctl` with the words of `line`.
    ///
    /// # Panics
    /// When it hangs.
    #[track_caller]
    pub fn words(&self, line: &str) -> Output {
        self.ctl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `vswitchctl` with the words of `line` and `--json`, and reads its output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        let text = self.ok(&format!("{line} --json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("vswitchctl {line} --json: {error}\n{text}"))
    }

    /// Starts `vswitchctl` with `args` beside the test.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Background {
        command::spawn(self.ctl_command().args(args))
    }

    /// Starts a container that only waits and finds the test's programs, with `flags` for `vswitchctl run`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn container(&self, name: &str, flags: &str) -> Container<'_> {
        let path = std::env::var("PATH").unwrap();
        self.ok(&format!("run -d --name {name} --env PATH={path} {flags} -- sleep 100000"));
        Container::new(self, name)
    }

    /// Everything counted until now.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[must_use]
    #[track_caller]
    pub fn stats(&self) -> Stats {
        serde_json::from_value(self.json("stats")).unwrap()
    }

    /// The ports of endpoints; the uplink has one of its own beside them.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[must_use]
    #[track_caller]
    pub fn endpoint_ports(&self) -> Vec<PortStats> {
        let ports = self.stats().ports.into_iter();
        ports.filter(|port| port.network != UPLINK).collect()
    }

    /// The counters of the port that `endpoint` has on `network`.
    ///
    /// # Panics
    /// When there is no such port.
    #[must_use]
    #[track_caller]
    pub fn port(&self, endpoint: &str, network: &str) -> Counters {
        let ports = self.stats().ports;
        let port = ports.into_iter().find(|port| port.endpoint == endpoint && port.network == network);
        port.unwrap_or_else(|| panic!("no port of {endpoint} on {network}")).counters
    }

    /// Frames of `endpoint` on `network` that were dropped for `reason`.
    #[must_use]
    #[track_caller]
    pub fn drops(&self, endpoint: &str, network: &str, reason: &str) -> u64 {
        self.port(endpoint, network).drops.get(reason).copied().unwrap_or_default()
    }

    /// Waits until frames of `endpoint` on `network` were dropped for `reason`, at least `count` of them.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn expect_drops(&self, endpoint: &str, network: &str, reason: &str, count: u64) {
        eventually(&format!("{endpoint} on {network}: {count} frames dropped as {reason}"), 5, || {
            self.drops(endpoint, network, reason) >= count
        });
    }

    /// A failure of this daemon is part of the test: nothing is printed when the test fails.
    pub fn keep_silent(&self) {
        self.silent.set(true);
    }
}

impl Drop for Vswitch {
    fn drop(&mut self) {
        if thread::panicking() && !self.silent.get() && self.child.borrow().is_some() {
            for line in ["network ls", "ps -a", "endpoint ls", "stats"] {
                let mut command = Command::new("timeout");
                command.args(["5", "vswitchctl"]).args(line.split(' ')).env("VSWITCH_SOCKET", self.socket());
                let said = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
                say(&format!("$ vswitchctl {line}\n{}", String::from_utf8_lossy(&said)));
            }
        }
        if thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            say(&format!("vswitchd's log, its end:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
        if let Some(mut child) = self.child.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[allow(clippy::print_stderr, reason = "a failing test explains itself")]
fn say(text: &str) {
    eprintln!("{text}");
}
