//! The CNI plug-in: called as runtimes call it, by libcni, and by podman.

use std::{fs, os::unix::fs::symlink, process::Command};

use serde_json::{Value, json};
use vswitch_tests::{Holder, Output, Vswitch, eventually, guard, guard::is_root, run, sh, spawn};

use crate::podman::Podman;

/// Where runtimes find plug-ins: vswitch's and Debian's.
pub(crate) const PLUGINS: &str = "/tmp/cni";
pub(crate) const PATH: &str = "/tmp/cni:/usr/lib/cni";

/// Where they find networks.
pub(crate) const NETWORKS: &str = "/tmp/net.d";

fn provide_plugin() {
    fs::create_dir_all(PLUGINS).unwrap();
    symlink("/mnt/programs/vswitch-engine", format!("{PLUGINS}/vswitch")).unwrap();
}

/// Words that enter the user namespace of an ordinary user's holder: runtimes act there.
pub(crate) fn enter(holder: &Holder) -> String {
    match is_root() {
        true => String::new(),
        false => format!("nsenter -t {} -U --preserve-credentials ", holder.pid()),
    }
}

pub(crate) fn netns(holder: &Holder) -> String {
    format!("/proc/{}/ns/net", holder.pid())
}

/// Calls the plug-in with a configuration and further variables.
fn call(vs: &Vswitch, holder: &Holder, command: &str, config: &str, variables: &[(&str, &str)]) -> Output {
    fs::write("/tmp/config.json", config).unwrap();
    let line = format!("{}{PLUGINS}/vswitch </tmp/config.json", enter(holder));
    let mut process = Command::new("sh");
    process.args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()).env("CNI_COMMAND", command);
    process.env("CNI_PATH", PATH).env("CNI_CONTAINERID", "web").env("CNI_IFNAME", "eth0");
    process.env("CNI_NETNS", netns(holder));
    for (name, value) in variables {
        match value.is_empty() {
            true => process.env_remove(name),
            false => process.env(name, value),
        };
    }
    run(&mut process)
}

/// What the plug-in answers to a call that works.
#[track_caller]
fn answer(vs: &Vswitch, holder: &Holder, command: &str, config: &Value, variables: &[(&str, &str)]) -> Value {
    let said = call(vs, holder, command, &config.to_string(), variables).ok();
    if said.is_empty() { Value::Null } else { serde_json::from_str(&said).unwrap() }
}

/// The error object of a call that does not.
#[track_caller]
fn refusal(vs: &Vswitch, holder: &Holder, command: &str, config: &str, variables: &[(&str, &str)]) -> (u64, String) {
    let output = call(vs, holder, command, config, variables).exits(1);
    let error: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no error object:\n{output}"));
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cniVersion", "code", "msg"], "{error}");
    let sentence = error["msg"].as_str().unwrap().to_owned();
    assert!(!sentence.is_empty() && !sentence.contains('\n'), "one sentence, please: {sentence}");
    (error["code"].as_u64().unwrap(), sentence)
}

fn nothing_left(vs: &Vswitch, holder: &Holder) {
    assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
    assert!(!vs.ok("network ls").contains("vnet"), "a network on which nobody is goes");
    assert_ne!(holder.sh("ip link show eth0").code, 0, "no interface stays");
}

fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "vnet", "type": "vswitch", "subnet": "10.90.0.0/24"})
}

/// A result for each version in its own form; CHECK, GC and STATUS where there are such; DEL before ADD, twice, without a
/// namespace and without a vswitchd.
#[test]
fn versions_and_commands() {
    guard(|| {
        provide_plugin();
        let vs = Vswitch::start();
        let one = Holder::usual();
        let versions = call(&vs, &one, "VERSION", r#"{"cniVersion":"0.4.0"}"#, &[]).ok();
        let versions: Value = serde_json::from_str(&versions).unwrap();
        assert_eq!(versions["cniVersion"], "0.4.0");
        for version in versions["supportedVersions"].as_array().unwrap() {
            let version = version.as_str().unwrap();
            let config = config(version);
            answer(&vs, &one, "DEL", &config, &[]);
            let result = answer(&vs, &one, "ADD", &config, &[]);
            let (old, newest) = (version < "1.0.0", version == "1.1.0");
            assert_eq!(result["cniVersion"], version);
            let interface = &result["interfaces"][0];
            assert_eq!((&interface["name"], &interface["sandbox"]), (&json!("eth0"), &json!(netns(&one))));
            assert!(one.sh("ip -o link show eth0").ok().contains(interface["mac"].as_str().unwrap()));
            assert_eq!(interface.get("mtu").is_some(), newest, "{version}: {interface}");
            let ip = &result["ips"][0];
            assert_eq!((&ip["address"], &ip["gateway"]), (&json!("10.90.0.2/24"), &json!("10.90.0.1")));
            assert_eq!((&ip["interface"], ip.get("version").is_some()), (&json!(0), old), "{version}");
            assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.90.0.1"}]));
            assert_eq!(result["dns"]["nameservers"], json!(["10.90.0.1"]));
            one.pings("10.90.0.1");
            let mut checked = config.clone();
            checked["prevResult"] = result.clone();
            if version < "0.4.0" {
                assert_eq!(refusal(&vs, &one, "CHECK", &checked.to_string(), &[]).0, 1);
            } else {
                answer(&vs, &one, "CHECK", &checked, &[]);
            }
            for command in ["STATUS", "GC"] {
                let mut config = config.clone();
                config["cni.dev/valid-attachments"] = json!([{"containerID": "web", "ifname": "eth0"}]);
                match newest {
                    true => assert_eq!(answer(&vs, &one, command, &config, &[("CNI_NETNS", "")]), Value::Null),
                    false => assert_eq!(refusal(&vs, &one, command, &config.to_string(), &[]).0, 1),
                }
            }
            assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 1, "GC leaves what is valid");
            if newest {
                one.sh("ip addr flush dev eth0").ok();
                let (code, sentence) = refusal(&vs, &one, "CHECK", &checked.to_string(), &[]);
                assert_eq!((code, sentence.contains("lost its address 10.90.0.2")), (102, true), "{sentence}");
                let mut config = config.clone();
                config["cni.dev/valid-attachments"] = json!([]);
                answer(&vs, &one, "GC", &config, &[]);
                nothing_left(&vs, &one);
                assert_eq!(refusal(&vs, &one, "CHECK", &checked.to_string(), &[]).0, 3, "it is not known any more");
            }
            answer(&vs, &one, "DEL", &config, &[("CNI_NETNS", "")]);
            answer(&vs, &one, "DEL", &config, &[("CNI_NETNS", "/run/gone")]);
            nothing_left(&vs, &one);
        }
        let full = json!({"cniVersion": "1.1.0", "name": "vnet", "type": "vswitch", "subnet": "10.90.0.0/30"});
        answer(&vs, &one, "ADD", &full, &[]);
        let (code, sentence) = refusal(&vs, &one, "STATUS", &full.to_string(), &[]);
        assert_eq!((code, sentence.contains("no room")), (50, true), "{sentence}");
        vs.terminate();
        assert_eq!(refusal(&vs, &one, "STATUS", &full.to_string(), &[]).0, 50);
        assert_eq!(refusal(&vs, &one, "ADD", &full.to_string(), &[("CNI_IFNAME", "eth1")]).0, 11);
        let said = call(&vs, &one, "DEL", &full.to_string(), &[]);
        assert_eq!((said.code, said.stdout.as_str()), (0, ""), "containers end without vswitchd, too: {said}");
    });
}

/// What a runtime asks for one container: addresses, MAC address, names and ports, by capabilities and by arguments; and
/// networks of vswitchctl's are joined and left as they are.
#[test]
fn wishes() {
    guard(|| {
        provide_plugin();
        let vs = Vswitch::start();
        let (one, two) = (Holder::usual(), Holder::usual());
        let mut wish = config("1.0.0");
        wish["subnets"] = json!([{"subnet": "fd90::/64"}]);
        wish["runtimeConfig"] = json!({
            "ips": ["10.90.0.9/24", "fd90::9/64"], "mac": "02:00:00:00:00:09", "aliases": ["www"],
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}], "dns": {"servers": ["10.9.9.9"]}
        });
        let result = answer(&vs, &one, "ADD", &wish, &[("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=pod;X=y")]);
        let addresses: Vec<&Value> = result["ips"].as_array().unwrap().iter().map(|ip| &ip["address"]).collect();
        assert_eq!(addresses, ["10.90.0.9/24", "fd90::9/64"]);
        assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:09");
        assert_eq!(result["dns"], json!({"nameservers": ["10.9.9.9"]}));
        let server = one.serves_page();
        eventually("the published page", 20, || sh("curl -s -m 5 http://127.0.0.1:8080/").stdout == "hello\n");
        let mut other = config("1.0.0");
        other["subnets"] = json!([{"subnet": "fd90::/64"}]);
        let arguments = [("CNI_ARGS", "IP=10.90.0.7;MAC=02:00:00:00:00:07"), ("CNI_CONTAINERID", "db")];
        let result = answer(&vs, &two, "ADD", &other, &arguments);
        assert_eq!(
            (&result["ips"][0]["address"], &result["interfaces"][0]["mac"]),
            (&json!("10.90.0.7/24"), &json!("02:00:00:00:00:07"))
        );
        for name in ["pod", "www"] {
            let found = two.sh(&format!("dig +short +time=2 +tries=5 {name} @10.90.0.1")).ok();
            assert_eq!(found.trim(), "10.90.0.9", "{name}");
        }
        server.terminate();
        answer(&vs, &one, "DEL", &wish, &[]);
        answer(&vs, &two, "DEL", &other, &[("CNI_CONTAINERID", "db")]);
        assert_eq!(sh("curl -s -m 5 http://127.0.0.1:8080/").code, 7, "refused");
        nothing_left(&vs, &one);
        vs.ok("network create --subnet 10.91.0.0/24 blue");
        let joined = json!({"cniVersion": "1.1.0", "name": "vnet", "type": "vswitch", "network": "blue"});
        let result = answer(&vs, &one, "ADD", &joined, &[]);
        assert_eq!(result["ips"][0]["address"], "10.91.0.2/24");
        answer(&vs, &one, "STATUS", &joined, &[]);
        let mut empty = joined.clone();
        empty["cni.dev/valid-attachments"] = Value::Null;
        answer(&vs, &one, "GC", &empty, &[]);
        nothing_left(&vs, &one);
        assert!(vs.ok("network ls").contains("blue"), "it is not the plug-in's to remove");
    });
}

/// Command, configuration, variables, and what the error is: code and a part of its sentence.
type Case = (&'static str, String, &'static [(&'static str, &'static str)], u64, &'static str);

/// What cannot be is answered in CNI's form, with the specification's code and one sentence, and leaves nothing.
#[test]
fn refusals_in_cni_s_form() {
    guard(|| {
        provide_plugin();
        let vs = Vswitch::start();
        let (one, two) = (Holder::usual(), Holder::usual());
        let good = config("1.0.0").to_string();
        let with = |key: &str, value: Value| {
            let mut config = config("1.0.0");
            config[key] = value;
            config.to_string()
        };
        let ports = |port: u32| json!({"portMappings": [{"hostPort": port, "containerPort": 80}]});
        let huge = format!("{{\"name\":\"{}\"}}", "x".repeat(5 << 20));
        let _taken = spawn(Command::new("python3").args(["-m", "http.server", "8081"]));
        eventually("port 8081 is taken", 20, || sh("ss -Hltn sport = :8081").stdout.contains(":8081"));
        let cases: Vec<Case> = vec![
            ("ADD", String::new(), &[], 6, "no JSON object"),
            ("ADD", "[1".to_owned(), &[], 6, "no JSON object"),
            ("ADD", huge, &[], 6, "larger than"),
            ("ADD", with("cniVersion", json!("2.0.0")), &[], 1, "speaks 0.3.0"),
            ("ADD", good.clone(), &[("CNI_IFNAME", ""), ("CNI_NETNS", "")], 4, "missing: CNI_NETNS, CNI_IFNAME"),
            ("FROB", good.clone(), &[], 4, "known are ADD"),
            ("ADD", good.clone(), &[("CNI_CONTAINERID", "a/b")], 4, "CNI_CONTAINERID"),
            ("ADD", good.clone(), &[("CNI_NETNS", "/run/gone")], 5, "CNI_NETNS"),
            ("ADD", good.clone(), &[("CNI_NETNS", "/etc/passwd")], 100, ""),
            ("ADD", good.clone(), &[("CNI_IFNAME", "lo")], 101, "interface lo"),
            ("ADD", with("subnet", json!("10.90.0.1/24")), &[], 100, "10.90.0.0/24"),
            ("ADD", with("subent", json!("10.90.0.1/24")), &[], 2, "subent"),
            ("ADD", with("runtimeConfig", json!({"ips": ["10.91.0.5"]})), &[], 100, "10.91.0.5"),
            ("ADD", with("runtimeConfig", json!({"mac": "01:00:00:00:00:01"})), &[], 100, "01:00:00:00:00:01"),
            ("ADD", with("runtimeConfig", ports(0)), &[], 7, "port 0"),
            ("ADD", with("runtimeConfig", ports(8081)), &[], 100, "8081"),
            ("ADD", with("ipam", json!({"type": "no-such"})), &[], 7, "no-such"),
            ("ADD", r#"{"cniVersion":"1.0.0","name":"vnet","network":"no-such"}"#.to_owned(), &[], 100, "no-such"),
        ];
        for (command, config, variables, code, says) in &cases {
            let (got, sentence) = refusal(&vs, &one, command, config, variables);
            assert!(got == *code && sentence.contains(says), "{command} {variables:?}: {got} {sentence}");
            nothing_left(&vs, &one);
        }
        let full = with("subnet", json!("10.90.0.0/30"));
        let full_with = |ip: &str| {
            let mut config: Value = serde_json::from_str(&full).unwrap();
            config["runtimeConfig"] = json!({"ips": [ip]});
            config.to_string()
        };
        call(&vs, &one, "ADD", &full, &[]).ok();
        let db: &[(&str, &str)] = &[("CNI_CONTAINERID", "db")];
        assert_eq!(refusal(&vs, &two, "ADD", &full, db).0, 100, "no room");
        assert_eq!(refusal(&vs, &two, "ADD", &full_with("10.90.0.2"), db).0, 100, "the address is in use");
        assert!(refusal(&vs, &two, "ADD", &good, db).1.contains("was changed while containers are on it"));
        assert_eq!(refusal(&vs, &one, "ADD", &full, &[]).0, 101, "it has that interface already");
        one.pings("10.90.0.1");
        call(&vs, &one, "DEL", &full, &[]).ok();
        call(&vs, &two, "DEL", &full, db).ok();
        nothing_left(&vs, &two);
    });
}

/// By libcni, the library of all runtimes: chains with Debian's plug-ins before and after, addresses by host-local, CHECK of
/// the whole chain with the cached result, and DEL in reverse.
#[test]
fn chains_by_libcni() {
    guard(|| {
        provide_plugin();
        let vs = Vswitch::start();
        fs::create_dir_all(NETWORKS).unwrap();
        let capabilities = json!({"portMappings": true, "mac": true, "ips": true});
        let vswitch = json!({"type": "vswitch", "subnet": "10.90.0.0/24", "capabilities": capabilities});
        let local = json!({"type": "host-local", "ranges": [[{"subnet": "10.92.0.0/24", "rangeStart": "10.92.0.40"}]],
            "dataDir": "/tmp/host-local", "routes": [{"dst": "0.0.0.0/0"}]});
        let chains = [
            ("after", json!([{"type": "loopback"}, vswitch]), "10.90.0.5/24"),
            (
                "before",
                json!([vswitch, {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.proxy_arp": "1"}}]),
                "10.90.0.5/24",
            ),
            ("ipam", json!([{"type": "vswitch", "ipam": local}]), "10.92.0.40/24"),
        ];
        for (name, plugins, address) in chains {
            let list = json!({"cniVersion": "0.4.0", "name": name, "plugins": plugins});
            fs::write(format!("{NETWORKS}/{name}.conflist"), list.to_string()).unwrap();
            let one = Holder::usual();
            let tool = |command: &str| {
                let netns = netns(&one);
                let mut process = Command::new("sh");
                process.args(["-c", &format!("{}cnitool {command} {name} {netns}", enter(&one))]);
                process
                    .env("NETCONFPATH", NETWORKS)
                    .env("CNI_PATH", PATH)
                    .env("CONTAINER", name)
                    .env("CNI_IFNAME", "eth0");
                process.env("VSWITCH_SOCKET", vs.socket());
                if name != "ipam" {
                    process.env("CAP_ARGS", r#"{"ips":["10.90.0.5/24"],"mac":"02:00:00:00:00:05"}"#);
                }
                run(&mut process)
            };
            tool("del").ok();
            let result: Value = serde_json::from_str(&tool("add").ok()).unwrap();
            let interfaces: Vec<&Value> =
                result["interfaces"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
            let wanted = if name == "after" { json!(["lo", "eth0"]) } else { json!(["eth0"]) };
            assert_eq!(json!(interfaces), wanted, "{name}");
            let ips = result["ips"].as_array().unwrap();
            let own = ips.iter().find(|ip| ip["address"] == address);
            let own = own.unwrap_or_else(|| panic!("{name}: {address} is not in {result}"));
            assert_eq!(own["interface"], interfaces.len() - 1, "{name}");
            one.pings(if name == "ipam" { "10.92.0.1" } else { "10.90.0.1" });
            if name == "before" {
                assert_eq!(one.sh("cat /proc/sys/net/ipv4/conf/eth0/proxy_arp").ok().trim(), "1", "tuning saw eth0");
            }
            tool("check").ok();
            one.sh("ip link delete eth0").ok();
            let said = tool("check");
            assert!(said.code == 1 && said.stderr.contains("eth0"), "{said}");
            tool("del").ok();
            tool("del").ok();
            assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0, "{name}");
            assert!(!sh("ls /tmp/host-local/ipam").stdout.contains("10.92."), "host-local has its address back");
        }
    });
}

/// podman with its CNI backend, unmodified: an ordinary network of CNI's beside its own ones. Names, aliases, a static
/// address and a published port; nothing is left when containers go.
#[test]
fn podman_by_cni() {
    guard(|| {
        let vs = Vswitch::start();
        fs::create_dir_all("/tmp/podman/networks").unwrap();
        vs.ok(
            "cni install --user --name pods --subnet 10.90.0.0/24 --conf-dir /tmp/podman/networks --bin-dir /tmp/cni",
        );
        let settings = "[engine]\nenable_port_reservation = false\n[network]\nnetwork_backend = \"cni\"\n\
             cni_plugin_dirs = [\"/tmp/cni\", \"/usr/lib/cni\"]\n";
        let podman = Podman::with(&vs, settings);
        assert!(podman.ok("network ls").contains("vswitch"), "podman shows the plug-in as the driver");
        let words = "run -d --name web --network pods --ip 10.90.0.44 --network-alias www -p 8080:80 box sh -c";
        let mut words: Vec<&str> = words.split(' ').collect();
        words.push("echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp");
        podman.words(&words).ok();
        podman.ok("run -d --name client --network pods box sleep 100000");
        let address = podman.ok("inspect -f {{.NetworkSettings.Networks.pods.IPAddress}} web");
        assert_eq!(address.trim(), "10.90.0.44");
        for name in ["web", "www"] {
            let found = podman.inside("client", &format!("nslookup {name} 10.90.0.1")).ok();
            assert!(found.contains("10.90.0.44"), "{name}: {found}");
        }
        assert_eq!(podman.inside("client", "wget -q -O - http://10.90.0.44/").ok(), "hello\n");
        let fetch = || sh("curl -s -m 5 http://127.0.0.1:8080/");
        eventually("the published page", 20, || fetch().stdout == "hello\n");
        podman.ok("restart -t 0 web");
        eventually("the published page of the restarted container", 30, || fetch().stdout == "hello\n");
        podman.ok("rm -f -t 0 web client");
        assert_eq!(fetch().code, 7, "refused");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
    });
}

/// `cni install` writes a network and a link, says where; `status` says so; `uninstall` takes both back; files of others
/// are left alone.
#[test]
fn installation() {
    guard(|| {
        let vs = Vswitch::start();
        let file = "/tmp/home/.config/cni/net.d/10-vswitch.conflist";
        let link = "/tmp/home/.local/share/vswitch/cni/vswitch";
        let said = vs.ok("cni install --user --subnet 10.90.0.0/24");
        assert!(said.contains(file) && said.contains(link), "{said}");
        let conflist: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(conflist["plugins"][0]["socket"], vs.socket().to_str().unwrap(), "it is not the usual one");
        let holder = Holder::usual();
        let tool = format!("{}cnitool add vswitch {}", enter(&holder), netns(&holder));
        let mut process = Command::new("sh");
        process.args(["-c", &tool]).env("NETCONFPATH", "/tmp/home/.config/cni/net.d");
        process.env("CNI_PATH", "/tmp/home/.local/share/vswitch/cni").env("CONTAINER", "web").env("CNI_IFNAME", "eth0");
        run(&mut process).ok();
        let status = vs.ok("cni status --user");
        assert!(status.starts_with("installed: ") && status.contains("10.90.0.2/24"), "{status}");
        vs.ok("cni install --user --name blue --network blue");
        vs.ok("cni uninstall --user");
        assert!(fs::read_link(link).is_ok(), "network blue needs it");
        vs.ok("cni uninstall --user --name blue");
        assert!(fs::read_link(link).is_err() && !fs::exists(file).unwrap());
        assert!(vs.ok("cni uninstall --user").contains("nothing to take back"));
        fs::write(file, "{}\n").unwrap();
        for what in ["install", "uninstall", "status"] {
            vs.refuses(&format!("cni {what} --user"), "is not of vswitch");
        }
        assert_eq!(fs::read_to_string(file).unwrap(), "{}\n");
        vs.refuses("cni install --user --name ../x", "no networks called");
        vs.refuses("cni install --user --name x --cni-version 9", "speaks CNI 0.3.0");
    });
}
