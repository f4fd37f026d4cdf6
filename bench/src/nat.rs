//! The NAT engine in memory: what its own program prints, against the targets.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::report::{Curve, Figure};
use crate::rig::run;

/// Names of the printed lines, their targets, and what divides the printed value.
const TARGETS: [(&str, &str, f64, f64); 3] =
    [("new connections", " k/s", 50.0, 1e3), ("1 flow, UDP", " M/s", 5.0, 1.0), ("1 flow, TCP", " M/s", 5.0, 1.0)];

/// Runs the engine's program and reads its lines: figures, and how a frame's time grows with the flows.
///
/// # Errors
/// When it does not build, or prints something else.
pub fn in_memory() -> anyhow::Result<(Vec<Figure>, Curve)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["run", "--quiet", "--release", "-p", "vswitch-nat", "--example", "figures"];
    let text = run(Command::new(cargo).args(arguments))?;
    Ok((read(&text)?, by_flows(&text)?))
}

/// The lines that say what a frame takes among how many flows.
fn by_flows(text: &str) -> anyhow::Result<Curve> {
    let point = |line: &str| -> Option<(f64, f64)> {
        let (flows, nanoseconds) = line.strip_prefix("one frame of a random flow among ")?.split_once(": ")?;
        Some((flows.parse().ok()?, nanoseconds.strip_suffix(" ns")?.parse().ok()?))
    };
    let points: Vec<_> = text.lines().filter_map(point).collect();
    ensure!(points.len() > 1, "the engine's program printed no figures by flows");
    Ok(Curve {
        title: "A frame of a random flow".to_owned(),
        x: "flows in the NAT table".to_owned(),
        y: "ns, in memory".to_owned(),
        points,
    })
}

fn read(text: &str) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in text.lines() {
        let (name, value) = line.split_once(": ").with_context(|| format!("no figure in {line:?}"))?;
        let known = TARGETS.iter().find(|(known, ..)| name.ends_with(known));
        let number = value.split(' ').next().and_then(|number| number.parse::<f64>().ok());
        figures.push(match (known, number) {
            (Some(&(_, unit, least, divisor)), Some(number)) => Figure::at_least(name, number / divisor, least, unit),
            (None, Some(number)) if name.starts_with("memory at") => Figure::at_most(name, number, 384.0, " B"),
            _ if name.starts_with("one frame of a random flow") => continue,
            _ => Figure::plain(name, value.to_owned()),
        });
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines with a target are judged, others are shown, and a line without a figure is an error.
    #[test]
    fn reads_lines() {
        let text = "new connections: 80000 a second\nmemory at 1000000 flows: 400 bytes a flow\nother: 3 ms\n";
        let figures = read(text).unwrap();
        assert!(!figures[0].missed() && figures[1].missed() && figures[2].target.is_none());
        assert!(read("what?").is_err());
        let lines = "one frame of a random flow among 1000: 150 ns\none frame of a random flow among 9: 8 ns\n";
        assert_eq!(by_flows(lines).unwrap().points, [(1000.0, 150.0), (9.0, 8.0)]);
        assert!(by_flows(text).is_err());
    }
}
