//! What `run`, `create` and `exec` take besides networks and files.

use std::fs;

use vswitch_tests::{Vswitch, guard, guard::is_root, run, sh};

/// Users by name and number, with groups, for the command and for exec; without newuidmap an ordinary user has one id, and is told so.
#[test]
fn users() {
    guard(|| {
        let vs = Vswitch::start();
        let one = |flags: &str, command: &str| vs.words(&format!("run --rm --network none {flags} -- {command}"));
        assert_eq!(one("", "id -u").ok().trim(), "0");
        vs.words("run --rm --network none -u no-such-user -- true").exits(125).says("unable to find user no-such-user");
        if !is_root() {
            one("-u 1000", "true").exits(125).says("/etc/subuid");
            return;
        }
        assert_eq!(one("-u 54321:2000 --group-add 3000", "id").ok().trim(), "uid=54321 gid=2000 groups=2000,3000");
        assert_eq!(one("-u www-data", "id -un").ok().trim(), "www-data");
        let home = sh("getent passwd www-data | cut -d: -f6").ok();
        let a = vs.container("a", "--network none -u www-data");
        assert_eq!(a.ok("echo $HOME"), home);
        assert!(a.ok("grep CapEff /proc/self/status").contains("0000000000000000"));
        // Of a pipe; a file of the caller's is not given away.
        let mut piped = std::process::Command::new("sh");
        piped.args(["-c", "vswitchctl exec a sh -c 'id -u; echo x > /dev/stderr' 2>&1 | cat"]);
        let said = run(piped.env("VSWITCH_SOCKET", vs.socket())).ok();
        assert_eq!(said, format!("{}\nx\n", sh("id -u www-data").ok().trim()));
        assert_eq!(vs.ok("exec -u 0 a id -u").trim(), "0");
        assert_eq!(vs.ok("exec -u 5:6 a id -g").trim(), "6");
        // Who has no capability may still become its user.
        assert_eq!(one("--cap-drop ALL -u 1000", "id -u").ok().trim(), "1000");
    });
}

/// Files of variables and labels, entry points, id files, limits, settings, sizes and names, as Docker has them.
#[test]
fn the_rest() {
    guard(|| {
        let vs = Vswitch::start();
        fs::write("/tmp/env", "# comment\nA=from-file\nB=2\n").unwrap();
        fs::write("/tmp/labels", "team=net\nbare\n").unwrap();
        let said = vs.ok("run --rm --network none --env-file /tmp/env -e A=1 --entrypoint printenv -- A");
        assert_eq!(said.trim(), "1");
        let flags = "--network none --cidfile /tmp/cid --label-file /tmp/labels -l x=y --ulimit nofile=100:200 --shm-size 1m \
                     --domainname example --sysctl kernel.msgmax=4096 --init --hostname web";
        vs.ok(&format!("create --name a --stop-signal USR1 {flags} --env-file /tmp/env -- sleep 100000"));
        let a = vswitch_tests::Container::new(&vs, "a");
        assert_eq!(vs.json("inspect a")[0]["state"], "created");
        vs.ok("start a");
        let shown = &vs.json("inspect a")[0];
        assert_eq!(shown["id"], fs::read_to_string("/tmp/cid").unwrap().as_str());
        assert_eq!(
            (&shown["labels"]["team"], &shown["labels"]["bare"], &shown["labels"]["x"]),
            (&"net".into(), &"".into(), &"y".into())
        );
        let script = "ulimit -Sn; ulimit -Hn; df -k /dev/shm | awk 'END {print $2}'; cat /proc/sys/kernel/msgmax /proc/sys/kernel/domainname; echo $B; hostname";
        assert_eq!(a.ok(script), "100\n200\n1024\n4096\nexample\n2\nweb\n");
        // Nobody handles it, so that it ends the command.
        vs.ok("stop -t 20 a");
        assert_eq!(vs.json("inspect a")[0]["exit_code"], 128 + 10);
        vs.words(&format!("create {flags} -- true")).exits(2).says("container ID file found");
        let warned = vs.words("run --rm --network none -m 1g --cpus 2 --pull always -- true").exits(0);
        assert!(warned.stderr.contains("--memory, ") && warned.stderr.matches("warning").count() == 1, "{warned}");
        for (flags, says) in
            [("--pid host", "--pid host is not possible here"), ("--env-file /nowhere", "open /nowhere")]
        {
            vs.words(&format!("run --rm {flags} -- true")).exits(2).says(says);
        }
        for (flags, says) in [
            ("--sysctl vm.swappiness=1", "not in a separate kernel namespace"),
            ("--ulimit files=1", "invalid ulimit type: files"),
            ("--stop-signal NOPE", "invalid signal: NOPE"),
        ] {
            vs.words(&format!("run --rm {flags} -- true")).exits(125).says(says);
        }
    });
}
