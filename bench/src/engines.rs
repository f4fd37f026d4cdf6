//! Containers of podman's, an ordinary user's: with podman's own network (netavark and slirp4netns) and with vswitch's.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use crate::containers::Effort;
use crate::report::{Better, Figure, Goal, Group, Measure, Side, Subject, median};
use crate::rig::{own_program, run};
use crate::traffic;

/// What the networks are called in the script, and in the tables.
const KINDS: [(&str, &str, Side); 2] =
    [("own", "netavark, slirp4netns", Side::Userspace), ("vswitch", "vswitch", Side::Own)];

/// podman's own place in [`KINDS`].
const PODMAN: usize = 0;

const OUT: Measure =
    Measure { title: "TCP out", unit: "Gbit/s", better: Better::More, goals: &[Goal::Peer(PODMAN, 4.0)] };
const IN: Measure = Measure {
    title: "TCP in, published port",
    unit: "Gbit/s",
    better: Better::More,
    goals: &[Goal::Peer(PODMAN, 1.8)],
};
const CONNECTIONS: Measure =
    Measure { title: "TCP connections", unit: "a second", better: Better::More, goals: &[Goal::Peer(PODMAN, 1.0)] };
const START: Measure =
    Measure { title: "podman run --rm true", unit: "ms", better: Better::Less, goals: &[Goal::Peer(PODMAN, 1.0)] };

/// Containers that are started in each round.
const STARTS: usize = 5;

/// All work with each network, at podman's MTU of 65,520 bytes.
///
/// # Errors
/// When podman fails.
pub fn measure(effort: Effort, said: &mut dyn FnMut(&str)) -> anyhow::Result<Group> {
    let subjects = KINDS.iter().map(|&(_, name, side)| Subject { name, side }).collect();
    let mut group = Group::new("podman's containers", subjects);
    for round in 1..=effort.rounds {
        for (index, (kind, name, _)) in KINDS.into_iter().enumerate() {
            one(&mut group, index, kind, effort).with_context(|| format!("podman with {name}"))?;
            let last = |what: Measure| group.latest(index, what.title);
            said(&format!(
                "  round {round} {name:<22} out {:6.2}  in {:6.2} Gbit/s   connections {:6.0}/s   start {:5.0} ms",
                last(OUT),
                last(IN),
                last(CONNECTIONS),
                last(START)
            ));
        }
    }
    Ok(group)
}

/// What each container waits for: the helper's own start and end; and its size.
///
/// # Errors
/// When it cannot be run.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn helper() -> anyhow::Result<Vec<Figure>> {
    const RUNS: usize = 101;
    const LONGEST: f64 = 10.0;
    let program = own_program("vswitch-engine")?;
    let mut millis = Vec::new();
    for _ in 0..RUNS {
        let mut command = Command::new(&program);
        // As podman calls it, by name.
        std::os::unix::process::CommandExt::arg0(&mut command, "netavark");
        command.arg("version").stdin(Stdio::null()).stdout(Stdio::null());
        let begin = Instant::now();
        ensure!(command.status()?.success(), "the helper does not run");
        millis.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let megabytes = program.metadata()?.len() as f64 / 1e6;
    Ok(vec![
        Figure::at_most("a helper of podman's, start to end, median", median(millis), LONGEST, " ms"),
        Figure::plain("its program", format!("{megabytes:.1} MB")),
    ])
}

fn one(group: &mut Group, index: usize, kind: &str, effort: Effort) -> anyhow::Result<()> {
    let programs = own_program("vswitch-engine")?;
    let programs = programs.parent().context("programs are in a folder")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    command.args([include_str!("engines.sh"), "engines.sh", kind]).arg(programs);
    let text = run(command.args([effort.seconds.to_string(), STARTS.to_string()]))?;
    let values = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '));
    let one = |name| values(name).next().with_context(|| format!("{name} was not measured"));
    group.note(index, OUT, traffic::tcp_gigabits(one("out")?)?);
    group.note(index, IN, traffic::tcp_gigabits(one("in")?)?);
    group.note(index, CONNECTIONS, one("connections")?.trim().parse().context("vswitch-load printed no number")?);
    let starts: Vec<f64> = values("start").filter_map(|micros| micros.parse::<f64>().ok()).collect();
    ensure!(starts.len() == STARTS, "not all containers were started");
    group.note(index, START, median(starts) / 1e3);
    Ok(())
}
