//! What containers see as files: root directories, volumes, mounts.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use vswitch_tests::{Container, Vswitch, eventually, guard, guard::is_root, sh};

/// A root directory with a shell and nothing that this host has.
pub(super) fn root_directory(path: &str) {
    let root = Path::new(path);
    for folder in ["bin", "etc", "root", "home/user"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let busybox = sh("command -v busybox").ok();
    fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
    // Nothing, if it is linked statically.
    for library in sh(&format!("ldd {} | grep -o '/[^ ]*'", busybox.trim())).stdout.lines() {
        fs::create_dir_all(root.join(&library[1..]).parent().unwrap()).unwrap();
        fs::copy(library, root.join(&library[1..])).unwrap();
    }
    for name in [
        "sh", "cat", "ls", "echo", "touch", "sleep", "env", "id", "mount", "stat", "readlink", "mkdir", "wc", "tty",
        "rm", "head",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n").unwrap();
    fs::write(root.join("mark"), "of-the-directory").unwrap();
}

/// --rootfs: another directory is the container's /, whatever it lacks; what the container changes stays with the container over
/// restarts and goes with it; the directory itself is changed with :rw only. Neither shows what no container may see.
#[test]
fn root_directories() {
    guard(|| {
        let vs = Vswitch::start();
        root_directory("/mnt/root");
        vs.ok("network create n");
        let start = |name: &str, root: &str| {
            vs.ctl(&["run", "-d", "--name", name, "--network", "n", "--rootfs", root, "--", "sleep", "100000"]).ok();
        };
        start("a", "/mnt/root");
        let a = Container::new(&vs, "a");
        assert_eq!(a.ok("cat /mark; ls -A /usr /var 2>/dev/null; cat /etc/hostname").lines().count(), 1);
        assert!(a.ok("cat /etc/hosts").contains(&a.ipv4("n").to_string()));
        assert!(a.ok("cat /etc/resolv.conf").contains("127.0.0.11"));
        assert_eq!(a.ok("echo $HOME; readlink /proc/self/cwd; ls /dev/null").trim(), "/root\n/\n/dev/null");
        a.ok("echo changed > /mark; mkdir -p /opt/x; touch /tmp/t");
        assert_eq!(fs::read_to_string("/mnt/root/mark").unwrap(), "of-the-directory");
        a.ok("head -c 300000 /dev/zero > /opt/x/big");
        let size = vs.json("ps -s")[0]["size"].as_u64().unwrap();
        assert!((300_000..400_000).contains(&size), "{size}");
        assert!(vs.ok("ps --size").contains("SIZE") && !vs.ok("ps").contains("SIZE"));
        let sized = vs.ok("ps --format {{.Names}}={{.Size}}");
        assert!(sized.starts_with("a=30") && sized.trim().ends_with("kB"), "{sized}");
        vs.ok("stop -t 0 a");
        vs.ok("start a");
        assert_eq!(a.ok("cat /mark; ls -d /opt/x").trim(), "changed\n/opt/x");
        let mounts = a.ok("cat /proc/self/mountinfo");
        assert!(!mounts.contains("/mnt/programs"), "nothing of the host's is left: {mounts}");
        vs.ok("rm -f a");
        start("b", "/mnt/root");
        assert_eq!(Container::new(&vs, "b").ok("cat /mark"), "of-the-directory");
        start("c", "/mnt/root:rw");
        Container::new(&vs, "c").ok("echo direct > /mark");
        assert_eq!(fs::read_to_string("/mnt/root/mark").unwrap(), "direct\n");
        assert_eq!(vs.json("inspect c")[0]["rootfs"], "/mnt/root:rw");
        // One that holds what is hidden.
        let data = vs.state_dir().with_extension("data");
        vs.ok("volume create kept");
        root_directory("/tmp");
        // An ordinary user may lay nothing over a directory that holds the layer itself.
        let whole = if is_root() { "/" } else { "/:rw" };
        for (root, below) in [(whole, "/tmp/vs"), ("/tmp", "/vs"), ("/tmp:rw", "/vs")] {
            let script = format!("ls -A {below}/state {below}/state.data; echo looked");
            let seen = vs.ctl(&["run", "--rm", "--rootfs", root, "--", "sh", "-c", &script]);
            assert!(seen.stdout.contains("looked"), "{seen}");
            assert!(!seen.stdout.contains("redb") && !seen.stdout.contains("volumes"), "{root}: {seen}");
        }
        assert!(data.join("volumes/kept").is_dir());
        vs.words("run --rm --rootfs /nowhere -- true").exits(125).says("there is no directory /nowhere");
    });
}

/// A working directory that is not there is made where the container has the place for itself, and nowhere on the host.
#[test]
fn working_directories() {
    guard(|| {
        let vs = Vswitch::start();
        root_directory("/mnt/root");
        let made = |options: &str, at: &str| {
            let line = format!("run --rm {options} -w {at} -- sh -c");
            let words: Vec<&str> = line.split_whitespace().chain(["pwd; : > file; ls"]).collect();
            vs.ctl(&words)
        };
        for (options, at) in [
            ("--rootfs /mnt/root", "/srv/new/deep"),
            ("", "/tmp/new/deep"),
            ("--tmpfs /mnt/laid", "/mnt/laid/new"),
            ("-v data:/mnt/volume", "/mnt/volume/new"),
        ] {
            assert_eq!(made(options, at).ok(), format!("{at}\nfile\n"), "{options}");
            assert!(!Path::new(at).exists() && !Path::new("/mnt/root").join(&at[1..]).exists(), "{at}");
        }
        for (options, at) in [("", "/mnt/nowhere"), ("", "/tmp/../mnt/nowhere"), ("--rootfs host-rw", "/mnt/nowhere")] {
            made(options, at).exits(125).says("choose another with -w");
            assert!(!Path::new("/mnt/nowhere").exists());
        }
        made("--rootfs /mnt/root --read-only", "/srv/new")
            .exits(125)
            .says("cannot make the working directory /srv/new");
        vs.container("a", "").sh("true");
        vs.words("exec -w /tmp/nowhere a true").exits(125).says("choose another with -w");
    });
}

/// Volumes are made, shown, shared by containers, kept when those go, and removed when nobody has them; one without a name goes with
/// its container.
#[test]
fn volumes() {
    guard(|| {
        let vs = Vswitch::start();
        assert_eq!(vs.ok("volume create --label team=net data").trim(), "data");
        let one =
            vs.ctl(&["run", "--rm", "-v", "data:/data", "-v", "late:/srv", "--", "sh", "-c", "echo kept > /data/file"]);
        one.ok();
        assert_eq!(vs.ok("run --rm -v data:/tmp/deep/er:ro -- cat /tmp/deep/er/file").trim(), "kept");
        let denied =
            vs.ctl(&["run", "--rm", "--mount", "type=volume,src=data,dst=/data,readonly", "--", "touch", "/data/x"]);
        assert!(denied.stderr.contains("Read-only file system"), "{denied}");
        assert_eq!(vs.ok("volume ls -q"), "data\nlate\n");
        assert_eq!(vs.ok("volume ls -q --filter label=team=net").trim(), "data");
        let shown: serde_json::Value = serde_json::from_str(&vs.ok("volume inspect data")).unwrap();
        let shown = &shown[0];
        assert_eq!((&shown["Driver"], &shown["Labels"]["team"]), (&"local".into(), &"net".into()));
        let path = shown["Mountpoint"].as_str().unwrap();
        assert_eq!(fs::read_to_string(Path::new(path).join("file")).unwrap(), "kept\n");
        let c = vs.container("c", "-v data:/data -v /own");
        c.ok("touch /own/x");
        assert_eq!(vs.ok("volume ls -q").lines().count(), 3);
        vs.refuses("volume rm data", "volume is in use");
        // Others see neither.
        let other = vs.container("other", "-v late:/srv");
        assert_eq!(other.sh(&format!("ls -A {path} {}", vs.state_dir().with_extension("data").display())).stdout, "");
        vs.crash();
        vs.up();
        assert_eq!(c.ok("cat /data/file").trim(), "kept");
        vs.ok("rm -f c other");
        eventually("the nameless volume went with its container", 10, || vs.ok("volume ls -q") == "data\nlate\n");
        assert_eq!(vs.ok("volume rm late").trim(), "late");
        let nameless = vs.ok("volume create");
        let pruned = vs.ok("volume prune -f");
        assert!(pruned.contains(nameless.trim()) && !pruned.contains("data"), "{pruned}");
        assert!(vs.ok("volume prune -af").contains("data"));
        assert_eq!(vs.ok("volume ls -q"), "");
        vs.refuses("volume rm data", "no such volume");
        vs.ok("volume rm -f data");
        vs.refuses("volume inspect data", "get data: no such volume");
        vs.words("volume create a/b").exits(1).says("includes invalid characters");
        vs.words("run --rm -v data:/x -v other:/x -- true").exits(125).says("Duplicate mount point");
    });
}

/// --mount and --tmpfs; places that the host does not have are the container's own; --read-only leaves nothing to change but what
/// was mounted; homes are read-only unless told.
#[test]
fn kinds_of_mounts() {
    guard(|| {
        let vs = Vswitch::start();
        let made = |flags: &[&str], script: &str| {
            vs.ctl(&[&["run", "--rm", "--network", "none"], flags, &["--", "sh", "-c", script]].concat())
        };
        fs::create_dir("/mnt/shared").unwrap();
        fs::write("/mnt/shared/file", "shared").unwrap();
        let tmpfs = made(
            &["--tmpfs", "/srv:size=1m,mode=0700", "--tmpfs", "/brand/new"],
            "stat -f -c %T /srv /brand/new; stat -c %a /srv; ls /usr/bin/env; df -k /srv | tail -1",
        );
        let said = tmpfs.ok();
        assert!(said.starts_with("tmpfs\ntmpfs\n700\n/usr/bin/env\n") && said.contains(" 1024 "), "{said}");
        assert!(!fs::exists("/brand").unwrap(), "nothing is made on the host");
        let bound =
            made(&["--mount", "type=bind,source=/mnt/shared,target=/data,readonly"], "cat /data/file; touch /data/x");
        assert!(bound.stdout == "shared" && bound.stderr.contains("Read-only file system"), "{bound}");
        let closed = ["--read-only", "--tmpfs", "/tmp/mine", "-v", "/mnt/shared:/opt/shared"];
        let script = "for f in /mnt/x /tmp/x /run/x /etc/x; do touch $f 2>/dev/null && echo $f; done; touch /tmp/mine/x /opt/shared/x /dev/shm/x && echo ok";
        assert_eq!(made(&closed[..3], "touch /tmp/mine/x /dev/shm/x && echo ok").ok(), "ok\n");
        assert_eq!(
            made(&[&closed[..3], &["-v", "/mnt/shared:/data"]].concat(), &script.replace("/opt/shared", "/data")).ok(),
            "ok\n"
        );
        root_directory("/mnt/root");
        let foreign = made(
            &["--rootfs", "/mnt/root", "--read-only", "-v", "/mnt/shared:/data", "--tmpfs", "/x/y"],
            "touch /mark2 || touch /data/y /x/y/z && echo ok; cat /etc/hostname | wc -l",
        );
        assert_eq!(foreign.ok(), "ok\n1\n");
        for (flags, says) in [
            ("--mount type=bind,src=/nowhere,dst=/x", "/nowhere"),
            ("--tmpfs /sys/no-such-place", "name a folder outside of the kernel's"),
            ("-v /mnt/shared/file/x:/x", "error while creating mount source path"),
            ("--tmpfs /x:foo", "invalid tmpfs option"),
        ] {
            vs.words(&format!("run --rm {flags} -- true")).exits(125).says(says);
        }
        vs.words("run --rm --mount type=bind -- true").exits(2).says("target is required");
    });
}

/// Places that the host does not have, however deep, are made for the container alone, which sees the rest of the host as before; a
/// folder of the host that is missing is made for -v, with and without a root directory of its own.
#[test]
fn missing_places() {
    guard(|| {
        let vs = Vswitch::start();
        fs::create_dir("/mnt/shared").unwrap();
        fs::write("/mnt/shared/file", "shared\n").unwrap();
        fs::create_dir("/mnt/half").unwrap();
        std::os::unix::fs::symlink("half", "/mnt/link").unwrap();
        let share = ["-v", "/mnt/shared:/usr/share/no/such", "-v", "/mnt/shared/file:/usr/share/alone.conf"];
        let more = ["-v", "/mnt/shared:/brand/new", "-v", "/mnt/shared:/mnt/link/x", "-v", "/mnt/shared:/var/run/y"];
        let script = "cat /usr/share/no/such/file /usr/share/alone.conf /brand/new/file /mnt/half/x/file /run/y/file && ls -A /usr/share | \
                      grep -v -e ^no$ -e ^alone.conf$ | wc -l; stat -c %a /usr/share; touch /mnt/shared/back; echo $?";
        let said = vs.ctl(&[&["run", "--rm"][..], &share, &more, &["--", "sh", "-c", script]].concat()).ok();
        let (entries, mode) = (sh("ls -A /usr/share | wc -l").ok(), sh("stat -c %a /usr/share").ok());
        assert_eq!(said, format!("{}{entries}{mode}0\n", "shared\n".repeat(5)));
        assert!(Path::new("/mnt/shared/back").exists());
        for place in ["/usr/share/no", "/usr/share/alone.conf", "/brand", "/mnt/half/x"] {
            assert!(!Path::new(place).exists(), "{place} was made on the host");
        }
        let closed = [&["run", "--rm", "--read-only"][..], &share, &["--", "touch", "/usr/share/x"]].concat();
        vs.ctl(&closed).exits(1).says("Read-only file system");
        root_directory("/mnt/root");
        for (source, flags) in [("/mnt/made/a", &[][..]), ("/mnt/made/b", &["--rootfs", "/mnt/root"])] {
            let volume = format!("{source}:/data/deep");
            vs.ctl(&[&["run", "--rm", "-v", &volume][..], flags, &["--", "touch", "/data/deep/x"]].concat()).ok();
            assert!(Path::new(source).join("x").exists());
        }
        vs.ctl(&["run", "--rm", "--mount", "type=bind,src=/mnt/made/c,dst=/x", "--", "true"]).exits(125);
        vs.ctl(&["run", "--rm", "--mount", "type=bind,src=/mnt/made/c,dst=/x,bind-create-src", "--", "true"]).ok();
    });
}

/// The homes of the host's users are there to be read; to write into them a container must be told.
#[test]
fn homes() {
    guard(|| {
        fs::create_dir("/mnt/home").unwrap();
        let vs = Vswitch::stopped_inside("/tmp/vs", &["env", "HOME=/mnt/home"].map(str::to_owned), &[]);
        vs.up();
        for (flags, writable) in [("", false), ("--rootfs host-rw", true), ("-v /mnt/home:/mnt/home", true)] {
            let said = vs.words(&format!("run --rm --network none {flags} -- touch /mnt/home/file"));
            assert_eq!(said.code == 0, writable, "{flags}: {said}");
            assert!(writable || said.stderr.contains("Read-only file system"), "{said}");
        }
        vs.ok("run --rm --network none -- touch /mnt/elsewhere");
        assert!(fs::exists("/mnt/home/file").unwrap() && fs::exists("/mnt/elsewhere").unwrap());
    });
}

/// A volume that nobody has used yet begins with what a root directory of the container's own has there, owners and modes
/// included; one that has something keeps it, and nothing of the host's root directory is copied.
#[test]
fn new_volumes_are_filled() {
    guard(|| {
        let vs = Vswitch::start();
        root_directory("/mnt/root");
        fs::create_dir_all("/mnt/root/srv/data/deep").unwrap();
        fs::write("/mnt/root/srv/data/deep/file", "of-the-directory").unwrap();
        std::os::unix::fs::symlink("deep/file", "/mnt/root/srv/data/link").unwrap();
        fs::set_permissions("/mnt/root/srv/data", fs::Permissions::from_mode(0o1770)).unwrap();
        let seen = |volume: &str, script: &str| {
            vs.ctl(&["run", "--rm", "--rootfs", "/mnt/root", "-v", volume, "--", "sh", "-c", script]).ok()
        };
        let script = "cat /srv/data/link; stat -c ' %a' /srv/data; echo changed > /srv/data/deep/file";
        assert_eq!(seen("kept:/srv/data", script), "of-the-directory 1770\n");
        assert_eq!(seen("kept:/srv/data", "cat /srv/data/link"), "changed\n");
        assert_eq!(seen("/srv/data", "cat /srv/data/link"), "of-the-directory");
        assert_eq!(
            seen("readonly:/srv/data:ro", "cat /srv/data/link; touch /srv/data/x 2>/dev/null || echo ' ro'"),
            "of-the-directory ro\n"
        );
        assert_eq!(seen("empty:/srv/data:nocopy", "ls -A /srv/data"), "");
        assert_eq!(fs::read_to_string("/mnt/root/srv/data/deep/file").unwrap(), "of-the-directory");
        assert_eq!(vs.ctl(&["run", "--rm", "-v", "hosts:/etc/apt", "--", "ls", "-A", "/etc/apt"]).ok(), "");
    });
}
