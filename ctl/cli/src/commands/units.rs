//! systemd's units, by which vswitchd starts when its socket is connected to for the first time.

use std::path::Path;
use std::process::{Command, Stdio};

use vswitch_api::Client;

use super::installed::{HEADER, OwnFile, Owner};
use crate::output;

const SOCKET: &str = "vswitch.socket";
const SERVICE: &str = "vswitch.service";

/// There is one where systemd is the first process.
const SYSTEMD: &str = "/run/systemd/system";

/// The units of a user, or of root.
pub(super) struct Units {
    socket: OwnFile,
    service: OwnFile,
    system: bool,
}

impl Units {
    pub(super) fn new(folder: &Path, system: bool) -> Units {
        let unit = |name| OwnFile::with_header(folder.join(name));
        Units { socket: unit(SOCKET), service: unit(SERVICE), system }
    }

    /// Writes the units and, where systemd runs and no vswitchd serves the socket already, switches the socket on.
    pub(super) async fn install(&self, daemon: &Path, client: &Client) -> anyhow::Result<()> {
        for (unit, text) in [(&self.socket, socket()), (&self.service, service(daemon))] {
            if unit.owner()? == Owner::SomebodyElse {
                let path = unit.path().display();
                let sentence = format!("{path} is not of vswitch and stays; vswitchd is not started by systemd\n");
                return Ok(output::print(&sentence)?);
            }
            unit.write(&text)?;
        }
        let user = if self.system { "" } else { "--user " };
        let said = if !has_systemd() {
            "It needs vswitchd: start it with 'vswitchd'.\n".to_owned()
        } else if client.version().await.is_ok() {
            format!("vswitchd runs; once it is stopped, 'systemctl {user}start {SOCKET}' lets systemd start it.\n")
        } else if systemctl(self.system, &["daemon-reload"]) && systemctl(self.system, &["enable", "--now", SOCKET]) {
            "It needs vswitchd, which systemd starts with the first container.\n".to_owned()
        } else {
            format!("It needs vswitchd: start it with 'systemctl {user}enable --now {SOCKET}' or 'vswitchd'.\n")
        };
        Ok(output::print(&said)?)
    }

    /// Takes the units away. Whether there were any.
    pub(super) fn uninstall(&self) -> anyhow::Result<bool> {
        let systemd = has_systemd();
        if systemd && self.socket.owner()? == Owner::Ours {
            // A vswitchd that runs goes on.
            systemctl(self.system, &["disable", "--now", SOCKET]);
        }
        let mut removed = self.socket.remove()?;
        removed |= self.service.remove()?;
        if removed && systemd {
            systemctl(self.system, &["daemon-reload"]);
        }
        Ok(removed)
    }
}

/// Whether systemd is the first process.
pub(super) fn has_systemd() -> bool {
    Path::new(SYSTEMD).exists()
}

pub(super) fn systemctl(system: bool, words: &[&str]) -> bool {
    let mut command = Command::new("systemctl");
    command.args((!system).then_some("--user")).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
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
