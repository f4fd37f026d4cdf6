//! Two hosts for the demo: network namespaces joined by a veth pair, each with a vswitchd that ends when the demo does.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use rustix::process::{Pid, Signal};

use super::become_program;
use super::parent::Parent;
use super::stage::{Netlink, wait};

/// Each host's interface on the underlay.
const INTERFACE: &str = "under0";
const PREFIX: u8 = 24;

/// A host's address on the underlay.
pub(crate) const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// The control socket of a host's vswitchd.
pub(crate) fn socket(directory: &Path, number: u8) -> PathBuf {
    directory.join(format!("host{number}.sock"))
}

/// Makes the second host, then becomes the first one's vswitchd.
pub(crate) async fn first(directory: &Path, program: &Path) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let second = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe()?)
        .args(["demo-worker", "second-host"])
        .args([directory, program])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("unshare cannot be started; install the package util-linux")?;
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let theirs = format!("/proc/{}/ns/net", second.id());
    wait("the second host's namespace", || Ok(std::fs::read_link(&theirs)? != own))?;
    let netlink = Netlink::open()?;
    let peer = LinkMessageBuilder::<LinkUnspec>::new().name(INTERFACE).setns_by_pid(second.id()).build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(INTERFACE, "").set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
    netlink.add(pair.build()).await.context("no veth pair can be made")?;
    join(&netlink, 1).await?;
    drop(netlink);
    become_program(&command(directory, program, 1))
}

/// Waits to be joined to the first host, then runs the second one's vswitchd until the first one's has ended.
pub(crate) async fn second(directory: &Path, program: &Path) -> anyhow::Result<()> {
    let parent = Parent::open()?;
    wait("the underlay", || Ok(std::fs::read_to_string("/proc/self/net/dev")?.contains(INTERFACE)))?;
    let netlink = Netlink::open()?;
    join(&netlink, 2).await?;
    drop(netlink);
    let mut daemon = Command::new(std::env::current_exe()?)
        .args(["demo-worker", "daemon", "--"])
        .args(command(directory, program, 2))
        .spawn()?;
    parent.ended()?;
    if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
        // It is our child and not waited for, so the id is still its own.
        rustix::process::kill_process(pid, Signal::TERM)?;
    }
    daemon.wait()?;
    Ok(())
}

async fn join(netlink: &Netlink, number: u8) -> anyhow::Result<()> {
    let index = rustix::net::netdevice::name_to_index(std::net::UdpSocket::bind("0.0.0.0:0")?, INTERFACE)?;
    netlink.address(index, address(number).into(), PREFIX).await?;
    netlink.up(index).await
}

fn command(directory: &Path, program: &Path, number: u8) -> Vec<OsString> {
    let state = directory.join(format!("state{number}"));
    let vtep = address(number).to_string();
    let socket = socket(directory, number);
    let words: [&std::ffi::OsStr; 10] = [
        program.as_os_str(),
        "--ephemeral".as_ref(),
        "--uplink".as_ref(),
        "none".as_ref(),
        "--vtep".as_ref(),
        vtep.as_ref(),
        "--socket".as_ref(),
        socket.as_ref(),
        "--state-dir".as_ref(),
        state.as_ref(),
    ];
    words.map(OsString::from).to_vec()
}
