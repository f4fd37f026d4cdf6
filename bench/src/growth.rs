//! How costs grow: with stations, containers and workers.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::control::Scratch;
use crate::report::Curve;
use crate::rig::{Daemon, own_program, run};
use crate::{memory, traffic};

/// Nanoseconds a frame takes in memory, by stations in the FDB.
///
/// # Errors
/// When the data path refuses something.
pub fn with_stations() -> anyhow::Result<Curve> {
    let mut points = Vec::new();
    for stations in [1_000u32, 10_000, 100_000, 1_000_000] {
        points.push((f64::from(stations), memory::nanoseconds_among(stations)?));
    }
    Ok(Curve {
        title: "A frame among many stations".to_owned(),
        x: "stations in the FDB, in random order".to_owned(),
        y: "ns, in memory".to_owned(),
        points,
    })
}

/// Gbit/s that all pairs of containers move together, by containers.
///
/// # Errors
/// When a container or iperf3 fails.
pub fn with_containers(seconds: u32) -> anyhow::Result<Curve> {
    let mut points = Vec::new();
    for containers in [2u32, 16, 128] {
        points.push((f64::from(containers), pairs(containers / 2, None, seconds)?));
    }
    Ok(Curve {
        title: "Every container talks to another".to_owned(),
        x: "containers, one TCP stream for each two".to_owned(),
        y: "Gbit/s, all together".to_owned(),
        points,
    })
}

/// Gbit/s that two pairs of containers move together, by workers.
///
/// # Errors
/// As [`with_containers`].
pub fn with_workers(seconds: u32) -> anyhow::Result<Curve> {
    let mut points = Vec::new();
    for workers in [1u32, 2] {
        points.push((f64::from(workers), pairs(2, Some(workers), seconds)?));
    }
    Ok(Curve {
        title: "Two pairs of containers".to_owned(),
        x: "workers".to_owned(),
        y: "Gbit/s, both together".to_owned(),
        points,
    })
}

/// Children that are ended with their owner.
struct All(Vec<Child>);

impl Drop for All {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pairs(count: u32, workers: Option<u32>, seconds: u32) -> anyhow::Result<f64> {
    let scratch = Scratch::new(&format!("pairs{count}"))?;
    let arguments = workers.map_or_else(Vec::new, |workers| vec!["--workers".to_owned(), workers.to_string()]);
    let daemon = Daemon::start(&scratch.0, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let program = own_program("vswitchctl")?;
    let control = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--socket").arg(&daemon.socket).args(words).stdin(Stdio::null());
        command
    };
    run(&mut control(&["network", "create", "--subnet", "10.77.0.0/16", "bench"]))?;
    let mut clients = All(Vec::new());
    let address = |pair: u32| format!("10.77.1.{}", pair + 1);
    for pair in 0..count {
        let (client, server, ip) = (format!("c{pair}"), format!("s{pair}"), address(pair));
        run(&mut control(&["run", "-d", "--name", &client, "--network", "bench", "--", "sleep", "infinity"]))?;
        let running = ["run", "-d", "--name", &server, "--network", "bench", "--ip", &ip, "--", "iperf3", "-s"];
        run(&mut control(&running))?;
    }
    for pair in 0..count {
        let client = format!("c{pair}");
        let target = address(pair);
        let probe = ["exec", &client, "iperf3", "-c", &target, "-n", "1K"];
        let answers = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            run(&mut control(&probe)).is_ok()
        });
        ensure!(answers, "no iperf3 listens at {target}");
    }
    let time = seconds.to_string();
    for pair in 0..count {
        let (client, target) = (format!("c{pair}"), address(pair));
        let words = ["exec", &client, "iperf3", "-J", "-c", &target, "-t", &time];
        clients.0.push(control(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    }
    let mut sum = 0.0;
    for child in clients.0.drain(..) {
        let output = child.wait_with_output().context("cannot wait for iperf3")?;
        sum += traffic::tcp_gigabits(&String::from_utf8_lossy(&output.stdout))?;
    }
    Ok(sum)
}
