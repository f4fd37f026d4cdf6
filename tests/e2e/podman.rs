//! podman itself, unmodified, with containers on vswitch's networks.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use vswitch_tests::{Background, Output, Vswitch, eventually, guard, guard::is_root, sh, spawn};

/// A podman with everything of its own in /tmp, whose network helpers are vswitch's.
pub(crate) struct Podman<'v> {
    vs: &'v Vswitch,
    /// Its containers.conf.
    settings: String,
    /// An ordinary user's: the namespaces that podman makes for itself and keeps by a process. It makes none inside the
    /// test's own user namespace, so here they are made for it.
    pause: Option<Background>,
}

/// What an ordinary user's podman starts beside its networks, whatever they are: here it only says that it is there.
const SLIRP: &str = "#!/bin/sh\n[ \"$1\" = --help ] && exec echo --enable-ipv6 --enable-sandbox --enable-seccomp --mtu --disable-host-loopback\nprintf 1 >&3\nexec sleep 100000\n";

impl<'v> Podman<'v> {
    fn new(vs: &'v Vswitch) -> Podman<'v> {
        // Root's podman reads no file of a user's: these are what 'engine podman install --system' writes.
        Podman::with(vs, "[engine]\nenable_port_reservation = false\n")
    }

    /// With the image `box` of busybox.
    pub(crate) fn with(vs: &'v Vswitch, settings: &str) -> Podman<'v> {
        vs.ok("engine podman install --user");
        fs::write("/tmp/slirp4netns", SLIRP).unwrap();
        fs::set_permissions("/tmp/slirp4netns", fs::Permissions::from_mode(0o755)).unwrap();
        let pause = (!is_root()).then(|| {
            let process =
                spawn(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sleep", "100000"]));
            let started = || sh(&format!("cat /proc/{}/comm", process.pid())).stdout.trim() == "sleep";
            eventually("the namespaces exist", 10, started);
            process
        });
        let podman = Podman { vs, settings: settings.to_owned(), pause };
        let script = "mkdir -p /tmp/root/bin /tmp/root/etc /tmp/root/tmp /tmp/root/proc /tmp/root/sys /tmp/root/dev && cd /tmp/root && \
             cp /bin/busybox bin/busybox && for name in sh ip wget httpd cat sleep echo nslookup; do ln -s busybox bin/$name; \
             done && echo 'root:x:0:0:root:/:/bin/sh' > etc/passwd && tar --owner=0 --group=0 -cf /tmp/box.tar .";
        sh(script).ok();
        podman.ok("import /tmp/box.tar box");
        podman
    }

    pub(crate) fn words(&self, words: &[&str]) -> Output {
        let mut command = match &self.pause {
            None => Command::new("podman"),
            Some(pause) => {
                let mut command = Command::new("nsenter");
                command.args(["-t", &pause.pid().to_string(), "-U", "-m", "--preserve-credentials", "podman"]);
                // What podman tells itself once it is inside.
                let user = rustix::process::geteuid().as_raw().to_string();
                command.env("_CONTAINERS_USERNS_CONFIGURED", "done");
                command.env("_CONTAINERS_ROOTLESS_UID", &user).env("_CONTAINERS_ROOTLESS_GID", &user);
                command
            }
        };
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc", "--storage-driver=vfs"]);
        command.args(["--network-config-dir=/tmp/podman/networks", "--tmpdir=/tmp/podman/tmp"]);
        command.args(["--root=/tmp/podman/root", "--runroot=/tmp/podman/run", "--network-cmd-path=/tmp/slirp4netns"]);
        fs::write("/tmp/containers.conf", &self.settings).unwrap();
        command.env("CONTAINERS_CONF", "/tmp/containers.conf");
        command.env("CONTAINERS_HELPER_BINARY_DIR", "/tmp/home/.local/share/vswitch/podman");
        command.env("VSWITCH_SOCKET", self.vs.socket()).args(words);
        spawn(&mut command).wait(Duration::from_secs(90))
    }

    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        self.words(&line.split_whitespace().collect::<Vec<_>>()).ok()
    }

    /// Runs a script in a container.
    #[track_caller]
    pub(crate) fn inside(&self, container: &str, script: &str) -> Output {
        self.words(&["exec", container, "sh", "-c", script])
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.words(&["rm", "-fa", "-t", "0"]);
    }
}

/// Two networks, names, a published port with the client's address, connect and disconnect, a crash of vswitchd under
/// running containers, and nothing left in the end.
#[test]
fn containers() {
    guard(|| {
        let vs = Vswitch::start();
        let podman = Podman::new(&vs);
        podman.ok("network create one");
        podman.ok("network create two");
        let page = "echo hello > /tmp/index.html; exec httpd -f -vv -p 80 -h /tmp";
        let mut words =
            "run -d --name web --network one --network-alias www -p 8080:80 box sh -c".split(' ').collect::<Vec<_>>();
        words.push(page);
        podman.words(&words).ok();
        podman.ok("run -d --name client --network one box sleep 100000");
        let address = podman.ok("inspect -f {{.NetworkSettings.Networks.one.IPAddress}} web").trim().to_owned();
        assert!(vs.ok("endpoint ls").contains(&format!("{address}/")), "vswitch has podman's address {address}");
        for name in ["web", "www"] {
            // A static busybox looks names up by itself here only.
            let found = podman.inside("client", &format!("nslookup {name}")).ok();
            assert!(found.contains(&address), "{name}: {found}");
        }
        let from_inside = || podman.inside("client", &format!("wget -q -O - http://{address}/")).stdout;
        assert_eq!(from_inside(), "hello\n");
        let fetch = || sh("curl -s -m 5 http://127.0.0.1:8080/").stdout;
        eventually("the published page", 20, || fetch() == "hello\n");
        podman.ok("network connect two client");
        assert!(podman.inside("client", "ip -o addr show eth1").ok().contains("inet "));
        podman.ok("network disconnect two client");
        assert_ne!(podman.inside("client", "ip -o addr show eth1").code, 0);
        vs.crash();
        vs.up();
        eventually("the published page again", 30, || fetch() == "hello\n");
        assert_eq!(from_inside(), "hello\n");
        podman.ok("restart -t 0 web");
        eventually("the published page of the restarted container", 30, || fetch() == "hello\n");
        podman.ok("rm -f -t 0 web");
        assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
        podman.ok("rm -f -t 0 client");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        podman.ok("network rm one two");
    });
}
