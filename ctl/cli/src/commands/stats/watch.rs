//! `stats --watch`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use vswitch_api::Client;
use vswitch_api::stats::Stats;

use super::{StatsArgs, render};
use crate::output;

/// Cursor to the upper left corner; erase from there.
pub(super) const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Look again and again, until Ctrl-C or the count. On a terminal each look replaces the one before.
pub(crate) async fn run(client: &Client, args: &StatsArgs) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Stats> = None;
    let mut looks = 0;
    while args.count.is_none_or(|count| looks < count) {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        }
        let now = client.stats().await?;
        if args.json {
            output::print(&(serde_json::to_string(&now)? + "\n"))?;
            looks += 1;
        } else if let Some(before) = &before {
            output::print(&block(before, &now))?;
            looks += 1;
        }
        before = Some(now);
    }
    Ok(())
}

fn block(before: &Stats, now: &Stats) -> String {
    // After a restart of the daemon there is nothing to compare with.
    let elapsed = now.uptime_ms.checked_sub(before.uptime_ms).unwrap_or(now.uptime_ms);
    let rates = render::rates(before, now, Duration::from_millis(elapsed));
    if io::stdout().is_terminal() { format!("{CLEAR}{rates}\nCtrl-C ends\n") } else { format!("{rates}\n") }
}
