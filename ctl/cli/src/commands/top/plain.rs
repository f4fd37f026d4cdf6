//! Without a terminal: tables and lines of JSON.

use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::Client;

use super::TopArgs;
use super::sample::Sample;
use crate::table::Table;
use crate::{output, units};

/// Prints one sample, or as many as were asked for; Ctrl-C ends.
pub(super) async fn run(client: &Client, args: &TopArgs) -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let limit = if args.once { Some(1) } else { args.count };
    let mut before = client.stats().await?;
    let mut printed = 0;
    while limit.is_none_or(|limit| printed < limit) {
        tokio::select! {
            () = tokio::time::sleep(args.interval) => {}
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
        }
        let now = client.stats().await?;
        let mut sample = Sample::between(&before, &now);
        sample.sort(args.sort, false);
        if args.json {
            output::print(&(serde_json::to_string(&sample)? + "\n"))?;
        } else {
            output::print(&table(&sample))?;
        }
        before = now;
        printed += 1;
    }
    Ok(())
}

/// The sample as people read it.
fn table(sample: &Sample) -> String {
    let mut table =
        Table::new(["ENDPOINT", "NETWORK", "FRAMES IN", "IN", "FRAMES OUT", "OUT", "DROPPED", "FLOWS", "REASONS"])
            .numbers(2..=7);
    for row in &sample.endpoints {
        let rates = &row.rates;
        table.row([
            &row.endpoint,
            &row.network,
            &units::per_second(rates.in_frames_per_second),
            &units::bits_per_second(rates.in_bits_per_second),
            &units::per_second(rates.out_frames_per_second),
            &units::bits_per_second(rates.out_bits_per_second),
            &units::per_second(rates.drops_per_second),
            &units::count(row.flows),
            &rates.drops.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::super::Column;
    use super::super::sample::tests::look;
    use super::*;

    /// One line an endpoint, sorted, with the reasons of what was dropped.
    #[test]
    fn columns() {
        let mut sample = Sample::between(&look(0, &[]), &look(1000, &[("a", 20), ("b", 2000)]));
        sample.sort(Column::In, false);
        let text = table(&sample);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        assert_eq!(
            lines[1],
            ["b", "red", "2.00 k/s", "16.0 Mbit/s", "1.00 k/s", "8.00 Mbit/s", "207/s", "20", "runt, spoofed-mac"]
        );
        assert_eq!(lines[2][0], "a");
    }
}
