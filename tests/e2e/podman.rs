//! podman itself, unmodified, with containers on vswitch's networks.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, rc::Rc, time::Duration};

use vswitch_tests::{Background, Output, Vswitch, eventually, guard, guard::is_root, sh, spawn};

/// A podman with everything of its own in /tmp, whose network helpers are vswitch's.
pub(crate) struct Podman<'v> {
    /// What serves it; without one it is for the first container to start one.
    vs: Option<&'v Vswitch>,
    /// Its containers.conf.
    settings: String,
    /// An ordinary user's: the namespaces that podman makes for itself and keeps by a process. It makes none inside the
    /// test's own user namespace, so here they are made for it.
    pause: Option<Rc<Background>>,
    /// Its folder.
    place: String,
}

/// What an ordinary user's podman starts beside its networks, whatever they are: here it only says that it is there.
const SLIRP: &str = "#!/bin/sh\n[ \"$1\" = --help ] && exec echo --enable-ipv6 --enable-sandbox --enable-seccomp --mtu --disable-host-loopback\n[ \"$1\" = --version ] && exec echo slirp4netns version 1.2.0\nprintf 1 >&3\nexec sleep 100000\n";

/// What 'engine podman install --system' writes besides, and locks that are this podman's own.
const SETTINGS: &str = "enable_port_reservation = false\nlock_type = \"file\"\n";

/// What was installed.
const HELPERS: &str = "/tmp/home/.local/share/vswitch/podman";

/// And told to podman.
const DROP_IN: &str = "/tmp/home/.config/containers/containers.conf.d/vswitch.conf";

fn install() {
    sh("vswitchctl engine podman install --user").ok();
}

/// The settings that 'engine podman install' has written, with further lines under `[engine]`. Root's podman reads no file of a
/// user's by itself, and gets them in the place of its own.
pub(crate) fn installed(lines: &str) -> String {
    install();
    let text = fs::read_to_string(DROP_IN).unwrap();
    assert!(text.contains("[engine]\n"), "{text}");
    text.replacen("[engine]\n", &format!("[engine]\n{lines}"), 1)
}

impl<'v> Podman<'v> {
    pub(crate) fn new(vs: &'v Vswitch) -> Podman<'v> {
        Podman::with(vs, &installed(SETTINGS))
    }

    /// With other settings. What they do not say of helpers is said by a variable and an option.
    pub(crate) fn with(vs: &'v Vswitch, settings: &str) -> Podman<'v> {
        Podman::make(Some(vs), settings)
    }

    /// Of somebody who has not started a vswitchd.
    pub(crate) fn alone() -> Podman<'v> {
        Podman::make(None, &installed(SETTINGS))
    }

    /// With the image `box` of busybox.
    fn make(vs: Option<&'v Vswitch>, settings: &str) -> Podman<'v> {
        install();
        fs::create_dir("/tmp/stub").unwrap();
        fs::write("/tmp/stub/slirp4netns", SLIRP).unwrap();
        fs::set_permissions("/tmp/stub/slirp4netns", fs::Permissions::from_mode(0o755)).unwrap();
        let pause = (!is_root()).then(|| {
            let process =
                spawn(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sleep", "100000"]));
            let started = || sh(&format!("cat /proc/{}/comm", process.pid())).stdout.trim() == "sleep";
            eventually("the namespaces exist", 10, started);
            Rc::new(process)
        });
        let podman = Podman { vs, settings: settings.to_owned(), pause, place: "/tmp/podman".to_owned() };
        let script = "mkdir -p /tmp/root/bin /tmp/root/etc /tmp/root/tmp /tmp/root/proc /tmp/root/sys /tmp/root/dev && cd /tmp/root && \
             cp /bin/busybox bin/busybox && for name in sh ip wget httpd cat sleep echo nslookup; do ln -s busybox bin/$name; \
             done && printf '#!/bin/sh\\nexec sleep 100000\\n' > bin/pause && chmod 755 bin/pause && echo 'root:x:0:0:root:/:/bin/sh' > etc/passwd && tar --owner=0 --group=0 -cf /tmp/box.tar .";
        sh(script).ok();
        podman.ok("import /tmp/box.tar box");
        podman
    }

    /// One more of the same user, which knows nothing of this one.
    pub(crate) fn twin(&self, place: &str) -> Podman<'v> {
        let twin =
            Podman { settings: self.settings.clone(), pause: self.pause.clone(), place: place.to_owned(), ..*self };
        twin.ok("import /tmp/box.tar box");
        twin
    }

    /// The same containers, with other settings from now on.
    pub(crate) fn set(&mut self, settings: String) {
        self.settings = settings;
    }

    fn names_helpers(&self) -> bool {
        self.settings.contains("helper_binaries_dir") && self.settings.contains("network_cmd_path")
    }

    /// A program of podman's family, where it runs.
    fn program(&self, name: &str) -> Command {
        let mut command = match &self.pause {
            None => Command::new(name),
            Some(pause) => {
                let mut command = Command::new("nsenter");
                command.args(["-t", &pause.pid().to_string(), "-U", "-m", "--preserve-credentials", name]);
                // What podman tells itself once it is inside.
                let user = rustix::process::geteuid().as_raw().to_string();
                command.env("_CONTAINERS_USERNS_CONFIGURED", "done");
                command.env("_CONTAINERS_ROOTLESS_UID", &user).env("_CONTAINERS_ROOTLESS_GID", &user);
                command
            }
        };
        fs::write("/tmp/containers.conf", &self.settings).unwrap();
        command.env("CONTAINERS_CONF", "/tmp/containers.conf");
        if !self.names_helpers() {
            command.env("CONTAINERS_HELPER_BINARY_DIR", HELPERS);
        }
        if let Some(vs) = self.vs {
            command.env("VSWITCH_SOCKET", vs.socket());
        }
        command.env("PATH", format!("/tmp/stub:{}", std::env::var("PATH").unwrap()));
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.program("podman");
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc", "--storage-driver=vfs"]);
        for (option, folder) in
            [("network-config-dir", "networks"), ("tmpdir", "tmp"), ("root", "root"), ("runroot", "run")]
        {
            command.arg(format!("--{option}={}/{folder}", self.place));
        }
        if !self.names_helpers() {
            command.arg(format!("--network-cmd-path={HELPERS}/podman-slirp4netns"));
        }
        command.args(words);
        command
    }

    pub(crate) fn words(&self, words: &[&str]) -> Output {
        spawn(&mut self.command(words)).wait(Duration::from_secs(90))
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

/// The page at a port of the host.
pub(crate) fn fetch(address: &str) -> String {
    sh(&format!("curl -s -m 5 http://{address}/")).stdout
}

/// A shell that serves a page on port 80.
pub(crate) const SERVE: &str = "echo hello > /tmp/index.html; exec httpd -f -vv -p 80 -h /tmp";

/// Pods, networks given together, further names, ports of all kinds, names in resolv.conf, and `network reload`.
#[test]
fn pods_and_ports() {
    guard(|| {
        let vs = Vswitch::start();
        let podman = Podman::new(&vs);
        podman.ok("network create one");
        podman.ok("network create --ipv6 --subnet fd00:7::/64 --subnet 10.77.0.0/24 two");
        podman.ok("pod create --name pod --infra-command=/bin/pause --infra-image=box --network one,two --network-alias site -p 8080:80 -p 127.0.0.1:9000-9001:9000-9001/udp");
        podman.words(&["run", "-d", "--pod", "pod", "--name", "web", "box", "sh", "-c", SERVE]).ok();
        let pid = podman.ok("inspect -f {{.State.Pid}} web").trim().to_owned();
        let mut echo = Command::new("nsenter");
        echo.args(["-t", &pid, "-n"]).args((!is_root()).then_some("-U"));
        echo.args(["--preserve-credentials", "python3", "-c", ECHO]);
        let _echo = spawn(&mut echo);
        eventually("the pod's page", 20, || fetch("127.0.0.1:8080") == "hello\n");
        eventually("the pod's page over IPv6", 20, || fetch("[::1]:8080") == "hello\n");
        assert_eq!(sh("curl -s -m 2 http://127.0.0.2:8080/ -o /dev/null; echo").code, 0);
        let resolver = podman.inside("web", "cat /etc/resolv.conf").ok();
        assert!(resolver.contains("search dns.podman") && resolver.matches("nameserver").count() >= 2, "{resolver}");
        podman.ok("run -d --name client --network two box sleep 100000");
        for name in ["site", "pod.dns.podman", "web.dns.podman"] {
            let said = podman.inside("client", &format!("nslookup {name}"));
            assert_eq!(said.stdout.contains("10.77.0.2"), name != "web.dns.podman", "{name}: {said}");
        }
        assert_eq!(podman.inside("client", "wget -q -O - http://10.77.0.2/").stdout, "hello\n");
        podman.ok("network reload client");
        assert_eq!(podman.inside("client", "wget -q -O - http://10.77.0.2/").stdout, "hello\n");
        let script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); \
                      s.connect(('127.0.0.1', 9001)); s.send(b'x'); print(s.recv(9))";
        eventually("the range's last port echoes", 20, || sh(&format!("python3 -c \"{script}\"")).stdout == "b'x'\n");
        podman.ok("pod rm -f -t 0 pod");
        assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
        podman.ok("rm -f -t 0 client");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
    });
}

/// Sends back what comes to port 9001.
const ECHO: &str = "import socket\nserver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
server.bind(('', 9001))\nwhile True: server.sendto(*server.recvfrom(99))\n";

/// docker-compose over podman's own service: networks, names and ports of a file, up and down.
#[test]
fn compose() {
    guard(|| {
        let vs = Vswitch::start();
        let podman = Podman::new(&vs);
        let service = spawn(&mut podman.command(&["system", "service", "-t", "0", "unix:///tmp/podman.sock"]));
        eventually("podman serves", 20, || fs::exists("/tmp/podman.sock").unwrap());
        fs::create_dir("/tmp/shop").unwrap();
        let file = format!(
            "version: '2.4'\nservices:\n  web:\n    image: localhost/box\n    command: [sh, -c, '{SERVE}']\n    ports: ['8080:80']\n\
             \x20   networks: {{front: {{aliases: [shop]}}}}\n  client:\n    image: localhost/box\n    command: [sleep, '100000']\n\
             \x20   networks: [front]\nnetworks:\n  front: {{}}\n"
        );
        fs::write("/tmp/shop/docker-compose.yml", file).unwrap();
        let compose = |words: &str| {
            let mut command = Command::new("docker-compose");
            command
                .current_dir("/tmp/shop")
                .env("DOCKER_HOST", "unix:///tmp/podman.sock")
                .env("COMPOSE_API_VERSION", "1.40");
            spawn(command.args(words.split(' '))).wait(Duration::from_secs(90)).ok()
        };
        compose("up -d");
        eventually("the shop's page", 20, || fetch("127.0.0.1:8080") == "hello\n");
        let client = podman.ok("ps -q --filter name=client").trim().to_owned();
        for name in ["shop", "web.dns.podman"] {
            let said = podman.inside(&client, &format!("nslookup {name}")).ok();
            assert!(said.contains("Address"), "{name}: {said}");
        }
        compose("down -t 0");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        drop(service);
    });
}

/// What ends without a word: podman's whole state, and the host, after which nothing of /run is there; and images that are
/// built.
#[test]
fn resets_reboots_and_builds() {
    guard(|| {
        let vs = Vswitch::start();
        let podman = Podman::new(&vs);
        podman.ok("network create one");
        podman
            .words(&["run", "-d", "--name", "web", "--network", "one", "-p", "8080:80", "box", "sh", "-c", SERVE])
            .ok();
        eventually("the page", 20, || fetch("127.0.0.1:8080") == "hello\n");
        // The host goes down: processes and /run are gone, what is on disk stays.
        let pid = podman.ok("inspect -f {{.State.Pid}} web").trim().to_owned();
        let conmon = podman.ok("inspect -f {{.State.ConmonPid}} web").trim().to_owned();
        vs.crash();
        let gone = format!(
            "kill -9 {conmon} {pid}; pkill -9 -x vswitch-engine; pkill -9 -x rootlessport; \
             umount -R /run/netns /run/user/*/netns; \
             rm -rf /tmp/podman/run /tmp/podman/tmp /run/netns /run/runc /run/libpod /run/user/*/netns /run/user/*/runc \
             /run/user/*/libpod; true"
        );
        spawn(podman.program("sh").args(["-c", &gone])).wait(Duration::from_secs(20)).ok();
        vs.up();
        podman.ok("start web");
        eventually("the page after a reboot", 30, || fetch("127.0.0.1:8080") == "hello\n");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 1);
        podman.ok("system reset -f");
        eventually("nothing is left", 30, || vs.json("endpoint ls").as_array().unwrap().is_empty());
        assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
        builds(&vs, &podman);
    });
}

/// An image whose steps have vswitch's network: of root's buildah always, of an ordinary user's with the isolation `oci`.
fn builds(vs: &Vswitch, podman: &Podman<'_>) {
    let fetch = "ip -o addr show eth0 && wget -q -O /page http://10.88.0.77/ && cat /page";
    fs::write("/tmp/Containerfile", format!("FROM scratch\nADD box.tar /\nRUN {fetch}\n")).unwrap();
    podman.ok("import /tmp/box.tar box");
    // Engines of one user that keep their addresses in different folders give the first ones twice.
    let web = ["run", "-d", "--name", "web", "--network", "podman", "--ip", "10.88.0.77", "box", "sh", "-c", SERVE];
    podman.words(&web).ok();
    eventually("the page inside", 20, || podman.inside("web", "wget -q -O - http://127.0.0.1/").stdout == "hello\n");
    let mut build = podman.program("buildah");
    build.args(["--storage-driver=vfs", "--root=/tmp/buildah/root", "--runroot=/tmp/buildah/run", "bud"]);
    build.args(["--isolation=oci", "--runtime=runc", "--cgroupns=host", "-f", "/tmp/Containerfile", "/tmp"]);
    let said = spawn(&mut build).wait(Duration::from_secs(90)).ok();
    assert!(said.contains("inet 10.88.") && said.contains("hello"), "{said}");
    assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 1, "only that of the container");
}

/// A container reaches what serves on the host by the name that podman gives the host: an ordinary user's podman chooses one of the host's
/// addresses for it, root's is told one. (The test's host has it by tests/src/guard.sh.)
#[test]
fn the_host_by_podman_s_name() {
    guard(|| {
        let vs = Vswitch::start();
        let mut settings = installed(SETTINGS);
        if is_root() {
            settings.push_str("\n[containers]\nhost_containers_internal_ip = \"192.0.2.7\"\n");
        }
        let podman = Podman::with(&vs, &settings);
        sh("mkdir /tmp/pages && echo hello > /tmp/pages/index.html").ok();
        let server = "cd /tmp/pages && exec python3 -m http.server 8001 --bind 192.0.2.7";
        let _server = spawn(Command::new("sh").args(["-c", server]));
        eventually("the host serves", 20, || fetch("192.0.2.7:8001") == "hello\n");
        podman.ok("network create one");
        podman.ok("run -d --name client --network one box sleep 100000");
        let hosts = podman.inside("client", "cat /etc/hosts").ok();
        let line = hosts.lines().find(|line| line.contains("host.containers.internal"));
        assert!(line.is_some_and(|line| line.starts_with("192.0.2.7")), "{hosts}");
        let page = podman.inside("client", "wget -q -O - http://host.containers.internal:8001/");
        assert_eq!(page.stdout, "hello\n", "{page}");
    });
}

/// What an ordinary user's podman gives a container that names no network, by what 'install' has written: vswitch's slirp4netns, with
/// addresses, ports by its API, and nothing left when the container is gone.
#[test]
fn slirp4netns_of_a_container() {
    guard(|| {
        let vs = Vswitch::start();
        let podman = Podman::new(&vs);
        let network = "slirp4netns:port_handler=slirp4netns,cidr=10.7.0.0/24";
        let mut words = vec!["run", "-d", "--name", "web", "--network", network];
        words.extend(["-p", "8080:80", "box", "sh", "-c", SERVE]);
        podman.words(&words).ok();
        let shown = podman.inside("web", "ip addr show tap0; ip route; cat /etc/resolv.conf").ok();
        for part in
            ["10.7.0.100/24", "mtu 65520", "fd00::100/64", "default via 10.7.0.2 dev tap0", "nameserver 10.7.0.3"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        eventually("the published page", 30, || fetch("127.0.0.1:8080") == "hello\n");
        // A user's container that names no network gets it, too; root's is on the network 'podman' then.
        let network = if is_root() { "--network slirp4netns" } else { "" };
        podman.ok(&format!("run -d --name plain {network} box sleep 100000"));
        assert!(podman.inside("plain", "ip addr show tap0").ok().contains("10.0.2.100/24"));
        podman.ok("rm -f -t 0 web plain");
        let folders = "ls -d $XDG_RUNTIME_DIR/vswitch-for-* /run/vswitch-for-* /tmp/vswitch-for-* 2>/dev/null";
        eventually("nothing is left", 30, || sh(folders).stdout.is_empty());
        assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
    });
}
