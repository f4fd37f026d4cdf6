//! `rootlessport`, which podman starts for the published ports of an ordinary user's container and which lives as long as
//! that. vswitchd publishes, so that servers see who asks; the ports are held by the connection to it, and so by this
//! process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Deserialize;
use tokio::sync::mpsc;
use vswitch_api::engine::EnginePorts;
use vswitch_api::{Client, ClientError};

use super::wire::{PortMapping, publish};
use super::{ENGINE, LONGEST};
use crate::{cni, complain, daemon, leases, original};

const NAME: &str = "rootlessport";

/// Time between attempts to get the ports back from a vswitchd that was restarted.
const PAUSE: Duration = Duration::from_millis(500);

/// Time between attempts to have ports again that were just given back.
const LEASE_PAUSE: Duration = Duration::from_millis(50);

/// What podman writes to standard input, in Go's names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    mappings: Vec<PortMapping>,
    #[serde(rename = "ExitFD")]
    exit_fd: i32,
    #[serde(rename = "ReadyFD")]
    ready_fd: i32,
    #[serde(default)]
    tmp_dir: PathBuf,
    #[serde(default, rename = "ChildIP")]
    child_ip: String,
    #[serde(rename = "ContainerID")]
    container_id: String,
    #[serde(default, rename = "RootlessCNI")]
    rootless_cni: bool,
}

/// Runs it.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // podman shows it as its own error.
            let _ = writeln!(io::stdout(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut text = Vec::new();
    io::stdin().take(LONGEST).read_to_end(&mut text).context("cannot read the request")?;
    let request: Request = serde_json::from_slice(&text).context("the request on standard input is not as podman's")?;
    let mut wish = EnginePorts {
        engine: ENGINE.to_owned(),
        container: request.container_id.clone(),
        address: Some(request.child_ip.clone()).filter(|address| !address.is_empty()),
        publish: publish(&request.mappings).map_err(anyhow::Error::msg)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let first = match daemon::client() {
            Ok(client) => {
                let mut leased = client.lease_for_engine(&wish).await;
                // podman may have got the container's network by the CNI plug-in.
                if leased.as_ref().is_err_and(ClientError::is_not_found) {
                    cni::ENGINE.clone_into(&mut wish.engine);
                    leased = client.lease_for_engine(&wish).await;
                }
                leased.map(|lease| (client, lease))
            }
            Err(error) => Err(error),
        };
        match first {
            Ok((client, lease)) => hold(&request, client, wish, lease).await,
            // A container of podman's own network, or without vswitchd.
            Err(error) if error.is_unreachable() || error.is_not_found() => {
                if error.is_unreachable() {
                    complain(&format!("{error}; podman's own rootlessport is used"));
                }
                Err(original::become_it(NAME, &[], Some(&text)).into())
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// Says that the ports are there, and holds them until podman's end of the exit pipe is closed.
async fn hold(
    request: &Request,
    client: Client,
    mut wish: EnginePorts,
    mut lease: vswitch_api::client::EngineLease,
) -> anyhow::Result<()> {
    let ended = watch_exit(request.exit_fd).context("cannot watch the exit pipe")?;
    let (moves, mut moved) = mpsc::unbounded_channel();
    let _socket = match request.rootless_cni {
        true => {
            Some(listen(&request.tmp_dir, &request.container_id, moves).context("cannot listen for new addresses")?)
        }
        false => None,
    };
    let mut ready = descriptor(request.ready_fd, true).context("cannot open the ready pipe")?;
    ready.write_all(b"1").context("cannot say that the ports are ready")?;
    drop(ready);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            _ = &mut ended => return Ok(()),
            Some((address, answer)) = moved.recv() => {
                wish.address = Some(address);
                // The old ones first: they are the same ports of the host.
                drop(lease);
                match leases::lease_anew(&client, &wish, LEASE_PAUSE).await {
                    Ok(new) => {
                        lease = new;
                        let _ = answer.send(Ok(()));
                    }
                    Err(error) => {
                        let _ = answer.send(Err(error.to_string()));
                        return Err(error.into());
                    }
                }
            }
            () = lease.lost() => {
                // vswitchd was restarted: it does not know of this process any more.
                loop {
                    tokio::select! {
                        _ = &mut ended => return Ok(()),
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                    if let Ok(new) = client.lease_for_engine(&wish).await {
                        lease = new;
                        break;
                    }
                }
            }
        }
    }
}

/// Ends when all writers of the exit pipe are gone.
fn watch_exit(number: i32) -> io::Result<impl Future<Output = io::Result<()>>> {
    let mut pipe = descriptor(number, false)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own, because a pipe that is read here may block others that share its description.
    std::thread::Builder::new().name("exit".to_owned()).spawn(move || {
        let mut byte = [0; 64];
        let result = loop {
            match pipe.read(&mut byte) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let _ = sender.send(result);
    })?;
    Ok(async move { receiver.await.unwrap_or(Ok(())) })
}

/// A descriptor that this process was started with, opened once more.
fn descriptor(number: i32, write: bool) -> io::Result<File> {
    OpenOptions::new().read(!write).write(write).open(format!("/proc/self/fd/{number}"))
}

/// A new address, and where to say whether the ports lead there.
type Move = (String, tokio::sync::oneshot::Sender<Result<(), String>>);

/// Removes its socket when it is dropped.
struct Listening(PathBuf);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Hears of new addresses of the container: podman connects, sends a JSON string, and reads `OK` or an error.
fn listen(folder: &Path, container: &str, moves: mpsc::UnboundedSender<Move>) -> io::Result<Listening> {
    let folder = folder.join("rp");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(container);
    let _ = std::fs::remove_file(&path);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
    rustix::net::listen(&socket, 8)?;
    std::thread::Builder::new().name("moves".to_owned()).spawn(move || {
        while let Ok(client) = rustix::net::accept(&socket) {
            let mut text = vec![0; 4096];
            let count = rustix::io::read(&client, &mut text[..]).unwrap_or_default();
            let answer = match serde_json::from_slice::<String>(&text[..count]) {
                Ok(address) => {
                    let (sender, receiver) = tokio::sync::oneshot::channel();
                    if moves.send((address, sender)).is_err() {
                        return;
                    }
                    receiver.blocking_recv().unwrap_or_else(|_| Err("the ports are not published any more".to_owned()))
                }
                Err(error) => Err(format!("a new address is a JSON string: {error}")),
            };
            let answer = answer.map_or_else(|error| error, |()| "OK".to_owned());
            let _ = rustix::io::write(&client, answer.as_bytes());
        }
    })?;
    Ok(Listening(path))
}
