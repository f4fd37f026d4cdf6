//! What podman's networks say of themselves: routes and options, networks that are being created, the network driver
//! `vswitch`; and what makes no sense.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vswitch_tests::{Holder, Output, Vswitch, eventually, guard, guard::is_root, run, spawn};

use super::engines::{CONTAINER, HELPERS, netavark, netavark_at, network, provide_helpers, request, set_up};

/// The MTU, no default route, one with a metric, further routes, and those that lead nowhere; all gone with the network.
#[test]
fn routes_and_options() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        let mut wish = request("web", CONTAINER, &[1, 2], 5);
        wish["network_info"]["n1"]["options"] = json!({"mtu": "1400", "no_default_route": "true", "isolate": "strict"});
        wish["network_info"]["n1"]["routes"] = json!([
            {"destination": "10.90.0.0/24", "gateway": "10.89.1.9"},
            {"destination": "10.91.0.0/24", "gateway": "10.89.1.8", "metric": 7},
            {"destination": "10.92.0.0/24", "route_type": "blackhole"},
        ]);
        wish["network_info"]["n2"]["options"] = json!({"metric": "77", "com.docker.network.driver.mtu": "1300"});
        set_up(&vs, &holder, &wish);
        let routes = holder.sh("ip route").ok();
        for wanted in [
            "default via 10.89.2.1 dev eth1 metric 77",
            "10.90.0.0/24 via 10.89.1.9 dev eth0 metric 100",
            "10.91.0.0/24 via 10.89.1.8 dev eth0 metric 7",
            "blackhole 10.92.0.0/24 metric 100",
        ] {
            assert!(
                routes.lines().any(|line| line.trim_end().replace("proto static ", "") == wanted),
                "{wanted}: {routes}"
            );
        }
        assert_eq!(routes.matches("default").count(), 1, "{routes}");
        assert!(holder.sh("ip -o link show eth0").ok().contains("mtu 1400"));
        assert!(holder.sh("ip -o link show eth1").ok().contains("mtu 1300"));
        set_up(&vs, &holder, &wish);
        assert_eq!(holder.sh("ip route").ok().matches("blackhole").count(), 1, "asked twice, it is there once");
        netavark(&vs, &holder, "teardown", &wish.to_string()).ok();
        assert_eq!(holder.sh("ip route").ok(), "");
    });
}

fn helper(name: &str, words: &str, input: &str) -> Output {
    fs::write("/tmp/input.json", input).unwrap();
    run(Command::new("sh").args(["-c", &format!("{HELPERS}/{name} {words} </tmp/input.json")]))
}

/// `netavark create` completes a network, without a vswitchd; refusals are objects with the key `error` alone.
#[test]
fn networks_are_created() {
    guard(|| {
        provide_helpers();
        let mut wish = json!({
            "network": {"name": "new", "id": CONTAINER, "driver": "bridge", "dns_enabled": true},
            "used": {"interfaces": [], "names": {}, "subnets": ["10.89.0.0/24"]},
            "options": {"subnet_pools": [{"base": "10.89.0.0/16", "size": 24}], "default_interface_name": "podman",
                "check_used_subnets": true}
        });
        let made: Value = serde_json::from_str(&helper("netavark", "create", &wish.to_string()).ok()).unwrap();
        assert_eq!(made["subnets"], json!([{"subnet": "10.89.1.0/24", "gateway": "10.89.1.1"}]));
        assert_eq!((&made["network_interface"], &made["driver"]), (&json!("podman1"), &json!("bridge")));
        wish["network"]["name"] = json!("");
        let said = helper("netavark", "create", &wish.to_string()).exits(1).stdout;
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({"error": "Network name must be supplied"}));
    });
}

/// As a driver of netavark's: a network of its own choosing, an endpoint, and its end, however often.
#[test]
fn the_driver_of_netavark() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        let info: Value = serde_json::from_str(&helper("vswitch", "info", "").ok()).unwrap();
        assert_eq!(info["api_version"], "1.0.0");
        let mut wish = network("own", 7);
        wish["driver"] = json!("vswitch");
        wish.as_object_mut().unwrap().remove("subnets");
        let mut made: Value = serde_json::from_str(&helper("vswitch", "create", &wish.to_string()).ok()).unwrap();
        for key in ["name", "id", "driver", "network_interface"] {
            assert_eq!(made[key], wish[key], "{key}");
        }
        let subnet = made["subnets"][0]["subnet"].as_str().unwrap().to_owned();
        let address = |last: &str| subnet.replace("0/24", last);
        made["subnets"][0]["gateway"] = json!(address("1"));
        let call = json!({
            "container_id": CONTAINER, "container_name": "web", "port_mappings": null, "network": made,
            "network_options": {"interface_name": "eth0", "static_ips": [address("9")], "aliases": ["www"]}
        });
        let enter =
            if is_root() { String::new() } else { format!("nsenter -t {} -U --preserve-credentials ", holder.pid()) };
        let plugin = |command: &str, netns: &str, call: &Value| {
            fs::write("/tmp/input.json", call.to_string()).unwrap();
            let line = format!("{enter}{HELPERS}/vswitch {command} {netns} </tmp/input.json");
            run(Command::new("sh").args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()))
        };
        let netns = format!("/proc/{}/ns/net", holder.pid());
        let status: Value = serde_json::from_str(&plugin("setup", &netns, &call).ok()).unwrap();
        assert_eq!(status["interfaces"]["eth0"]["subnets"][0]["ipnet"], json!(address("9/24")));
        assert_eq!(status["dns_search_domains"], json!(["dns.podman"]));
        assert!(holder.sh("ip -o addr show eth0").ok().contains(&address("9/24")));
        holder.pings(address("1"));
        let bad = plugin("setup", "/nothing", &call).exits(1).stdout;
        assert!(serde_json::from_str::<Value>(&bad).unwrap()["error"].as_str().unwrap().contains("/nothing"), "{bad}");
        for _ in 0..2 {
            plugin("teardown", "/nothing", &call).ok();
        }
        assert!(holder.sh("ip link show eth0").code != 0);
        assert!(!vs.ok("network ls").contains("own"));
    });
}

/// A sentence in podman's form.
#[track_caller]
fn refused(said: Output, sentence: &str) {
    let said = said.exits(1).stdout;
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer.as_object().unwrap().len(), 1, "{said}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains(sentence)), "{sentence}: {said}");
}

/// What cannot be is refused with a sentence and leaves nothing: requests too large, networks that changed under containers,
/// addresses that are taken or used up, the host's own namespace.
#[test]
fn what_cannot_be() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let (one, two) = (Holder::usual(), Holder::usual());
        let wish = request("web", CONTAINER, &[1], 5);
        let other = |host: u8| request("db", &CONTAINER.replace('7', "8"), &[1], host);
        set_up(&vs, &one, &wish);
        let set_up_two = |request: &Value| netavark(&vs, &two, "setup", &request.to_string());
        refused(set_up_two(&other(5)), "Address already in use");
        let mut changed = other(6);
        changed["network_info"]["n1"]["subnets"][0] = json!({"subnet": "10.89.0.0/16", "gateway": "10.89.0.1"});
        refused(set_up_two(&changed), "was changed while containers are on it");
        refused(netavark(&vs, &two, "setup", &format!("{}{wish}", " ".repeat(17 << 20))), "larger than 16 MiB");
        let mut unknown = other(6);
        unknown["version"] = json!(99);
        unknown["networks"]["n1"]["of_tomorrow"] = json!({"x": [1]});
        set_up(&vs, &two, &unknown);
        netavark(&vs, &two, "teardown", &unknown.to_string()).ok();
        let mut small = request("s1", &CONTAINER.replace('7', "9"), &[3], 0);
        small["network_info"]["n3"]["subnets"][0] = json!({"subnet": "10.89.3.0/30", "gateway": "10.89.3.1"});
        small["networks"]["n3"]["static_ips"] = json!([]);
        set_up(&vs, &two, &small);
        small["container_id"] = json!(CONTAINER.replace('7', "a"));
        small["networks"]["n3"]["interface_name"] = json!("eth1");
        refused(set_up_two(&small), "no available");
        let host = netavark_at(&vs, &one, ("setup", "/proc/1/ns/net"), &other(6).to_string());
        // An ordinary user's podman may not even look at one that is not its own.
        refused(host, if is_root() { "the host's own" } else { "Permission denied" });
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 2);
        assert!(two.sh("ip link show eth1").code != 0, "nothing is left half-made");
    });
}

/// One container's setup, called four times at once, leaves it there once; and a network that was changed while nobody was on it is
/// what it is said to be now.
#[test]
fn twice_at_once_and_changed() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        let mut wish = request("web", CONTAINER, &[1, 2], 5);
        fs::write("/tmp/request.json", wish.to_string()).unwrap();
        let enter =
            if is_root() { String::new() } else { format!("nsenter -t {} -U --preserve-credentials ", holder.pid()) };
        let netns = format!("/proc/{}/ns/net", holder.pid());
        let line = format!("exec {enter}{HELPERS}/netavark --rootless=true setup {netns} </tmp/request.json");
        let calls: Vec<_> =
            (0..4).map(|_| spawn(Command::new("sh").args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()))).collect();
        for call in calls {
            call.wait(std::time::Duration::from_secs(60)).ok();
        }
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 2);
        assert_eq!(holder.sh("ip -o link").ok().matches("@").count(), 2, "eth0 and eth1");
        holder.pings("10.89.1.1");
        netavark(&vs, &holder, "teardown", &wish.to_string()).ok();
        wish["network_info"]["n1"]["subnets"][0] = json!({"subnet": "10.89.9.0/24", "gateway": "10.89.9.1"});
        wish["networks"]["n1"]["static_ips"] = json!(["10.89.9.5"]);
        set_up(&vs, &holder, &wish);
        holder.pings("10.89.9.1");
    });
}

/// vswitchd dies while it is asked: podman is told, and once it is there again the same can be asked for.
#[test]
fn death_during_setup() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::start();
        let holder = Holder::usual();
        let wish = request("web", CONTAINER, &[1, 2], 5);
        fs::write("/tmp/request.json", wish.to_string()).unwrap();
        let daemon = Pid::from_raw(i32::try_from(vs.pid()).unwrap()).unwrap();
        kill_process(daemon, Signal::STOP).unwrap();
        let enter =
            if is_root() { String::new() } else { format!("nsenter -t {} -U --preserve-credentials ", holder.pid()) };
        let line = format!(
            "exec {enter}{HELPERS}/netavark --rootless=true setup /proc/{}/ns/net </tmp/request.json",
            holder.pid()
        );
        let setup = spawn(Command::new("sh").args(["-c", &line]).env("VSWITCH_SOCKET", vs.socket()));
        let socket = vs.socket().display().to_string();
        eventually("it is asked", 20, || {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            sockets.lines().filter(|line| line.ends_with(&socket)).count() > 1
        });
        vs.crash();
        refused(setup.wait(std::time::Duration::from_secs(60)), "vswitchd");
        vs.up();
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        assert!(holder.sh("ip link show eth0").code != 0);
        set_up(&vs, &holder, &wish);
        holder.pings("10.89.2.1");
    });
}
