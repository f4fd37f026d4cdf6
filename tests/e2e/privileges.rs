//! Who may do what: the daemon, its files, its containers.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use vswitch_tests::{Vswitch, eventually, guard, guard::is_root, http, run};

/// A line of /proc/PID/status.
fn status(path: &Path, key: &str) -> String {
    let text = fs::read_to_string(path.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:")));
    line.unwrap().trim().to_owned()
}

/// Once it serves, no thread of vswitchd holds or can regain any capability, and each has a filter of system calls. An
/// ordinary user may not empty a bounding set; no-new-privs makes it as good as empty.
#[test]
fn daemon_drops_everything() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let (a, b) = (vs.container("a", "--network n"), vs.container("b", "--network n"));
        a.pings(b.ipv4("n"));
        let mut threads = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", vs.pid())).unwrap() {
            let thread = thread.unwrap().path();
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"] {
                if set == "CapBnd" && !is_root() {
                    continue;
                }
                assert_eq!(status(&thread, set), "0000000000000000", "{set} of {}", thread.display());
            }
            assert_eq!(status(&thread, "NoNewPrivs"), "1");
            assert_eq!(status(&thread, "Seccomp"), "2", "a filter, in {}", thread.display());
            threads += 1;
        }
        assert!(threads > 1, "{threads} threads");
    });
}

/// vswitchd says how it is confined, by default, in the mode of these tests, and when it is asked not to be; the agent,
/// which needs more, is not.
#[test]
fn daemon_is_confined() {
    guard(|| {
        for (mode, calls, filter) in [("refuse", "refused", "2"), ("kill", "fatal", "2"), ("off", "unrestricted", "0")]
        {
            let vs = Vswitch::stopped(&format!("/tmp/{mode}"), &["--confinement", mode]);
            vs.up();
            let process = format!("/proc/{}", vs.pid());
            assert_eq!(status(Path::new(&process), "Seccomp"), filter, "{mode}");
            let said = vs.json("version")["vswitchd"]["confinement"].clone();
            assert_eq!(said["system_calls"], calls, "{said}");
            assert!(mode != "off" || said["landlock"].is_null(), "{said}");
            assert_eq!(vs.log().contains("--confinement off"), mode == "off", "{}", vs.log());
            let flags = "--network none --security-opt seccomp=unconfined";
            let started = vs.container("a", flags).ok("grep Seccomp: /proc/1/status");
            assert!(started.trim().ends_with('0'), "what the agent starts is not filtered: {started}");
        }
    });
}

/// A file outside of its places stays out of reach of a running vswitchd: it does not follow a link out of its state
/// directory. Without landlock, which vswitchd then says, it does.
#[test]
fn daemon_reads_its_own_files_only() {
    guard(|| {
        fs::write("/tmp/precious", "precious").unwrap();
        for mode in ["kill", "off"] {
            let vs = Vswitch::stopped(&format!("/tmp/links-{mode}"), &["--confinement", mode]);
            vs.up();
            vs.ctl(&["run", "-d", "--name", "a", "--network", "none", "--", "sh", "-c", "echo said; sleep 1000"]).ok();
            let read = || http::request(&vs.socket(), "GET", "/vswitch/v1/containers/a/logs", None);
            eventually("the container's output is kept", 10, || read().body.trim() == "said");
            for log in fs::read_dir(vs.state_dir().join("logs")).unwrap() {
                let log = log.unwrap().path();
                fs::remove_file(&log).unwrap();
                std::os::unix::fs::symlink("/tmp/precious", &log).unwrap();
            }
            if vs.json("version")["vswitchd"]["confinement"]["landlock"].is_null() {
                assert_eq!(read().body, "precious");
            } else {
                read().refused(500, "Permission denied");
            }
        }
    });
}

/// Clients of another pid namespace, as containers are, are refused in so many words on both sockets, unless the operator lets
/// them in; those of other network, mount and user namespaces are served.
#[test]
fn clients_of_other_pid_namespaces() {
    guard(|| {
        let ask = |vs: &Vswitch, flags: &str, command: &[&str]| {
            let mut inside = Command::new("unshare");
            run(inside.arg(flags).args(["--fork", "--"]).args(command).env("VSWITCH_SOCKET", vs.socket()))
        };
        let docker = "/tmp/vs/docker.sock";
        let ping = ["curl", "-sS", "--unix-socket", docker, "http://docker/_ping"];
        let vs = Vswitch::with(&["--docker-socket", docker]);
        ask(&vs, "-Urp", &["vswitchctl", "network", "ls"]).refused("--allow-from-containers");
        assert!(ask(&vs, "-Urp", &ping).ok().contains("another pid namespace"));
        ask(&vs, "-Urmnui", &["vswitchctl", "network", "ls"]).ok();
        assert_eq!(ask(&vs, "-Urmnui", &ping).ok(), "OK");
        vs.terminate();
        let open = Vswitch::with(&["--allow-from-containers"]);
        ask(&open, "-Urp", &["vswitchctl", "network", "ls"]).ok();
    });
}

/// The socket belongs to its user alone, the state directory too; --group opens the socket to one group.
#[test]
fn files_are_private() {
    guard(|| {
        let vs = Vswitch::start();
        let me = rustix::process::geteuid().as_raw();
        let socket = fs::metadata(vs.socket()).unwrap();
        assert_eq!((socket.mode() & 0o777, socket.uid()), (0o600, me));
        let state = fs::metadata(vs.state_dir()).unwrap();
        assert_eq!((state.mode() & 0o777, state.uid()), (0o700, me));
        let group = rustix::process::getegid().as_raw().to_string();
        let shared = Vswitch::stopped("/tmp/shared", &["--group", &group]);
        shared.up();
        let socket = fs::metadata(shared.socket()).unwrap();
        assert_eq!((socket.mode() & 0o777, socket.gid().to_string()), (0o660, group));
    });
}

/// --group lets a group in where an earlier vswitchd made the folder for its user alone, and its members are as good as the
/// user; others are told whose the socket is. Only root can become two users here.
#[test]
fn members_of_the_group() {
    guard(|| {
        let dir = Path::new("/run/vswitch");
        let gid = if is_root() { 1005 } else { rustix::process::getegid().as_raw() };
        let alone = Vswitch::stopped("/run/vswitch", &[]);
        fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
        alone.up();
        let as_member = |vs: &Vswitch, gid: u32, line: &str| {
            let ids = format!("setpriv --reuid=1002 --regid={gid} --clear-groups");
            let mut command = Command::new("setpriv");
            command.args(ids.split(' ').skip(1)).arg(vs.ctl_command().get_program());
            command.arg("--socket").arg(vs.socket()).args(line.split(' '));
            run(&mut command)
        };
        if is_root() {
            as_member(&alone, gid, "ps").exits(1).says("is not yours to use");
        }
        alone.terminate();
        let shared = Vswitch::stopped("/run/vswitch", &["--group", &gid.to_string()]);
        shared.up();
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o710);
        if is_root() {
            as_member(&shared, gid, "run --name c -- true").ok();
            as_member(&shared, gid + 1, "ps").exits(1).says("is not yours to use");
            shared.ok("rm c");
        }
    });
}

/// Who types a command is not served by a stranger who was first at a place where everybody may write, nor tells it anything; a
/// daemon of another user, whose group one is in, is one's own choice. Only root can become two users here.
#[test]
fn strangers_daemons() {
    guard(|| {
        if !is_root() {
            let vs = Vswitch::start();
            let nowhere =
                vs.ctl_command().env_remove("VSWITCH_SOCKET").env_remove("XDG_RUNTIME_DIR").arg("ps").output();
            let said = String::from_utf8(nowhere.unwrap().stderr).unwrap();
            assert!(said.contains("/run/user/"), "{said}");
            vs.ok("ps");
            return;
        }
        let become_user = |uid: u32, gid: u32| {
            let (uid, gid) = (uid.to_string(), gid.to_string());
            ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups"].map(str::to_owned).to_vec()
        };
        let options = ["--uplink", "none", "--group", "1001", "--confinement", "off"];
        for (dir, believed) in [("/tmp/vswitch-1002", false), ("/run/service", true)] {
            let vs = Vswitch::stopped_inside(dir, &become_user(1001, 1001), &options);
            std::os::unix::fs::chown(dir, Some(1001), Some(1001)).unwrap();
            vs.up();
            let client = |uid: u32, gid: u32| {
                let command = vs.ctl_command();
                let mut words = become_user(uid, gid);
                words.push(command.get_program().to_str().unwrap().to_owned());
                let mut command = Command::new(&words[0]);
                run(command.args(&words[1..]).args(["network", "ls"]).env("VSWITCH_SOCKET", vs.socket()))
            };
            client(1001, 1001).exits(0);
            for said in [client(1002, 1001), vs.words("network ls")] {
                if believed {
                    said.exits(0);
                } else {
                    said.refused("served by user 1001");
                }
            }
            assert_eq!(vs.terminate(), 0);
        }
        // Without a folder of its own a user is told to name one, and nothing is looked for in /tmp.
        let mut homeless = Command::new("setpriv");
        homeless.args(["--reuid", "1002", "--regid", "1002", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"]);
        run(homeless.args(["/mnt/programs/vswitchctl", "ps"])).refused("set XDG_RUNTIME_DIR");
    });
}

/// Where an ordinary user may not make user namespaces, vswitchd says so in one sentence and how to allow them.
#[test]
fn without_user_namespaces() {
    guard(|| {
        let dir = "/tmp/forbidden";
        fs::create_dir(dir).unwrap();
        let mut command = Command::new("setpriv");
        if is_root() {
            std::os::unix::fs::chown(dir, Some(1001), Some(1001)).unwrap();
            command.args(["--reuid", "1001", "--regid", "1001", "--clear-groups"]);
        }
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all -- \
                      timeout 20 vswitchd --socket /tmp/forbidden/sock --state-dir /tmp/forbidden/state";
        command.args(["--", "unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", script]);
        let output = run(&mut command).refused("user namespace").says("user.max_user_namespaces");
        assert_eq!(output.stderr.trim().lines().count(), 1, "{output}");
    });
}

/// A container's processes have Docker's default capabilities and no more, and --cap-add and --cap-drop change them.
#[test]
fn containers_capabilities() {
    guard(|| {
        let vs = Vswitch::start();
        let effective = |flags: &str| {
            let text = vs.ok(&format!("run --rm --network none {flags} -- cat /proc/self/status"));
            let hex = text.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap().to_owned();
            u64::from_str_radix(&hex, 16).unwrap()
        };
        let default = effective("");
        assert_eq!(default, 0xa804_25fb, "{default:x}");
        assert_eq!(effective("--cap-drop NET_RAW"), default & !(1 << 13));
        assert_eq!(effective("--cap-add NET_ADMIN"), default | 1 << 12);
        assert_eq!(effective("--cap-drop ALL --cap-add CAP_CHOWN"), 1);
        assert_eq!(effective("--cap-drop ALL"), 0);
        vs.words("run --cap-add FLY -- true").exits(125).says("FLY");
    });
}

/// From inside a container the host's processes cannot be seen and its network cannot be changed.
#[test]
fn containers_are_confined() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("network create n");
        let a = vs.container("a", "--network n");
        let processes = a.ok("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
        assert!(processes.contains("sleep 100000") && !processes.contains("--state-dir"), "{processes}");
        assert!(a.sh("ip link set eth0 down").code != 0, "no NET_ADMIN by default");
        assert!(a.sh("ip addr add 10.9.9.9/24 dev eth0").code != 0);
        for namespace in ["net", "mnt", "uts", "pid"] {
            let own = fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap();
            assert!(
                a.ok(&format!("readlink /proc/self/ns/{namespace}")).trim() != own.to_str().unwrap(),
                "{namespace}"
            );
        }
    });
}

/// Started by an ordinary user, the daemon says that it is rootless and its containers' root is that user.
#[test]
fn rootless_is_rootless() {
    guard(|| {
        let vs = Vswitch::start();
        let answer = vswitch_tests::http::request(&vs.socket(), "GET", "/vswitch/v1/version", None).json();
        assert_eq!(answer["rootless"].as_bool(), Some(!is_root()), "{answer}");
        let a = vs.container("a", "--network none");
        assert_eq!(a.ok("id -u").trim(), "0");
        let uid = fs::metadata(format!("/proc/{}", a.pid())).unwrap().uid();
        a.ok("touch /mnt/made-inside");
        assert_eq!(fs::metadata("/mnt/made-inside").unwrap().uid(), rustix::process::geteuid().as_raw());
        assert!(uid == rustix::process::geteuid().as_raw() || uid == 0, "{uid}");
    });
}
