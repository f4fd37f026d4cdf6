//! `inject`, `trace` and `expect`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use vswitch_api::Client;
use vswitch_api::frame::{ExpectQuery, Expected, FrameRequest, PacketSpec, SeenFrame, Story, TraceQuery};

use crate::failure::Usage;
use crate::output;
use crate::pcap;

const TRACE_EXAMPLES: &str = "\
Examples:
  vswitchctl trace web --udp 10.9.0.1:53 --dry-run        what would become of it; nothing is changed or sent
  vswitchctl trace web --tcp 192.0.2.7:443 --from 10.9.0.9:4000
  vswitchctl trace web --hex 'ffffffffffff 02420a090005 0806 ...'
  vswitchctl trace web --pcap file.pcapng --frame 3
  vswitchctl trace --live 'host 10.9.0.5 and tcp port 80' the steps of real frames, as they come

Without --dry-run the frame is really sent.";

const INJECT_EXAMPLES: &str = "\
Examples:
  vswitchctl inject web --udp 10.9.0.1:53 --data hello    as if web had sent it; all checks apply
  vswitchctl inject web --towards --icmp 10.9.0.5         towards web, from the gateway
  vswitchctl inject web --hex '...' --trace               with what it met";

const EXPECT_EXAMPLES: &str = "\
Examples:
  vswitchctl expect web udp dst port 53 --within 5s       until one comes out of the switch towards web
  vswitchctl expect web --count 0 arp                     none may come within a second
  vswitchctl expect all --at drop udp
It says 'armed' on standard error when the next frame counts. Exit status 0: it came; 1: it did not, and why.";

/// What a frame is.
#[derive(Debug, Args)]
struct FrameArgs {
    /// All bytes from the Ethernet header on, hexadecimal
    #[arg(long, value_name = "BYTES", group = "what", allow_hyphen_values = true)]
    hex: Option<String>,
    /// A frame of a pcap or pcapng file
    #[arg(long, value_name = "FILE", group = "what")]
    pcap: Option<PathBuf>,
    /// Which one, counted from one
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pcap")]
    frame: usize,
    /// A UDP datagram
    #[arg(long, value_name = "ADDRESS:PORT", group = "what")]
    udp: Option<String>,
    /// A TCP segment
    #[arg(long, value_name = "ADDRESS:PORT", group = "what")]
    tcp: Option<String>,
    /// An echo request
    #[arg(long, value_name = "ADDRESS", group = "what")]
    icmp: Option<String>,
    /// A question by ARP
    #[arg(long, value_name = "ADDRESS", group = "what")]
    arp: Option<String>,
    /// From this address [default: the endpoint's own, port 40000]
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    from: Option<String>,
    /// What it carries
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// Flags of TCP [default: syn]
    #[arg(long, value_name = "FLAG[,FLAG...]", requires = "tcp")]
    flags: Option<String>,
    /// Time to live [default: 64]
    #[arg(long)]
    ttl: Option<u8>,
    /// How long its way is followed [default: 2s]
    #[arg(long, value_name = "TIME")]
    within: Option<String>,
    /// Towards the endpoint, not as if it had sent it
    #[arg(long)]
    towards: bool,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub(crate) struct TraceArgs {
    /// CONTAINER, CONTAINER@NETWORK or an endpoint; with --live a network or all, too
    #[arg(value_name = "ENDPOINT", default_value = "all")]
    on: String,
    #[command(flatten)]
    frame: FrameArgs,
    /// Only say what would become of it: nothing is changed and nothing sent
    #[arg(long)]
    dry_run: bool,
    /// The steps of frames as they come, those that this filter selects
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["what", "dry_run"])]
    live: Option<String>,
    /// As JSON, one object a frame
    #[arg(long)]
    json: bool,
}

/// Arguments of `inject`.
#[derive(Debug, Args)]
#[command(after_help = INJECT_EXAMPLES)]
pub(crate) struct InjectArgs {
    /// CONTAINER, CONTAINER@NETWORK or an endpoint
    #[arg(value_name = "ENDPOINT")]
    on: String,
    #[command(flatten)]
    frame: FrameArgs,
    /// Say what it met, too
    #[arg(long)]
    trace: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `expect`.
#[derive(Debug, Args)]
#[command(after_help = EXPECT_EXAMPLES)]
pub(crate) struct ExpectArgs {
    /// A container, CONTAINER@NETWORK, an endpoint, a network, or all
    #[arg(value_name = "ENDPOINT|NETWORK|all")]
    on: String,
    /// Which frames, in tcpdump's language
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// For how long [default: 1s]
    #[arg(long, value_name = "TIME")]
    within: Option<String>,
    /// How many; 0: none may come [default: 1]
    #[arg(short, long)]
    count: Option<u64>,
    /// Where: up, drop, down; several with commas [default: down]
    #[arg(long, value_name = "PLACES")]
    at: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl FrameArgs {
    fn request(self, endpoint: String, dry_run: bool) -> anyhow::Result<FrameRequest> {
        let FrameArgs { hex, pcap, frame, udp, tcp, icmp, arp, from, data, flags, ttl, within, towards } = self;
        let kinds = [("udp", udp), ("tcp", tcp), ("icmp", icmp), ("arp", arp)];
        let kind = kinds.into_iter().find_map(|(kind, to)| Some((kind.to_owned(), to?)));
        let hex = match (hex, pcap) {
            (Some(hex), _) => Some(hex),
            (None, Some(path)) => Some(from_file(&path, frame)?),
            (None, None) => None,
        };
        let packet = kind.map(|(kind, to)| PacketSpec { kind, to, from, data, flags, ttl });
        if hex.is_none() && packet.is_none() {
            return Err(Usage("say what the frame is: --hex, --pcap, --udp, --tcp, --icmp or --arp".to_owned()).into());
        }
        Ok(FrameRequest { endpoint, towards, hex, packet, within, dry_run })
    }
}

fn from_file(path: &Path, number: usize) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let frame = pcap::frame(&bytes, number).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(frame.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl TraceArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let TraceArgs { on, frame, dry_run, live, json } = self;
        let Some(filter) = live else {
            let story = client.trace(&frame.request(on, dry_run)?).await?;
            return if json { output::json(&story) } else { Ok(output::print(&tree(&story, ""))?) };
        };
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let query = TraceQuery { on: Some(on), filter: Some(filter).filter(|filter| !filter.is_empty()) };
        let mut stream = client.trace_live(&query).await?;
        output::note("tracing; Ctrl-C ends it");
        let mut rest = Vec::new();
        loop {
            let bytes = tokio::select! {
                bytes = stream.next() => bytes?,
                _ = interrupted.recv() => None,
                _ = terminated.recv() => None,
            };
            let Some(bytes) = bytes else { return Ok(()) };
            rest.extend_from_slice(&bytes);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if json {
                    output::bytes(&line)?;
                } else {
                    let story: Story = serde_json::from_slice(&line).context("vswitchd said something else")?;
                    output::print(&tree(&story, ""))?;
                }
            }
        }
    }
}

impl InjectArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let InjectArgs { on, frame, trace, json } = self;
        let story = client.inject(&frame.request(on, false)?).await?;
        if json {
            return output::json(&story);
        }
        let text = if trace { tree(&story, "") } else { format!("#{} {}\n", story.number, fate(&story)) };
        Ok(output::print(&text)?)
    }
}

impl ExpectArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let ExpectArgs { on, filter, within, count, at, json } = self;
        let filter = Some(filter.join(" ")).filter(|filter| !filter.is_empty());
        let text = wanted(&on, filter.as_deref(), within.as_deref(), count, at.as_deref());
        let mut stream = client.expect(&ExpectQuery { on: Some(on), filter, at, within, count }).await?;
        output::note("armed");
        let mut bytes = Vec::new();
        while let Some(more) = stream.next().await? {
            bytes.extend_from_slice(&more);
        }
        let expected: Expected = serde_json::from_slice(&bytes).context("vswitchd ended before anything came")?;
        if json {
            output::json(&expected)?;
        } else if expected.met {
            expected.matched.iter().try_for_each(|frame| output::print(&format!("{}\n", seen(frame))))?;
        }
        if expected.met {
            return Ok(());
        }
        anyhow::bail!("{}", failure(&text, &expected).trim_end())
    }
}

fn wanted(on: &str, filter: Option<&str>, within: Option<&str>, count: Option<u64>, at: Option<&str>) -> String {
    let number = match count {
        None | Some(1) => String::new(),
        Some(0) => "none of ".to_owned(),
        Some(count) => format!("{count} of "),
    };
    let (at, filter, within) = (at.unwrap_or("down"), filter.unwrap_or("any frame"), within.unwrap_or("1s"));
    format!("expected at {on} ({at}): {number}{filter}, within {within}")
}

/// Why an expectation was not met.
fn failure(wanted: &str, expected: &Expected) -> String {
    let count = expected.count;
    let came = match (count, expected.others) {
        (0, 0) => "Nothing came at all.".to_owned(),
        (0, others) => format!("Nothing matched; {others} others came."),
        (count, _) => format!("{count} matched."),
    };
    let mut text = format!("{wanted}. {came}\n");
    for frame in &expected.matched {
        text += &format!("  matched: {}\n", seen(frame));
    }
    for frame in expected.nearest.iter().filter(|_| count == 0) {
        text += &format!("  nearest: {}   differs in: {}\n", seen(frame), frame.differs_in.join(", "));
    }
    for story in &expected.injected {
        text += &tree(story, "  ");
    }
    text + &format!("  seed {}\n", expected.seed)
}

fn seen(frame: &SeenFrame) -> String {
    let reason = frame.reason.as_ref().map_or_else(String::new, |reason| format!("  drop {reason}"));
    format!("#{} {}/{} {}{reason}", frame.number, frame.port, frame.place, frame.frame)
}

/// In one line.
fn fate(story: &Story) -> String {
    let ends: Vec<String> = story.ends.iter().map(end).collect();
    let verdict = story.steps.iter().rfind(|step| step.step == "verdict").map(|step| step.text.clone());
    let waits = if story.complete { "" } else { " (and waits)" };
    match (ends.is_empty(), verdict) {
        (false, _) => format!("{}{waits}", ends.join("; ")),
        (true, Some(verdict)) => format!("{verdict}{waits}"),
        (true, None) => "waits on its wire".to_owned(),
    }
}

fn end(end: &vswitch_api::frame::TraceEnd) -> String {
    match &end.reason {
        Some(reason) => format!("dropped at {}: {reason}", end.port),
        None => format!("out to {}: {}", end.port, end.frame),
    }
}

/// A story, a step a line.
pub(crate) fn tree(story: &Story, indent: &str) -> String {
    let head = match (story.dry_run, story.direction.as_str()) {
        (true, _) => format!("dry run at {}", story.port),
        (false, "down") => format!("#{} towards {}", story.number, story.port),
        (false, _) => format!("#{} from {}", story.number, story.port),
    };
    let mut text = format!("{indent}{head}\n");
    for step in &story.steps {
        text += &format!("{indent}  {:<12} {}\n", step.step, step.text);
    }
    for one in &story.ends {
        text += &format!("{indent}  {:<12} {}\n", one.place, end(one));
    }
    if !story.complete {
        text += &format!("{indent}  it is still on its way\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failed expectation says what was wanted, what was near, and what became of injected frames.
    #[test]
    fn failures() {
        let frame = SeenFrame {
            number: 43,
            place: "down".to_owned(),
            port: "web".to_owned(),
            frame: "udp 10.0.0.2:4000 > 10.0.0.3:5353, 60 bytes".to_owned(),
            differs_in: vec!["dst port 53".to_owned()],
            ..SeenFrame::default()
        };
        let step = vswitch_api::frame::TraceStep { step: "verdict".to_owned(), text: "dropped spoofed-ip".to_owned() };
        let story = Story {
            number: 41,
            port: "db".to_owned(),
            direction: "up".to_owned(),
            steps: vec![step],
            complete: true,
            ..Story::default()
        };
        let expected =
            Expected { nearest: vec![frame], injected: vec![story], others: 1, seed: 7, ..Expected::default() };
        let text = failure(&wanted("web", Some("udp dst port 53"), None, None, None), &expected);
        assert_eq!(
            text,
            "expected at web (down): udp dst port 53, within 1s. Nothing matched; 1 others came.\n\
             \x20 nearest: #43 web/down udp 10.0.0.2:4000 > 10.0.0.3:5353, 60 bytes   differs in: dst port 53\n\
             \x20 #41 from db\n\
             \x20   verdict      dropped spoofed-ip\n\
             \x20 seed 7\n"
        );
    }
}
