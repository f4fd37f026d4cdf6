use super::super::text::{HELP, VERSION};
use super::*;

fn read(text: &str) -> Result<Parsed, String> {
    parse(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>())
}

fn run(text: &str) -> Options {
    match read(text) {
        Ok(Parsed::Run(options)) => *options,
        other => panic!("{text}: {other:?}"),
    }
}

/// The command lines of podman 4.4 to 6, and rootlesskit's.
#[test]
fn callers() {
    for text in [
        "--config-net -t 127.0.0.1/8080-8080:80-80 -u none -T none -U none --no-map-gw --netns /run/netns/a",
        "--config-net -t none -u none -T none -U none --no-map-gw --dns none --quiet --netns /run/netns/a",
        "--config-net --dns-forward 169.254.0.1 -t none -u none -T none -U none --no-map-gw --quiet --netns /run/netns/a",
        "--config-net --dns-forward 169.254.1.1 -t none -u none -T none -U none --no-map-gw --quiet --netns /run/netns/a \
         --map-guest-addr 169.254.1.2",
        "--config-net --pid /x/rootless-netns-conn.pid --dns-forward 169.254.1.1 -t none -u none -T none -U none \
         --no-map-gw --quiet --netns /run/netns/a --map-guest-addr 169.254.1.2",
    ] {
        let options = run(text);
        assert_eq!(options.target, Target::Path("/run/netns/a".into()), "{text}");
        assert!(!options.map_gw && !options.foreground, "{text}");
    }
    let rootlesskit = run("--stderr --ns-ifname=tap0 --mtu=65520 --config-net --address=10.0.2.100 --netmask=24 \
         --gateway=10.0.2.2 --dns-forward=10.0.2.3 --no-map-gw --ipv4-only --tcp-ports=auto --udp-ports=auto 4711");
    assert_eq!(rootlesskit.target, Target::Pid(4711));
    assert_eq!((rootlesskit.ipv4.prefix, rootlesskit.ns_ifname.as_deref()), (Some(24), Some("tap0")));
    assert!(rootlesskit.ipv6.off);
    assert_eq!(run("--netns NAME").target, Target::Path("/run/netns/NAME".into()));
    assert_eq!(run("-t none sh -c -x").target, Target::Command(["sh", "-c", "-x"].map(str::to_owned).to_vec()));
    assert_eq!(run("").target, Target::Command(Vec::new()));
    assert_eq!(run("-a 10.1.2.3/20 -n 255.255.0.0").ipv4.prefix, Some(16));
    assert_eq!(run("-m 0").mtu, 1500);
    assert_eq!(read("--help"), Ok(Parsed::Help));
    assert_eq!(read("--version"), Ok(Parsed::Version));
}

/// What makes no sense, and what is not built, is refused with one sentence.
#[test]
fn nonsense() {
    for (text, why) in [
        ("--nonsense", "unrecognized option '--nonsense'"),
        ("-y", "invalid option -- 'y'"),
        ("-t", "requires an argument"),
        ("-t 70000", "invalid port specifier '-t 70000'"),
        ("-m x", "invalid MTU: x"),
        ("-m 65521", "invalid MTU: 65521"),
        ("-a x", "invalid address: x"),
        ("-a 127.0.0.1", "invalid address: 127.0.0.1"),
        ("-a 224.0.0.1", "invalid address"),
        ("-a ::1", "invalid address"),
        ("-a 10.0.0.1/33", "invalid address"),
        ("-n 33", "invalid netmask: 33"),
        ("-n 255.0.255.0", "invalid netmask"),
        ("-g 1.2.3", "invalid gateway address: 1.2.3"),
        ("-o 0.0.0.0", "invalid outbound address"),
        ("-4 -6", "mutually exclusive"),
        ("-I a-name-that-is-too-long", "invalid interface name"),
        ("-D x", "invalid DNS address: x"),
        ("--dns-forward x", "invalid DNS forwarding address: x"),
        ("--map-guest-addr x", "invalid address to remap: x"),
        ("--netns /x 33", "both --netns and PID"),
        ("--userns /proc/self/ns/user true", "--userns requires"),
        ("--userns /nowhere --netns /x", "couldn't open user namespace /nowhere"),
        ("0", "invalid PID 0"),
        ("99999999999", "invalid PID"),
        ("--runas nobody", "--runas is not built"),
        ("-p /x", "--pcap is not built"),
        ("--host-lo-to-ns-lo --version", "is not built"),
        ("--socket /x", "passt"),
    ] {
        let said = read(text).unwrap_err();
        assert!(said.contains(why) && !said.contains('\n'), "{text:?}: {said}");
    }
}

/// What callers look for in the texts.
#[test]
fn texts() {
    let built = KNOWN.iter().filter(|one| !matches!(one.key, Key::NotBuilt(_) | Key::Told | Key::NoServer | Key::Said));
    for option in built.filter(|one| one.key != Key::Dns) {
        assert!(HELP.contains(&format!("--{}", option.long)), "{}", option.long);
    }
    assert!(VERSION.starts_with("pasta "));
}
