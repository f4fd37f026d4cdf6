//! `slirp4netns`, which rootless engines start for each container or for their own network namespace, and which lives in the
//! foreground as long as that. Read first: slirp4netns(1).
//!
//! What carries the frames is a vswitchd of its own ([`crate::island`]) with one network: the guest at .100, the gateway, which
//! also stands for the host's loopback, at .2, the name server at .3. The name server is the network's gateway to vswitchd; .2
//! is an address that it answers for (`proxy-arp`), and that leads to the host, or nowhere.

mod forwards;
mod options;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitCode, Stdio};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use vswitch_api::engine::{EngineAttach, EngineKey, EngineRoute};
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};

use self::forwards::Forwards;
use self::options::{Options, Parsed, Target};
use crate::island::Island;
use crate::{ENDING, complain, daemon, descriptors, ended_by, original};

pub(crate) const NAME: &str = "slirp4netns";

/// What the island's vswitchd knows the guest by.
const GUEST: &str = "guest";

/// An id for the island's one network.
const NETWORK_ID: &str = "51";

/// The place of vswitchd's own gateway address where there is to be no name server at .3.
const NAMELESS: u32 = 1;

/// Runs it.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let show = |text: &str| match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    let options = match options::parse(&arguments) {
        Ok(Parsed::Help) => return show(options::HELP),
        Ok(Parsed::Version) => return show(options::VERSION),
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Elsewhere) => {
            return original::hand_over(NAME, "frames by a descriptor or a socket are none of vswitch's", &arguments);
        }
        Err(sentence) => {
            complain(&sentence);
            return ExitCode::FAILURE;
        }
    };
    // Before its descriptors are taken, for they are the other one's then.
    if let Err(why) = daemon::program() {
        return original::hand_over(NAME, &format!("{why:#}"), &arguments);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let [ready, exit] = descriptors::take([options.ready_fd, options.exit_fd])
        .context("a descriptor of --ready-fd or --exit-fd is not open")?;
    let netns = match &options.target {
        Target::Pid(pid) => File::open(format!("/proc/{pid}/ns/net"))
            .with_context(|| format!("cannot reach the network namespace of process {pid}")),
        Target::Path(path) => {
            File::open(path).with_context(|| format!("cannot open the network namespace {}", path.display()))
        }
    }?;
    let mut island = Island::start(&["--uplink".to_owned(), uplink(options)], Stdio::inherit())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Whoever ends it while it begins ends the island with it.
        let ended = ended_by(&ENDING)?;
        let exit = watch(exit).context("cannot watch the exit descriptor")?;
        let client = island.client().clone();
        let listener = options.api_socket.as_ref().map(|path| {
            let _ = std::fs::remove_file(path);
            UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))
        });
        let listener = listener.transpose()?;
        let serve = async {
            client.attach_for_engine(&wish(options), netns.as_fd()).await?;
            if let Some(ready) = ready {
                File::from(ready).write_all(b"1").context("cannot say that the network is ready")?;
            }
            match listener {
                Some(listener) => Forwards::new(client.clone(), options.address(options::GUEST)).serve(listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => Ok(()),
            () = exit => Ok(()),
            () = island.ended() => Err(anyhow::anyhow!("vswitchd ended by itself")),
            served = serve => served,
        }
    })
}

/// Ends when something happens at a descriptor; never without one.
fn watch(descriptor: Option<OwnedFd>) -> io::Result<impl Future<Output = ()>> {
    let (sender, receiver) = oneshot::channel::<()>();
    let watched = descriptor.is_some();
    if let Some(descriptor) = descriptor {
        std::thread::Builder::new().name("exit".to_owned()).spawn(move || {
            let any = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
            while rustix::event::poll(&mut [PollFd::new(&descriptor, any)], None) == Err(rustix::io::Errno::INTR) {}
            drop(sender);
        })?;
    } else {
        drop(sender);
    }
    Ok(async move {
        if !watched {
            std::future::pending::<()>().await;
        }
        let _ = receiver.await;
    })
}

/// Who stands for the host: the gateway's address of each family.
fn gateways(options: &Options) -> impl Iterator<Item = IpAddr> {
    let ipv4 = IpAddr::V4(options.address(options::GATEWAY));
    std::iter::once(ipv4).chain(options.ipv6.then_some(IpAddr::V6(options::GATEWAY_V6)))
}

/// The way out, as `--uplink` takes it.
fn uplink(options: &Options) -> String {
    let key = if options.host_loopback { "host-loopback" } else { "closed" };
    let hosts = gateways(options).map(|gateway| format!(",{key}={gateway}"));
    let sources = options.outbound.iter().map(|address| format!(",outbound-address={address}"));
    std::iter::once("sockets".to_owned()).chain(hosts).chain(sources).collect()
}

/// The network and the guest on it.
fn wish(options: &Options) -> EngineAttach {
    let own = options.address(if options.dns { options::NAME_SERVER } else { NAMELESS });
    let mut config =
        vec![IpamConfig { subnet: options.net.to_string(), gateway: own.to_string(), ..IpamConfig::default() }];
    let mut addresses = vec![options.address(options::GUEST).to_string()];
    let mut routes = Vec::new();
    let route = |destination: &str, gateway: String| EngineRoute {
        destination: destination.to_owned(),
        gateway: Some(gateway),
        ..EngineRoute::default()
    };
    if options.configure {
        routes.push(route("0.0.0.0/0", options.address(options::GATEWAY).to_string()));
    }
    if options.ipv6 {
        let own = options::NAME_SERVER_V6.to_string();
        config.push(IpamConfig { subnet: options::NET_V6.to_owned(), gateway: own, ..IpamConfig::default() });
        addresses.push(options::GUEST_V6.to_string());
        routes.push(route("::/0", options::GATEWAY_V6.to_string()));
    }
    let proxied: Vec<String> = gateways(options).map(|gateway| gateway.to_string()).collect();
    let network = NetworkCreate {
        name: NAME.to_owned(),
        enable_ipv6: Some(options.ipv6),
        ipam: Some(Ipam { driver: "default".to_owned(), options: None, config }),
        options: [
            ("mtu", options.mtu.to_string()),
            ("proxy-arp", proxied.join(",")),
            // The guest is alone there, and may have what addresses it likes.
            ("anti-spoof", "false".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
        ..NetworkCreate::default()
    };
    EngineAttach {
        key: key(&options.interface),
        name: GUEST.to_owned(),
        network,
        network_id: NETWORK_ID.repeat(32),
        addresses,
        mac_address: options.mac.clone(),
        no_default_route: true,
        routes,
        bare_ipv4: !options.configure,
        replace_tap: true,
        ..EngineAttach::default()
    }
}

/// What the island's vswitchd knows the guest's interface by.
fn key(interface: &str) -> EngineKey {
    EngineKey { engine: NAME.to_owned(), container: GUEST.to_owned(), interface: interface.to_owned() }
}
