//! Helpers that container engines start for their networks, in the place of their own ones.
//!
//! Each is a short-lived translator: it reads what its engine says, in the engine's own form, asks vswitchd for it over
//! the control socket ([`vswitch_api::engine`]), and answers in the engine's form. What vswitch does not serve, and
//! everything while there is no vswitchd, is handed on to the engine's own helper ([`original`]).
//!
//! - [`podman::netavark`]: networks of containers;
//! - [`podman::plugin`]: the same as a network driver of netavark's, by the name `vswitch`;
//! - [`podman::rootlessport`]: published ports of an ordinary user's containers;
//! - [`docker`]: dockerd's networks of the driver `vswitch`, the one that stays: dockerd asks it over a socket;
//! - [`podman::way_out`]: starts vswitchd for an ordinary user's podman, and is `slirp4netns` or `pasta` for its containers;
//! - [`slirp4netns`] and [`pasta`]: the way out of one network namespace, of whoever starts these programs;
//! - [`cni`]: the plug-in of whoever speaks the Container Network Interface.

pub mod cni;
pub mod daemon;
mod descriptors;
pub mod docker;
mod getopt;
mod island;
mod leases;
mod namespace;
pub mod original;
pub mod pasta;
pub mod podman;
pub mod slirp4netns;

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Runs the helper that is called `name`.
#[must_use]
pub fn run(name: &str) -> ExitCode {
    match name {
        "netavark" => podman::netavark::main(),
        "rootlessport" => podman::rootlessport::main(),
        "vswitch-docker" => docker::main(),
        "podman-slirp4netns" => podman::way_out::main("slirp4netns"),
        pasta::NAME if podman::way_out::is_called() => podman::way_out::main(pasta::NAME),
        pasta::NAME => pasta::main(),
        pasta::IN_BACKGROUND => pasta::main_in_background(),
        pasta::RELAY => pasta::main_of_relay(),
        pasta::OUTER => pasta::command::outer(),
        pasta::INNER => pasta::command::inner(),
        slirp4netns::NAME => slirp4netns::main(),
        "vswitch" if cni::is_called() => cni::main(),
        "vswitch" => podman::plugin::main(),
        _ => {
            complain(&format!(
                "{name} is no helper of a container engine; 'vswitchctl engine podman install', 'vswitchctl \
                 engine docker install' and 'vswitchctl cni install' give this program the names that it is called by"
            ));
            ExitCode::from(2)
        }
    }
}

/// The signals of kill(1), of a terminal's end and of a terminal's keys.
pub(crate) const ENDING: [SignalKind; 3] = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];

/// Ends when this process is told to by one of these.
pub(crate) fn ended_by(kinds: &[SignalKind]) -> io::Result<impl Future<Output = ()> + use<>> {
    let (sender, mut told) = mpsc::channel(1);
    for &kind in kinds {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            signal.recv().await;
            let _ = sender.send(()).await;
        });
    }
    Ok(async move {
        told.recv().await;
    })
}

/// A line on the user's terminal, which is where an engine's helper has its standard error.
#[allow(clippy::print_stderr, reason = "this is the helper's one way to tell its user something")]
pub(crate) fn complain(sentence: &str) {
    eprintln!("vswitch: {sentence}");
}
