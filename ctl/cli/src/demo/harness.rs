//! `demo --harness`: see a frame, lose one, and be told what another one met.

use std::time::Duration;

use anyhow::{Context, ensure};
use vswitch_api::Client;
use vswitch_api::capture::CaptureQuery;
use vswitch_api::frame::{FrameRequest, PacketSpec};
use vswitch_api::wire::WireChange;

use super::container::Container;
use super::daemon::Daemon;
use super::picture;
use super::worker::Pings;
use super::{NETWORK, Tour};
use crate::commands::{frames, wires};

/// For what has been seen to be told.
const PATIENCE: Duration = Duration::from_secs(5);
const SEED: u64 = 7;

impl Tour<'_> {
    /// As [`Tour::go`], for those who test programs.
    pub(super) async fn harness(&mut self, daemon: &mut Daemon) -> anyhow::Result<()> {
        self.begin("starting vswitchd")?;
        daemon.ready().await?;
        let client = daemon.client();
        self.done("vswitchd", "serves a private socket", "")?;
        self.network(&client).await?;
        let (right, left) = self.containers(&client, false).await?;
        let own = left.endpoint().await?.ipv4_address.context("left has no IPv4 address")?;
        let to = right.endpoint().await?.ipv4_address.context("right has no IPv4 address")?;
        let (own, to) = (picture::bare(&own).to_owned(), picture::bare(&to).to_owned());
        self.capture(&client, &left, &to).await?;
        self.lose(&client, &left, &to).await?;
        self.trace(&client, &own, &to).await?;
        self.begin("removing the containers and the network")?;
        left.remove().await?;
        right.remove().await?;
        client.remove_network(NETWORK).await?;
        self.done("removed", "both containers and the network", "")
    }

    async fn capture(&mut self, client: &Client, left: &Container, to: &str) -> anyhow::Result<()> {
        self.begin("capturing at right while left pings it")?;
        let query = CaptureQuery {
            on: Some("right".to_owned()),
            filter: Some("icmp".to_owned()),
            count: Some(2),
            format: Some("text".to_owned()),
            ..CaptureQuery::default()
        };
        let mut stream = client.capture(&query).await?;
        let pings: Pings = left.measure(&["ping", to, "--count", "1"]).await?;
        ensure!(pings.answered == 1, "{to} did not answer");
        let mut text = Vec::new();
        while let Some(bytes) =
            tokio::time::timeout(PATIENCE, stream.next()).await.context("nothing was captured")??
        {
            text.extend_from_slice(&bytes);
        }
        self.done("capture", "vswitchctl capture right icmp", "")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure!(text.lines().count() == 2, "other frames were captured:\n{text}");
        Ok(self.progress.blocks(&[("Question and answer, as they cross the switch", text)])?)
    }

    async fn lose(&mut self, client: &Client, left: &Container, to: &str) -> anyhow::Result<()> {
        self.begin("losing the second packet to right")?;
        client.set_lab_seed(SEED).await?;
        let words = ["delay", "20ms", "drop", "2", "of", "icmp"].map(str::to_owned).to_vec();
        let change = WireChange {
            endpoints: vec!["right".to_owned()],
            direction: Some("down".to_owned()),
            words,
            ..WireChange::default()
        };
        client.change_wires(&change).await?;
        let pings: Pings = left.measure(&["ping", to, "--count", "3"]).await?;
        ensure!(pings.answered == 2, "{} of {} were answered", pings.answered, pings.sent);
        self.done("loss", "vswitchctl impair right down delay 20ms drop 2 of icmp: 2 of 3 pings answered", "")?;
        let lossy = client.wires().await?;
        Ok(self.progress.blocks(&[("What the wires did (vswitchctl impair ls)", wires::render(&lossy))])?)
    }

    async fn trace(&mut self, client: &Client, own: &str, to: &str) -> anyhow::Result<()> {
        self.begin("asking what a frame meets")?;
        let frame = |from: Option<String>, dry_run| FrameRequest {
            endpoint: "left".to_owned(),
            packet: Some(PacketSpec { kind: "udp".to_owned(), to: format!("{to}:53"), from, ..PacketSpec::default() }),
            dry_run,
            ..FrameRequest::default()
        };
        let real = client.trace(&frame(None, false)).await?;
        let forged = client.trace(&frame(Some("192.0.2.66:4000".to_owned()), true)).await?;
        ensure!(real.ends.iter().any(|end| end.port == "right"), "the packet of {own} did not reach right");
        self.done("trace", "vswitchctl trace left --udp RIGHT:53, and with --from 192.0.2.66 --dry-run", "")?;
        let blocks = [
            ("A packet that is really sent", frames::tree(&real, "")),
            ("A forged one, not sent", frames::tree(&forged, "")),
        ];
        Ok(self.progress.blocks(&blocks)?)
    }
}
