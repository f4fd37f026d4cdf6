//! `netavark`, which podman calls when a container's networks are to be set up or taken down.
//!
//! Networks of the driver `bridge` are vswitch's; of others the engine's own netavark hears, with the same request without
//! ours. An error is an object with the key `error` and no other, on standard output: podman refuses unknown fields.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{ArgAction, Parser};
use serde_json::{Value, json};
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::{EngineAttach, EngineKey};
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};
use vswitch_api::{Client, ClientError};

use super::ENGINE;
use super::wire::{Assigned, Interface, Network, NetworkOptions, Request, Status, publish};
use crate::namespace::has_interface;
use crate::{complain, daemon, original};

/// Largest request, bytes.
const LONGEST: u64 = 16 << 20;

/// Its own name, by which the engine's is found.
const NAME: &str = "netavark";

/// The driver that is vswitch's.
const DRIVER: &str = "bridge";

/// netavark's options, as far as they matter here.
#[derive(Debug, Parser)]
#[command(name = NAME, disable_version_flag = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Arguments {
    #[arg(short, long)]
    config: Option<OsString>,
    #[arg(short, long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    rootless: Option<bool>,
    #[arg(short, long)]
    aardvark_binary: Option<OsString>,
    #[arg(long)]
    plugin_directory: Vec<OsString>,
    /// What to do, and with what.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs it with the process's own arguments.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let parsed = Arguments::try_parse_from(std::iter::once(OsString::from(NAME)).chain(arguments.iter().cloned()));
    let result = match &parsed {
        Ok(parsed) => run(parsed, &arguments),
        // Of an engine that is newer than this: its own helper knows.
        Err(_) => Err(original::become_it(NAME, &arguments, &[]).into()),
    };
    match result {
        Ok(answer) => answer_with(&answer, ExitCode::SUCCESS),
        Err(error) => answer_with(json!({ "error": format!("{error:#}") }).to_string().as_bytes(), ExitCode::FAILURE),
    }
}

fn answer_with(answer: &[u8], code: ExitCode) -> ExitCode {
    match io::stdout().write_all(answer).and_then(|()| io::stdout().flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(parsed: &Arguments, arguments: &[OsString]) -> anyhow::Result<Vec<u8>> {
    let words: Vec<&str> = parsed.command.iter().filter_map(|word| word.to_str()).collect();
    match words[..] {
        ["setup", netns] if words.len() == parsed.command.len() => {
            let (text, request) = read_request()?;
            setup(&request, &text, netns, parsed, arguments)
        }
        ["teardown", netns] if words.len() == parsed.command.len() => {
            // Ctrl-C at the terminal must never leave half a network.
            let _deaf = deaf_to_signals();
            let (text, request) = read_request()?;
            teardown(&request, &text, netns, arguments)
        }
        ["version"] => Ok(version().to_string().into_bytes()),
        ["update", network, ..] => {
            complain(&format!(
                "containers of network {network} ask the host's name servers; those of 'podman network update' are not used"
            ));
            Ok(Vec::new())
        }
        _ => {
            let mut input = Vec::new();
            io::stdin().take(LONGEST).read_to_end(&mut input).context("cannot read standard input")?;
            Err(original::become_it(NAME, arguments, &input).into())
        }
    }
}

fn version() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ "version": format!("vswitch {version}"), "commit": "", "build_time": "", "target": "", "default_fw_driver": "none" })
}

/// Hears no interruption from here on: the signals are taken and not acted upon.
fn deaf_to_signals() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        // Once heard, a signal has lost its usual effect for good.
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            drop(signal(kind)?);
        }
        anyhow::Ok(())
    })?;
    Ok(runtime)
}

fn read_request() -> anyhow::Result<(Vec<u8>, Request)> {
    let mut text = Vec::new();
    io::stdin().take(LONGEST + 1).read_to_end(&mut text).context("cannot read the request")?;
    if text.len() as u64 > LONGEST {
        bail!("the request is larger than {} MiB; give the container fewer networks or ports", LONGEST >> 20);
    }
    let request = serde_json::from_slice(&text).context("the request on standard input is not as netavark's")?;
    Ok((text, request))
}

/// A network of the request and what the container wants of it.
type Wanted<'a> = (&'a str, &'a Network, &'a NetworkOptions);

/// What is vswitch's, and whether there is more.
fn split(request: &Request) -> anyhow::Result<(Vec<Wanted<'_>>, bool)> {
    let mut ours = Vec::new();
    let mut others = false;
    for (name, options) in request.networks.iter() {
        let network = request.network_info.get(name);
        let network = network.with_context(|| format!("the request names network {name} and does not describe it"))?;
        match network.driver == DRIVER {
            true => ours.push((name, network, options)),
            false => others = true,
        }
    }
    Ok((ours, others))
}

/// The request without what is vswitch's.
fn without(request: &Request, ours: &[Wanted<'_>]) -> anyhow::Result<Vec<u8>> {
    let names: BTreeSet<&str> = ours.iter().map(|(name, ..)| *name).collect();
    let mut rest = request.clone();
    rest.networks.retain(|name| !names.contains(name));
    rest.network_info.retain(|name, _| !names.contains(name.as_str()));
    Ok(serde_json::to_vec(&rest)?)
}

fn setup(
    request: &Request,
    text: &[u8],
    netns: &str,
    parsed: &Arguments,
    arguments: &[OsString],
) -> anyhow::Result<Vec<u8>> {
    let (ours, others) = split(request)?;
    if ours.is_empty() {
        return Err(original::become_it(NAME, arguments, text).into());
    }
    let client = match daemon::client() {
        Ok(client) => client,
        Err(error) if error.is_unreachable() => return hand_over(&error, arguments, text),
        Err(error) => return Err(error.into()),
    };
    let file = File::open(netns).with_context(|| format!("cannot open the network namespace {netns}"))?;
    // Of an ordinary user's containers rootlessport publishes the ports.
    let rootless = parsed.rootless.unwrap_or(false);
    let ports = request.port_mappings.as_deref().filter(|_| !rootless).unwrap_or_default();
    let mut ports = publish(ports).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut statuses = BTreeMap::new();
        let mut done = Vec::new();
        for (name, network, options) in &ours {
            let published = if network.internal { Vec::new() } else { std::mem::take(&mut ports) };
            let wish = wish(request, (name, network, options), published);
            match client.attach_for_engine(&wish, file.as_fd()).await {
                Ok(endpoint) => {
                    statuses.insert((*name).to_owned(), serde_json::to_value(status(&endpoint, network.dns_enabled))?);
                    done.push(wish.key);
                }
                Err(error) if done.is_empty() && error.is_unreachable() => {
                    return hand_over(&error, arguments, text);
                }
                Err(error) => {
                    undo(&client, &done).await;
                    return Err(explained(error, rootless));
                }
            }
        }
        if others {
            match their_setup(request, &ours, arguments) {
                Ok(theirs) => statuses.extend(theirs),
                Err(error) => {
                    undo(&client, &done).await;
                    return Err(error);
                }
            }
        }
        Ok(serde_json::to_vec(&statuses)?)
    })
}

/// The daemon's sentence, and what to do where it is podman itself that stands in the way.
fn explained(error: ClientError, rootless: bool) -> anyhow::Error {
    let said = error.to_string();
    if rootless || !said.contains("address already in use") {
        return error.into();
    }
    anyhow::anyhow!(
        "{said}; if nobody else has it, podman does, which reserves published ports: set enable_port_reservation = false \
         under [engine] in containers.conf, as 'vswitchctl engine podman install --system' does"
    )
}

/// Without a vswitchd the engine's own helper does it all, as if there were no vswitch.
fn hand_over(why: &ClientError, arguments: &[OsString], text: &[u8]) -> anyhow::Result<Vec<u8>> {
    complain(&format!("{why}; podman's own netavark is used"));
    Err(original::become_it(NAME, arguments, text).into())
}

async fn undo(client: &Client, done: &[EngineKey]) {
    for key in done {
        if let Err(error) = client.detach_for_engine(key).await {
            complain(&format!("interface {} of the container stays: {error}", key.interface));
        }
    }
}

fn their_setup(
    request: &Request,
    ours: &[Wanted<'_>],
    arguments: &[OsString],
) -> anyhow::Result<BTreeMap<String, Value>> {
    let output = original::run(NAME, arguments, &without(request, ours)?)?;
    let answer: BTreeMap<String, Value> =
        serde_json::from_slice(&output.stdout).context("podman's own netavark gave no answer that makes sense")?;
    if output.status.success() {
        return Ok(answer);
    }
    let said =
        answer.get("error").and_then(Value::as_str).unwrap_or("podman's own netavark failed and does not say why");
    bail!("{said}")
}

fn teardown(request: &Request, text: &[u8], netns: &str, arguments: &[OsString]) -> anyhow::Result<Vec<u8>> {
    let (mut ours, others) = split(request)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut known = Vec::new();
    if let Ok(client) = daemon::client() {
        known = runtime.block_on(async {
            let mut known = Vec::new();
            for one in &ours {
                match client.detach_for_engine(&key(request, one.2)).await {
                    Ok(()) => known.push(*one),
                    Err(error) if error.is_not_found() || error.is_unreachable() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(known)
        })?;
    }
    // What is not known was taken down before, or is of the time before vswitch was installed.
    let is_known = |one: &Wanted<'_>| known.iter().any(|(name, ..)| *name == one.0);
    ours.retain(|one| is_known(one) || has_interface(netns, &one.2.interface_name));
    if known.len() == ours.len() && !others {
        return Ok(Vec::new());
    }
    if known.is_empty() {
        return Err(original::become_it(NAME, arguments, text).into());
    }
    let output = original::run(NAME, arguments, &without(request, &known)?)?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => bail!("{}", String::from_utf8_lossy(&output.stdout).trim()),
    }
}

fn key(request: &Request, options: &NetworkOptions) -> EngineKey {
    EngineKey {
        engine: ENGINE.to_owned(),
        container: request.container_id.clone(),
        interface: options.interface_name.clone(),
    }
}

fn wish(request: &Request, (name, network, options): Wanted<'_>, publish: Vec<String>) -> EngineAttach {
    let mut aliases = options.aliases.clone().unwrap_or_default();
    // podman gives the short id as an alias itself; names that are no names of vswitch's cannot be asked for.
    aliases.retain(|alias| *alias != request.container_name);
    EngineAttach {
        key: key(request, options),
        name: request.container_name.clone(),
        network: as_docker(name, network),
        network_id: network.id.clone(),
        addresses: options.static_ips.iter().flatten().map(ToString::to_string).collect(),
        mac_address: options.static_mac.clone().filter(|mac| !mac.is_empty()),
        aliases,
        publish,
    }
}

/// A network in Docker's words.
fn as_docker(name: &str, network: &Network) -> NetworkCreate {
    let subnets = network.subnets.as_deref().unwrap_or_default();
    let config: Vec<IpamConfig> = subnets
        .iter()
        .map(|one| IpamConfig {
            subnet: one.subnet.clone(),
            gateway: one.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ..IpamConfig::default()
        })
        .collect();
    let has = |ipv6: bool| config.iter().any(|one| one.subnet.contains(':') == ipv6);
    let driver = if config.is_empty() { "null" } else { "default" };
    let mut options = BTreeMap::new();
    if let Some(mtu) = network.options.as_ref().and_then(|options| options.get("mtu")) {
        options.insert("mtu".to_owned(), mtu.clone());
    }
    NetworkCreate {
        name: name.to_owned(),
        internal: network.internal,
        enable_ipv4: (!config.is_empty()).then(|| has(false)),
        enable_ipv6: (!config.is_empty()).then(|| has(true)),
        ipam: Some(Ipam { driver: driver.to_owned(), options: None, config }),
        options,
        labels: network.labels.clone().unwrap_or_default(),
        ..NetworkCreate::default()
    }
}

fn status(endpoint: &Endpoint, names: bool) -> Status {
    let assigned = [(&endpoint.ipv4_address, &endpoint.ipv4_gateway), (&endpoint.ipv6_address, &endpoint.ipv6_gateway)];
    let subnets = assigned
        .into_iter()
        .filter_map(|(address, gateway)| Some(Assigned { ipnet: address.clone()?, gateway: gateway.clone() }))
        .collect();
    let interface = Interface { mac_address: endpoint.mac_address.clone(), subnets };
    Status {
        interfaces: BTreeMap::from([(endpoint.interface.clone().unwrap_or_default(), interface)]),
        dns_server_ips: if names { endpoint.name_servers.clone() } else { Vec::new() },
        dns_search_domains: Vec::new(),
    }
}
