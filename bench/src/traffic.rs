//! What is measured between the two containers of a rig, with the tools that everybody uses.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::rig::{Rig, run};

/// Who asks whom: the container that the client runs in (0 or 1), and the address by which it reaches the other.
#[derive(Debug, Clone, Copy)]
pub struct Path(pub usize, pub &'static str);

/// An iperf3 server at the far end of a path.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(rig: &Rig, path: Path) -> anyhow::Result<Server> {
        let mut command = rig.command(1 - path.0, &["iperf3", "-s"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start iperf3")?;
        for _ in 0..100 {
            if run(&mut rig.command(path.0, &["iperf3", "-c", path.1, "-n", "1K"])).is_ok() {
                return Ok(Server(child));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        run(&mut rig.command(path.0, &["iperf3", "-c", path.1, "-n", "1K"])).map(|_| Server(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gbit/s of one TCP stream along a path.
///
/// # Errors
/// When iperf3 fails.
pub fn tcp(rig: &Rig, path: Path, seconds: u32) -> anyhow::Result<f64> {
    let text = run(&mut rig.command(path.0, &["iperf3", "-c", path.1, "-J", "-t", &seconds.to_string()]))?;
    tcp_gigabits(&text)
}

/// Thousands of 18-byte UDP datagrams a second that arrived at the end of a path, sent as fast as can be.
///
/// # Errors
/// When iperf3 fails.
pub fn udp(rig: &Rig, path: Path, seconds: u32) -> anyhow::Result<f64> {
    let arguments = ["iperf3", "-c", path.1, "-J", "-u", "-b", "0", "-l", "18", "-t"];
    let text = run(rig.command(path.0, &arguments).arg(seconds.to_string()))?;
    udp_kilopackets(&text)
}

/// Average round trip in microseconds and loss in percent of a flood ping.
///
/// # Errors
/// When ping fails.
pub fn ping(rig: &Rig, path: Path, count: u32) -> anyhow::Result<(f64, f64)> {
    let text = run(&mut rig.command(path.0, &["ping", "-q", "-f", "-c", &count.to_string(), path.1]))?;
    round_trip(&text)
}

fn tcp_gigabits(json: &str) -> anyhow::Result<f64> {
    let value: Value = serde_json::from_str(json).context("iperf3 printed no JSON")?;
    let bits = value["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports no throughput")?;
    Ok(bits / 1e9)
}

fn udp_kilopackets(json: &str) -> anyhow::Result<f64> {
    let value: Value = serde_json::from_str(json).context("iperf3 printed no JSON")?;
    let field = |name: &str| value["end"]["sum"][name].as_f64().with_context(|| format!("iperf3 reports no {name}"));
    let (packets, lost, seconds) = (field("packets")?, field("lost_packets")?, field("seconds")?);
    ensure!(seconds > 0.0, "iperf3 measured no time");
    Ok((packets - lost) / seconds / 1e3)
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
        assert!((udp_kilopackets(udp).unwrap() - 2.0).abs() < 1e-9);
        assert!(tcp_gigabits("{}").is_err() && udp_kilopackets("{}").is_err() && udp_kilopackets("x").is_err());
    }
}
