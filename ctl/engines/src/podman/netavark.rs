//! `netavark`, which podman calls when a container's networks are to be set up or taken down.
//!
//! Networks of the driver `bridge` are vswitch's; of others the engine's own netavark hears, with the same request without
//! ours. An error is an object with the key `error` and no other, on standard output: podman refuses unknown fields.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vswitch_api::engine::EngineAttach;
use vswitch_api::{Client, ClientError};

use super::reservation::{REMEDY, Reservation};
use super::translate::{DRIVER, Wanted, key, split, status, wish, without};
use super::wire::{Request, publish};
use super::{ENGINE, LONGEST, create};
use crate::namespace::has_interface;
use crate::{complain, daemon, original};

/// Its own name, by which the engine's is found.
const NAME: &str = "netavark";

/// netavark's options, as far as they matter here.
#[derive(Debug, Parser)]
#[command(name = NAME, disable_version_flag = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Arguments {
    #[arg(short, long)]
    config: Option<OsString>,
    /// The request is in this file instead of on standard input.
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[arg(short, long)]
    rootless: Option<bool>,
    #[arg(short, long)]
    aardvark_binary: Option<OsString>,
    #[arg(short, long)]
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
        Err(_) => Err(original::become_it(NAME, &arguments, Some(&[])).into()),
    };
    match result {
        Ok(answer) => answer_with(&answer, ExitCode::SUCCESS),
        Err(error) => answer_with(json!({ "error": format!("{error:#}") }).to_string().as_bytes(), ExitCode::FAILURE),
    }
}

/// Says it on standard output.
pub(super) fn answer_with(answer: &[u8], code: ExitCode) -> ExitCode {
    match io::stdout().write_all(answer).and_then(|()| io::stdout().flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(parsed: &Arguments, arguments: &[OsString]) -> anyhow::Result<Vec<u8>> {
    let words: Vec<&str> = parsed.command.iter().filter_map(|word| word.to_str()).collect();
    let file = parsed.file.as_deref();
    match words[..] {
        _ if words.len() != parsed.command.len() => bail!("a path in the arguments is no UTF-8 text"),
        ["setup", netns] => {
            let (text, request) = read_from(file)?;
            setup(&request, &text, netns, parsed, arguments)
        }
        ["teardown", netns] => {
            // Ctrl-C at the terminal must never leave half a network.
            let _deaf = deaf_to_signals();
            let (text, request) = read_from(file)?;
            teardown(&request, &text, netns, arguments)
        }
        ["create"] => {
            let (text, request): (_, create::CreateRequest) = read_from(file)?;
            if request.network.driver != DRIVER {
                return Err(original::become_it(NAME, arguments, Some(&text)).into());
            }
            Ok(serde_json::to_vec(&create::complete(request, random(), &interfaces())?)?)
        }
        ["version"] => Ok(version().to_string().into_bytes()),
        ["update", network, "--network-dns-servers", servers] => update(network, servers),
        ["update", _] => Ok(Vec::new()),
        _ => {
            let mut input = Vec::new();
            io::stdin().take(LONGEST).read_to_end(&mut input).context("cannot read standard input")?;
            Err(original::become_it(NAME, arguments, Some(&input)).into())
        }
    }
}

/// Names the resolvers of a network; of one on which nobody is, the switch hears with its first container.
fn update(network: &str, servers: &str) -> anyhow::Result<Vec<u8>> {
    let servers = servers.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::to_owned).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(async { daemon::client()?.resolvers_for_engine(ENGINE, network, servers).await });
    match told {
        Err(error) if !error.is_not_found() && !error.is_unreachable() => Err(error.into()),
        _ => Ok(Vec::new()),
    }
}

/// Names of this namespace's interfaces.
fn interfaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn random() -> u64 {
    // The standard library seeds it with what the kernel gives.
    std::hash::RandomState::new().hash_one(0)
}

fn version() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({ "version": format!("vswitch {version}"), "commit": "", "build_time": "", "target": "", "default_fw_driver": "none" })
}

/// Hears no interruption from here on: the signals are taken and not acted upon.
pub(super) fn deaf_to_signals() -> anyhow::Result<tokio::runtime::Runtime> {
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

fn read_from<T: DeserializeOwned>(file: Option<&Path>) -> anyhow::Result<(Vec<u8>, T)> {
    match file {
        None => read(io::stdin()),
        Some(path) => read(File::open(path).with_context(|| format!("cannot open {}", path.display()))?),
    }
}

/// A request as a whole, and what it says.
pub(super) fn read<T: DeserializeOwned>(source: impl Read) -> anyhow::Result<(Vec<u8>, T)> {
    let mut text = Vec::new();
    source.take(LONGEST + 1).read_to_end(&mut text).context("cannot read the request")?;
    if text.len() as u64 > LONGEST {
        bail!("the request is larger than {} MiB; give the container fewer networks or ports", LONGEST >> 20);
    }
    let request = serde_json::from_slice(&text).context("the request is not as netavark's")?;
    Ok((text, request))
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
        return Err(original::become_it(NAME, arguments, Some(text)).into());
    }
    let client = match daemon::client() {
        Ok(client) => client,
        Err(error) if error.is_unreachable() => return hand_over(&error.into(), arguments, text),
        Err(error) => return Err(error.into()),
    };
    let file = File::open(netns).with_context(|| format!("cannot open the network namespace {netns}"))?;
    // Of an ordinary user's containers rootlessport publishes the ports.
    let rootless = parsed.rootless.unwrap_or(false);
    let ports = request.port_mappings.as_deref().filter(|_| !rootless).unwrap_or_default();
    let reservation = Reservation::before(ports);
    let mut ports = publish(ports).map_err(anyhow::Error::msg)?;
    // All at once, so that what makes no sense leaves nothing half-made.
    let mut wishes = Vec::new();
    for (name, network, options) in &ours {
        let published = if network.internal { Vec::new() } else { std::mem::take(&mut ports) };
        wishes.push(wish(request, (name, network, options), published)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let mut statuses = BTreeMap::new();
        for (number, wish) in wishes.iter().enumerate() {
            let (name, network, _) = ours[number];
            let mut attached = client.attach_for_engine(wish, file.as_fd()).await;
            if let Err(error) = &attached
                && error.is_unreachable()
                && number == 0
            {
                if let Err(why) = daemon::start(&client, error) {
                    return Ok(Err(why));
                }
                attached = client.attach_for_engine(wish, file.as_fd()).await;
            }
            match attached {
                Ok(endpoint) => {
                    statuses.insert(name.to_owned(), serde_json::to_value(status(&endpoint, network.dns_enabled))?);
                }
                Err(error) => {
                    undo(&client, &wishes[..number]).await;
                    return Err(explained(error, rootless));
                }
            }
        }
        if others {
            match their_setup(request, &ours, arguments) {
                Ok(theirs) => statuses.extend(theirs),
                Err(error) => {
                    undo(&client, &wishes).await;
                    return Err(error);
                }
            }
        }
        Ok(Ok(serde_json::to_vec(&statuses)?))
    })?;
    match answer {
        Ok(answer) => {
            reservation.after();
            Ok(answer)
        }
        Err(why) => hand_over(&why, arguments, text),
    }
}

/// The daemon's sentence, and what to do where it is podman itself that stands in the way.
pub(super) fn explained(error: ClientError, rootless: bool) -> anyhow::Error {
    let said = error.to_string();
    if rootless || !said.contains("address already in use") {
        return error.into();
    }
    anyhow::anyhow!("{said}; if nobody else has it, podman does, which reserves published ports: {REMEDY}")
}

/// Without a vswitchd the engine's own helper does it all, as if there were no vswitch.
fn hand_over(why: &anyhow::Error, arguments: &[OsString], text: &[u8]) -> anyhow::Result<Vec<u8>> {
    complain(&format!("{why:#}; podman's own netavark is used"));
    Err(original::become_it(NAME, arguments, Some(text)).into())
}

async fn undo(client: &Client, done: &[EngineAttach]) {
    for wish in done {
        if let Err(error) = client.detach_for_engine(&wish.key).await {
            complain(&format!("interface {} of the container stays: {error}", wish.key.interface));
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
                match client.detach_for_engine(&key(&request.container_id, one.2)).await {
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
        return Err(original::become_it(NAME, arguments, Some(text)).into());
    }
    let output = original::run(NAME, arguments, &without(request, &known)?)?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => bail!("{}", String::from_utf8_lossy(&output.stdout).trim()),
    }
}
