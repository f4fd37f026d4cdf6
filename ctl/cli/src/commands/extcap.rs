//! `extcap`: what Wireshark, tshark and dumpcap ask a program that offers interfaces. Read first: extcap(4), and Wireshark's doc/extcap_example.py.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::Client;
use vswitch_api::capture::CaptureQuery;

use crate::failure::Usage;
use crate::output;

const EXAMPLES: &str = "\
Set up, once (releases since 4.2 have ~/.local/lib/wireshark/extcap instead):
  ln -s $(command -v vswitchctl) ~/.config/wireshark/extcap/vswitch-extcap
Then Wireshark offers each endpoint as an interface, with the filter checked by vswitchd:
  tshark -D                                               lists vswitch-all, vswitch-web@blue, ...
  tshark -i vswitch-web@blue -f 'udp port 53'";

/// The name by which the program itself is an extcap.
pub(crate) const PROGRAM: &str = "vswitch-extcap";
/// How interfaces begin.
const PREFIX: &str = "vswitch-";

/// Arguments of `extcap`, which Wireshark gives.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExtcapArgs {
    /// Name the interfaces
    #[arg(long)]
    extcap_interfaces: bool,
    /// Name the link types of an interface
    #[arg(long)]
    extcap_dlts: bool,
    /// Name the options of an interface
    #[arg(long)]
    extcap_config: bool,
    /// The interface that is meant
    #[arg(long, value_name = "INTERFACE")]
    extcap_interface: Option<String>,
    /// Who asks
    #[arg(long, value_name = "VERSION")]
    extcap_version: Option<String>,
    /// A filter; without --capture it is only checked
    #[arg(long, value_name = "FILTER")]
    extcap_capture_filter: Option<String>,
    /// Capture
    #[arg(long)]
    capture: bool,
    /// Where to
    #[arg(long, value_name = "FILE")]
    fifo: Option<PathBuf>,
    /// Where frames are looked at
    #[arg(long, value_name = "PLACES")]
    at: Option<String>,
    /// Only frames that are dropped for this reason
    #[arg(long)]
    reason: Option<String>,
}

impl ExtcapArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if self.extcap_interfaces {
            return Ok(output::print(&interfaces(client).await?)?);
        }
        let interface = self.extcap_interface.as_deref().and_then(|name| name.strip_prefix(PREFIX));
        let Some(on) = interface.map(str::to_owned) else {
            return Err(
                Usage(format!("say which interface is meant: --extcap-interface {PREFIX}all, for example")).into()
            );
        };
        if self.extcap_dlts {
            return Ok(output::print("dlt {number=1}{name=EN10MB}{display=Ethernet}\n")?);
        }
        if self.extcap_config {
            return Ok(output::print(CONFIG)?);
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let query = CaptureQuery {
            on: Some(on),
            filter: given(self.extcap_capture_filter),
            at: given(self.at),
            reason: given(self.reason),
            format: Some("pcapng".to_owned()),
            ..CaptureQuery::default()
        };
        if !self.capture {
            // What is said is what is wrong; nothing is a filter that will do.
            return match client.capture(&query).await {
                Ok(_) => Ok(()),
                Err(error) => Ok(output::print(&format!("{error}\n"))?),
            };
        }
        let Some(fifo) = self.fifo else {
            return Err(Usage("say where to write what is captured: --fifo FILE".to_owned()).into());
        };
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut stream = client.capture(&query).await?;
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(&fifo);
        let mut fifo = opened.with_context(|| format!("cannot write to {}", fifo.display()))?;
        loop {
            let bytes = tokio::select! {
                bytes = stream.next() => bytes?,
                _ = terminated.recv() => None,
                _ = interrupted.recv() => None,
            };
            let Some(bytes) = bytes else { return Ok(()) };
            match fifo.write_all(&bytes) {
                // Whoever read has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("cannot write what was captured")?,
            }
        }
    }
}

const CONFIG: &str = "\
arg {number=0}{call=--at}{display=Places}{type=string}{tooltip=up, drop, down; several with commas}{required=false}
arg {number=1}{call=--reason}{display=Drop reason}{type=string}{tooltip=Only what is dropped for it, as stats names it}{required=false}
";

/// All there is to look at: everything, networks, and what is on them. Without a daemon there is nothing, which is no failure: Wireshark
/// asks every time that it starts.
async fn interfaces(client: &Client) -> anyhow::Result<String> {
    let mut text = format!("extcap {{version={}}}{{display=vswitch}}\n", env!("CARGO_PKG_VERSION"));
    let Ok(endpoints) = client.endpoints().await else { return Ok(text) };
    text += &line("all", "all of vswitch");
    let mut networks: Vec<&str> = endpoints.iter().map(|one| one.network.as_str()).collect();
    networks.sort_unstable();
    networks.dedup();
    for network in networks {
        text += &line(network, &format!("network {network}"));
    }
    for one in endpoints.iter().filter(|one| one.port.is_some()) {
        text += &match one.container_id {
            Some(_) => line(&format!("{}@{}", one.name, one.network), &format!("{} on {}", one.name, one.network)),
            None => line(&one.name, &format!("{} on {}", one.name, one.network)),
        };
    }
    Ok(text)
}

fn line(on: &str, what: &str) -> String {
    format!("interface {{value={PREFIX}{on}}}{{display=vswitch: {what}}}\n")
}
