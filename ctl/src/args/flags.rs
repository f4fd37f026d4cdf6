//! The command line as clap reads it.

use std::path::PathBuf;

use clap::Parser;

use super::DockerSettings;
use crate::confinement::Mode;

/// The vswitch daemon: a userspace virtual switch for containers.
#[derive(Debug, Default, Parser)]
#[command(name = "vswitchd", version)]
pub struct Args {
    /// Control socket [default: $VSWITCH_SOCKET, $XDG_RUNTIME_DIR/vswitch/vswitch.sock or /run/vswitch/vswitch.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where networks, containers and leases are kept [default: /var/lib/vswitch or $XDG_STATE_HOME/vswitch]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// TOML file with these flags as keys (flags win; dockerd's in the words of its daemon.json, and what else dockerd knows
    /// is told and left aside), tables [nat] and [flows] for the uplink's translator, and a table [[overlay]] for each overlay
    /// network that is to exist
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Pipelines [default: number of cores, at most 4]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Way out of the networks: sockets[,host-loopback=A][,host-address=A@HOST][,closed=A][,outbound-address=A]
    /// [,publish-source=client|gateway][,udp-filter=address-and-port-dependent|endpoint-independent] goes over ordinary sockets of the host and needs no
    /// privilege; packet:IFACE,address=A/LEN[,gateway=A][,mac=M][,mtu=N][,route=CIDR@ROUTER][,masquerade=false][,name=NAME] is a NAT
    /// router on an interface, where address, gateway and route may repeat; none keeps everything inside. Several
    /// interfaces may be given: networks leave by the first that works, or by those that their option uplink names [default: sockets]
    #[arg(long, value_name = "UPLINK")]
    pub uplink: Vec<String>,
    /// Let containers reach services on the host's loopback at this address, which nobody else may have; once for IPv4
    /// (127.0.0.1) and once for IPv6 (::1). They find it as host.vswitch.internal, too [default: they do not]
    #[arg(long, value_name = "ADDR")]
    pub host_loopback: Vec<String>,
    /// Address of this host where overlay networks' tunnels end: ADDRESS[,port=N]; may repeat, and the first is used by
    /// networks that name none [port: 4789]
    #[arg(long, value_name = "VTEP")]
    pub vtep: Vec<String>,
    /// Take everything down when vswitchd ends, however it ends
    #[arg(long)]
    pub ephemeral: bool,
    /// End when standard input does, which whoever started vswitchd holds open, and remove the state directory then; as with
    /// --ephemeral nothing is left
    #[arg(long, conflicts_with = "live_restore")]
    pub follow_stdin: bool,
    /// Let containers run on when vswitchd is stopped
    #[arg(long)]
    pub live_restore: bool,
    /// Most entries of the forwarding database [default: 65536]
    #[arg(long, value_name = "N")]
    pub fdb_capacity: Option<usize>,
    /// Seconds after which an address that was not seen is forgotten [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub fdb_ageing: Option<u64>,
    /// Give the control socket to this group, too: its members can do whatever the user of vswitchd can
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Let containers have no capability but these, whatever a client asks for; may repeat [default: what it asks for]
    #[arg(long, value_name = "CAP")]
    pub allow_cap: Vec<String>,
    /// Serve clients of other pid namespaces, too: a container that has the socket within reach is then as good as the user
    #[arg(long)]
    pub allow_from_containers: bool,
    /// An image for Docker's clients: containers of this name have the directory as /, '*=/' gives the host's root
    /// directory to all other names; may repeat [default: none]
    #[arg(long = "image", value_name = "NAME=DIR")]
    pub images: Vec<String>,
    /// What happens when vswitchd does what it should not; it confines itself by seccomp and landlock [default: refuse]
    #[arg(long, value_name = "MODE")]
    pub confinement: Option<Mode>,
    /// What to log to standard error: error, warn, info, debug or trace (the same as debug but in
    /// debug builds) [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// A second socket, on which vswitchd speaks the Docker Engine API and nothing else
    #[arg(long, value_name = "PATH")]
    pub docker_socket: Option<PathBuf>,
    /// JSON file in the form of Docker's daemon.json: dockerd's flags below, live-restore, debug, log-level and group; what
    /// else dockerd knows is told and left aside. Read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// dockerd's settings.
    #[command(flatten)]
    pub docker: DockerSettings,
}
