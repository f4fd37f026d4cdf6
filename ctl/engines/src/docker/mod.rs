//! `vswitch-docker`: dockerd's networks of the driver `vswitch`, and addresses by the IPAM driver of that name.
//!
//! Read first: libnetwork's `docs/remote.md` and `docs/ipam.md`. dockerd finds the plug-in by its socket in `/run/docker/plugins`, asks
//! by POST, one JSON object each way, and waits without a limit; so every answer here has a deadline, and a vswitchd that does not run
//! is said at once. [`driver`] translates what concerns networks and endpoints, [`ipam`] what concerns addresses.
//!
//! The plug-in keeps nothing of its own: networks and endpoints are in vswitchd's store, under names made of dockerd's ids, so that
//! it may be killed and started at any time.

mod driver;
mod ipam;
mod ports;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use clap::Parser;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::{Client, ClientError};

use crate::{complain, daemon};

/// What vswitchd knows these containers by.
pub(crate) const ENGINE: &str = "docker";

/// dockerd waits for ever; this is how long an answer may take.
const DEADLINE: Duration = Duration::from_secs(8);

/// What dockerd calls its plug-ins' form.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Largest request, bytes.
const LONGEST: usize = 1 << 20;

/// The plug-in of dockerd for networks of the driver `vswitch`.
///
/// It serves until it is told to stop; 'vswitchctl engine docker install' has systemd start it.
#[derive(Debug, Parser)]
#[command(name = "vswitch-docker", version)]
struct Arguments {
    /// Where dockerd finds it, under its driver's name
    #[arg(long, value_name = "PATH", default_value = vswitch_api::engine::DOCKER_PLUGIN_SOCKET)]
    plugin_socket: PathBuf,
}

/// Runs it with the process's own arguments.
pub(crate) fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let client = daemon::client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = listen(&arguments.plugin_socket)?;
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let plugin = Arc::new(Plugin { client, pools: ipam::Pools::default() });
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::max(LONGEST)).with_state(plugin);
        let served = tokio::select! {
            served = axum::serve(listener, router).into_future() => served.context("cannot serve dockerd"),
            _ = terminated.recv() => Ok(()),
            _ = interrupted.recv() => Ok(()),
        };
        // One that is left would have dockerd wait for whoever does not serve it any more.
        let _ = fs::remove_file(&arguments.plugin_socket);
        served
    })
}

/// Serves the path, where nobody does.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if UnixStream::connect(path).is_ok() {
        bail!("somebody serves {} already; end that one first", path.display());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("cannot serve {}", path.display()))?;
    // It makes interfaces in the host's network: dockerd is root, and nobody else asks.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// What all requests have in common.
#[derive(Debug)]
struct Plugin {
    client: Client,
    pools: ipam::Pools,
}

/// Why dockerd does not get what it wants.
#[derive(Debug)]
enum Refusal {
    /// There is no such method.
    Unknown,
    /// In a sentence that dockerd shows to its user.
    Said(String),
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Refusal {
        Refusal::Said(error.to_string())
    }
}

impl Refusal {
    fn said(sentence: impl Into<String>) -> Refusal {
        Refusal::Said(sentence.into())
    }
}

async fn answer(State(plugin): State<Arc<Plugin>>, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().trim_start_matches('/');
    let late = || Err(Refusal::said("vswitchd does not answer in time; look at its log"));
    let done = tokio::time::timeout(DEADLINE, plugin.dispatch(path, &body)).await.unwrap_or_else(|_| late());
    let (status, value) = match done {
        Ok(value) => (StatusCode::OK, value),
        Err(Refusal::Unknown) => (StatusCode::NOT_FOUND, json!({ "Err": format!("there is no {path}") })),
        // Of drivers by the one key, of address managers by the other.
        Err(Refusal::Said(sentence)) => (StatusCode::OK, json!({ "Err": sentence, "Error": sentence })),
    };
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], value.to_string()).into_response()
}

impl Plugin {
    async fn dispatch(&self, path: &str, body: &[u8]) -> Result<Value, Refusal> {
        if path == "Plugin.Activate" {
            return Ok(json!({ "Implements": ["NetworkDriver", "IpamDriver"] }));
        }
        match path.split_once('.') {
            Some(("NetworkDriver", method)) => self.drive(method, body).await,
            Some(("IpamDriver", method)) => self.manage(method, body).await,
            _ => Err(Refusal::Unknown),
        }
    }
}

/// A request's object. dockerd repeats a request that broke off with an empty body, which is none.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::said(format!("the request is not as dockerd's: {error}")))
}
