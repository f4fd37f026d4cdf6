//! Namespaces that are none of vswitch's.

use std::process::Command;

use crate::guard::is_root;
use crate::{Background, Output, eventually, ping, run, sh, spawn};

/// A process in a new network namespace, which may be attached.
#[derive(Debug)]
pub struct Holder {
    process: Background,
    /// Also in a new user namespace of its own.
    foreign: bool,
}

impl Holder {
    /// A new one; `foreign`: also in a new user namespace of its own.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn new(foreign: bool) -> Self {
        let flags = if foreign { "-Urn" } else { "-n" };
        let process = spawn(Command::new("unshare").args([flags, "sleep", "100000"]));
        let own = sh("readlink /proc/self/ns/net").ok();
        let pid = process.pid();
        eventually("the namespace exists", 5, || {
            let link = sh(&format!("readlink /proc/{pid}/ns/net"));
            let started = sh(&format!("cat /proc/{pid}/comm")).stdout.trim() == "sleep";
            link.code == 0 && link.stdout != own && started
        });
        Holder { process, foreign }
    }

    /// The usual kind for the caller: only root may make a network namespace without a user namespace.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    #[track_caller]
    pub fn usual() -> Self {
        Self::new(!is_root())
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the process.
    ///
    /// # Panics
    /// When it cannot be told to.
    pub fn terminate(self) {
        self.process.terminate();
    }

    /// Runs a shell script inside.
    ///
    /// # Panics
    /// When it hangs.
    #[must_use]
    #[track_caller]
    pub fn sh(&self, script: &str) -> Output {
        run(&mut self.shell(script))
    }

    /// Starts a shell script inside.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, script: &str) -> Background {
        spawn(&mut self.shell(script))
    }

    /// Serves a page at port 80 inside, `/` and `/index.html`: "hello".
    ///
    /// # Panics
    /// When it is not served soon.
    #[must_use]
    #[track_caller]
    pub fn serves_page(&self) -> Background {
        let script = "mkdir -p /tmp/www && cd /tmp/www && echo hello > index.html && exec python3 -m http.server 80";
        let server = self.spawn(script);
        eventually("the page is served", 20, || self.sh("ss -Hltn sport = :80").stdout.contains(":80"));
        server
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid().to_string(), "-n"]);
        if self.foreign {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(["sh", "-c", script]);
        command
    }

    /// Expects that an address answers.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn pings(&self, target: impl std::fmt::Display) {
        self.sh(&ping::thrice(target)).ok();
    }
}
