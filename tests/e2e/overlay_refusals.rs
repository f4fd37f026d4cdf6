//! What overlay networks refuse, and hostile packets on the underlay, each of which is counted.

use vswitch_tests::hosts::{Hosts, overlay};
use vswitch_tests::{Vswitch, eventually, guard};

/// What is said on the command line of `vswitchctl` and cannot be.
#[test]
fn commands() {
    guard(|| {
        let hosts = Hosts::new(1);
        let vs = hosts.daemon(1);
        vs.ok("network create -d overlay --subnet 10.201.0.0/16 --ip-range 10.201.1.0/24 --opt vni=5 n");
        vs.ok("network create plain");
        let create = "network create -d overlay --subnet 10.202.0.0/16";
        for (line, says) in [
            (format!("{create} --opt vni=0 x"), "a VNI is 1 to 16777215"),
            (format!("{create} --opt vni=16777216 x"), "a VNI is 1 to 16777215"),
            (format!("{create} --opt vni=5 x"), "VNI 5 is in use by network n"),
            (format!("{create} --opt mtu=1451 x"), "interface u0 of VTEP 10.77.0.1 has MTU 1500, so use at most 1450"),
            (format!("{create} --opt vtep=10.77.0.9 x"), "use one of 10.77.0.1"),
            ("network create -d overlay x".into(), "name its IPv4 subnet with --subnet"),
            ("network create --opt vni=6 x".into(), "add --driver overlay"),
            ("tunnel remote add n 10.77.0.1".into(), "this host's own VTEP"),
            ("tunnel remote add n 239.1.1.1".into(), "no host's address"),
            ("tunnel remote add n 0.0.0.0".into(), "no host's address"),
            ("tunnel remote add n fd77::2".into(), "not of one address family"),
            ("tunnel remote add n host2".into(), "is no IP address"),
            ("tunnel remote add plain 10.77.0.2".into(), "no overlay network"),
            ("tunnel remote rm n 10.77.0.2".into(), "is no remote"),
            ("tunnel entry add n 02:00:00:00:00:01 10.77.0.2".into(), "is no remote; add it first"),
            ("tunnel ls plain".into(), "no overlay network"),
        ] {
            vs.refuses(&line, says);
        }
        assert_eq!(vs.json("tunnel ls").as_array().unwrap().len(), 1);
        vs.words("tunnel entry add n").exits(2);
    });
}

fn does_not_start(vs: &Vswitch, says: &str) {
    vs.keep_silent();
    let said = vswitch_tests::run(&mut vs.daemon_command());
    // 2: the command line or the file makes no sense by itself.
    assert!([1, 2].contains(&said.code), "it should not start:\n{said}");
    let said = said.says(says);
    let sentences = said.stderr.lines().filter(|line| line.starts_with("vswitchd: "));
    assert_eq!(sentences.count(), 1, "one sentence, please:\n{said}");
}

/// What is said to `vswitchd` and cannot be: addresses of nobody or somebody else, ports in use, files that contradict
/// themselves or what exists. Nothing runs afterwards.
#[test]
fn starts() {
    guard(|| {
        let hosts = Hosts::new(1);
        for (vtep, says) in [
            ("10.77.0.9", "this host does not have that address"),
            ("0.0.0.0", "no host's address"),
            ("224.0.0.1", "no host's address"),
            ("u0", "does not begin with an IP address"),
            ("10.77.0.1,port=99999", "is no UDP port"),
        ] {
            does_not_start(&hosts.with_vtep(1, &["--vtep", vtep]), says);
        }
        let kernel = hosts.kernel(1, 3, ("10.201.0.2/16", 1450), &["10.77.0.2"], "");
        does_not_start(&hosts.stopped(1, &[]), "UDP port 4789 is in use");
        let config = "/tmp/overlay.toml";
        let table = |name, vni, subnet| {
            format!(
                "[[overlay]]\nnetwork = \"{name}\"\nvni = {vni}\nsubnet = \"{subnet}\"\nremotes = [\"10.77.0.2\"]\n"
            )
        };
        let first = table("n", 5, "10.201.0.0/16");
        std::fs::write(config, format!("{first}{}", table("m", 5, "10.202.0.0/16"))).unwrap();
        let args = ["--vtep", "10.77.0.1,port=8472", "--config", config];
        does_not_start(&hosts.with_vtep(1, &args), "have the same VNI 5");
        std::fs::write(config, &first).unwrap();
        let vs = hosts.with_vtep(1, &args);
        vs.up();
        assert_eq!(vs.json("tunnel ls n")[0]["remotes"][0]["origin"], "file");
        vs.refuses("tunnel remote rm n 10.77.0.2", "is in the file of --config");
        assert_eq!(vs.terminate(), 0);
        std::fs::write(config, table("n", 5, "10.201.0.0/17")).unwrap();
        does_not_start(&vs, "exists with subnet 10.201.0.0/16");
        std::fs::write(config, &first).unwrap();
        vs.up();
        drop(kernel);
    });
}

/// Without `--vtep` there are no overlay networks, and it is said what to do.
#[test]
fn without_a_vtep() {
    guard(|| {
        let vs = Vswitch::start();
        vs.refuses("network create -d overlay --subnet 10.201.0.0/16 x", "start vswitchd with --vtep ADDRESS");
        assert_eq!(vs.json("tunnel ls").as_array().unwrap().len(), 0);
    });
}

/// Malformed VXLAN of every length, from a remote and from a stranger: each packet is counted, the network lives on.
#[test]
fn malformed_packets() {
    guard(|| {
        let hosts = Hosts::new(3);
        let (one, two) = (hosts.daemon(1), hosts.daemon(2));
        overlay(&[(1, &one), (2, &two)], "n", "--opt vni=4097");
        let (a, b) = (one.container("a", "--network n"), two.container("b", "--network n"));
        a.pings(b.ipv4("n"));
        // The first byte says whether there is a VNI; the VNI is right, wrong or cut off; then noise.
        let script = "import os,socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
            for n in range(0,301):\n\
            \x20for head in (b'\\x08\\0\\0\\0\\0\\x10\\x01\\0', b'\\0\\0\\0\\0\\0\\x10\\x01\\0', b'\\x08\\0\\0\\0\\0\\0\\x07\\0'):\n\
            \x20\x20s.sendto((head+os.urandom(300))[:n],('10.77.0.1',4789))\n";
        let send = format!("python3 -c \"{script}\"");
        let vtep = |reason: &str| one.stats().vteps[0].drops.get(reason).copied().unwrap_or_default();
        let tunnel = |reason: &str| one.json("tunnel ls n")[0]["drops"][reason].as_u64().unwrap_or_default();
        hosts.host(2).ok(&send);
        // Lengths below eight of each head; every longer one without the flag; every longer one of another VNI.
        eventually("cut ones are counted", 15, || vtep("truncated") >= 3 * 8);
        eventually("those without a VNI are counted", 15, || vtep("no-vni") >= 293);
        eventually("those of a VNI that nobody has are counted", 15, || vtep("unknown-vni") >= 293);
        eventually("inner runts are counted", 15, || tunnel("runt") >= 14);
        hosts.host(3).ok(&send);
        eventually("a stranger's are counted", 15, || tunnel("unknown-remote") >= 293);
        a.pings(b.ipv4("n"));
        assert_eq!(vtep("truncated"), 6 * 8);
    });
}
