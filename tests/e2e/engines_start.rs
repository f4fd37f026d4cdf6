//! A vswitchd that nobody started before the first container came.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vswitch_tests::{Background, Holder, Vswitch, eventually, guard, guard::is_root, run, sh, spawn};

use super::engines::{CONTAINER, HELPERS, provide_helpers, request, set_up};

/// Calls netavark for a container, as podman does of whom nobody knows a socket.
fn begin(number: u8, holder: &Holder, environment: &[(&str, &str)]) -> Background {
    let wish = request(&format!("c{number}"), &format!("{number:064x}"), &[1], 10 + number);
    fs::write(format!("/tmp/c{number}.json"), wish.to_string()).unwrap();
    let line =
        format!("exec {HELPERS}/netavark --rootless=false setup /proc/{}/ns/net </tmp/c{number}.json", holder.pid());
    spawn(Command::new("sh").args(["-c", &line]).envs(environment.iter().copied()))
}

/// The first containers, two at once, start one vswitchd, which serves everybody else of this user and outlives them.
#[test]
fn started_by_the_first_container() {
    guard(|| {
        provide_helpers();
        let (one, two) = (Holder::usual(), Holder::usual());
        let calls = [begin(1, &one, &[]), begin(2, &two, &[])];
        for call in calls {
            let said = call.wait(Duration::from_secs(60)).ok();
            let status: Value = serde_json::from_str(&said).unwrap();
            assert!(status["n1"]["interfaces"]["eth0"].is_object(), "{said}");
        }
        one.pings("10.89.1.12");
        let running = sh("pgrep -x vswitchd").stdout;
        // The agent is the same program.
        let daemons = running
            .lines()
            .filter(|pid| !fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().contains("\0agent"));
        assert_eq!(daemons.count(), 1, "{running}");
        let listed: Value = serde_json::from_str(&sh("vswitchctl endpoint ls --json").ok()).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 2);
        for pid in running.lines() {
            sh(&format!("kill {pid}"));
        }
    });
}

/// Where none can be started, in podman's own user namespace, or where it does not start, podman's helper is used, and one line
/// says why.
#[test]
fn not_to_be_started() {
    guard(|| {
        provide_helpers();
        let holder = Holder::usual();
        let lines = |call: Background| {
            let said = call.wait(Duration::from_secs(60)).stderr;
            said.lines().filter(|line| line.starts_with("vswitch: ")).map(str::to_owned).collect::<Vec<_>>()
        };
        let rootless = lines(begin(1, &holder, &[("_CONTAINERS_ROOTLESS_UID", "1000")]));
        assert!(rootless.len() == 1 && rootless[0].contains("podman's own netavark is used"), "{rootless:?}");
        assert_eq!(sh("pgrep -x vswitchd").stdout, "");
        // A state directory that cannot be one.
        let (place, variable) =
            if is_root() { ("/var/lib/vswitch", "X") } else { ("/tmp/no/vswitch", "XDG_STATE_HOME") };
        fs::create_dir_all("/tmp/no").unwrap();
        fs::write(place, "").unwrap();
        let broken = lines(begin(1, &holder, &[(variable, "/tmp/no")]));
        assert!(broken.len() == 1 && broken[0].contains("it was started and said: vswitchd: "), "{broken:?}");
    });
}

/// As systemd does it: the socket is there before vswitchd, which starts when somebody connects, and stays when it ends.
#[test]
fn started_by_a_socket() {
    guard(|| {
        provide_helpers();
        let vs = Vswitch::stopped("/tmp/vs", &[]);
        let socket = vs.socket().display().to_string();
        let state = vs.state_dir().display().to_string();
        let script = "import os, select, socket, sys\n\
            path, state = sys.argv[1:3]\n\
            held = socket.socket(socket.AF_UNIX)\n\
            held.bind(path)\n\
            held.listen()\n\
            print('listening', flush=True)\n\
            while True:\n\
            \x20   select.select([held], [], [])\n\
            \x20   child = os.fork()\n\
            \x20   if not child:\n\
            \x20       os.set_inheritable(os.dup2(os.dup(held.fileno()), 3), True)\n\
            \x20       os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
            \x20       os.execvp('vswitchd', ['vswitchd', '--socket', path, '--state-dir', state, '--live-restore'])\n\
            \x20   os.waitpid(child, 0)\n\
            \x20   print('ended', flush=True)\n";
        fs::write("/tmp/systemd.py", script).unwrap();
        let systemd = spawn(Command::new("python3").args(["/tmp/systemd.py", &socket, &state]));
        eventually("the socket is there", 20, || systemd.output().contains("listening"));
        let holder = Holder::usual();
        set_up(&vs, &holder, &request("web", CONTAINER, &[1], 5));
        holder.pings("10.89.1.1");
        let pid = sh(&format!("pgrep -P {} -x vswitchd", systemd.pid())).ok();
        sh(&format!("kill {pid}")).ok();
        eventually("vswitchd has ended", 20, || systemd.output().contains("ended"));
        assert_eq!(vs.json("endpoint ls").as_array().unwrap().len(), 1, "it is started once more, and has what it had");
        let pid = sh(&format!("pgrep -P {} -x vswitchd", systemd.pid())).ok();
        let wrong =
            "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec vswitchd --socket /tmp/x.sock --state-dir /tmp/x";
        run(Command::new("sh").args(["-c", wrong])).exits(1).says("LISTEN_FDS");
        sh(&format!("kill {pid}")).ok();
    });
}

/// The units that are installed with podman's files name this vswitchd and go with them; those of others stay.
#[test]
fn units() {
    guard(|| {
        let vs = Vswitch::start();
        let folder = "/tmp/home/.config/systemd/user";
        vs.ok("engine podman install --user");
        let text = |name: &str| fs::read_to_string(format!("{folder}/{name}")).unwrap();
        assert!(
            text("vswitch.service").contains("ExecStart=\"/mnt/programs/vswitchd\" --socket %t/vswitch/vswitch.sock")
        );
        assert!(text("vswitch.socket").contains("ListenStream=%t/vswitch/vswitch.sock"));
        for manager in ["--user", "--system"] {
            let line = format!("systemd-analyze {manager} verify {folder}/vswitch.socket {folder}/vswitch.service");
            let said = sh(&line);
            assert!(said.code == 0 && said.stderr.is_empty(), "{manager}: {said}");
        }
        let plugin = "/tmp/home/.local/share/vswitch/netavark/vswitch";
        let info: Value = serde_json::from_str(&run(Command::new(plugin).arg("info")).ok()).unwrap();
        assert_eq!(info["api_version"], json!("1.0.0"));
        vs.ok("engine podman uninstall --user");
        assert!(!fs::exists(format!("{folder}/vswitch.socket")).unwrap() && !fs::exists(plugin).unwrap());
        fs::write(format!("{folder}/vswitch.socket"), "[Socket]\n").unwrap();
        assert!(vs.ok("engine podman install --user").contains("is not of vswitch and stays"));
        vs.ok("engine podman uninstall --user");
        assert_eq!(text("vswitch.socket"), "[Socket]\n");
    });
}
