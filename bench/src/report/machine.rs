//! Where a report was made: the machine, and the versions of those who took part.

use std::process::Command;

use serde::Serialize;

/// The machine and the versions.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The day, as ISO 8601 writes it.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many cores there are.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// Programs that took part, and their versions.
    pub versions: Vec<(String, String)>,
}

/// How each program is asked for its version. Those that are not installed are left out.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("iperf3", &["iperf3", "--version"]),
    ("Open vSwitch", &["ovs-vswitchd", "--version"]),
    ("vde_switch", &["dpkg-query", "-W", "-f", "${Version}", "vde2"]),
    ("nftables", &["nft", "--version"]),
    ("slirp4netns", &["slirp4netns", "--version"]),
    ("pasta", &["dpkg-query", "-W", "-f", "${Version}", "passt"]),
    ("rustc", &["rustc", "--version"]),
];

impl Machine {
    /// Looks around.
    #[must_use]
    pub fn here() -> Machine {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str, separator: char| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_once(separator))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let kib = field(&file("/proc/meminfo"), "MemTotal", ':');
        let kib = kib.split(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0);
        let asked = |(name, words): &(&str, &[&str])| Some(((*name).to_owned(), first_line(words)?));
        let mut versions = vec![("vswitch".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
        versions.extend(PROGRAMS.iter().filter_map(asked));
        Machine {
            date: first_line(&["date", "-u", "+%Y-%m-%d"]).unwrap_or_default(),
            processor: field(&file("/proc/cpuinfo"), "model name", ':'),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / f64::from(1 << 20)).round(),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field(&file("/etc/os-release"), "PRETTY_NAME", '=').trim_matches('"').to_owned(),
            versions,
        }
    }
}

/// The first line that a program prints, if it is there.
fn first_line(words: &[&str]) -> Option<String> {
    let output = Command::new(words[0]).args(&words[1..]).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This machine has a kernel, cores and memory, and knows what day it is.
    #[test]
    fn here() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory_gib > 0.0 && !machine.kernel.is_empty(), "{machine:?}");
        assert_eq!(machine.date.len(), 10);
    }
}
