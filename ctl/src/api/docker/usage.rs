//! `/containers/{id}/top` and `…/stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::usage::{
    ContainerTop, CpuStats, CpuUsage, InterfaceStats, MemoryStats, PidsStats, UsageStats,
};

use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Flag, Segments};
use crate::clock::Moment;
use crate::controller::{Controller, Task, Usage};
use crate::error::ControlError;

/// Query of a list of processes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Listing {
    ps_args: String,
}

/// The processes of a container.
#[utoipa::path(get, path = "/containers/{id}/top",
    params(("id" = String, Path), ("ps_args" = Option<String>, Query, description = "-ef, aux or -o COLUMNS")),
    responses((status = 200, body = ContainerTop), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn top(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Listing>,
) -> Answer<Json<ContainerTop>> {
    let columns = columns(&query.ps_args).ok_or_else(|| {
        let sentence = format!(
            "ps options {:?} are not available; use none, -ef, aux or -o with {}, or: docker exec {id} ps {}",
            query.ps_args,
            KNOWN.map(|(word, _)| word).join(","),
            query.ps_args
        );
        Refusal::new(StatusCode::NOT_IMPLEMENTED, sentence)
    })?;
    let tasks = app.controller.container_tasks(&id)?;
    let boot = host_number("btime");
    let now = Moment::now();
    let processes = tasks.iter().map(|task| columns.iter().map(|(word, _)| field(word, task, boot, now)).collect());
    Ok(Json(ContainerTop {
        titles: columns.iter().map(|(_, title)| (*title).to_owned()).collect(),
        processes: processes.collect(),
    }))
}

/// Columns by ps's words, with their titles.
const KNOWN: [(&str, &str); 14] = [
    ("uid", "UID"),
    ("user", "USER"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tty", "TTY"),
    ("time", "TIME"),
    ("cmd", "CMD"),
    ("args", "COMMAND"),
    ("comm", "COMMAND"),
    ("stat", "STAT"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
];

/// What ps would show.
fn columns(arguments: &str) -> Option<Vec<(&'static str, &'static str)>> {
    let words: Vec<&str> = arguments.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let named: &[&str] = match words[..] {
        [] | ["-ef" | "ef" | "-e" | "-f" | "-fe"] => &["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"],
        ["aux" | "-aux"] => &["user", "pid", "vsz", "rss", "tty", "stat", "stime", "time", "args"],
        ["-o" | "-eo" | "o", ref named @ ..] if !named.is_empty() => named,
        _ => return None,
    };
    let column = |word: &&str| {
        let word = match *word {
            "command" | "args" => "args",
            "ucmd" => "comm",
            "state" | "s" => "stat",
            "tt" | "tname" => "tty",
            "start" | "start_time" => "stime",
            "rssize" => "rss",
            "vsize" => "vsz",
            word => word,
        };
        KNOWN.iter().find(|(known, _)| *known == word).copied()
    };
    named.iter().map(column).collect()
}

fn field(word: &str, task: &Task, boot: u64, now: Moment) -> String {
    let seconds = task.ticks / TICKS;
    match word {
        // Names are in a file that vswitchd does not read.
        "uid" | "user" if task.user == 0 => "root".to_owned(),
        "uid" | "user" => task.user.to_string(),
        "pid" => task.pid.to_string(),
        "ppid" => task.parent.to_string(),
        "c" => {
            let lasted = now.unix_seconds().saturating_sub(boot + task.started / TICKS).max(1);
            (seconds * 100 / lasted).min(99).to_string()
        }
        "stime" => {
            let of_day = (boot + task.started / TICKS) % 86_400;
            format!("{:02}:{:02}", of_day / 3600, of_day / 60 % 60)
        }
        // Major number 136 and those behind it are the terminals of /dev/pts.
        "tty" if (task.terminal >> 8) & 0xfff >= 136 => format!("pts/{}", task.terminal & 0xff),
        "tty" => "?".to_owned(),
        "time" => format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        "comm" => task.name.clone(),
        "stat" => task.state.to_string(),
        "vsz" => (task.virtual_bytes / 1024).to_string(),
        "rss" => (task.resident_bytes / 1024).to_string(),
        _ => task.command.clone(),
    }
}

/// Of a second, on all that Linux runs on.
const TICKS: u64 = 100;

/// A number of /proc/stat.
fn host_number(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned));
    // Several are added: that is what all processors together did.
    line.unwrap_or_default().split_whitespace().take(8).filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// Query of a watch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Watching {
    stream: Option<Flag>,
    #[serde(rename = "one-shot")]
    one_shot: Flag,
}

/// What a container uses, once or every second.
#[utoipa::path(get, path = "/containers/{id}/stats",
    params(("id" = String, Path), ("stream" = Option<bool>, Query, description = "every second, the default"),
        ("one-shot" = Option<bool>, Query, description = "once, with nothing to compare with")),
    responses((status = 200, body = UsageStats), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn stats(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Watching>,
) -> Answer<Response> {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let cores = app.cores;
    let first = sample(&app.controller, &id, cores, None)?;
    if query.stream.is_none_or(|stream| stream.0) {
        let lines = futures_util::stream::unfold((app.controller, id, Some(first), None), move |state| async move {
            let (controller, id, ready, last) = state;
            let next = match ready {
                Some(first) => first,
                None => {
                    tokio::time::sleep(PERIOD).await;
                    sample(&controller, &id, cores, last.as_ref()).ok()?
                }
            };
            let mut line = serde_json::to_vec(&next).unwrap_or_default();
            line.push(b'\n');
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (controller, id, None, Some(next))))
        });
        return Ok((json, Body::from_stream(lines)).into_response());
    }
    if query.one_shot.0 {
        return Ok(Json(first).into_response());
    }
    tokio::time::sleep(PERIOD).await;
    Ok(Json(sample(&app.controller, &id, cores, Some(&first))?).into_response())
}

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

fn sample(
    controller: &Controller,
    id: &str,
    cores: usize,
    last: Option<&UsageStats>,
) -> Result<UsageStats, ControlError> {
    let Usage { id, name, tasks, interfaces } = controller.container_usage(id)?;
    let nanos = |ticks: u64| ticks * (1_000_000_000 / TICKS);
    let runs = !tasks.is_empty();
    let cpu = CpuStats {
        cpu_usage: CpuUsage { total_usage: nanos(tasks.iter().map(|task| task.ticks).sum()) },
        system_cpu_usage: if runs { nanos(host_number("cpu ")) } else { 0 },
        online_cpus: u32::try_from(cores).unwrap_or(u32::MAX),
    };
    let networks: BTreeMap<String, InterfaceStats> = interfaces
        .into_iter()
        .map(|(name, [rx_bytes, rx_packets, tx_bytes, tx_packets])| {
            (name, InterfaceStats { rx_bytes, rx_packets, tx_bytes, tx_packets, ..InterfaceStats::default() })
        })
        .collect();
    Ok(UsageStats {
        read: Moment::now().to_string(),
        preread: last.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |last| last.read.clone()),
        name: format!("/{name}"),
        id,
        pids_stats: PidsStats { current: tasks.iter().map(|task| task.threads).sum() },
        precpu_stats: last.map(|last| last.cpu_stats).unwrap_or_default(),
        cpu_stats: cpu,
        memory_stats: MemoryStats {
            usage: tasks.iter().map(|task| task.resident_bytes).sum(),
            limit: if runs { super::system::memory() } else { 0 },
            stats: BTreeMap::new(),
        },
        networks: runs.then_some(networks),
        ..UsageStats::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ps's ways to ask are understood as far as its columns are known.
    #[test]
    fn options() {
        assert_eq!(columns("").unwrap().len(), 8);
        assert_eq!(columns("-o pid,cmd").unwrap(), [("pid", "PID"), ("cmd", "CMD")]);
        assert_eq!(columns("aux").unwrap()[0].1, "USER");
        assert!(columns("-o pid,lwp").is_none() && columns("--forest").is_none() && columns("-o").is_none());
        let task = Task { pid: 7, terminal: 136 << 8 | 3, ticks: 6100, command: "a b".into(), ..Task::default() };
        let shown = |word| field(word, &task, 0, Moment::from_unix_seconds(1000));
        assert_eq!(
            (shown("tty"), shown("time"), shown("cmd"), shown("c")),
            ("pts/3".into(), "00:01:01".into(), "a b".into(), "6".into())
        );
    }
}
