//! The CNI plug-in `vswitch`: containers of whoever speaks the Container Network Interface on vswitch's networks.
//!
//! Read first: the CNI specification (`SPEC.md` of containernetworking/cni), sections 2 (protocol), 4 (delegation) and 5
//! (results). One plug-in does what `bridge`, `host-local`, `portmap` and `firewall` do together: [`config`] says what its
//! object in a network configuration may hold, [`result`] what it answers in which version, [`ipam`] how addresses may be
//! somebody else's business.
//!
//! An attachment is known by container id and interface name, as the specification has it, and what a runtime forgot is
//! taken away by vswitchd when the namespace is gone.

mod check;
mod config;
mod environment;
mod error;
mod gc;
mod ipam;
mod result;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use serde_json::{Value, json};
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::{EngineAttach, EngineKey};
use vswitch_api::{Client, ClientError};

use config::Config;
use environment::{Command, Environment};
use error::{CniError, Code};
use result::Version;

use crate::complain;
use crate::namespace::has_interface;

/// What vswitchd knows these containers by.
pub(crate) const ENGINE: &str = "cni";

/// Largest configuration, bytes.
const LONGEST: u64 = 4 << 20;

/// Whether a runtime calls the plug-in, or somebody by hand, who hears what is missing.
#[must_use]
pub(crate) fn is_called() -> bool {
    std::env::var_os("CNI_COMMAND").is_some() || std::env::args_os().len() == 1
}

/// Runs the plug-in with the process's environment and standard input.
pub(crate) fn main() -> ExitCode {
    let (version, outcome) = run();
    let (text, code) = match outcome {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(answer)) => (answer.to_string(), ExitCode::SUCCESS),
        Err(error) => (error.object(version).to_string(), ExitCode::FAILURE),
    };
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What to answer, and in which version.
fn run() -> (Version, Result<Option<Value>, CniError>) {
    let mut version = Version::NEWEST;
    let outcome = answer(&mut version);
    (version, outcome)
}

fn answer(version: &mut Version) -> Result<Option<Value>, CniError> {
    let environment = Environment::read(|name| std::env::var_os(name))?;
    let text = read_stdin()?;
    if environment.command == Command::Version {
        return Ok(Some(Version::supported(&text)));
    }
    let mut raw = config::parse_object(&text)?;
    *version = Version::of(&raw)?;
    environment.command.exists_in(*version)?;
    let config = Config::take(&mut raw)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CniError::new(Code::Io, format!("cannot start: {error}")))?;
    let call = Call { environment: &environment, config: &config, version: *version, text: &text };
    runtime.block_on(async {
        match environment.command {
            Command::Add => call.add().await.map(Some),
            Command::Del => call.del().await.map(|()| None),
            Command::Check => check::check(&call).await.map(|()| None),
            Command::Gc => gc::gc(&call).await.map(|()| None),
            Command::Status => gc::status(&call).await.map(|()| None),
            Command::Version => Ok(None),
        }
    })
}

fn read_stdin() -> Result<Vec<u8>, CniError> {
    let mut text = Vec::new();
    let read = io::stdin().take(LONGEST + 1).read_to_end(&mut text);
    read.map_err(|error| CniError::new(Code::Io, format!("cannot read the network configuration: {error}")))?;
    if text.len() as u64 > LONGEST {
        let sentence = format!("the network configuration is larger than {} MiB; make it smaller", LONGEST >> 20);
        return Err(CniError::new(Code::Decode, sentence));
    }
    Ok(text)
}

/// One call of the plug-in.
struct Call<'a> {
    environment: &'a Environment,
    config: &'a Config,
    version: Version,
    /// Standard input as it came, for delegates.
    text: &'a [u8],
}

impl Call<'_> {
    fn client(&self) -> Result<Client, ClientError> {
        match &self.config.socket {
            Some(socket) => Ok(Client::new(socket)),
            None => crate::daemon::client(),
        }
    }

    fn key(&self) -> EngineKey {
        EngineKey {
            engine: ENGINE.to_owned(),
            container: self.environment.container.clone(),
            interface: self.environment.interface.clone(),
        }
    }

    /// Gives the container its interface, and answers the result.
    async fn add(&self) -> Result<Value, CniError> {
        let netns = self.environment.netns.as_str();
        let file = File::open(netns).map_err(|error| {
            CniError::new(Code::Io, format!("cannot open the network namespace {netns} (CNI_NETNS): {error}"))
        })?;
        let interface = &self.environment.interface;
        if has_interface(netns, interface) {
            let sentence = format!(
                "the container has an interface {interface} already; name another one (CNI_IFNAME), or take that one away \
                 with DEL first"
            );
            return Err(CniError::new(Code::Taken, sentence));
        }
        let client = self.client().map_err(|error| error::of_client(&error))?;
        let network = self.config.wanted();
        let delegated = match &self.config.ipam {
            Some(plugin) => Some(ipam::add(plugin, self)?),
            None => None,
        };
        let added = self.attach(&client, network, delegated.as_ref(), file.as_fd()).await;
        if added.is_err()
            && let Some(plugin) = &self.config.ipam
        {
            ipam::undo(plugin, self);
        }
        let endpoint = added?;
        Ok(result::merge(self, &endpoint, delegated.as_ref()))
    }

    async fn attach(
        &self,
        client: &Client,
        mut network: config::Wanted,
        delegated: Option<&ipam::Assigned>,
        netns: std::os::fd::BorrowedFd<'_>,
    ) -> Result<Endpoint, CniError> {
        let mut addresses = self.config.addresses(&self.environment.args)?;
        if let Some(assigned) = delegated {
            network.take_subnets(assigned);
            addresses = assigned.addresses.iter().map(|one| one.address.to_string()).collect();
        }
        let wish = EngineAttach {
            key: self.key(),
            name: self.environment.container_name(),
            network: network.create,
            network_id: network.id,
            addresses,
            mac_address: self.config.mac(&self.environment.args),
            aliases: self.config.aliases(&self.environment.container),
            publish: if publishes_elsewhere() { Vec::new() } else { self.config.publish()? },
            ..EngineAttach::default()
        };
        client.attach_for_engine(&wish, netns).await.map_err(|error| error::of_client(&error))
    }

    /// Takes the container's interface away; what is not there is as good.
    async fn del(&self) -> Result<(), CniError> {
        let detached = match self.client() {
            Ok(client) => client.detach_for_engine(&self.key()).await,
            Err(error) => Err(error),
        };
        let detached = match detached {
            Err(error) if error.is_unreachable() => {
                complain(&format!(
                    "{error}; it takes the endpoint away by itself when it runs and the namespace is gone"
                ));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map_err(|error| error::of_client(&error)),
        };
        let delegated = match &self.config.ipam {
            Some(plugin) => ipam::call(plugin, self, "DEL").map(|_| ()),
            None => Ok(()),
        };
        detached.and(delegated)
    }
}

/// Whether the runtime publishes ports itself: an ordinary user's podman has a program for that beside every container.
fn publishes_elsewhere() -> bool {
    std::env::var_os(crate::daemon::PODMAN_USER).is_some_and(|user| !user.is_empty() && user != "0")
}

/// An object's text, for messages.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let limit = 80;
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The `dns` of a result or a configuration, if it says anything.
fn is_empty(dns: &Value) -> bool {
    *dns == Value::Null || *dns == json!({})
}
