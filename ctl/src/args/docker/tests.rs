//! The file, the flags, both, and what is wrong with them.

use clap::Parser;

use super::*;
use crate::args::Args;
use crate::model::Family;

fn config(file: Option<&str>, flags: &[&str]) -> (tempfile::TempDir, DockerConfig) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("daemon.json");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let args = Args::try_parse_from([&["vswitchd"], flags].concat()).unwrap();
    (dir, DockerConfig::new(args.docker, file.map(|_| path)))
}

fn read(file: Option<&str>, flags: &[&str]) -> Result<Defaults, String> {
    let (_dir, config) = config(file, flags);
    config.read().map(|meaning| meaning.defaults).map_err(|error| error.to_string())
}

/// Everything that can be said.
const FILE: &str = r#"{
    "bip": "10.7.0.5/16", "fixed-cidr": "10.7.9.0/24", "default-gateway": "10.7.0.9", "mtu": 1400, "icc": false,
    "ipv6": true, "bip6": "fd07::5/64", "fixed-cidr-v6": "fd07::/80", "default-gateway-v6": "fd07::9",
    "ip": "127.0.0.1", "ip-masq": false,
    "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1234"}},
    "dns": ["9.9.9.9", "fd00::53"], "dns-search": ["example.org"], "dns-opts": ["ndots:2"],
    "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}],
    "log-opts": {"max-size": "1m", "max-file": "2"}, "userns-remap": "default"
}"#;

/// File and flags say the same things in the same words.
#[test]
fn file_and_flags() {
    let defaults = read(Some(FILE), &[]).unwrap();
    let line = [
        "--bip=10.7.0.5/16",
        "--fixed-cidr=10.7.9.0/24",
        "--default-gateway=10.7.0.9",
        "--mtu=1400",
        "--icc=false",
        "--ipv6",
        "--bip6=fd07::5/64",
        "--fixed-cidr-v6=fd07::/80",
        "--default-gateway-v6=fd07::9",
        "--ip=127.0.0.1",
        "--ip-masq=false",
        "--default-network-opt=bridge=com.docker.network.driver.mtu=1234",
        "--dns=9.9.9.9",
        "--dns=fd00::53",
        "--dns-search=example.org",
        "--dns-opt=ndots:2",
        "--default-address-pool=base=10.200.0.0/16,size=24",
        "--log-opt=max-file=2",
        "--log-opt=max-size=1m",
        "--userns-remap=default",
    ];
    assert_eq!(read(None, &line).unwrap(), defaults);
    let Family::Given(ipv4) = &defaults.bridge.ipv4 else { panic!("{defaults:?}") };
    assert_eq!((ipv4.plan.net.to_string(), ipv4.plan.gateway.to_string()), ("10.7.0.0/16".into(), "10.7.0.5".into()));
    assert_eq!(ipv4.plan.range.unwrap().to_string(), "10.7.9.0/24");
    assert_eq!(ipv4.plan.router().unwrap().to_string(), "10.7.0.9");
    let Family::Given(ipv6) = &defaults.bridge.ipv6 else { panic!("{defaults:?}") };
    assert_eq!(
        (ipv6.plan.net.to_string(), ipv6.plan.router().unwrap().to_string()),
        ("fd07::/64".into(), "fd07::9".into())
    );
    assert_eq!(
        (ipv6.plan.gateway.to_string(), ipv6.plan.range.unwrap().to_string()),
        ("fd07::5".into(), "fd07::/80".into())
    );
    assert_eq!(defaults.network_options["bridge"]["com.docker.network.driver.mtu"], "1234");
    assert!(defaults.publish_host.is_some_and(|host| host.is_loopback()) && !defaults.bridge.options.masquerade);
    assert_eq!((defaults.bridge.options.mtu, defaults.bridge.options.icc), (1400, false));
    assert_eq!((defaults.dns.servers.len(), defaults.pools.len(), defaults.network()), (2, 1, "bridge"));
    assert_eq!((defaults.log.max_bytes, defaults.log.max_files), (1 << 20, 2));
    let only_one = read(Some(r#"{"log-opts": {"max-file": "9"}}"#), &[]).unwrap().log;
    assert_eq!((only_one.max_bytes, only_one.max_files), (10 << 20, 9));
    assert!(read(Some(r#"{"log-opts": {"max-size": "x"}}"#), &[]).unwrap_err().contains("max-size=x"));
    assert!(read(Some(r#"{"log-opts": {"max-sise": "x"}}"#), &[]).unwrap_err().contains("unknown log option"));
    assert!(read(Some(r#"{"log-opts": {"tag": "x", "compress": "true"}}"#), &[]).is_ok());
    assert!(read(Some(r#"{"log-opts": {"max-file": 3}}"#), &[]).unwrap_err().contains("daemon.json"));
    assert_eq!(read(None, &["--userns-remap="]).unwrap().remap, None);
    assert_eq!(read(None, &["-b", "web"]).unwrap().network(), "web");
}

/// An empty file says nothing; fixed-cidr alone is the subnet; what the file leaves out a flag may say.
#[test]
fn parts() {
    assert_eq!(read(Some(""), &[]).unwrap(), Defaults::default());
    assert_eq!(read(Some(r#"{"mtu": null}"#), &["--mtu", "1400"]).unwrap().bridge.options.mtu, 1400);
    let defaults = read(Some(r#"{"fixed-cidr": "10.8.0.0/24", "ipv6": true}"#), &["--icc=false"]).unwrap();
    let Family::Given(ipv4) = &defaults.bridge.ipv4 else { panic!("{defaults:?}") };
    assert_eq!((ipv4.plan.net.to_string(), ipv4.plan.gateway.to_string()), ("10.8.0.0/24".into(), "10.8.0.1".into()));
    assert!(defaults.bridge.ipv6 == Family::Automatic && !defaults.bridge.options.icc);
}

/// Every key that the settings have is known, and no other.
#[test]
fn keys() {
    let all: Map<String, Value> = serde_json::from_str(FILE).unwrap();
    let mut names: Vec<&str> = all.keys().map(String::as_str).chain(["bridge"]).collect();
    names.sort_unstable();
    assert_eq!(names, KEYS);
}

/// A daemon.json as it is found in the world: what vswitchd has a flag for holds, what it can do without is told in one
/// sentence, and the settings of networks are as ever.
#[test]
fn as_found_in_the_world() {
    let text = r#"{
        "registry-mirrors": ["https://mirror.example.org"], "insecure-registries": [], "log-driver": "json-file",
        "log-opts": {"max-size": "10m", "max-file": "3"}, "storage-driver": "overlay2", "data-root": "/srv/docker",
        "hosts": ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375"], "exec-opts": ["native.cgroupdriver=systemd"],
        "features": {"buildkit": true}, "experimental": true, "iptables": false, "userland-proxy": false,
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}, "runtimes": {},
        "live-restore": true, "log-level": "warn", "group": "docker", "debug": false, "mtu": 1400
    }"#;
    let (_dir, config) = config(Some(text), &[]);
    let meaning = config.read().unwrap();
    assert_eq!((meaning.defaults.bridge.options.mtu, meaning.level), (1400, Some(Level::Warn)));
    assert_eq!((meaning.process.live_restore, meaning.process.group.as_deref()), (Some(true), Some("docker")));
    let warning = meaning.warning.unwrap();
    for key in ["registry-mirrors", "log-driver", "storage-driver", "hosts", "data-root", "iptables", "runtimes"] {
        assert!(warning.contains(key), "{key}: {warning}");
    }
    assert!(warning.contains("vswitchd does without them") && warning.contains("--docker-socket"), "{warning}");
    for own in ["live-restore", "mtu", "group", "log-level"] {
        assert!(!warning.contains(own), "{own}: {warning}");
    }
    for (text, says) in [
        (r#"{"log-level": "loud"}"#, "invalid log-level \"loud\""),
        (r#"{"live-restore": "yes"}"#, "expected a boolean"),
        (r#"{"storage-drivers": "overlay2"}"#, "did you mean storage-driver?"),
    ] {
        let error = read(Some(text), &[]).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

/// Each key is known for one thing.
#[test]
fn keys_are_apart() {
    let all: Vec<&str> = KEYS.into_iter().chain(elsewhere::PROCESS).chain(elsewhere::NEEDLESS).collect();
    let mut once = all.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), all.len());
}

/// A setting in both places, an unknown one and text that is no JSON are refused by name, as dockerd does.
#[test]
fn refusals_of_the_file() {
    let error = read(Some(r#"{"dns": ["9.9.9.9"], "mtu": 1400}"#), &["--dns", "8.8.8.8"]).unwrap_err();
    let says = r#"both as a flag and in the configuration file: dns: (from flag: ["8.8.8.8"], from file: ["9.9.9.9"])"#;
    assert!(error.contains(says), "{error}");
    let error = read(Some(r#"{"dnss": [], "frobnicate": "overlay2"}"#), &[]).unwrap_err();
    let says = "don't match any configuration option: dnss (did you mean dns?), frobnicate (the options are bip,";
    assert!(error.contains(says), "{error}");
    for (text, says) in [
        ("[]", "it is no JSON object"),
        ("{", "EOF"),
        (r#"{"mtu": "big"}"#, "invalid type: string \"big\""),
        (r#"{"dns": "9.9.9.9"}"#, "expected a sequence"),
        (r#"{"default-address-pools": [{"base": "10.0.0.0/8"}]}"#, "missing field `size`"),
    ] {
        let error = read(Some(text), &[]).unwrap_err();
        assert!(error.starts_with("unable to configure vswitchd with file ") && error.contains(says), "{error}");
    }
    let missing = DockerConfig::new(DockerSettings::default(), Some("/nonexistent".into()));
    assert!(missing.read().unwrap_err().to_string().contains("/nonexistent"));
}

/// Values that make no sense are refused with the key's name, all at once.
#[test]
fn refusals_of_values() {
    for (line, says) in [
        (&["--bip", "10.7.0.5"][..], "invalid bip \"10.7.0.5\": write an address and a prefix length"),
        (&["--bip", "fd00::1/64"], "invalid bip"),
        (&["--bip", "10.7.0.0/16"], "bip, fixed-cidr and default-gateway: invalid gateway 10.7.0.0"),
        (&["--bip", "10.7.0.5/16", "--fixed-cidr", "10.8.0.0/24"], "doesn't contain ip-range"),
        (&["--bip", "10.7.0.5/16", "--default-gateway", "10.8.0.1"], "doesn't contain this address"),
        (&["--default-gateway", "10.8.0.1"], "default-gateway needs bip"),
        (&["--fixed-cidr-v6", "fd07::/64"], "fixed-cidr-v6 is of no effect without ipv6"),
        (&["--ipv6", "--default-gateway-v6", "fd07::9"], "default-gateway-v6 needs bip6 or fixed-cidr-v6"),
        (&["--ipv6", "--mtu", "1000"], "IPv6 needs at least 1280"),
        (&["--mtu", "-1"], "invalid MTU number: -1"),
        (&["--dns", "resolver"], "resolver is not an ip address"),
        (&["--dns-search", "a b"], "invalid dns-search \"a b\""),
        (&["--default-address-pool", "base=10.0.0.0/16,size=8"], "size=8 does not fit base=10.0.0.0/16"),
        (&["--default-address-pool", "base=10.0.0.0/16,size=32"], "no room for a gateway"),
        (&["--default-address-pool", "base=x,size=24"], "invalid default-address-pool base \"x\""),
        (&["--default-address-pool", "base=224.0.0.0/8,size=24"], "use a private network"),
        (&["--bridge", "web", "--bip", "10.7.0.5/16"], "bridge and bip are mutually exclusive"),
        (&["--ip", "eth0"], "eth0 is not an ip address; see ip"),
        (&["--bip6", "fd07::5/64"], "bip6 is of no effect without ipv6"),
        (&["--default-network-opt", "bridge=mtu=x"], "failed to parse mtu value: x"),
        (&["--default-network-opt", "macvlan=mtu=1400"], "no networks of the driver macvlan"),
    ] {
        let error = read(None, line).unwrap_err();
        assert!(error.contains(says), "{line:?}: {error}");
    }
    let error = read(None, &["--mtu", "1", "--dns", "x", "--bip", "y"]).unwrap_err();
    assert_eq!(error.lines().count(), 3, "{error}");
    for bad in ["10.0.0.0/8,24", "base=10.0.0.0/8", "size=24", "base=10.0.0.0/8,size=x", "base=a,base=b,size=1"] {
        let line = ["vswitchd", "--default-address-pool", bad];
        assert!(Args::try_parse_from(line).unwrap_err().to_string().contains("base=CIDR,size=LENGTH"), "{bad}");
    }
}
