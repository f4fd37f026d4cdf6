//! systemd's units, by which vswitchd starts when its socket is connected to for the first time.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use vswitch_api::Client;

use crate::output;

/// Begins each unit, so that no other is removed.
const HEADER: &str =
    "# Written by 'vswitchctl engine podman install'; 'vswitchctl engine podman uninstall' removes it.";

const SOCKET: &str = "vswitch.socket";
const SERVICE: &str = "vswitch.service";

/// There is one where systemd is the first process.
const SYSTEMD: &str = "/run/systemd/system";

/// Writes the units and, where systemd runs and no vswitchd serves the socket already, switches the socket on.
pub(super) async fn install(folder: &Path, system: bool, daemon: &Path, client: &Client) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in [(SOCKET, socket()), (SERVICE, service(daemon))] {
        let path = folder.join(name);
        if is_ours(&path)? == Some(false) {
            let sentence =
                format!("{} is not of vswitch and stays; vswitchd is not started by systemd\n", path.display());
            return Ok(output::print(&sentence)?);
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let user = if system { "" } else { "--user " };
    let by_hand = format!("systemctl {user}enable --now {SOCKET}");
    let said = if !has_systemd() {
        "It needs vswitchd: start it with 'vswitchd'.\n".to_owned()
    } else if client.version().await.is_ok() {
        format!("vswitchd runs; once it is stopped, 'systemctl {user}start {SOCKET}' lets systemd start it.\n")
    } else if systemctl(system, &["daemon-reload"]) && systemctl(system, &["enable", "--now", SOCKET]) {
        "It needs vswitchd, which systemd starts with the first container.\n".to_owned()
    } else {
        format!("It needs vswitchd: start it with '{by_hand}' or 'vswitchd'.\n")
    };
    Ok(output::print(&said)?)
}

/// Whether systemd is the first process.
pub(super) fn has_systemd() -> bool {
    Path::new(SYSTEMD).exists()
}

/// Takes the units away. Whether there were any.
pub(super) fn uninstall(folder: &Path, system: bool) -> anyhow::Result<bool> {
    let mut removed = false;
    for name in [SOCKET, SERVICE] {
        let path = folder.join(name);
        if is_ours(&path)? != Some(true) {
            continue;
        }
        if name == SOCKET && has_systemd() {
            // A vswitchd that runs goes on.
            systemctl(system, &["disable", "--now", SOCKET]);
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        removed = true;
    }
    if removed && has_systemd() {
        systemctl(system, &["daemon-reload"]);
    }
    Ok(removed)
}

/// Whether a unit is vswitch's, if there is one.
fn is_ours(path: &Path) -> anyhow::Result<Option<bool>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.starts_with(HEADER))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn socket() -> String {
    format!(
        "{HEADER}\n[Unit]\nDescription=Control socket of vswitchd\n\n[Socket]\nListenStream=%t/vswitch/vswitch.sock\n\
         SocketMode=0600\nDirectoryMode=0700\n\n[Install]\nWantedBy=sockets.target\n"
    )
}

/// Containers outlive a vswitchd that is killed, so it alone is ended.
fn service(daemon: &Path) -> String {
    format!(
        "{HEADER}\n[Unit]\nDescription=Userspace virtual switch for containers\nRequires={SOCKET}\n\n[Service]\n\
         ExecStart=\"{}\" --socket %t/vswitch/vswitch.sock\nRestart=on-failure\nKillMode=process\nDelegate=yes\n",
        daemon.display()
    )
}

pub(super) fn systemctl(system: bool, words: &[&str]) -> bool {
    let mut command = Command::new("systemctl");
    command.args((!system).then_some("--user")).args(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
