//! The user ids of an ordinary user's containers.

use std::{fs, os::unix::fs::chown, process::Command};

use vswitch_tests::{Vswitch, guard, guard::is_root, run, sh};

/// Whom root starts vswitchd as here: newuidmap wants a user with a name.
const USER: u32 = 33;
const NAME: &str = "www-data";

/// Where the host gives a user ranges of ids and newuidmap, its containers have other users than root, and what those make is theirs
/// in volumes, too. Where it does not, one warning says what to install.
#[test]
fn further_ids() {
    guard(|| {
        if !is_root() {
            let vs = Vswitch::start();
            vs.words("run --rm --network none -u 33 -- true").exits(125).says("/etc/subuid");
            let log = fs::read_to_string(vs.state_dir().join("agent.log")).unwrap_or_default() + &vs.log();
            assert_eq!(log.matches("containers have one user id").count(), 1, "{log}");
            return;
        }
        for (file, text) in [("subuid", format!("{NAME}:300000:65536\n")), ("subgid", format!("{NAME}:400000:65536\n"))]
        {
            fs::write(format!("/run/{file}"), text).unwrap();
            sh(&format!("touch /etc/{file}; mount --bind /run/{file} /etc/{file}")).ok();
        }
        fs::create_dir_all("/tmp/vs").unwrap();
        chown("/tmp/vs", Some(USER), Some(USER)).unwrap();
        let id = USER.to_string();
        let prefix = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"].map(str::to_owned);
        let vs = Vswitch::stopped_inside("/tmp/vs", &prefix, &[]);
        vs.up();
        let ctl = |line: &str| {
            let mut command = Command::new(&prefix[0]);
            command.args(&prefix[1..]).arg("vswitchctl").args(line.split_whitespace());
            run(command.env("VSWITCH_SOCKET", vs.socket()))
        };
        assert_eq!(ctl("run --rm --network none -u www-data -- id -un").ok().trim(), "www-data");
        assert_eq!(
            ctl("run --rm --network none -- cat /proc/self/gid_map").ok().split_whitespace().collect::<Vec<_>>(),
            ["0", &id, "1", "1", "400000", "65536"]
        );
        ctl("run --rm --network none -v data:/srv -- mkdir /srv/www").ok();
        ctl("run --rm --network none -v data:/srv -- chown 33:33 /srv/www").ok();
        assert_eq!(ctl("run --rm --network none -v data:/srv -u 33:33 -- touch /srv/www/mine").code, 0);
        let path = vs.state_dir().with_extension("data").join("volumes/data/_data/www/mine");
        assert_eq!(sh(&format!("stat -c %u:%g {}", path.display())).ok().trim(), "300032:400032");
        // The container's root may become others, as su does.
        assert_eq!(
            ctl("run --rm --network none -- setpriv --reuid 33 --regid 33 --init-groups id -u").ok().trim(),
            "33"
        );
        ctl("volume rm data").ok();
        assert_eq!(vs.terminate(), 0);
    });
}
