//! No container reaches the sockets of vswitchd and its agent, whose clients may do everything.

use std::{fs, process::Command};

use vswitch_tests::{Vswitch, eventually, guard, guard::is_root, http, run};

/// Tries to connect to Unix sockets; see there for arguments.
const CONNECT: &str = include_str!("connect.py");

/// The same from the test's own namespaces, once.
fn connects(sockets: &[&str]) -> String {
    run(Command::new("python3").args(["-c", CONNECT, "once"]).args(sockets)).ok()
}

/// A daemon in a mount namespace where its folder is at a second place, too, and its socket alone at a third.
fn mounted_thrice() -> Vswitch {
    let script = "mount --bind /tmp/vs /media; : > /run/alone; (until [ -S /tmp/vs/vswitch.sock ]; do sleep 0.02; done; \
                  mount --bind /tmp/vs/vswitch.sock /run/alone; : > /run/mounted) & exec \"$0\" \"$@\"";
    let user = if is_root() { &[][..] } else { &["--user", "--map-root-user"] };
    let words = [&["unshare", "--mount"], user, &["sh", "-ec", script]].concat();
    Vswitch::stopped_inside("/tmp/vs", &words.into_iter().map(str::to_owned).collect::<Vec<_>>(), &[])
}

/// Neither the control socket nor the agent's nor anything in the state directory is there in a container, whatever its
/// network and however its process began.
#[test]
fn out_of_reach() {
    guard(|| {
        for dir in ["/tmp/vs".to_owned(), format!("/run/user/{}/deep/er", rustix::process::geteuid().as_raw())] {
            let vs = Vswitch::stopped(&dir, &[]);
            vs.up();
            vs.ok("network create --internal priv");
            let (socket, state) = (vs.socket(), vs.state_dir());
            let agent = state.join("agent.sock");
            let sockets = ["SOCK_STREAM", socket.to_str().unwrap(), "SOCK_SEQPACKET", agent.to_str().unwrap()];
            assert_eq!(connects(&sockets), "connected\nconnected\n", "from the host they are open");
            let a = vs.container("a", "--network priv --cap-drop ALL");
            let ways: [&[&str]; 6] = [
                &["run", "--rm", "--network", "priv", "--cap-drop", "ALL", "--"],
                &["run", "--rm", "--network", "priv", "--"],
                &["run", "--rm", "--network", "none", "--"],
                &["run", "--rm", "--network", "host", "--"],
                &["run", "--rm", "--network", "container:a", "--"],
                &["exec", "a"],
            ];
            for way in ways {
                let said = vs.ctl(&[way, &["python3", "-c", CONNECT, "once"], &sockets].concat()).ok();
                assert!(said.lines().count() == 2 && !said.contains("connected"), "{way:?}: {said}");
            }
            assert_eq!(a.sh(&format!("ls -A {}", state.display())).stdout, "");
            // What has no capability over mounts cannot take the cover off, not even in a user namespace of its own.
            let folder = socket.parent().unwrap().display();
            let said =
                a.sh(&format!("umount {folder}; umount -l {folder}; unshare -Urm umount {folder}; ls -A {folder}"));
            assert_eq!(said.stdout, "", "{said}");
            let said = a.sh("curl -s --unix-socket \"$VSWITCH_SOCKET\" http://v/vswitch/v1/version; env");
            assert!(!said.stdout.contains("VSWITCH_SOCKET"), "{said}");
            vs.ok("rm -f a");
        }
    });
}

/// A folder that the host shows at several places is hidden at each of them, and so is a socket that is mounted alone.
#[test]
fn other_mounts() {
    guard(|| {
        let vs = mounted_thrice();
        vs.up();
        eventually("the socket is mounted alone", 10, || fs::exists("/run/mounted").unwrap());
        let ways = [
            ("SOCK_STREAM", "/media/vswitch.sock"),
            ("SOCK_SEQPACKET", "/media/state/agent.sock"),
            ("SOCK_STREAM", "/run/alone"),
        ];
        for (kind, path) in ways {
            let there = format!("/proc/{}/root{path}", vs.pid());
            let connected = connects(&[kind, &there]);
            let container = ["run", "--rm", "--network", "none", "--", "python3", "-c", CONNECT, "once", kind, path];
            let said = vs.ctl(&container).ok();
            // The agent takes one connection at a time, and the rest wait in its backlog.
            assert_eq!((connected.trim(), said.contains("connected")), ("connected", false), "{path}: {said}");
        }
    });
}

/// While no vswitchd lives, the agent's socket waits for the next one, and a container that tries all the time does not get in.
#[test]
fn while_vswitchd_is_dead() {
    guard(|| {
        let vs = Vswitch::start();
        let agent = vs.state_dir().join("agent.sock");
        let agent = agent.to_str().unwrap();
        let start = ["run", "-d", "--name", "a", "--network", "none", "--"];
        vs.ctl(&[&start[..], &["python3", "-c", CONNECT, "on", "SOCK_SEQPACKET", agent]].concat()).ok();
        let id = vs.json("inspect a")[0]["id"].as_str().unwrap().to_owned();
        let log = vs.state_dir().join("logs").join(format!("{id}.log"));
        let tried = || fs::read_to_string(&log).unwrap_or_default();
        eventually("the container tries", 20, || tried().lines().count() > 3);
        vs.crash();
        let before = tried().lines().count();
        assert_eq!(
            connects(&["SOCK_SEQPACKET", agent]).trim(),
            "connected",
            "from the host the agent's socket is open"
        );
        eventually("the container goes on trying", 20, || tried().lines().count() > before + 10);
        assert!(!tried().contains("connected"), "{}", tried());
        vs.up();
        assert_eq!(http::request(&vs.socket(), "GET", "/vswitch/v1/version", None).status, 200);
    });
}
