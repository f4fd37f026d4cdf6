//! What is measured between the two containers of a rig, with the tools that everybody uses.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::daemon::Running;
use crate::report::PERCENTS;
use crate::rig::{Rig, own_program, run};

/// Who asks whom: the container that the client runs in (0 or 1), and the address by which it reaches the other.
#[derive(Debug, Clone, Copy)]
pub struct Path(pub usize, pub &'static str);

/// An iperf3 server at the far end of a path.
#[derive(Debug)]
pub struct Server {
    _running: Running,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(rig: &Rig, path: Path) -> anyhow::Result<Server> {
        let mut command = rig.command(1 - path.0, &["iperf3", "-s", "--forceflush"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("cannot start iperf3")?;
        let mut output = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let server = Server { _running: Running(child) };
        let mut line = String::new();
        while !line.contains("Server listening") {
            line.clear();
            ensure!(output.read_line(&mut line)? > 0, "iperf3 does not listen");
        }
        // What it says of each test must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(server)
    }
}

/// Gbit/s that TCP moves along a path; `more` are further words for iperf3.
///
/// # Errors
/// When iperf3 fails.
pub fn tcp(rig: &Rig, path: Path, seconds: u32, more: &[&str]) -> anyhow::Result<f64> {
    let seconds = seconds.to_string();
    let text = run(rig.command(path.0, &["iperf3", "-c", path.1, "-J", "-t", &seconds]).args(more))?;
    tcp_gigabits(&text)
}

/// CPU that all processes of the machine spend while one TCP stream moves `rate` (as iperf3 writes it), in percent of one
/// core.
///
/// # Errors
/// When iperf3 fails, or the kernel does not count.
pub fn cpu_at(rig: &Rig, path: Path, seconds: u32, rate: &str) -> anyhow::Result<f64> {
    let before = cpu_seconds()?;
    tcp(rig, path, seconds, &["-b", rate])?;
    Ok((cpu_seconds()? - before) / f64::from(seconds) * 100.0)
}

/// CPU time of everybody since the start of the machine, in seconds: of the control groups' exact account where there is one,
/// otherwise of the kernel's clock ticks, which miss much of what sleeps between them.
fn cpu_seconds() -> anyhow::Result<f64> {
    if let Ok(exact) = std::fs::read_to_string("/sys/fs/cgroup/cpuacct/cpuacct.usage") {
        return Ok(exact.trim().parse::<f64>()? / 1e9);
    }
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    ensure!(fields.len() > 7, "/proc/stat has another form");
    // user, nice, system, irq, softirq; neither idle, iowait nor what other machines took. USER_HZ is 100.
    Ok((fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / 100.0)
}

/// What became of a UDP stream.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams {
    /// Thousands of datagrams a second that arrived.
    pub kilo_received: f64,
    /// Share of the sent ones that did not.
    pub lost_percent: f64,
}

/// UDP datagrams of a size in bytes at a rate (as iperf3 writes it; `0` is as fast as can be) along a path.
///
/// # Errors
/// When iperf3 fails.
pub fn udp(rig: &Rig, path: Path, seconds: u32, (size, rate): (u32, &str)) -> anyhow::Result<Datagrams> {
    let (size, seconds) = (size.to_string(), seconds.to_string());
    let arguments = ["iperf3", "-c", path.1, "-J", "-u", "-b", rate, "-l", &size, "-t", &seconds];
    let text = run(&mut rig.command(path.0, &arguments))?;
    datagrams(&text)
}

/// A stream at a steady rate that runs beside something else, until dropped.
#[derive(Debug)]
pub struct Load {
    _running: Running,
}

impl Load {
    /// Starts a TCP stream of `rate`, as iperf3 writes it.
    ///
    /// # Errors
    /// When iperf3 cannot be started.
    pub fn start(rig: &Rig, path: Path, rate: &str) -> anyhow::Result<Load> {
        let mut command = rig.command(path.0, &["iperf3", "-c", path.1, "-b", rate, "-t", "60"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start iperf3")?;
        // Past its slow start.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Load { _running: Running(child) })
    }
}

/// A server that answers one byte with one byte, at the far end of a path.
#[derive(Debug)]
pub struct Answers {
    _running: Running,
}

/// Where [`Answers`] listens.
const ANSWERS_PORT: u16 = 5301;

impl Answers {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(rig: &Rig, path: Path) -> anyhow::Result<Answers> {
        let program = own_program("vswitch-load")?.display().to_string();
        let mut command = rig.command(1 - path.0, &[&program, "serve", &format!("0.0.0.0:{ANSWERS_PORT}")]);
        let mut running = Running(command.stdout(Stdio::piped()).spawn().context("cannot start vswitch-load")?);
        ready(&mut running)?;
        Ok(Answers { _running: running })
    }
}

/// Connections over which nothing moves, until dropped.
#[derive(Debug)]
pub struct Idle {
    _running: [Running; 2],
}

impl Idle {
    /// Makes them, with one byte each way; the far end listens on `port`.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn start(rig: &Rig, path: Path, (port, count): (u16, u32)) -> anyhow::Result<Idle> {
        let program = own_program("vswitch-load")?.display().to_string();
        // Every connection is a descriptor at both ends.
        let start = |side: usize, what: &str| {
            let line = format!("ulimit -n $(ulimit -Hn); exec {program} {what}");
            let mut command = rig.command(side, &["sh", "-c", &line]);
            command.stdout(Stdio::piped()).spawn().map(Running).context("cannot start vswitch-load")
        };
        let mut server = start(1 - path.0, &format!("keep 0.0.0.0:{port} {count}"))?;
        ready(&mut server)?;
        let mut client = start(path.0, &format!("idle {}:{port} {count}", path.1))?;
        ready(&mut client)?;
        Ok(Idle { _running: [client, server] })
    }
}

/// Waits for vswitch-load's line.
pub(crate) fn ready(program: &mut Running) -> anyhow::Result<()> {
    let output = program.0.stdout.take().context("its output is a pipe")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "vswitch-load does not get ready");
    Ok(())
}

/// Percentiles of a round trip in microseconds, as in [`PERCENTS`].
#[derive(Debug, Clone, serde::Deserialize)]
pub struct RoundTrips(pub Vec<f64>);

impl RoundTrips {
    /// The time that this percentage did not exceed, one of [`PERCENTS`]; not a number for others.
    #[must_use]
    pub fn at(&self, percent: f64) -> f64 {
        PERCENTS.iter().zip(&self.0).find(|(known, _)| **known >= percent).map_or(f64::NAN, |(_, value)| *value)
    }
}

/// Round trips of one byte over a TCP connection to [`Answers`].
///
/// # Errors
/// When an answer does not come.
pub fn round_trips(rig: &Rig, path: Path, count: u32) -> anyhow::Result<RoundTrips> {
    read_round_trips(&load(rig, path, "round-trips", count)?)
}

/// What vswitch-load prints of round trips.
pub(crate) fn read_round_trips(text: &str) -> anyhow::Result<RoundTrips> {
    let trips: RoundTrips = serde_json::from_str(text).context("vswitch-load printed no JSON")?;
    ensure!(trips.0.len() == PERCENTS.len(), "vswitch-load printed other percentiles");
    Ok(trips)
}

/// TCP connections a second to [`Answers`], each with one question and one answer.
///
/// # Errors
/// When a connection fails.
pub fn connections(rig: &Rig, path: Path, seconds: u32) -> anyhow::Result<f64> {
    load(rig, path, "connections", seconds)?.trim().parse().context("vswitch-load printed no number")
}

fn load(rig: &Rig, path: Path, what: &str, amount: u32) -> anyhow::Result<String> {
    let program = own_program("vswitch-load")?.display().to_string();
    let (target, amount) = (format!("{}:{ANSWERS_PORT}", path.1), amount.to_string());
    run(&mut rig.command(path.0, &[&program, what, &target, &amount]))
}

/// Average round trip in microseconds and loss in percent of a flood ping.
///
/// # Errors
/// When ping fails.
pub fn ping(rig: &Rig, path: Path, count: u32) -> anyhow::Result<(f64, f64)> {
    let text = run(&mut rig.command(path.0, &["ping", "-q", "-f", "-c", &count.to_string(), path.1]))?;
    round_trip(&text)
}

/// Gbit/s that arrived, as iperf3's JSON says.
///
/// # Errors
/// When it says something else.
pub fn tcp_gigabits(json: &str) -> anyhow::Result<f64> {
    let value: Value = serde_json::from_str(json).context("iperf3 printed no JSON")?;
    let bits = value["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports no throughput")?;
    Ok(bits / 1e9)
}

fn datagrams(json: &str) -> anyhow::Result<Datagrams> {
    let value: Value = serde_json::from_str(json).context("iperf3 printed no JSON")?;
    let field = |name: &str| value["end"]["sum"][name].as_f64().with_context(|| format!("iperf3 reports no {name}"));
    let (packets, lost, seconds) = (field("packets")?, field("lost_packets")?, field("seconds")?);
    ensure!(seconds > 0.0, "iperf3 measured no time");
    let lost_percent = if packets > 0.0 { 100.0 * lost / packets } else { 0.0 };
    Ok(Datagrams { kilo_received: (packets - lost) / seconds / 1e3, lost_percent })
}

fn round_trip(text: &str) -> anyhow::Result<(f64, f64)> {
    let loss = text.split("% packet loss").next().and_then(|before| before.rsplit(' ').next());
    let loss = loss.and_then(|number| number.parse().ok()).context("ping reports no loss")?;
    let average = text.split("rtt min/avg/max/mdev = ").nth(1).and_then(|rest| rest.split('/').nth(1));
    let millis: f64 = average.and_then(|number| number.parse().ok()).context("ping reports no round trip")?;
    Ok((millis * 1e3, loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ping's summary, as iputils prints it.
    #[test]
    fn reads_ping() {
        let text = "20000 packets transmitted, 19998 received, 0.01% packet loss, time 78ms\n\
                    rtt min/avg/max/mdev = 0.002/0.003/0.330/0.002 ms, ipg/ewma 0.003/0.003 ms\n";
        let (micros, loss) = round_trip(text).unwrap();
        assert!((micros - 3.0).abs() < 1e-9 && (loss - 0.01).abs() < 1e-9);
        assert!(round_trip("ping: unknown host").is_err());
    }

    /// iperf3's JSON; an answer without figures is an error, not zero.
    #[test]
    fn reads_iperf3() {
        let tcp = r#"{"end":{"sum_received":{"bits_per_second":2.5e9}}}"#;
        assert!((tcp_gigabits(tcp).unwrap() - 2.5).abs() < 1e-9);
        let udp = r#"{"end":{"sum":{"packets":5000,"lost_packets":1000,"seconds":2.0}}}"#;
        let read = datagrams(udp).unwrap();
        assert!((read.kilo_received - 2.0).abs() < 1e-9 && (read.lost_percent - 20.0).abs() < 1e-9);
        assert!(tcp_gigabits("{}").is_err() && datagrams("{}").is_err() && datagrams("x").is_err());
    }
}
