//! The processes of a container, as the host's /proc shows them. Read first: proc_pid_stat(5).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::state::EndpointState;
use super::{Controller, ExecState};
use crate::error::ControlError;
use crate::model::NetworkMode;

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// On the host.
    pub pid: u32,
    /// Its parent, on the host.
    pub parent: u32,
    /// Who it is, on the host.
    pub user: u32,
    /// The program's name.
    pub name: String,
    /// Program and arguments.
    pub command: String,
    /// The kernel's letter.
    pub state: char,
    /// Number of its terminal's device, zero for none.
    pub terminal: u32,
    /// Ticks of a processor, those of children that ended included.
    pub ticks: u64,
    /// Ticks after the host's start.
    pub started: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Bytes of memory.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// What a container uses.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its processes; none: it does not run.
    pub tasks: Vec<Task>,
    /// Bytes and frames received and sent, by interface.
    pub interfaces: BTreeMap<String, [u64; 4]>,
}

impl Controller {
    /// The processes of a running container, the oldest first.
    ///
    /// # Errors
    /// When it is unknown or does not run.
    pub fn container_tasks(&self, text: &str) -> Result<Vec<Task>, ControlError> {
        let usage = self.container_usage(text)?;
        self.check_running(text)?;
        Ok(usage.tasks)
    }

    /// What a container uses, running or not.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn container_usage(&self, text: &str) -> Result<Usage, ControlError> {
        let (id, name, first, endpoints) = {
            let state = self.state();
            let one = state.container(text)?;
            let on = match &one.container.mode {
                NetworkMode::Container(other) => state.containers.get(other),
                _ => Some(one),
            };
            let endpoints = on.map(|on| on.endpoints.clone()).unwrap_or_default().into_iter();
            let endpoints = endpoints.filter_map(|id| state.endpoints.get(&id));
            let named = |(index, on): (usize, &EndpointState)| {
                (on.endpoint.interface.clone().unwrap_or_else(|| format!("eth{index}")), on.port)
            };
            let endpoints: Vec<_> = endpoints.enumerate().map(named).collect();
            (one.container.id.clone(), one.container.name.clone(), one.container.pid(), endpoints)
        };
        let execs = self.inner.docker_execs.of(&id).into_iter();
        let execs = execs.filter_map(|(_, state)| if let ExecState::Running(pid) = state { Some(pid) } else { None });
        let tasks = first.map(|first| below(all(), first, &execs.collect::<Vec<_>>())).unwrap_or_default();
        let stats = self.inner.switch.stats();
        let mut interfaces = BTreeMap::new();
        for (interface, port) in endpoints {
            let Some(port) = port.and_then(|port| stats.ports.iter().find(|one| one.port == port)) else { continue };
            let counted = &port.counters;
            let numbers = [counted.out_bytes, counted.out_frames, counted.in_bytes, counted.in_frames];
            interfaces.insert(interface, numbers);
        }
        Ok(Usage { id: id.to_string(), name, tasks, interfaces })
    }
}

/// All processes of the host, as far as they can be read.
fn all() -> Vec<Task> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(read).collect()
}

fn read(pid: u32) -> Option<Task> {
    let folder = format!("/proc/{pid}");
    let folder = Path::new(&folder);
    let mut task = parse(&std::fs::read_to_string(folder.join("stat")).ok()?)?;
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    task.user = user.and_then(|ids| ids.split_whitespace().next()?.parse().ok()).unwrap_or_default();
    let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
    let words: Vec<_> =
        command.split(|byte| *byte == 0).map(String::from_utf8_lossy).filter(|word| !word.is_empty()).collect();
    task.command = if words.is_empty() { format!("[{}]", task.name) } else { words.join(" ") };
    Some(task)
}

/// A line of /proc/PID/stat. The name stands in brackets and may contain anything.
fn parse(line: &str) -> Option<Task> {
    let (pid, rest) = line.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Numbered as in the manual, where the state is the third.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    Some(Task {
        pid: pid.parse().ok()?,
        parent: u32::try_from(number(4)?).ok()?,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        terminal: u32::try_from(number(7)?).unwrap_or_default(),
        ticks,
        started: number(22)?,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * PAGE,
        threads: number(20)?,
        ..Task::default()
    })
}

/// Bytes of a page, wherever vswitch runs with seccomp.
const PAGE: u64 = 4096;

/// Those that descend from a container's first process, which is vswitchd's own, and further ones with theirs.
fn below(all: Vec<Task>, first: u32, further: &[u32]) -> Vec<Task> {
    let mut members: BTreeSet<u32> = further.iter().copied().chain([first]).collect();
    loop {
        let before = members.len();
        members
            .extend(all.iter().filter(|task| members.contains(&task.parent)).map(|task| task.pid).collect::<Vec<_>>());
        if members.len() == before {
            break;
        }
    }
    let mut found: Vec<Task> =
        all.into_iter().filter(|task| task.pid != first && members.contains(&task.pid)).collect();
    found.sort_by_key(|task| (task.started, task.pid));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names may look like anything, and a family is found whatever the order.
    #[test]
    fn families() {
        let line = "42 (a b) R (x) S 7 42 42 34817 42 4194304 9 9 0 0 10 20 3 4 20 0 2 0 12345 8192 3 0";
        let task = parse(line).unwrap();
        assert_eq!((task.pid, task.parent, task.name.as_str(), task.state), (42, 7, "a b) R (x", 'S'));
        assert_eq!((task.ticks, task.threads, task.started, task.resident_bytes), (37, 2, 12345, 12288));
        assert!(parse("nonsense").is_none() && parse("1 (x) S").is_none());
        let task = |pid, parent| Task { pid, parent, started: pid.into(), ..Task::default() };
        let all = vec![task(9, 8), task(5, 1), task(8, 5), task(6, 1), task(30, 20), task(20, 2)];
        let found: Vec<u32> = below(all, 5, &[20]).iter().map(|task| task.pid).collect();
        assert_eq!(found, [8, 9, 20, 30]);
        assert!(read(std::process::id()).unwrap().resident_bytes > 0);
    }
}
