//! vswitchctl's top, stats, pause, unpause and cp.

use std::fs;

use vswitch_tests::{Vswitch, eventually, guard};

/// What runs in a container, what it uses, and that it can be held still.
#[test]
fn processes() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("run -d --name a -- sleep 1000");
        let table = vs.ok("top a -o pid,cmd");
        let pid = table.lines().find_map(|line| line.trim().strip_suffix(" sleep 1000")).unwrap().trim().to_owned();
        vs.ok("exec a ping -c 2 -i 0.2 172.17.0.1");
        let text = vs.ok("stats --no-stream --format {{.Name}}|{{.PIDs}}|{{.NetIO}} a");
        assert!(text.starts_with("a|1|") && !text.contains("|0B"), "{text}");
        let state =
            || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit(") ").next().unwrap()[..1].to_owned();
        assert_eq!(vs.ok("pause a"), "a\n");
        eventually("it is still", 10, || state() == "T");
        assert!(vs.ok("ps").contains("(Paused)"));
        vs.words("pause a").exits(1).says("already paused");
        vs.ok("unpause a");
        eventually("it goes on", 10, || state() == "S");
        vs.words("unpause a nobody").exits(1).says("not paused").says("nobody");
        vs.ok("stop -t 0 a");
        vs.words("top a").exits(1).says("not running");
    });
}

/// Files and folders go into a container and come out of it, under Docker's rules of names.
#[test]
fn copies() {
    guard(|| {
        let vs = Vswitch::start();
        vs.ok("run -d --name a -- sleep 1000");
        let here = tempfile::tempdir().unwrap();
        let path = |name: &str| here.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir_all(path("in/deep")).unwrap();
        fs::write(path("in/deep/file"), "x".repeat(200_000)).unwrap();
        fs::write(path("in/other"), "other").unwrap();
        let inside = |script: &str| vs.ctl(&["exec", "a", "sh", "-c", script]).ok();
        let cp = |from: &str, to: &str| vs.ctl(&["cp", from, to]);
        cp(&path("in"), "a:/tmp").ok();
        cp(&path("in"), "a:/tmp/renamed").ok();
        cp(&path("in/."), "a:/tmp/contents").ok();
        cp(&path("in/other"), "a:/tmp/in/deep/new").ok();
        assert_eq!(
            inside("cd /tmp && find in renamed contents -type f | sort && wc -c < in/deep/file"),
            "contents/deep/file\ncontents/other\nin/deep/file\nin/deep/new\nin/other\nrenamed/deep/file\nrenamed/other\n200000\n"
        );
        inside("ln -s in/other /tmp/link");
        cp("a:/tmp/in", &path("")).ok();
        assert_eq!(fs::read_to_string(path("in/deep/new")).unwrap(), "other");
        cp("a:/tmp/in", &path("out")).ok();
        assert_eq!(fs::metadata(path("out/deep/file")).unwrap().len(), 200_000);
        cp("a:/tmp/in/.", &path("contents")).ok();
        assert!(fs::exists(path("contents/deep/file")).unwrap());
        cp("a:/tmp/link", &path("")).ok();
        assert_eq!(fs::read_link(path("link")).unwrap().to_str().unwrap(), "in/other");
        vs.ctl(&["cp", "-L", "a:/tmp/link", &path("followed")]).ok();
        assert_eq!(fs::read_to_string(path("followed")).unwrap(), "other");
        let archive = vs.ctl(&["cp", "a:/tmp/in/other", "-"]).ok();
        assert!(archive.starts_with("other\0"), "{archive:?}");
        cp("a:/tmp/in", &path("followed")).exits(2).says("is no folder");
        cp("a:/tmp/nothing", &path("")).exits(1).says("nothing");
        cp(&path("nothing"), "a:/tmp").exits(1).says("cannot read");
        cp(&path("in"), "a:/nowhere/x").exits(1).says("nowhere");
        vs.ok("stop -t 0 a");
        cp("a:/tmp/in", &path("late")).exits(1).says("start it first");
    });
}
