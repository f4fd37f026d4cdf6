//! The CNI plug-in as containerd calls it.

use std::fs;
use std::process::Command;

use vswitch_tests::{Holder, Vswitch, eventually, guard, run, sh};

use super::cni::{NETWORKS, PATH, PLUGINS, enter, netns};

/// What `cni install` wrote serves a pod by containerd's own library, beside its loopback network: an address, a published port,
/// the pod's name, removal however often and without the namespace.
#[test]
fn a_pod_of_containerd() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok(&format!("cni install --user --subnet 10.90.0.0/24 --conf-dir {NETWORKS} --bin-dir {PLUGINS}"));
        let pod = Holder::usual();
        // The library keeps its cache in a folder that is root's.
        fs::create_dir_all("/tmp/lib/cni").unwrap();
        let call = |command: &str, netns: &str| {
            let script = format!(
                "{}unshare --mount sh -c 'mount --bind /tmp/lib /var/lib && exec gocni {command} \"{netns}\"'",
                enter(&pod)
            );
            let mut process = Command::new("sh");
            process.args(["-c", &script]).env("NETCONFPATH", NETWORKS).env("CNI_PATH", PATH).env("CONTAINER", "pod-1");
            run(&mut process)
        };
        call("remove", &netns(&pod)).ok();
        let said = call("setup", &netns(&pod)).ok();
        assert!(said.contains("eth0 10.90.0.2 10.90.0.1\n") && said.contains("lo 127.0.0.1"), "{said}");
        pod.pings("10.90.0.1");
        let _server = pod.serves_page();
        let page = || sh("curl -s -m 5 http://127.0.0.1:8080/");
        eventually("the published page", 20, || page().stdout == "hello\n");
        assert_eq!(pod.sh("dig +short +time=2 +tries=5 pod @10.90.0.1").ok().trim(), "10.90.0.2");
        for netns in [netns(&pod).as_str(), "", ""] {
            call("remove", netns).ok();
        }
        assert_eq!(page().code, 7, "refused");
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 0);
        assert_ne!(pod.sh("ip link show eth0").code, 0, "it is not there any more");
    });
}
