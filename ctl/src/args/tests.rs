//! Defaults, the file, refusals.

use std::path::Path;

use clap::Parser;

use super::*;
use crate::log::Level;

fn resolve(line: &[&str], environment: &Environment) -> Result<Options, ArgsError> {
    Args::try_parse_from([&["vswitchd"], line].concat()).unwrap().resolve(environment)
}

/// Nobody has this one.
const USER: u32 = 4_000_000_007;

fn user() -> Environment {
    Environment {
        uid: USER,
        home: Some("/home/u".into()),
        runtime_dir: Some("/run/user/7".into()),
        ..Environment::default()
    }
}

/// Root, a user with a runtime directory and one without each get their own paths.
#[test]
fn default_paths() {
    let root = resolve(&[], &Environment::default()).unwrap();
    assert_eq!(root.socket, Path::new("/run/vswitch/vswitch.sock"));
    assert_eq!(root.state_dir, Path::new("/var/lib/vswitch"));
    let options = resolve(&[], &user()).unwrap();
    assert_eq!(options.socket, Path::new("/run/user/7/vswitch/vswitch.sock"));
    assert_eq!(options.state_dir, Path::new("/home/u/.local/state/vswitch"));
    let seated = Environment { state_home: Some("/s".into()), ..user() };
    let options = resolve(&[], &seated).unwrap();
    assert_eq!(options.state_dir, Path::new("/s/vswitch"));
    let named = Environment { socket: Some("/x.sock".into()), ..seated };
    assert_eq!(resolve(&[], &named).unwrap().socket, Path::new("/x.sock"));
    assert_eq!(resolve(&["--socket", "/y.sock"], &named).unwrap().socket, Path::new("/y.sock"));
    // Others may have been first wherever everybody may write.
    let refused = resolve(&[], &Environment { runtime_dir: None, ..user() }).unwrap_err();
    assert!(refused.to_string().contains("set XDG_RUNTIME_DIR"), "{refused}");
    let homeless = Environment { uid: USER, ..Environment::default() };
    assert!(matches!(resolve(&[], &homeless), Err(ArgsError::NoHome)));
}

/// The file has the flags' names, flags win over it, and an unknown key is refused with the known ones.
#[test]
fn the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vswitchd.toml");
    let config = path.to_str().unwrap();
    std::fs::write(&path, "workers = 2\nfdb-capacity = 1000000\nlive-restore = true\nstate-dir = \"/s\"\n").unwrap();
    let options = resolve(&["--config", config, "--workers", "3"], &user()).unwrap();
    assert_eq!((options.settings.workers, options.settings.fdb_capacity), (Some(3), 1_000_000));
    assert!(options.live_restore && options.state_dir == Path::new("/s"));
    std::fs::write(&path, "worker = 2\n").unwrap();
    let error = resolve(&["--config", config], &user()).unwrap_err().to_string();
    assert!(error.contains("unknown field `worker`") && error.contains("`fdb-capacity`"), "{error}");
    assert!(resolve(&["--config", "/nonexistent"], &user()).is_err());
    // dockerd's keys stand there, too, in its words; flags win over them as over the others.
    let text = "workers = 2\nbip = \"10.7.0.5/16\"\ndns = [\"9.9.9.9\"]\nmtu = 1400\n\n[[default-address-pools]]\nbase = \
                \"10.200.0.0/16\"\nsize = 24\n";
    std::fs::write(&path, text).unwrap();
    let options = resolve(&["--config", config, "--mtu", "1300"], &user()).unwrap();
    assert_eq!((options.settings.workers, options.defaults.pools.len()), (Some(2), 1));
    assert_eq!((options.defaults.bridge.options.mtu, options.defaults.dns.servers.len()), (1300, 1));
    std::fs::write(&path, "bip = 7\n").unwrap();
    let error = resolve(&["--config", config], &user()).unwrap_err().to_string();
    assert!(error.contains("invalid type: integer `7`, expected a string"), "{error}");
    std::fs::write(&path, "worker = 2\nmtu = 1400\n").unwrap();
    assert!(resolve(&["--config", config], &user()).unwrap_err().to_string().contains("unknown field `worker`"));
}

/// What is found in a daemon.json may stand in this file, too: what vswitchd has a flag for holds, what it can do without is
/// told in one sentence, and a word that nobody knows is refused with the one that was meant.
#[test]
fn words_of_dockerd_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vswitchd.toml");
    let config = path.to_str().unwrap();
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write(
        "workers = 2\nlog-driver = \"json-file\"\nregistry-mirrors = [\"https://mirror.example.org\"]\nstorage-driver = \
         \"overlay2\"\nlive-restore = true\ndebug = true\ndata-root = \"/srv/docker\"\nhosts = [\"unix:///run/docker.sock\"]\n\
         ip = \"127.0.0.1\"\ngroup = \"docker\"\n[default-ulimits.nofile]\nHard = 64000\n[flows]\nflows = 4096\n",
    );
    let options = resolve(&["--config", config], &user()).unwrap();
    assert_eq!((options.settings.workers, options.log), (Some(2), Level::Debug));
    assert_eq!(options.defaults.publish_host, Some("127.0.0.1".parse().unwrap()));
    assert!(options.live_restore && options.group.as_deref() == Some("docker"));
    let [warning] = &options.warnings[..] else { panic!("{:?}", options.warnings) };
    for word in
        ["vswitchd.toml", "log-driver", "registry-mirrors", "storage-driver", "data-root", "hosts", "default-ulimits"]
    {
        assert!(warning.contains(word), "{word}: {warning}");
    }
    assert!(!["live-restore", "debug", "ip,", "nat", "workers"].iter().any(|own| warning.contains(own)), "{warning}");
    // daemon.json is told of beside it, and has less weight.
    let json = dir.path().join("daemon.json");
    std::fs::write(&json, r#"{"log-level": "error", "group": "other", "tls": false}"#).unwrap();
    let options = resolve(&["--config", config, "--config-file", json.to_str().unwrap()], &user()).unwrap();
    assert_eq!((options.warnings.len(), options.log, options.group.as_deref()), (2, Level::Debug, Some("docker")));
    assert_eq!(resolve(&["--config", config, "--log", "warn"], &user()).unwrap().log, Level::Warn);
    for (text, says) in [
        ("storage-drivers = \"overlay2\"\n", "did you mean storage-driver?"),
        ("mtu = 1400\nstorage-drivers = \"overlay2\"\n", "did you mean storage-driver?"),
        ("log-level = \"loud\"\n", "invalid log-level \"loud\""),
        ("live-restore = \"yes\"\n", "expected a boolean"),
        ("live-restore = true\nephemeral = true\n", "use one of them"),
    ] {
        write(text);
        let error = resolve(&["--config", config], &user()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// VTEPs come from the flags or the file, overlay networks from the file, where each has its own name and VNI.
#[test]
fn overlays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vswitchd.toml");
    let config = path.to_str().unwrap();
    let table = |name, vni| format!("[[overlay]]\nnetwork = \"{name}\"\nvni = {vni}\nsubnet = \"10.1.0.0/16\"\n");
    let top = "vtep = [\"192.0.2.1\"]\n";
    std::fs::write(&path, format!("{top}{}{}", table("a", 5), table("b", 6))).unwrap();
    let options = resolve(&["--config", config], &user()).unwrap();
    assert_eq!((options.vteps[0].to_string().as_str(), options.overlays.len()), ("192.0.2.1", 2));
    let options = resolve(&["--config", config, "--vtep", "192.0.2.9,port=8472"], &user()).unwrap();
    assert_eq!((options.vteps.len(), options.vteps[0].port), (1, 8472));
    for (second, says) in [(table("a", 6), "for network a"), (table("b", 5), "the same VNI 5")] {
        std::fs::write(&path, format!("{top}{}{second}", table("a", 5))).unwrap();
        let error = resolve(&["--config", config], &user()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(matches!(resolve(&["--vtep", "224.0.0.1"], &user()), Err(ArgsError::Vtep(_))));
}

/// Values out of range and contradictions are refused.
#[test]
fn refusals() {
    for line in [
        &["--workers", "0"][..],
        &["--fdb-capacity", "1"],
        &["--fdb-ageing", "0"],
        &["--uplink", "nowhere"],
        &["--uplink", "none", "--host-loopback", "10.0.2.2"],
        &["--host-loopback", "127.0.0.1"],
        &["--host-loopback", "10.0.2.2", "--host-loopback", "10.0.2.3"],
        &["--log", "a=b=c"],
        &["--log", "silly"],
        &["--ephemeral", "--live-restore"],
    ] {
        assert!(resolve(line, &user()).is_err(), "{line:?}");
    }
}
