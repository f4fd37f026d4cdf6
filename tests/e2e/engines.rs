//! What container engines call: podman's netavark and rootlessport, driven as podman drives them, without podman.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use vswitch_tests::{Background, Holder, Output, Vswitch, eventually, guard, guard::is_root, run, sh, spawn};

/// The helpers, as podman finds them.
pub(crate) const HELPERS: &str = "/tmp/helpers";

/// Ids of a container and a network.
pub(crate) const CONTAINER: &str = "7d8ae88bf55524156f70eb85804d61b7cc24c2924d107706955d724567a17fb2";

pub(crate) fn provide_helpers() {
    fs::create_dir_all(HELPERS).unwrap();
    for helper in ["netavark", "rootlessport", "vswitch"] {
        symlink("/mnt/programs/vswitch-engine", format!("{HELPERS}/{helper}")).unwrap();
    }
}

/// A network as in podman's files: 10.89.NUMBER.0/24.
pub(crate) fn network(name: &str, number: u8) -> Value {
    let id = format!("{number:064x}");
    json!({
        "name": name, "id": id, "driver": "bridge", "network_interface": "podman1", "created": "2026-11-28T15:01:58Z",
        "subnets": [{"subnet": format!("10.89.{number}.0/24"), "gateway": format!("10.89.{number}.1")}],
        "ipv6_enabled": false, "internal": false, "dns_enabled": true, "ipam_options": {"driver": "host-local"}
    })
}

/// A container's request: on the networks of these numbers, with this last byte of its addresses.
pub(crate) fn request(name: &str, id: &str, numbers: &[u8], host: u8) -> Value {
    let names: Vec<String> = numbers.iter().map(|number| format!("n{number}")).collect();
    let options = |(index, number): (usize, &u8)| json!({"static_ips": [format!("10.89.{number}.{host}")], "aliases": [&id[..12]], "interface_name": format!("eth{index}")});
    let networks: Vec<Value> = numbers.iter().enumerate().map(options).collect();
    let networks: serde_json::Map<String, Value> = names.iter().cloned().zip(networks).collect();
    let info = names.iter().zip(numbers).map(|(name, number)| (name.clone(), network(name, *number)));
    let info: serde_json::Map<String, Value> = info.collect();
    json!({"container_id": id, "container_name": name, "networks": networks, "network_info": info})
}

/// Calls netavark with a request, where podman calls it: an ordinary user's in the user namespace of the container.
pub(crate) fn netavark(vs: &Vswitch, holder: &Holder, command: &str, request: &str) -> Output {
    netavark_at(vs, holder, (command, &format!("/proc/{}/ns/net", holder.pid())), request)
}

pub(crate) fn netavark_at(vs: &Vswitch, holder: &Holder, (command, netns): (&str, &str), request: &str) -> Output {
    fs::write("/tmp/request.json", request).unwrap();
    let enter =
        if is_root() { String::new() } else { format!("nsenter -t {} -U --preserve-credentials ", holder.pid()) };
    // Root's podman says false, also where a test plays it as an ordinary user: then the ports are netavark's.
    let rootless = !request.contains("port_mappings");
    let line = format!(
        "{enter}{HELPERS}/netavark --config /run/x --rootless={rootless} --aardvark-binary=/x {command} {netns} </tmp/request.json"
    );
    run(Command::new("sh").args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()))
}

/// Sets up, and answers what podman is told.
pub(crate) fn set_up(vs: &Vswitch, holder: &Holder, request: &Value) -> Value {
    let said = netavark(vs, holder, "setup", &request.to_string()).ok();
    serde_json::from_str(&said).unwrap()
}

/// Two containers on networks of podman's: addresses, routes and names as asked, a second setup is as good as one, and
/// teardown leaves nothing, however often it is called.
#[test]
fn networks_of_podman() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let (one, two) = (Holder::usual(), Holder::usual());
        let other = CONTAINER.replace('7', "8");
        let wish = request("web", CONTAINER, &[1, 2], 5);
        set_up(&vs, &one, &wish);
        let status = set_up(&vs, &one, &wish);
        assert_eq!(status.as_object().unwrap().len(), 2, "one answer for each network: {status}");
        let interface = &status["n1"]["interfaces"]["eth0"];
        assert_eq!(interface["subnets"], json!([{"ipnet": "10.89.1.5/24", "gateway": "10.89.1.1"}]));
        assert_eq!(status["n1"]["dns_server_ips"], json!(["10.89.1.1"]));
        let mac = interface["mac_address"].as_str().unwrap();
        assert!(one.sh("ip -o link show eth0").ok().contains(mac));
        assert!(one.sh("ip -o addr show eth1").ok().contains("10.89.2.5/24"));
        assert!(one.sh("ip -o link show lo").ok().contains("UP"), "an engine leaves the loopback to its helper");
        assert_eq!(one.sh("ip route show default").ok().lines().count(), 1);
        set_up(&vs, &two, &request("db", &other, &[1], 6));
        two.pings("10.89.1.5");
        for name in ["web", &CONTAINER[..12]] {
            let found = two.sh(&format!("dig +short +time=2 +tries=5 {name} @10.89.1.1")).ok();
            assert_eq!(found.trim(), "10.89.1.5", "{name}");
        }
        let listed = vs.json("endpoint ls");
        assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
        let shown = vs.ok("network inspect n1");
        assert!(shown.contains(&format!("{:064x}", 1)), "the network has podman's id: {shown}");
        netavark(&vs, &one, "teardown", &request("web", CONTAINER, &[1], 5).to_string()).ok();
        assert!(one.sh("ip link show eth0").code != 0);
        let route = one.sh("ip route show default").ok();
        assert!(route.starts_with("default via 10.89.2.1 dev eth1"), "the other network leads out now: {route}");
        netavark(&vs, &one, "teardown", &wish.to_string()).ok();
        netavark(&vs, &one, "teardown", &wish.to_string()).ok();
        assert!(!vs.ok("network ls").contains("n2"), "a network on which nobody is any more goes");
        two.pings("10.89.1.1");
        netavark(&vs, &two, "teardown", &request("db", &other, &[1], 6).to_string()).ok();
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        assert!(!vs.ok("network ls").contains("n1"));
    });
}

/// Engines that know nothing of each other have one subnet, and containers one address: they stay apart.
#[test]
fn equal_networks_of_two_engines() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let (one, two) = (Holder::usual(), Holder::usual());
        set_up(&vs, &one, &request("web", CONTAINER, &[1], 5));
        let mut twin = request("db", &CONTAINER.replace('7', "8"), &[2], 5);
        twin["network_info"]["n2"]["subnets"] = json!([{"subnet": "10.89.1.0/24", "gateway": "10.89.1.1"}]);
        twin["networks"]["n2"]["static_ips"] = json!(["10.89.1.5"]);
        let status = set_up(&vs, &two, &twin);
        let subnets = &status["n2"]["interfaces"]["eth0"]["subnets"];
        assert_eq!(*subnets, json!([{"ipnet": "10.89.1.5/24", "gateway": "10.89.1.1"}]));
        for (holder, own, others) in [(&one, "web", "db"), (&two, "db", "web")] {
            holder.pings("10.89.1.1");
            let ask = |name: &str| holder.sh(&format!("dig +short +time=2 +tries=5 {name} @10.89.1.1")).stdout;
            assert_eq!((ask(own).trim(), ask(others).trim()), ("10.89.1.5", ""));
        }
        let wish = request("more", &CONTAINER.replace('7', "9"), &[1], 6);
        let more = Holder::usual();
        set_up(&vs, &more, &wish);
        let _server = one.serves_page();
        assert_eq!(more.sh("curl -s -m 5 http://10.89.1.5/").stdout, "hello\n");
        netavark(&vs, &two, "teardown", &twin.to_string()).ok();
        assert_eq!(more.sh("curl -s -m 5 http://10.89.1.5/").stdout, "hello\n", "the other network stays");
    });
}

/// A container that vanishes without a word takes its endpoint and its network with it.
#[test]
fn vanished_containers() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        set_up(&vs, &holder, &request("web", CONTAINER, &[1], 5));
        // The agent holds the namespace until somebody was in it and nobody is, which takes minutes; so the interface
        // goes as it would with the namespace.
        holder.sh("ip link del eth0").ok();
        eventually("nothing is left of it", 20, || {
            vs.json("endpoint ls").as_array().unwrap().is_empty() && !vs.ok("network ls").contains("n1")
        });
    });
}

/// Root's podman leaves the ports to netavark: they are open from setup to teardown, over a restart of vswitchd, too.
#[test]
fn ports_of_root_s_podman() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        let mut wish = request("web", CONTAINER, &[1], 5);
        wish["port_mappings"] =
            json!([{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"}]);
        set_up(&vs, &holder, &wish);
        let _server = holder.serves_page();
        let fetch = || sh("curl -s -m 5 http://127.0.0.1:8080/").stdout;
        assert_eq!(fetch(), "hello\n");
        let another = Holder::usual();
        let mut clash = request("other", &CONTAINER.replace('7', "8"), &[1], 6);
        clash["port_mappings"] = wish["port_mappings"].clone();
        let said = netavark(&vs, &another, "setup", &clash.to_string()).exits(1).stdout;
        assert!(said.contains("port is already allocated"), "{said}");
        assert!(another.sh("ip link show eth0").code != 0, "nothing is left half-made");
        vs.crash();
        vs.up();
        eventually("the port is open again", 20, || fetch() == "hello\n");
        netavark(&vs, &holder, "teardown", &wish.to_string()).ok();
        assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
    });
}

/// An ordinary user's podman has a process for each container's ports: they are open while it lives, lead to the
/// container with the client's address, and come back when vswitchd does.
#[test]
fn ports_of_a_user_s_podman() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        set_up(&vs, &holder, &request("web", CONTAINER, &[1, 2], 5));
        let _server = holder.serves_page();
        let fetch = || sh("curl -s -m 5 http://127.0.0.1:8080/").stdout;
        let closed = || sh("curl -s -m 5 http://127.0.0.1:8080/").code == 7;
        assert!(closed());
        let (port, conmon) = publish(&vs);
        assert_eq!(fetch(), "hello\n");
        // podman moves the ports to the container's other network.
        let script = "import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); \
                  s.connect(sys.argv[1]); s.send(sys.argv[2].encode()); print(s.recv(999).decode())";
        let socket = format!("/tmp/podman/rp/{CONTAINER}");
        let told = |word: &str| run(Command::new("python3").args(["-c", script, &socket, word])).ok();
        assert_eq!(told("\"10.89.2.5\""), "OK\n");
        assert_eq!(fetch(), "hello\n");
        assert!(told("10.89.2.5").contains("JSON"));
        vs.crash();
        vs.up();
        eventually("the port is open again", 20, || fetch() == "hello\n");
        drop(port);
        eventually("the port is closed with its process", 20, closed);
        drop(conmon);
        let (mut port, conmon) = publish(&vs);
        assert_eq!(fetch(), "hello\n");
        conmon.terminate();
        eventually("the process ends with the container", 20, || !port.running());
        eventually("the port is closed with the container", 20, closed);
    });
}

/// Starts rootlessport as podman does: descriptor 3 is open elsewhere for as long as the container runs (by conmon),
/// 4 says that the ports are there.
fn publish(vs: &Vswitch) -> (Background, Background) {
    sh("rm -f /tmp/exit /tmp/ready /tmp/said; mkfifo /tmp/exit /tmp/ready").ok();
    let request = json!({
        "Mappings": [{"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"}],
        "NetNSPath": "/x", "ExitFD": 3, "ReadyFD": 4, "TmpDir": "/tmp/podman", "ChildIP": "10.89.1.5",
        "ContainerID": CONTAINER, "RootlessCNI": true
    });
    fs::write("/tmp/ports.json", request.to_string()).unwrap();
    let conmon = spawn(Command::new("sh").args(["-c", "exec 3>/tmp/exit; exec sleep 100000"]));
    let heard = spawn(Command::new("sh").args(["-c", "cat /tmp/ready > /tmp/said"]));
    let line = format!("exec {HELPERS}/rootlessport </tmp/ports.json 3</tmp/exit 4>/tmp/ready");
    let mut port = spawn(Command::new("sh").args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()));
    eventually("the ports are there", 20, || {
        assert!(port.running(), "{}", port.output());
        fs::read_to_string("/tmp/said").is_ok_and(|said| said == "1")
    });
    drop(heard);
    (port, conmon)
}

/// What makes no sense is answered in the engine's own form, an object with the key `error` alone, and leaves nothing.
#[test]
fn nonsense() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        let good = request("web", CONTAINER, &[1], 5);
        let with = |change: &dyn Fn(&mut Value)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed.to_string()
        };
        let cases = [
            ("not as netavark's", "{".to_owned()),
            ("not as netavark's", "[]".to_owned()),
            ("does not describe it", with(&|one| one["network_info"] = json!({}))),
            ("invalid subnet", with(&|one| one["network_info"]["n1"]["subnets"][0]["subnet"] = json!("10.89.1.7/24"))),
            ("no configured subnet", with(&|one| one["networks"]["n1"]["static_ips"] = json!(["10.1.1.1"]))),
            ("interface name", with(&|one| one["networks"]["n1"]["interface_name"] = json!("a/b"))),
            ("network id", with(&|one| one["network_info"]["n1"]["id"] = json!("xyz"))),
            ("second one", with(&|one| one["networks"]["n1"]["static_ips"] = json!(["10.89.1.5", "10.89.1.6"]))),
        ];
        for (sentence, text) in cases {
            let said = netavark(&vs, &holder, "setup", &text).exits(1).stdout;
            let answer: Value = serde_json::from_str(&said).unwrap();
            let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["error"], "{said}");
            assert!(answer["error"].as_str().unwrap().contains(sentence), "{sentence}: {said}");
        }
        let gone = netavark_at(&vs, &holder, ("setup", "/run/netns/nothing"), &good.to_string()).exits(1);
        assert!(gone.stdout.contains("cannot open the network namespace"), "{gone}");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        assert!(!vs.ok("network ls").contains("n1"), "a network that was made for nobody goes");
        // Somebody who has the socket and sends no descriptor.
        let body = json!({"key": {"engine": "podman", "container": CONTAINER, "interface": "eth0"}, "name": "web",
            "network": {"Name": "n1"}, "network_id": format!("{:064x}", 1)});
        let said = sh(&format!(
            "curl -s --unix-socket {} -H 'content-type: application/json' -d '{body}' http://x/vswitch/v1/engines/endpoints",
            vs.socket().display()
        ));
        assert!(said.stdout.contains("SCM_RIGHTS"), "{said}");
        assert!(!vs.ok("network ls").contains("n1"));
    });
}

/// Without a vswitchd podman's own helper is called, and says so in one line.
#[test]
fn without_a_daemon() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        assert_eq!(vs.terminate(), 0);
        let said = netavark(&vs, &holder, "setup", &request("web", CONTAINER, &[1], 5).to_string());
        let lines: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("vswitch: ")).collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(
            lines[0].contains("cannot reach vswitchd") && lines[0].contains("podman's own netavark is used"),
            "{said}"
        );
    });
}

/// `engine podman install` tells podman by files of its own, `status` says so, `uninstall` takes it back; files of others
/// stay.
#[test]
fn installation() {
    guard(|| {
        let vs = Vswitch::start();
        let file = "/tmp/home/.config/containers/containers.conf.d/vswitch.conf";
        vs.ok("engine podman install --user");
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains("helper_binaries_dir = [\"/tmp/home/.local/share/vswitch/podman\", "), "{text}");
        assert!(
            text.contains("network_cmd_path = \"/tmp/home/.local/share/vswitch/podman/podman-slirp4netns\"\n"),
            "{text}"
        );
        assert!(!text.contains("enable_port_reservation"));
        let helper = "/tmp/home/.local/share/vswitch/podman/netavark";
        let version = run(Command::new(helper).arg("version").stdin(Stdio::null())).ok();
        assert!(serde_json::from_str::<Value>(&version).unwrap()["version"].as_str().unwrap().contains("vswitch"));
        vs.ok("engine podman install --user");
        assert!(
            vs.ok("engine podman status --user").starts_with("podman calls vswitch for its networks, for this user")
        );
        assert!(vs.ok("engine podman status --user").contains("/podman-slirp4netns\n"));
        let holder = Holder::usual();
        provide_helpers();
        set_up(&vs, &holder, &request("web", CONTAINER, &[1], 5));
        let status = vs.ok("engine podman status --user");
        assert!(
            status.contains("podman") && status.contains(&CONTAINER[..12]) && status.contains("10.89.1.5"),
            "{status}"
        );
        assert_eq!(vs.terminate(), 0);
        assert!(vs.ok("engine podman status --user").contains("vswitchd does not run"));
        vs.ok("engine podman uninstall --user");
        assert!(!fs::exists(file).unwrap() && !fs::exists(helper).unwrap());
        assert!(vs.ok("engine podman uninstall --user").contains("nothing to take back"));
        fs::write(file, "[engine]\n").unwrap();
        for what in ["install", "uninstall", "status"] {
            vs.refuses(&format!("engine podman {what} --user"), "is not of vswitch");
        }
        assert_eq!(fs::read_to_string(file).unwrap(), "[engine]\n");
    });
}

/// Setups and teardowns at once, killed at random: in the end there is what was asked for last.
#[test]
fn many_at_once() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holders: Vec<Holder> = (0..6).map(|_| Holder::usual()).collect();
        for round in 0..3_u8 {
            let starts: Vec<Background> = holders
                .iter()
                .enumerate()
                .map(|(number, holder)| {
                    let id = format!("{:064x}", number + 100);
                    let host = u8::try_from(number).unwrap() + 10;
                    let text = request(&format!("c{number}"), &id, &[1], host).to_string();
                    let file = format!("/tmp/many-{number}.json");
                    fs::write(&file, text).unwrap();
                    let command = if round == 1 { "teardown" } else { "setup" };
                    let enter = if is_root() {
                        String::new()
                    } else {
                        format!("nsenter -t {} -U --preserve-credentials ", holder.pid())
                    };
                    let netns = format!("/proc/{}/ns/net", holder.pid());
                    let line =
                        format!("exec {enter}{HELPERS}/netavark --rootless={} {command} {netns} <{file}", !is_root());
                    spawn(Command::new("sh").args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()))
                })
                .collect();
            for start in starts {
                start.wait(Duration::from_secs(60)).ok();
            }
            let there = vs.json("endpoint ls").as_array().unwrap().len();
            assert_eq!(there, if round == 1 { 0 } else { holders.len() }, "round {round}");
        }
        holders[0].pings("10.89.1.15");
    });
}
