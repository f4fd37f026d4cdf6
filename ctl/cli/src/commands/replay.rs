//! `replay`.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::sync::mpsc;
use vswitch_api::Client;
use vswitch_api::frame::{ReplayQuery, Replayed};

use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl replay web.pcapng --from web                 as if web had sent it, as fast as it was
  vswitchctl replay two-sided.pcap --from web --side 10.0.0.5 --map 10.0.0.5=web,10.0.0.1=gateway --fix-checksums
  vswitchctl replay load.pcap --from web --at-once        as fast as possible
  tcpdump -w - -U -i eth1 | vswitchctl replay - --from web --towards

Frames are sent at their distance from the first one, never after a pause since the one before, so that nothing adds up.";

/// Arguments of `replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// A pcap or pcapng file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The container, CONTAINER@NETWORK or endpoint that sends them; all checks apply
    #[arg(long, value_name = "ENDPOINT")]
    from: String,
    /// Send them towards it instead
    #[arg(long)]
    towards: bool,
    /// Only what this address sent, by IP (and ARP) or Ethernet
    #[arg(long, value_name = "ADDRESS")]
    side: Option<String>,
    /// Other addresses: an IP or MAC address of the file, and what stands for it: one of the same kind, an endpoint (its MAC and IP
    /// address), or gateway
    #[arg(long, value_name = "OLD=NEW", value_delimiter = ',')]
    map: Vec<String>,
    /// How fast: 2x is twice as fast as it was
    #[arg(long, value_name = "N", conflicts_with = "at_once")]
    speed: Option<String>,
    /// One behind the other
    #[arg(long)]
    at_once: bool,
    /// Make checksums anew: what was captured where it was sent may have unfinished ones
    #[arg(long)]
    fix_checksums: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What is read at once, and how much of that may wait.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

impl ReplayArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let ReplayArgs { file, from, towards, side, map, speed, at_once, fix_checksums, json } = self;
        let query = ReplayQuery {
            endpoint: from,
            towards: Some(towards),
            speed,
            at_once: Some(at_once),
            side,
            map: Some(map.join(",")).filter(|map| !map.is_empty()),
            fix_checksums: Some(fix_checksums),
        };
        let replayed = client.replay(&query, pieces(&file)?).await?;
        if json { output::json(&replayed) } else { Ok(output::print(&(text(&replayed) + "\n"))?) }
    }
}

/// The file, as it is read.
fn pieces(path: &Path) -> anyhow::Result<mpsc::Receiver<io::Result<Vec<u8>>>> {
    let mut file: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?)
    };
    let (sender, receiver) = mpsc::channel(PIECES);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece).map(|length| {
                piece.truncate(length);
                piece
            });
            let last = !matches!(&read, Ok(piece) if !piece.is_empty());
            // Whoever sends it may have given up.
            if matches!(&read, Ok(piece) if piece.is_empty()) || sender.blocking_send(read).is_err() || last {
                return;
            }
        }
    });
    Ok(receiver)
}

fn text(replayed: &Replayed) -> String {
    let Replayed { frames, time_ns, late_median_ns, late_p99_ns, late_p999_ns, late_max_ns, .. } = replayed;
    let micros = |nanos: &u64| format!("{} us", nanos.div_ceil(1000));
    let millis = time_ns / 1_000_000;
    let mut text = format!("{frames} frames in {}.{:03} s", millis / 1000, millis % 1000);
    if *frames > 0 {
        text += &format!(
            "; late by {} (median), {} (99 %), {} (99.9 %), {} (most)",
            micros(late_median_ns),
            micros(late_p99_ns),
            micros(late_p999_ns),
            micros(late_max_ns)
        );
    }
    let left_out = [(replayed.other_side, "of the other side"), (replayed.cut, "cut short"), (replayed.unfit, "unfit")];
    let parts: Vec<String> =
        left_out.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if !parts.is_empty() {
        text += &format!("; left out: {}", parts.join(", "));
    }
    text
}
