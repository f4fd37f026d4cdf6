//! `slirp4netns`, started as rootlesskit, podman and buildah start it, without them.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vswitch_tests::{Background, Holder, eventually, guard, guard::guard_for, run, sh, spawn};

const PROGRAM: &str = "/tmp/slirp4netns";
const API: &str = "/tmp/api.sock";

fn provide() {
    symlink("/mnt/programs/vswitch-engine", PROGRAM).unwrap();
}

/// Starts it in a holder's namespace; `$PID` in its arguments is the holder.
fn begin(holder: &Holder, arguments: &str) -> Background {
    let line = format!("PID={}; exec {PROGRAM} {arguments}", holder.pid());
    spawn(Command::new("sh").args(["-c", &line]).process_group(0))
}

/// Starts it, and waits until it says that the network is ready.
fn start(holder: &Holder, arguments: &str) -> Background {
    let ready = format!("/tmp/ready{}", holder.pid());
    let _ = fs::remove_file(&ready);
    let mut slirp = begin(holder, &format!("-r 9 {arguments} 9>{ready}"));
    eventually("the network is ready", 60, || {
        assert!(slirp.running(), "it ended: {}", slirp.output());
        fs::read_to_string(&ready).unwrap_or_default() == "1"
    });
    slirp
}

/// Asks over the API socket.
fn ask(request: &Value) -> Value {
    ask_by(&format!("printf %s '{request}'"))
}

fn ask_by(producer: &str) -> Value {
    ask_with(producer, "whole")
}

/// Asks in a manner: `whole`; `split`, a byte at a time; `held`, without ever saying that this was all.
fn ask_with(producer: &str, manner: &str) -> Value {
    let said = sh(&format!("{producer} | python3 -c '{CLIENT}' {manner}"));
    serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("no JSON: {said}"))
}

/// Sends what it reads; prints the answer.
const CLIENT: &str = "
import socket, sys, time
text, manner = sys.stdin.buffer.read(1 << 20), sys.argv[1]
s = socket.socket(socket.AF_UNIX)
s.connect(\"/tmp/api.sock\")
size = 1 if manner == \"split\" else 1 << 20
try:
    for at in range(0, len(text), size):
        s.sendall(text[at:at + size])
        # Others have a chance to read that much.
        time.sleep(0.001)
    if manner == \"whole\":
        s.shutdown(socket.SHUT_WR)
except OSError:
    pass
print(s.makefile().read())
";

/// Nothing of it is left: no process, no folder.
fn nothing_left() {
    eventually("nothing is left", 30, || {
        let processes = sh("pgrep -x vswitchd").stdout;
        let folders = sh("ls -d $XDG_RUNTIME_DIR/vswitch-for-* /run/vswitch-for-* 2>/dev/null").stdout;
        processes.is_empty() && folders.is_empty()
    });
}

/// A page at port 8000 of the host's loopback.
fn host_page() -> Background {
    let script = "mkdir -p /tmp/host && cd /tmp/host && echo of-the-host > index.html && exec python3 -m http.server -b 127.0.0.1 8000";
    let server = spawn(Command::new("sh").args(["-c", script]));
    eventually("the host's page is served", 20, || sh("ss -Hltn sport = :8000").stdout.contains(":8000"));
    server
}

/// As podman starts it: addresses and routes, the host's loopback at .2, names asked at .3, ports by the API, and nothing left when
/// it is killed.
#[test]
fn a_guest() {
    guard(|| {
        provide();
        let holder = Holder::usual();
        let _page = host_page();
        let slirp = start(
            &holder,
            &format!("-c --mtu=65520 --enable-sandbox --enable-seccomp --enable-ipv6 --api-socket {API} $PID tap0"),
        );
        let shown = holder.sh("ip addr show tap0; ip route; ip -6 route; ip link show lo").ok();
        for part in
            ["10.0.2.100/24", "mtu 65520", "default via 10.0.2.2 dev tap0", "fd00::100/64", "default via fd00::2"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(holder.sh("ip -o link show lo").ok().contains("UP"));
        holder.pings("10.0.2.2");
        assert_eq!(holder.sh("curl -s -m 20 http://10.0.2.2:8000/").ok(), "of-the-host\n");
        let names = holder.sh("dig +time=5 +tries=3 nowhere.example @10.0.2.3").stdout;
        assert!(names.contains("status: "), "the name server answers: {names}");

        let _guest = holder.serves_page();
        let add = json!({"execute": "add_hostfwd", "arguments": {
            "proto": "tcp", "host_addr": "127.0.0.1", "host_port": 8080, "guest_addr": "10.0.2.100", "guest_port": 80}});
        assert_eq!(ask(&add), json!({"return": {"id": 1}}));
        assert_eq!(sh("curl -s -m 20 http://127.0.0.1:8080/").ok(), "hello\n");
        let listed = ask(&json!({"execute": "list_hostfwd"}));
        let entry = json!([{"id": 1, "proto": "tcp", "host_addr": "127.0.0.1", "host_port": 8080,
            "guest_addr": "10.0.2.100", "guest_port": 80}]);
        assert_eq!(listed, json!({"entries": entry, "return": {"entries": entry}}));
        let twice = ask(&add);
        assert!(twice["error"]["desc"].as_str().unwrap().contains("slirp_add_hostfwd failed"), "{twice}");
        assert_eq!(ask(&json!({"execute": "remove_hostfwd", "arguments": {"id": 1}})), json!({"return": {}}));
        assert_eq!(ask(&add), json!({"return": {"id": 2}}), "the port can be had again at once");
        let _guest_v6 = holder.spawn("cd /tmp/www && exec python3 -m http.server --bind :: 81");
        eventually("the page is served", 20, || holder.sh("ss -Hltn sport = :81").stdout.contains(":81"));
        let v6 = json!({"execute": "add_hostfwd", "arguments": {
            "proto": "tcp", "host_addr": "::1", "host_port": 8081, "guest_port": 81}});
        assert_eq!(ask(&v6), json!({"return": {"id": 3}}));
        assert_eq!(sh("curl -s -m 20 'http://[::1]:8081/'").ok(), "hello\n");

        sh(&format!("kill -9 {}", slirp.pid())).ok();
        nothing_left();
        assert!(holder.sh("ip link show tap0").code != 0, "the interface is gone");
        assert!(sh("ss -Hltn sport = :8080").stdout.is_empty(), "and the ports");
    });
}

/// As rootlesskit starts it: the caller has made the TAP and configures it; the host's loopback is closed, though the gateway
/// answers; it ends by SIGTERM.
#[test]
fn a_tap_of_the_caller_s() {
    guard(|| {
        provide();
        let holder = Holder::usual();
        let _page = host_page();
        holder.sh("ip tuntap add name tap0 mode tap && ip link set tap0 up").ok();
        let slirp = start(
            &holder,
            "--mtu 1500 --disable-host-loopback --cidr 10.0.135.128/25 --userns-path=/proc/$PID/ns/user \
             --netns-type=path /proc/$PID/ns/net tap0",
        );
        assert!(!holder.sh("ip -4 addr show tap0").ok().contains("inet"), "the address is the caller's to give");
        holder
            .sh("ip link set tap0 up && ip addr add 10.0.135.228/25 dev tap0 && ip route add default via 10.0.135.130")
            .ok();
        holder.pings("10.0.135.130");
        let refused = holder.sh("curl -m 20 http://10.0.135.130:8000/");
        assert!(refused.code == 7 && !refused.stdout.contains("of-the-host"), "{refused}");
        let told = holder.sh("python3 -c 'import socket; socket.create_connection((\"10.0.135.130\", 8000), 20)'");
        assert!(told.stderr.contains("Network is unreachable"), "{told}");
        assert_eq!(slirp.terminate().code, 0);
        nothing_left();
        assert!(holder.sh("ip link show tap0").code != 0);
    });
}

/// Many at once have the same addresses and know nothing of each other; the end of the exit descriptor is theirs.
#[test]
fn many_guests() {
    guard(|| guests(4));
}

/// The same of a hundred.
#[test]
#[ignore = "takes minutes; tests/run all"]
fn a_hundred_guests() {
    guard_for(Duration::from_secs(900), || guests(100));
}

/// Starts so many at once, sees that each has its own network, and ends them all.
fn guests(number: usize) {
    provide();
    sh("mkfifo /tmp/exit").ok();
    let holders: Vec<Holder> = (0..number).map(|_| Holder::usual()).collect();
    let mut writer = spawn(Command::new("sh").args(["-c", "exec sleep 1000 >/tmp/exit"]));
    let line = |holder: &Holder| {
        format!(
            "PID={0}; exec {PROGRAM} -c -e 8 -r 9 --macaddress 0e:d4:18:d9:38:fb $PID tap0 8</tmp/exit 9>/tmp/ready{0}",
            holder.pid()
        )
    };
    let mut all: Vec<_> = holders.iter().map(|holder| spawn(Command::new("sh").args(["-c", &line(holder)]))).collect();
    for (holder, slirp) in holders.iter().zip(&mut all) {
        eventually("the network is ready", 600, || {
            assert!(slirp.running(), "it ended: {}", slirp.output());
            fs::read_to_string(format!("/tmp/ready{}", holder.pid())).unwrap_or_default() == "1"
        });
        holder.pings("10.0.2.2");
        assert!(holder.sh("ip link show tap0").ok().contains("0e:d4:18:d9:38:fb"));
    }
    assert!(writer.running());
    drop(writer);
    for slirp in all {
        assert_eq!(slirp.wait(Duration::from_secs(120)).code, 0);
    }
    nothing_left();
}

/// What makes no sense is told, and changes nothing: on the command line and over the API.
#[test]
fn nonsense() {
    guard(|| {
        provide();
        let holder = Holder::usual();
        let refused = |arguments: &str, text: &str| {
            begin(&holder, arguments).wait(Duration::from_secs(60)).exits(1).says(text);
        };
        refused("-c --cidr 10.0.2.100/24 $PID tap0", "CIDR needs to be a network address like 10.0.2.0/24");
        refused("-c -r 77 $PID tap0", "--ready-fd or --exit-fd is not open");
        refused("-c 4194300 tap0", "network namespace of process 4194300");
        refused("-c --netns-type=path /etc/hostname tap0", "namespace");
        refused("-c --netns-type=path /nowhere tap0", "cannot open the network namespace /nowhere");
        refused("-c $PID a-name-that-is-too-long", "interface");
        refused("-c --macaddress 01:00:00:00:00:01 $PID tap0", "MAC");
        holder.sh("ip link add name dummy0 type veth peer name dummy1").ok();
        refused("-c $PID dummy0", "interface dummy0");
        holder.sh("ip link show dummy0").ok();
        run(Command::new(PROGRAM).arg("--version")).ok();
        assert!(run(Command::new(PROGRAM).arg("--help")).ok().contains("--netns-type"));

        // What is none of vswitch's goes to the next in PATH.
        fs::write("/tmp/other", "#!/bin/sh\necho other \"$@\"\n").unwrap();
        sh("mkdir /tmp/path && mv /tmp/other /tmp/path/slirp4netns && chmod 755 /tmp/path/slirp4netns").ok();
        let handed = sh("PATH=/tmp:/tmp/path:$PATH slirp4netns --netns-type=tapfd 5");
        assert_eq!(handed.stdout, "other --netns-type=tapfd 5\n", "{handed}");

        let slirp = start(&holder, &format!("-c -a {API} $PID tap0"));
        let desc = |answer: &Value| answer["error"]["desc"].as_str().unwrap_or_default().to_owned();
        for (producer, text) in [
            ("echo badjson", "bad request: cannot parse JSON"),
            ("printf %s '{\"execute\": '", "bad request: cannot parse JSON"),
            ("true", "bad request: cannot parse JSON"),
            ("printf '\\377\\376\\000{}'", "bad request: cannot parse JSON"),
            ("head -c 4000 /dev/zero | tr '\\000' '['", "bad request: cannot parse JSON"),
            ("head -c 1000000 /dev/zero", "bad request: too large message"),
            ("printf '%4096s' '{\"execute\": \"list_hostfwd\"}'", "bad request: too large message"),
        ] {
            assert_eq!(desc(&ask_by(producer)), text, "{producer}");
        }
        // The longest that there is; a short one a byte at a time; one behind which nothing ends; and half of one, whose rest never comes.
        let longest = "printf '%4095s' '{\"execute\": \"list_hostfwd\"}'";
        let short = "printf %s '{\"execute\": \"list_hostfwd\"}'";
        for (producer, manner) in [(longest, "whole"), (longest, "held"), (short, "split")] {
            assert_eq!(ask_with(producer, manner)["entries"], json!([]), "{manner}");
        }
        assert_eq!(desc(&ask_with("printf %s '{\"execute\": '", "held")), "bad request: cannot parse JSON");
        for (request, text) in [
            (json!([1]), "bad request: json_object() failed"),
            (json!({"unexpected": 42}), "bad request: no execute found"),
            (json!({"execute": "bad"}), "bad request: unknown execute"),
            (json!({"execute": "add_hostfwd"}), "bad request: add_hostfwd: bad arguments.proto"),
            (
                json!({"execute": "remove_hostfwd", "arguments": {"id": 7}}),
                "bad request: remove_hostfwd: bad arguments.id",
            ),
        ] {
            assert_eq!(desc(&ask(&request)), text, "{request}");
        }
        // One that says nothing holds nobody up.
        let silent = spawn(Command::new("python3").args([
            "-c",
            "import socket, time\ns = socket.socket(socket.AF_UNIX)\ns.connect('/tmp/api.sock')\ntime.sleep(1000)",
        ]));
        assert_eq!(ask(&json!({"execute": "list_hostfwd"}))["entries"], json!([]));
        drop(silent);
        assert_eq!(slirp.terminate().code, 0);
        nothing_left();
    });
}

/// Killed at whatever moment of its start, or with its namespace: nothing is left.
#[test]
fn killed_while_it_starts() {
    guard(|| kills(8));
}

/// The same two hundred times.
#[test]
#[ignore = "takes minutes; tests/run all"]
fn killed_two_hundred_times() {
    guard_for(Duration::from_secs(900), || kills(200));
}

/// Starts it so often as engines do, and kills who started it at moments that are spread over the start and the beginning of its
/// life: it ends with the exit descriptor, or by a parent-death signal.
fn kills(number: u32) {
    provide();
    fs::write("/tmp/caller.py", CALLER).unwrap();
    let holder = Holder::usual();
    let call =
        |way: &str| spawn(Command::new("python3").args(["/tmp/caller.py", PROGRAM, &holder.pid().to_string(), way]));
    // How long it takes on this machine, now.
    let began = std::time::Instant::now();
    let whole = call("exit");
    eventually("the port is there", 60, || whole.output().contains("forwarded"));
    drop(whole);
    let whole = began.elapsed();
    nothing_left();
    for moment in 1..=number {
        let caller = call(if moment % 2 == 0 { "exit" } else { "signal" });
        // A moment of its life, not a wait for something.
        std::thread::sleep(whole * moment / number);
        drop(caller);
        nothing_left();
        assert!(holder.sh("ip link show tap0").code != 0, "at moment {moment} of {number}");
        assert!(sh("ss -Hltn sport = :8080").stdout.is_empty(), "at moment {moment} of {number}");
    }
    let slirp = begin(&holder, "-c $PID tap0");
    holder.terminate();
    drop(slirp);
    nothing_left();
}

/// An engine: starts it so that it ends with this process, waits for it, and publishes a port.
const CALLER: &str = r#"
import ctypes, os, socket, sys, time
program, pid, way = sys.argv[1:]
ready, told = os.pipe()
life, held = os.pipe()
engine = os.getpid()
if os.fork() == 0:
    os.close(held)
    os.set_inheritable(told, True)
    words = [program, "-c", "-r", str(told), "-a", "/tmp/api.sock"]
    if way == "exit":
        os.set_inheritable(life, True)
        words += ["-e", str(life)]
    else:
        ctypes.CDLL(None).prctl(1, 9)
        if os.getppid() != engine:
            sys.exit(1)
    os.execv(program, words + [pid, "tap0"])
os.close(told)
if os.read(ready, 1) == b"1":
    api = socket.socket(socket.AF_UNIX)
    api.connect("/tmp/api.sock")
    api.sendall(b'{"execute": "add_hostfwd", "arguments": {"proto": "tcp", "host_port": 8080, "guest_port": 80}}')
    api.shutdown(socket.SHUT_WR)
    print("forwarded", api.recv(4095), flush=True)
time.sleep(1000)
"#;
