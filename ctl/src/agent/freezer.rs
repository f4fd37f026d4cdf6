//! Containers that are held still, without control groups: every process in the container's pid namespace but the first, which is
//! vswitchd's own, gets SIGSTOP or SIGCONT.

use std::{fs, io, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

/// Stops or continues all processes of the container whose first process this is.
pub(super) async fn freeze(first: u32, frozen: bool) -> io::Result<()> {
    let namespace = fs::read_link(namespace(first))?;
    let signal = if frozen { Signal::STOP } else { Signal::CONT };
    // Those that are not stopped yet may start others meanwhile.
    for _ in 0..ROUNDS {
        let mut found = false;
        for pid in all()? {
            if pid == first || fs::read_link(self::namespace(pid)).ok().as_ref() != Some(&namespace) {
                continue;
            }
            if is_stopped(pid) != Some(!frozen) {
                continue;
            }
            found = true;
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended.
                let _ = kill_process(pid, signal);
            }
        }
        if !found {
            return Ok(());
        }
        // Whoever got the signal stops when it is its turn to run.
        tokio::time::sleep(PAUSE).await;
    }
    Err(io::Error::other("its processes multiply faster than they can be stopped"))
}

fn namespace(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/pid").into()
}

fn all() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Whether a process is stopped; `None`: it has ended.
fn is_stopped(pid: u32) -> Option<bool> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    match line.rsplit_once(") ")?.1.chars().next()? {
        'T' | 't' => Some(true),
        'Z' | 'X' => None,
        _ => Some(false),
    }
}

/// Looks at all processes.
const ROUNDS: usize = 500;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);
