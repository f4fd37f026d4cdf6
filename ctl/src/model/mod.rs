//! The controller's own types. Wire types become these once, by the `parse` functions here, which report *all* faults of
//! a request at once; after that nothing is checked again.

mod archive;
mod capabilities;
mod container;
mod defaults;
mod docker_create;
mod endpoint;
mod engine;
mod environment;
mod event;
mod faults;
mod filter;
mod host;
mod images;
mod isolation;
mod lan;
mod link;
mod machine;
mod mounts;
mod name;
mod network;
mod options;
mod overlay;
mod peering;
mod policy;
mod port_options;
mod process;
mod restart;
pub mod seccomp;
mod service;
mod subnet;

pub use crate::ipam::{DEFAULT_GATEWAY_V4, DEFAULT_GATEWAY_V6};
pub use archive::{ArchiveAction, archive_command};
pub use capabilities::{
    DOCKER_DEFAULT as DEFAULT_CAPABILITIES, capability_name, capability_number, resolve as resolve_capabilities,
};
pub use container::{
    Container, ContainerSpec, DEFAULT_NETWORK, ExecSpec, ExtraHost, HostAddress, HostWord, NetworkMode, Phase,
    Stopping, Wanted, parse_container, parse_exec,
};
pub use defaults::{BridgeWish, Defaults, DnsDefaults};
pub use docker_create::{DockerError, Translated, create_from_docker, exec_from_docker};
pub use endpoint::{
    Asked, AttachSpec, Attachment, DefaultRoute, Endpoint, EndpointSpec, EngineWishes, Owner, StaticAddress,
    parse_attach, parse_endpoint,
};
pub use engine::{
    EngineNetwork, EnginePortsSpec, EngineSpec, parse_engine, parse_engine_dns, parse_engine_ports,
    parse_engine_publish,
};
pub use environment::{PATH, environment, merge_env};
pub use event::{Event, Kind as EventKind};
pub use faults::Faults;
pub use filter::{Filters, bad_value};
pub use host::{HOST_INTERFACE_PREFIX, host_interface};
pub use images::{Image, ImageError, Images, id_of as image_id, tagged as tagged_image};
pub use isolation::{Isolation, check_users};
pub use lan::{Lan, Meeting, Parent};
pub use link::Link;
pub use machine::{MachinePortSpec, parse_machine_port};
pub use mounts::{Changes, Mount, Mounts, Root, Source, Tmpfs, is_anonymous_of, volume_name};
pub use name::{container_name, network_name};
pub use network::{Driver, EngineNames, IpamDriver, Network, NetworkSpec, apply_settings, parse_network};
pub(crate) use options::closest;
pub use options::{GatewayMode, MIN_MTU_IPV6, NetworkOptions, PARENT_OPTION, ParsedOptions};
pub use overlay::{Overlay, OverlayWish, free_vni};
pub use peering::{Peering, parse_traffic};
pub use policy::{MOST_RULES, PolicyRecord, PolicyWish, Subject, SubjectWish, parse_policy};
pub use port_options::{MirrorWord, PortOptions};
pub use process::{ProcessOptions, Ulimit, User, signal_number};
pub use restart::{LastEnd, RestartPolicy, back_off};
pub use service::{
    Backends, Health, ServiceChange, ServiceRecord, ServiceWish, looked_at, parse_service, parse_service_update,
};
pub use subnet::{Family, SubnetWish, parse_subnet};
