//! `capture`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::Client;
use vswitch_api::capture::CaptureQuery;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  vswitchctl capture web                                  one line a frame, until Ctrl-C
  vswitchctl capture web udp port 53                      tcpdump's filters; quote ( and )
  vswitchctl capture blue 'tcp[tcpflags] & tcp-syn != 0' --at up
  vswitchctl capture all --reason spoofed-arp             what is dropped, and why
  vswitchctl capture web -w - | wireshark -k -i -         live
  vswitchctl capture all -w all.pcapng                    for Wireshark, tshark and tcpdump -r

A frame is seen at up (from an endpoint into the switch), at drop, or at down (out of the switch to an endpoint); it has
one number at all of them.";

/// Arguments of `capture`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CaptureArgs {
    /// A container, CONTAINER@NETWORK, an endpoint, a network, or all
    #[arg(value_name = "ENDPOINT|NETWORK|all", default_value = "all")]
    on: String,
    /// Which frames, in tcpdump's language
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Where: up, drop, down; several with commas [default: everywhere]
    #[arg(long, value_name = "PLACES")]
    at: Option<String>,
    /// Only frames that are dropped for this reason, as stats names it
    #[arg(long)]
    reason: Option<String>,
    /// Write pcapng to a file, or to standard output for -
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Keep so many bytes of each frame
    #[arg(short, long, value_name = "BYTES")]
    snaplen: Option<u32>,
    /// End after so many frames
    #[arg(short, long)]
    count: Option<u64>,
    /// Show super-frames as they cross the switch, not as the packets that they stand for
    #[arg(long)]
    frames: bool,
}

impl CaptureArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let CaptureArgs { on, filter, at, reason, write, snaplen, count, frames } = self;
        let filter = Some(filter.join(" ")).filter(|filter| !filter.is_empty());
        let format = Some(if write.is_some() { "pcapng" } else { "text" }.to_owned());
        let on_what = on.clone();
        let query = CaptureQuery { on: Some(on), filter, at, reason, snaplen, frames: Some(frames), count, format };
        let mut stream = client.capture(&query).await?;
        let mut sink = Sink::new(write.as_deref())?;
        output::note(&format!("capturing on {on_what}; Ctrl-C ends it"));
        loop {
            let bytes = tokio::select! {
                bytes = stream.next() => bytes?,
                _ = interrupted.recv() => None,
                _ = terminated.recv() => None,
            };
            let Some(bytes) = bytes else { return Ok(()) };
            match sink.write(&bytes) {
                // Whoever read has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("cannot write what was captured")?,
            }
        }
    }
}

enum Sink {
    Stdout,
    File(File),
}

impl Sink {
    fn new(path: Option<&Path>) -> anyhow::Result<Sink> {
        match path {
            None => Ok(Sink::Stdout),
            Some(path) if path == Path::new("-") => Ok(Sink::Stdout),
            Some(path) => {
                let file = File::create(path).with_context(|| format!("cannot write to {}", path.display()))?;
                Ok(Sink::File(file))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => output::bytes(bytes),
            Sink::File(file) => file.write_all(bytes),
        }
    }
}
