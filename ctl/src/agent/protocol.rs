//! What `vswitchd` and its agent say to each other.
//!
//! Transport: a SOCK_SEQPACKET Unix socket, one JSON message a packet, descriptors as SCM_RIGHTS beside it. Every
//! request carries a number that its answer repeats; events carry none. A message fits [`MAX_MESSAGE`] bytes.
//!
//! The agent is trusted by vswitchd and parses nothing that a container sends. vswitchd is *not* trusted to be
//! well-behaved after it was taken over by a hostile frame: the agent therefore offers only these operations, on objects
//! it made itself or that the same user may enter anyway, and starts only what a client ordered
//! (`docs/decisions/0018-orders.md`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_frame::MacAddr;

use super::output::Attach;
use crate::logfile::Limit;
use crate::model::{Images, Isolation, Mounts, ProcessOptions, seccomp::SeccompProfile};
use crate::publish::Binding;
use crate::userns::IdMap;

/// Largest message, bytes.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// A request with its number.
#[derive(Debug, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Chosen by the asker; repeated in the answer.
    pub seq: u64,
    /// The message.
    pub body: T,
}

/// What vswitchd asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First message of a connection, and never said again. Answer: [`Reply::Hello`].
    Hello {
        /// [`PROTOCOL_VERSION`].
        version: u32,
        /// What is in the file `agent.key` of the state directory, where no container sees it.
        #[serde(default)]
        key: String,
        /// What holds as long as the connection. vswitchd says it before it has heard of any frame or client.
        #[serde(default)]
        policy: Policy,
    },
    /// Read what a client wants to be run, from its connection, which comes beside this and which vswitchd has not read
    /// yet. Answer: [`Reply::Order`].
    OrderTake,
    /// Keep an order as that of a container. Answer: [`Reply::Done`].
    OrderKeep {
        /// Its number.
        order: u64,
        /// Id of the container.
        process: String,
    },
    /// Forget the order of a container. Answer: [`Reply::Done`].
    OrderDrop {
        /// Id of the container.
        process: String,
    },
    /// Make a volume, or find it. Answer: [`Reply::Volumes`] with this one.
    VolumeMake {
        /// Its name.
        name: String,
        /// Of the user.
        labels: BTreeMap<String, String>,
        /// Of the user; kept and not used.
        options: BTreeMap<String, String>,
    },
    /// The volumes whose names come after this one. Answer: [`Reply::Volumes`].
    VolumeList {
        /// The last name of the answer before, or nothing.
        after: String,
    },
    /// Count what volumes and containers' changes of their root directories take of the disk. Answer: [`Reply::Sizes`].
    Sizes {
        /// Names of volumes.
        volumes: Vec<String>,
        /// Ids of containers.
        roots: Vec<String>,
    },
    /// Remove a volume with what is in it. Answer: [`Reply::Done`].
    VolumeRemove {
        /// Its name.
        name: String,
    },
    /// Let no container that is started from now on see these folders, nor those that were named before, nor the state
    /// directory. Answer: [`Reply::Done`].
    Hide {
        /// Absolute.
        folders: Vec<PathBuf>,
    },
    /// What still exists, from this entry on. 0 takes a new look, and the pages after it are of that one. Answer:
    /// [`Reply::Survey`].
    Survey {
        /// How many entries are known already.
        from: usize,
    },
    /// Make a sandbox's namespaces (network, and a holder for mount, uts and pid). Answer: [`Reply::Done`].
    SandboxCreate {
        /// Id of the sandbox (the container's id, or `host-…` for an attached namespace).
        sandbox: String,
    },
    /// Know the network namespace of a process or path as a sandbox. Answer: [`Reply::Done`], or [`Reply::Namespace`] for
    /// one that came as a descriptor.
    SandboxAttach {
        /// Id that later requests use.
        sandbox: String,
        /// Where it is.
        netns: NetnsRef,
        /// Even if it is the host's own.
        force: bool,
    },
    /// Know the host's own network namespace, in which the agent was started, as a sandbox. Only root's agent can put
    /// interfaces there. Answer: [`Reply::Done`].
    SandboxHost {
        /// Id that later requests use.
        sandbox: String,
    },
    /// Open a TAP of the agent's user in the host's network namespace, one that root made for this. Answer:
    /// [`Reply::Endpoint`] and the TAP's descriptor.
    HostTap {
        /// What it should be like.
        link: Link,
        /// The user, for what root is to type.
        user: u32,
    },
    /// Have these names, and no other ones of containers, in the host's /etc/hosts, if that file agrees. Answer:
    /// [`Reply::Done`].
    HostNames {
        /// All of them.
        lines: Vec<HostLine>,
        /// Somebody wants them: a file that does not agree is an error.
        wanted: bool,
    },
    /// Forget a sandbox; a created one disappears once no process is left in it. Answer: [`Reply::Done`].
    SandboxRemove {
        /// Id of the sandbox.
        sandbox: String,
    },
    /// Put an interface into a sandbox. Answer: [`Reply::Endpoint`] and the descriptor of the switch side.
    EndpointAttach {
        /// Id of the endpoint.
        endpoint: String,
        /// Id of the sandbox.
        sandbox: String,
        /// What the interface is like.
        link: Link,
    },
    /// Open a new descriptor for the switch side of an existing endpoint, which has its carrier again. Answer as for `EndpointAttach`.
    EndpointReopen {
        /// Id of the endpoint.
        endpoint: String,
    },
    /// Remove an endpoint's interface. Removing what is gone already is no error. Answer: [`Reply::Done`].
    EndpointDetach {
        /// Id of the endpoint.
        endpoint: String,
    },
    /// Take the carrier of an endpoint's interface away, or give it back. Answer: [`Reply::Done`].
    EndpointCarrier {
        /// Id of the endpoint.
        endpoint: String,
        /// Whether it is to have one.
        up: bool,
    },
    /// Change the MTU of an endpoint's interface and of its other end. Answer: [`Reply::Done`].
    EndpointMtu {
        /// Id of the endpoint.
        endpoint: String,
        /// Bytes of IP packet.
        mtu: u32,
    },
    /// Replace the default routes of a sandbox (`None` removes). Answer: [`Reply::Done`], or [`Reply::Kept`].
    DefaultRoute {
        /// Id of the sandbox.
        sandbox: String,
        /// IPv4 default gateway and the endpoint that leads to it.
        ipv4: Option<(String, Ipv4Addr)>,
        /// IPv6 default gateway and the endpoint that leads to it.
        ipv6: Option<(String, Ipv6Addr)>,
        /// What becomes of default routes that the agent did not make.
        others: OtherRoutes,
    },
    /// Add routes for an endpoint, which go with it. One that is there already is no error. Answer: [`Reply::Done`].
    Routes {
        /// Id of the sandbox.
        sandbox: String,
        /// Id of the endpoint.
        endpoint: String,
        /// Which.
        routes: Vec<Route>,
    },
    /// Open a socket inside a sandbox. Answer: [`Reply::Sockets`].
    SandboxOpen {
        /// Id of the sandbox.
        sandbox: String,
        /// What kind of socket.
        socket: SandboxSocket,
    },
    /// Open an interface of the agent's own network namespace as the way out, and switch it on. Only the one that the
    /// agent was started for: a vswitchd that was taken over must not reach the host's other ones. Answer:
    /// [`Reply::Uplink`] and a descriptor as for `EndpointAttach`, which hears frames for every station.
    UplinkOpen {
        /// Name of the interface.
        interface: String,
    },
    /// Believe that a client wants networks on the parent that its order names. Answer: [`Reply::Done`].
    ParentAllow {
        /// Number of the order.
        order: u64,
    },
    /// Open an interface of the agent's own network namespace as the leg of a network on its LAN: one that a client has
    /// named. Answer: [`Reply::Parent`], a descriptor as for `EndpointAttach` that hears nothing yet, and one that keeps
    /// other vswitchds from this place while it is open.
    ParentOpen {
        /// Name of the interface.
        interface: String,
        /// The interface, or a VLAN of it, as networks name it.
        place: String,
    },
    /// Take a port of the host that vswitchd itself may not take. Answer: [`Reply::Listening`] and the socket's descriptor.
    Listen {
        /// Which.
        binding: Binding,
    },
    /// Open sockets for echo requests where vswitchd itself may not. Answer: [`Reply::Sockets`], with as many as one message takes.
    PingOpen {
        /// Of IPv6, not of IPv4.
        ipv6: bool,
    },
    /// Start the container's process, with exactly three descriptors: standard input, output, error (none: input is
    /// /dev/null, output and error go to `log`). Answer: [`Reply::Started`]; later [`Event::Exited`].
    ProcessStart {
        /// Id of the process (the container's id).
        process: String,
        /// What to run.
        spec: Box<ProcessSpec>,
    },
    /// Start one more process in a running container. Descriptors, answer and event as for `ProcessStart`.
    ProcessExec {
        /// Id of the new process.
        process: String,
        /// Id of the container's process.
        container: String,
        /// What to run; the client's order counts.
        exec: ExecSpec,
        /// Number of the client's order.
        #[serde(default)]
        order: Option<u64>,
        /// A client takes part, by a descriptor that comes with the answer. For a process without descriptors.
        #[serde(default)]
        attach: Option<Attach>,
    },
    /// Have a client take part in the streams of a container's process, or of one that is to begin. Not for one that was
    /// given descriptors. Answer: [`Reply::Attached`] and the client's end.
    ProcessAttach {
        /// Id of the process.
        process: String,
        /// Which streams.
        attach: Attach,
    },
    /// Change the size of a process's terminal that the agent made. Answer: [`Reply::Done`].
    ProcessResize {
        /// Id of the process.
        process: String,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Replace the text of a running container's /etc/hosts and /etc/resolv.conf. What its user has changed there stays:
    /// of hosts only the lines that the agent wrote are replaced, a changed resolv.conf is left alone. Answer:
    /// [`Reply::Done`].
    ProcessFiles {
        /// Id of the container's process.
        process: String,
        /// Whole text of /etc/hosts.
        etc_hosts: String,
        /// Whole text of /etc/resolv.conf.
        etc_resolv_conf: String,
    },
    /// Go on with the output of a container that an earlier agent started. Answer: [`Reply::Done`].
    ProcessOutput {
        /// Id of the container's process.
        process: String,
        /// Where its output goes.
        log: String,
        /// How much of it is kept there.
        limit: Limit,
    },
    /// Hold all processes of a container still, or let them go on. Answer: [`Reply::Done`].
    ProcessFreeze {
        /// Id of the container's process.
        process: String,
        /// Whether they are to be still.
        frozen: bool,
    },
    /// Send a signal. A process that ended already is no error. Answer: [`Reply::Done`].
    ProcessSignal {
        /// Id of the process.
        process: String,
        /// Signal number.
        signal: i32,
    },
    /// Forget an ended process (vswitchd has stored its exit status). Answer: [`Reply::Done`].
    ProcessForget {
        /// Id of the process.
        process: String,
    },
    /// From now on, take everything down when the connection ends. Answer: [`Reply::Done`].
    Ephemeral,
    /// Kill every process, remove every interface and namespace and exit. Answer: [`Reply::Done`], then EOF.
    Shutdown,
}

/// Protocol version of this build.
pub const PROTOCOL_VERSION: u32 = 10;

/// What the agent lets a vswitchd have done. Everything is refused by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Only what clients ordered is run. Without, what vswitchd says counts: for programs that are client and vswitchd in
    /// one, as tests are.
    pub ordered: bool,
    /// The control sockets, by which orders come, as they were bound.
    pub sockets: Vec<PathBuf>,
    /// Clients of other pid namespaces may order, too.
    pub strangers: bool,
    /// The greatest set of capabilities, by number; `None`: whatever is ordered.
    pub capabilities: Option<Vec<u8>>,
    /// What clients of Docker's dialect may name.
    #[serde(default)]
    pub images: Images,
    /// Containers get user namespaces of their own with these ids, unless they were ordered to have the host's.
    #[serde(default)]
    pub remap: Option<IdMap>,
}

/// A line of /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLine {
    /// A container's address.
    pub address: IpAddr,
    /// What it is called.
    pub names: Vec<String>,
}

/// A network namespace that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetnsRef {
    /// Of this process (seen from vswitchd's pid namespace).
    Pid(u32),
    /// Bound at this absolute path.
    Path(String),
    /// Of whatever process is in it: device and inode of the namespace's file.
    Inode(u64, u64),
    /// What came with the order of a client.
    Ordered(u64),
    /// What comes with the request.
    Beside,
    /// The host's own, until whoever asked moves the interface where it belongs.
    Host,
}

/// What becomes of default routes that somebody else made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OtherRoutes {
    /// The namespace is the agent's: they are replaced.
    Replace,
    /// They stay, and there is no other.
    Keep,
    /// They stay, and more specific routes lead everything elsewhere while the endpoint exists.
    Overrule,
}

/// A socket inside a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxSocket {
    /// The two of a name server: a bound UDP socket and a listening TCP socket, in this order, both at
    /// [`crate::dns::ADDRESS`] port 53.
    NameServer,
    /// A UDP socket that is not bound.
    Datagram {
        /// Its family.
        ipv6: bool,
    },
    /// A TCP socket that is not connected.
    Stream {
        /// Its family.
        ipv6: bool,
    },
}

/// An interface to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name inside; the first free `ethN` if absent.
    pub interface: Option<String>,
    /// Its address.
    pub mac: MacAddr,
    /// Bytes of IP packet.
    pub mtu: u32,
    /// Address and prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Address and prefix length; set without duplicate address detection.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Further addresses, of the link alone.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// IPv6 is on for this interface (off sets `disable_ipv6`).
    pub enable_ipv6: bool,
    /// Somebody else moves it where it belongs, gives it its addresses and switches it on.
    #[serde(default)]
    pub bare: bool,
    /// A TAP of this name makes room.
    #[serde(default)]
    pub replace_tap: bool,
}

/// A route inside a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// What becomes of packets.
    pub target: RouteTarget,
    /// Of several with one destination the one with the least is taken.
    pub metric: Option<u32>,
}

/// What becomes of packets that a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTarget {
    /// A router has them: on the endpoint's subnet, or where the sandbox's other routes say.
    Gateway(IpAddr),
    /// The network itself has them.
    Link,
    /// They vanish.
    Blackhole,
    /// They are answered: no such host.
    Unreachable,
    /// They are answered: not allowed.
    Prohibit,
}

/// The container's process and its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Id of the sandbox whose network namespace it gets; `None`: the host's (`--network host`).
    pub sandbox: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whole environment, `KEY=VALUE`.
    pub env: Vec<String>,
    /// Absolute.
    pub working_dir: String,
    /// For the uts namespace.
    pub hostname: String,
    /// Whole text of /etc/hosts; `None` leaves the host's.
    pub etc_hosts: Option<String>,
    /// Whole text of /etc/resolv.conf; `None` leaves the host's.
    pub etc_resolv_conf: Option<String>,
    /// Standard input is a terminal to become the controlling one; without descriptors the agent makes it.
    pub tty: bool,
    /// Without descriptors: standard input is what clients send.
    #[serde(default)]
    pub open_stdin: bool,
    /// It ends with that of a client.
    #[serde(default)]
    pub stdin_once: bool,
    /// Linux capability numbers to keep.
    pub capabilities: Vec<u8>,
    /// How far it is separated from the host.
    pub isolation: Isolation,
    /// What becomes of its system calls, if that is not Docker's default.
    #[serde(default)]
    pub profile: Option<SeccompProfile>,
    /// Its root directory and what lies on it.
    pub mounts: Mounts,
    /// Whose it is, and what holds for it.
    #[serde(default)]
    pub options: ProcessOptions,
    /// Where output goes when no descriptors are passed.
    pub log: Option<String>,
    /// How much of it is kept there.
    #[serde(default)]
    pub log_limit: Limit,
}

/// A further process in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whole environment, `KEY=VALUE`.
    pub env: Vec<String>,
    /// Absolute.
    pub working_dir: String,
    /// Standard input is a terminal to become the controlling one.
    pub tty: bool,
    /// Linux capability numbers to keep.
    pub capabilities: Vec<u8>,
    /// How far the container is separated from the host.
    pub isolation: Isolation,
    /// What becomes of its system calls, if that is not Docker's default.
    #[serde(default)]
    pub profile: Option<SeccompProfile>,
    /// Whose it is, and what holds for it.
    #[serde(default)]
    pub options: Box<ProcessOptions>,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Who answers.
    Hello {
        /// [`PROTOCOL_VERSION`].
        version: u32,
        /// Process id of the agent.
        pid: u32,
        /// Whether it lives in a user namespace of its own.
        rootless: bool,
    },
    /// A page of what exists, so that a restarted vswitchd finds everything again.
    Survey {
        /// Entries.
        existing: Vec<Existing>,
        /// More follow.
        more: bool,
    },
    /// Volumes, by name.
    Volumes {
        /// Records.
        volumes: Vec<VolumeRecord>,
        /// More follow.
        more: bool,
    },
    /// Bytes of what was named, in that order.
    Sizes {
        /// Zero for what is not there.
        bytes: Vec<u64>,
    },
    /// The order was read.
    Order {
        /// Its number.
        order: u64,
    },
    /// It is done.
    Done,
    /// The namespace is known; the descriptor that it came by is kept while somebody is in it.
    Namespace {
        /// How it is found later.
        netns: NetnsRef,
    },
    /// Default routes of somebody else's were kept, so that those that were asked for do not exist.
    Kept {
        /// `FAMILY by GATEWAY (INTERFACE)`, as far as known.
        routes: Vec<String>,
    },
    /// The interface exists; one descriptor comes with this message: an AF_PACKET socket, bound, with the vnet header
    /// on, non-blocking.
    Endpoint {
        /// Name inside the sandbox.
        interface: String,
    },
    /// The interface is open; one descriptor comes with this message, as with `Endpoint`.
    Uplink {
        /// Bytes of IP packet that it carries.
        mtu: u32,
        /// The host's own addresses on it.
        addresses: Vec<IpAddr>,
    },
    /// The interface is open as a leg; two descriptors come with this message.
    Parent {
        /// It is a wireless one.
        wireless: bool,
    },
    /// The port is taken; one descriptor comes with this message.
    Listening,
    /// The sockets are open; their descriptors come with this message, non-blocking.
    Sockets,
    /// The client is attached; one descriptor comes with this message.
    Attached,
    /// The process runs; a descriptor comes with this message where a client was to be attached.
    Started {
        /// Process id on the host.
        pid: u32,
    },
    /// It could not be done; nothing was changed.
    Failed(Failure),
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Of the user.
    pub labels: BTreeMap<String, String>,
    /// Of the user.
    pub options: BTreeMap<String, String>,
    /// Where its content is on the host.
    pub mountpoint: String,
}

/// Something that the agent has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Existing {
    /// Id of a sandbox whose namespace exists.
    Sandbox(String),
    /// Id of an endpoint whose interface exists.
    Endpoint(String),
    /// A running process: id and host pid.
    Running(String, u32),
    /// A process that ended and is not yet forgotten: id and exit status.
    Exited(String, i32),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// One sentence that says what to do.
    pub message: String,
}

/// Kinds of failure that vswitchd treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The namespace, sandbox, endpoint or process does not exist (any more).
    Gone,
    /// The user may not do that.
    NotPermitted,
    /// It would do harm, and was not forced.
    Harmful,
    /// The program was not found (exit status 127).
    CommandNotFound,
    /// The program cannot be executed (exit status 126).
    CommandNotExecutable,
    /// An interface of that name, or an address, is there already.
    Exists,
    /// Anything else.
    Other,
}

/// What the agent reports unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A process ended.
    Exited {
        /// Its id.
        process: String,
        /// Exit status (128 + N for signal N).
        exit_code: i32,
    },
    /// An attached namespace, or an interface in it, vanished.
    EndpointLost {
        /// Id of the endpoint.
        endpoint: String,
    },
}

/// Any message from the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// To a request.
    Reply(Envelope<Reply>),
    /// Unasked.
    Event(Event),
}
