//! The network thread: the one thread that makes namespaces and interfaces.
//!
//! It lives in the namespace of the switch-side ends and visits a sandbox's for single calls only. A netlink socket
//! stays in the namespace in which it was opened, so that nothing waits inside a visit. One request at a time: the
//! kernel has one lock for all of this anyway, and so no state here needs one.

mod interface;
mod namespace;
mod sockets;
mod table;

use std::{io, os::fd::OwnedFd, thread};

use tokio::sync::{mpsc, oneshot};

pub(crate) use interface::Netlink;
use interface::Removed;
pub(crate) use namespace::{
    check as check_netns, enter, failure as namespace_failure, open as open_netns, refuse_the_hosts,
};
use table::Table;

use super::protocol::{Failure, Reply, Request};

/// An answer to vswitchd: a reply and the descriptors beside it.
pub(crate) type Answer = Result<(Reply, Vec<OwnedFd>), Failure>;

/// A handle on the network thread.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    jobs: mpsc::UnboundedSender<Job>,
}

/// What exists.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Ids of sandboxes whose namespace exists.
    pub(crate) sandboxes: Vec<String>,
    /// Ids of endpoints whose interface exists.
    pub(crate) endpoints: Vec<String>,
}

/// What the thread is asked.
#[derive(Debug)]
enum Job {
    Request(Box<Request>, oneshot::Sender<Answer>),
    Create(String, Option<OwnedFd>, oneshot::Sender<Answer>),
    Given(String, OwnedFd, oneshot::Sender<Answer>),
    Netns(String, oneshot::Sender<Result<OwnedFd, Failure>>),
    Adopt(String, OwnedFd, oneshot::Sender<Result<(), Failure>>),
    Survey(oneshot::Sender<Survey>),
    Clear(oneshot::Sender<Result<(), Failure>>),
}

impl Network {
    /// Starts the thread. Ids of endpoints whose interface vanished go to `lost`.
    pub(crate) fn start(lost: mpsc::UnboundedSender<String>) -> io::Result<Network> {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        thread::Builder::new().name("network".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            runtime.block_on(async {
                // The table moves the thread into the namespace that is watched.
                match Table::new().and_then(|table| Ok((table, Removed::watch()?))) {
                    Ok((table, removed)) => {
                        let _ = ready.send(Ok(()));
                        run(table, removed, receiver, lost).await;
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            });
        })?;
        started.recv().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::BrokenPipe)))?;
        Ok(Network { jobs })
    }

    /// Does a request about sandboxes and endpoints.
    pub(crate) async fn request(&self, request: Request) -> Answer {
        self.ask(|answer| Job::Request(Box::new(request), answer)).await?
    }

    /// Makes a sandbox, of this network namespace or of a new one.
    pub(crate) async fn create(&self, sandbox: String, netns: Option<OwnedFd>) -> Answer {
        self.ask(|answer| Job::Create(sandbox, netns, answer)).await?
    }

    /// Knows the namespace of a descriptor as a sandbox.
    pub(crate) async fn attach_given(&self, sandbox: &str, descriptor: OwnedFd) -> Answer {
        self.ask(|answer| Job::Given(sandbox.to_owned(), descriptor, answer)).await?
    }

    /// The network namespace of a sandbox.
    pub(crate) async fn netns(&self, sandbox: &str) -> Result<OwnedFd, Failure> {
        self.ask(|answer| Job::Netns(sandbox.to_owned(), answer)).await?
    }

    /// Knows the namespace of a container that survived its agent as its sandbox again, without interfaces.
    pub(crate) async fn adopt(&self, sandbox: &str, netns: OwnedFd) -> Result<(), Failure> {
        self.ask(|answer| Job::Adopt(sandbox.to_owned(), netns, answer)).await?
    }

    /// What exists now.
    pub(crate) async fn survey(&self) -> Survey {
        self.ask(Job::Survey).await.unwrap_or_default()
    }

    /// Removes everything.
    pub(crate) async fn clear(&self) -> Result<(), Failure> {
        self.ask(Job::Clear).await?
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Failure> {
        let ended = || Failure::other("the agent's network thread ended; restart vswitchd");
        let (sender, answer) = oneshot::channel();
        self.jobs.send(job(sender)).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

async fn run(
    mut table: Table,
    mut removed: Removed,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    lost: mpsc::UnboundedSender<String>,
) {
    let mut looks = tokio::time::interval(namespace::LOOK_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick() => table.look_at_held(),
            job = jobs.recv() => match job {
                // An asker that went away needs no answer.
                Some(Job::Request(request, answer)) => drop(answer.send(table.request(*request).await)),
                Some(Job::Create(sandbox, netns, answer)) => drop(answer.send(table.create(sandbox, netns).await)),
                Some(Job::Given(sandbox, netns, answer)) => drop(answer.send(table.attach_given(sandbox, netns).await)),
                Some(Job::Netns(sandbox, answer)) => drop(answer.send(table.netns(&sandbox))),
                Some(Job::Adopt(sandbox, netns, answer)) => drop(answer.send(table.adopt(sandbox, netns).await)),
                Some(Job::Survey(answer)) => drop(answer.send(table.survey().await)),
                Some(Job::Clear(answer)) => drop(answer.send(table.clear().await)),
                None => return,
            },
            index = removed.next() => {
                let ids = match index {
                    Some(index) => table.lost(index).into_iter().collect(),
                    None => {
                        match Removed::watch() {
                            Ok(again) => removed = again,
                            Err(error) => {
                                tracing::error!("cannot watch the interfaces any more: {error}");
                                removed = Removed::never();
                            }
                        }
                        table.lost_unnoticed().await
                    }
                };
                for id in ids {
                    let _ = lost.send(id);
                }
            }
        }
    }
}
