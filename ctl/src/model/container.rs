//! Containers: what a user may ask of one, and what is decided and stored.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vswitch_api::container::{ContainerCreate, ExecRequest};

use super::seccomp::SeccompProfile;
use super::{
    EndpointSpec, Faults, Isolation, Mounts, ProcessOptions, RestartPolicy, container_name, parse_endpoint,
    resolve_capabilities,
};
use crate::clock::Moment;
use crate::ids::Id;
use crate::logfile::Limit;
use crate::publish::{self, Binding, Exposed, PublishSpec};

/// A container, as decided and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The hostname inside.
    pub hostname: String,
    /// When it was created.
    pub created: Moment,
    /// Whose network namespace it has.
    pub mode: NetworkMode,
    /// The mode in the user's words, `container:` with the full id.
    pub mode_text: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Host ports that lead to it: while it runs, and while it is being started.
    #[serde(default)]
    pub ports: Vec<Binding>,
    /// How often its process was started again by itself since somebody started it.
    #[serde(default)]
    pub restarts: u32,
    /// Its last end was asked for.
    #[serde(default)]
    pub stopped: bool,
    /// What the user asked for.
    pub spec: ContainerSpec,
}

/// Whose network namespace a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Its own, with endpoints.
    Networks,
    /// Its own, with nothing but loopback.
    None,
    /// The host's.
    Host,
    /// Another container's.
    Container(Id),
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Never started.
    Created,
    /// Its process runs.
    Running {
        /// On the host.
        pid: u32,
        /// Since when.
        started: Moment,
    },
    /// Its process ended.
    Exited {
        /// Exit status.
        code: i32,
        /// When it was started.
        started: Option<Moment>,
        /// When it ended.
        finished: Moment,
    },
}

impl Container {
    /// Process id on the host, while running.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        match self.phase {
            Phase::Running { pid, .. } => Some(pid),
            _ => None,
        }
    }

    /// Whether its process runs.
    #[must_use]
    pub const fn running(&self) -> bool {
        self.pid().is_some()
    }
}

/// What a user asked of a container, apart from its networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The name by which its client knows its root directory.
    #[serde(default)]
    pub image: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whole environment.
    pub env: Vec<String>,
    /// Absolute.
    pub working_dir: String,
    /// The streams are a terminal.
    pub tty: bool,
    /// Standard input is what attached clients send.
    #[serde(default)]
    pub open_stdin: bool,
    /// It ends with that of an attached client.
    #[serde(default)]
    pub stdin_once: bool,
    /// Remove when the process ends.
    pub auto_remove: bool,
    /// Nameservers instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Names are asked for at its networks' gateways, so that port 53 inside is all its own.
    #[serde(default)]
    pub names_at_gateway: bool,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf instead of the host's.
    #[serde(default)]
    pub dns_options: Vec<String>,
    /// Lines of /etc/hosts.
    pub extra_hosts: Vec<ExtraHost>,
    /// Capability numbers to keep.
    pub capabilities: Vec<u8>,
    /// How far it is separated from the host.
    #[serde(default)]
    pub isolation: Isolation,
    /// What becomes of its system calls, if that is not Docker's default.
    #[serde(default)]
    pub profile: Option<SeccompProfile>,
    /// The user's words for that.
    #[serde(default)]
    pub security_opt: Vec<String>,
    /// As asked.
    #[serde(default)]
    pub privileged: bool,
    /// Its root directory and what lies on it.
    #[serde(default)]
    pub mounts: Mounts,
    /// Ports to publish.
    #[serde(default)]
    pub publish: Vec<PublishSpec>,
    /// The same in the user's words.
    #[serde(default)]
    pub publish_text: Vec<String>,
    /// Ports that somebody else may want to know of.
    #[serde(default)]
    pub expose: Vec<Exposed>,
    /// Those are published, too.
    #[serde(default)]
    pub publish_all: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// How much of its output is kept.
    #[serde(default)]
    pub log_limit: Limit,
    /// Whose its processes are, and what holds for them.
    #[serde(default)]
    pub process: ProcessOptions,
    /// When its process is started again by itself.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How it is asked to end.
    #[serde(default)]
    pub stopping: Stopping,
}

/// How a container's process is asked to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stopping {
    /// Number of the signal; SIGTERM if absent.
    pub signal: Option<i32>,
    /// Seconds until it is killed; 10 if absent, for ever if negative.
    pub timeout: Option<i64>,
}

impl Stopping {
    /// The signal.
    #[must_use]
    pub fn signal(self) -> i32 {
        self.signal.unwrap_or(SIGTERM)
    }

    /// How long it has: what is asked now, or what was asked when it was created.
    #[must_use]
    pub fn patience(self, now: Option<i64>) -> Duration {
        const DEFAULT_SECONDS: i64 = 10;
        const FOR_EVER: u64 = 365 * 86_400;
        let seconds = now.or(self.timeout).unwrap_or(DEFAULT_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(FOR_EVER).min(FOR_EVER))
    }
}

/// SIGTERM.
const SIGTERM: i32 = 15;

/// One `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: HostAddress,
}

/// Where an `--add-host` leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HostAddress {
    /// There.
    Address(IpAddr),
    /// To the host, by whatever address it has for containers when the container starts.
    Word(HostWord),
}

/// The word for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostWord {
    /// Docker's.
    #[serde(rename = "host-gateway")]
    Gateway,
}

impl std::fmt::Display for HostAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostAddress::Address(address) => address.fmt(f),
            HostAddress::Word(HostWord::Gateway) => f.write_str(HOST_GATEWAY),
        }
    }
}

/// Docker's word for the host in `--add-host`.
const HOST_GATEWAY: &str = "host-gateway";

/// A container that a user wants, checked.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Name, if given.
    pub name: Option<String>,
    /// Hostname, if given.
    pub hostname: Option<String>,
    /// `bridge`, `none`, `host`, `container:X` or a network.
    pub network: String,
    /// What the endpoint on `network` should be like.
    pub endpoint: EndpointSpec,
    /// Further networks.
    pub more: Vec<(String, EndpointSpec)>,
    /// The rest.
    pub spec: ContainerSpec,
    /// What of `spec.log_limit` was asked for; the rest of that is the operator's to say.
    pub log_options: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// What was asked for with `--dns`.
    #[must_use]
    pub fn dns_words(&self) -> Vec<String> {
        match self.names_at_gateway {
            true => vec![AT_GATEWAY.to_owned()],
            false => self.dns.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The word for whatever network the operator chose for containers that name none.
pub const DEFAULT_NETWORK: &str = "default";

/// The word for the gateways of a container's own networks, in the place of a nameserver's address.
const AT_GATEWAY: &str = "gateway";

/// Checks the body of `POST /containers`.
///
/// # Errors
/// All faults at once.
pub fn parse_container(wire: ContainerCreate) -> Result<Wanted, Faults> {
    let mut faults = Faults::new("");
    let process = ProcessOptions::parse(&wire).unwrap_or_else(|more| {
        faults.append(more);
        ProcessOptions::default()
    });
    let name = wire.name.filter(|name| !name.is_empty()).and_then(|name| faults.take(container_name(&name)));
    let hostname = wire.hostname.filter(|name| !name.is_empty()).and_then(|name| faults.take(parse_hostname(name)));
    check_command(&wire.command, &wire.env, &mut faults);
    let working_dir = wire.working_dir.filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".to_owned());
    faults.take(check_working_dir(&working_dir));
    let endpoint = take_endpoint(&wire.endpoint, &mut faults);
    let mut more = Vec::new();
    for request in wire.more_networks {
        if matches!(request.network.as_str(), "" | "host" | "none") || request.network.starts_with("container:") {
            faults.add(format!("{:?} cannot be one of several networks", request.network));
        }
        more.push((request.network, take_endpoint(&request.endpoint, &mut faults)));
    }
    let names_at_gateway = wire.dns.iter().any(|text| text == AT_GATEWAY);
    if names_at_gateway && wire.dns.len() > 1 {
        faults.add("--dns gateway stands alone: the gateway asks the host's resolvers for what no network has");
    }
    let dns = wire.dns.iter().filter(|text| *text != AT_GATEWAY).filter_map(|text| {
        let sentence = || format!("{text} is not an ip address; --dns takes the address of a nameserver, or 'gateway'");
        faults.take(text.parse().map_err(|_| sentence()))
    });
    let dns = dns.collect();
    let extra_hosts = wire.extra_hosts.iter().filter_map(|text| faults.take(parse_extra_host(text)));
    let extra_hosts = extra_hosts.collect();
    if let Some(bad) = wire.dns_search.iter().find(|domain| domain.contains(char::is_whitespace) || domain.is_empty()) {
        faults.add(format!("invalid search domain {bad:?}: it must not be empty or contain spaces"));
    }
    if let Some(bad) = wire.dns_options.iter().find(|option| option.contains(char::is_whitespace) || option.is_empty())
    {
        faults.add(format!("invalid DNS option {bad:?}: it must be one word, such as ndots:2"));
    }
    let mut cap_add = wire.cap_add;
    if wire.privileged {
        cap_add.push("ALL".to_owned());
    }
    let capabilities = faults.take(resolve_capabilities(&cap_add, &wire.cap_drop)).unwrap_or_default();
    let mut isolation = faults.take(Isolation::parse(&wire.security_opt, wire.privileged)).unwrap_or_default();
    match wire.userns.as_str() {
        "" => {}
        "host" => isolation.host_users = true,
        other => faults.add(format!("invalid user namespace {other:?}: write host, or leave it out")),
    }
    let profile = faults.take(SeccompProfile::of_options(&wire.security_opt)).unwrap_or_default();
    let mounts = Mounts::parse(wire.rootfs.as_deref(), wire.read_only, &wire.volumes, &wire.mounts, &wire.tmpfs)
        .unwrap_or_else(|more| {
            faults.append(more);
            Mounts::default()
        });
    let publish = wire.publish.iter().filter_map(|text| faults.take(publish::parse(text)));
    let publish = publish.flatten().collect();
    let expose = wire.expose.iter().filter_map(|text| faults.take(publish::parse_exposed(text)));
    let expose = expose.flatten().collect();
    let log_limit = Limit::default().with(&wire.log_options).unwrap_or_else(|more| {
        faults.append(more);
        Limit::default()
    });
    let restart = faults.take(RestartPolicy::parse(&wire.restart)).unwrap_or_default();
    if wire.auto_remove && restart != RestartPolicy::No {
        faults.add("can't create 'AutoRemove' container with restart policy");
    }
    let stop_signal = Some(wire.stop_signal.as_str()).filter(|text| !text.is_empty());
    let stop_signal = stop_signal.and_then(|text| faults.take(super::signal_number(text)));
    let stopping = Stopping { signal: stop_signal, timeout: wire.stop_timeout };
    let network = match wire.network.as_str() {
        "" => DEFAULT_NETWORK.to_owned(),
        _ => wire.network,
    };
    let spec = ContainerSpec {
        image: wire.image,
        command: wire.command,
        env: wire.env,
        working_dir,
        tty: wire.tty,
        open_stdin: wire.open_stdin,
        stdin_once: wire.stdin_once,
        auto_remove: wire.auto_remove,
        dns,
        names_at_gateway,
        dns_search: wire.dns_search,
        dns_options: wire.dns_options,
        extra_hosts,
        capabilities,
        isolation,
        profile,
        security_opt: wire.security_opt,
        privileged: wire.privileged,
        mounts,
        publish,
        publish_text: wire.publish,
        expose,
        publish_all: wire.publish_all,
        labels: wire.labels,
        log_limit,
        process,
        restart,
        stopping,
    };
    faults.finish(Wanted { name, hostname, network, endpoint, more, spec, log_options: wire.log_options })
}

/// One more process in a container, checked.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// On top of the container's own environment.
    pub env: Vec<String>,
    /// Absolute; the container's own if absent.
    pub working_dir: Option<String>,
    /// The streams are a terminal.
    pub tty: bool,
    /// `USER[:GROUP]`; the container's own if empty.
    pub user: String,
}

/// Checks the body of `POST …/exec`.
///
/// # Errors
/// All faults at once.
pub fn parse_exec(wire: ExecRequest) -> Result<ExecSpec, Faults> {
    let mut faults = Faults::new("");
    check_command(&wire.command, &wire.env, &mut faults);
    let working_dir = wire.working_dir.filter(|dir| !dir.is_empty());
    if let Some(dir) = &working_dir {
        faults.take(check_working_dir(dir));
    }
    faults.finish(ExecSpec { command: wire.command, env: wire.env, working_dir, tty: wire.tty, user: wire.user })
}

fn take_endpoint(wire: &vswitch_api::network::EndpointConfig, faults: &mut Faults) -> EndpointSpec {
    parse_endpoint(wire).unwrap_or_else(|more| {
        faults.append(more);
        EndpointSpec::default()
    })
}

fn check_command(command: &[String], env: &[String], faults: &mut Faults) {
    if command.first().is_none_or(String::is_empty) {
        faults.add("no command: say which program to run");
    }
    if command.iter().chain(env).any(|text| text.contains('\0')) {
        faults.add("a NUL byte cannot be part of a command or its environment");
    }
    if let Some(bad) = env.iter().find(|text| text.find('=').is_none_or(|at| at == 0)) {
        faults.add(format!("invalid environment variable {bad:?}: write KEY=VALUE"));
    }
}

fn check_working_dir(dir: &str) -> Result<(), String> {
    if dir.starts_with('/') && !dir.contains('\0') {
        Ok(())
    } else {
        Err(format!("the working directory {dir:?} is invalid, it needs to be an absolute path"))
    }
}

/// RFC 1123 as far as Linux cares: at most 64 bytes of letters, digits, `.`, `-` and `_`.
fn parse_hostname(name: String) -> Result<String, String> {
    let good = name.len() <= 64
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if good {
        Ok(name)
    } else {
        Err(format!("invalid hostname {name:?}: use at most 64 letters, digits, '-', '_' and '.'"))
    }
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
fn parse_extra_host(text: &str) -> Result<ExtraHost, String> {
    let bad = || format!("bad format for add-host: {text:?}; write NAME:ADDRESS");
    let (name, address) = text.split_once(['=', ':']).ok_or_else(bad)?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let named = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#');
    let address = match address {
        HOST_GATEWAY => HostAddress::Word(HostWord::Gateway),
        _ => HostAddress::Address(bare.parse().map_err(|_| format!("invalid IP address in add-host: {address:?}"))?),
    };
    if named { Ok(ExtraHost { name: name.to_owned(), address }) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(change: impl FnOnce(&mut ContainerCreate)) -> Result<Wanted, String> {
        let mut wire = ContainerCreate { command: vec!["true".into()], ..ContainerCreate::default() };
        change(&mut wire);
        parse_container(wire).map_err(|faults| faults.to_string())
    }

    /// The defaults are Docker's: the default network, directory /, no name.
    #[test]
    fn defaults() {
        let wanted = run(|_| ()).unwrap();
        assert_eq!((wanted.network.as_str(), wanted.spec.working_dir.as_str()), (DEFAULT_NETWORK, "/"));
        assert_eq!((wanted.name, wanted.hostname), (None, None));
    }

    /// Each kind of bad input is refused with a sentence that says what to do.
    #[test]
    fn refusals() {
        type Change = fn(&mut ContainerCreate);
        let cases: [(Change, &str); 19] = [
            (|wire| wire.command.clear(), "no command"),
            (|wire| wire.name = Some("a b".into()), "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
            (|wire| wire.hostname = Some("-x".into()), "invalid hostname"),
            (|wire| wire.env = vec!["novalue".into()], "write KEY=VALUE"),
            (|wire| wire.working_dir = Some("tmp".into()), "absolute path"),
            (|wire| wire.dns = vec!["x".into()], "not an ip address"),
            (|wire| wire.dns = vec!["gateway".into(), "192.0.2.1".into()], "stands alone"),
            (|wire| wire.extra_hosts = vec!["x".into()], "write NAME:ADDRESS"),
            (|wire| wire.dns_options = vec!["ndots: 2".into()], "one word"),
            (|wire| wire.publish = vec!["65536:80".into()], "invalid hostPort: 65536"),
            (|wire| wire.cap_add = vec!["FLY".into()], "unknown capability"),
            (|wire| wire.security_opt = vec!["apparmor=x".into()], "--security-opt"),
            (|wire| wire.volumes = vec!["/x:y".into()], "invalid volume"),
            (|wire| wire.restart = "x".into(), "unknown policy"),
            (|wire| (wire.restart, wire.auto_remove) = ("always".into(), true), "can't create 'AutoRemove' container"),
            (|wire| wire.stop_signal = "X".into(), "invalid signal: X"),
            (|wire| wire.ulimits = vec!["x".into()], "invalid ulimit argument"),
            (|wire| wire.sysctls = [("vm.x".into(), "1".into())].into(), "not in a separate kernel namespace"),
            (|wire| wire.endpoint.mac_address = "ff:ff:ff:ff:ff:ff".into(), "broadcast"),
        ];
        for (change, says) in cases {
            let text = run(change).unwrap_err();
            assert!(text.contains(says), "{text}");
        }
    }

    /// A negative time is no limit, an absent one is what was said before, or Docker's.
    #[test]
    fn patience() {
        let said = Stopping { timeout: Some(3), ..Stopping::default() };
        assert_eq!(said.patience(None), Duration::from_secs(3));
        assert_eq!(
            (said.patience(Some(0)), Stopping::default().patience(None)),
            (Duration::ZERO, Duration::from_secs(10))
        );
        assert!(said.patience(Some(-1)) > Duration::from_secs(86_400));
    }

    /// --add-host takes IPv6 in both spellings and either separator.
    #[test]
    fn extra_hosts() {
        let word = parse_extra_host("host:host-gateway").unwrap();
        assert_eq!(serde_json::to_string(&word.address).unwrap(), "\"host-gateway\"");
        for text in ["db:fd00::5", "db:[fd00::5]", "db=fd00::5"] {
            assert_eq!(parse_extra_host(text).unwrap().address.to_string(), "fd00::5");
        }
    }
}
