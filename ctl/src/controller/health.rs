//! Whether backends of services serve, found out from inside their own namespaces.
//!
//! The agent opens a socket there, and vswitchd connects it to the backend's own address: what is asked is the program, and
//! neither policies nor the load on the network say no in its place.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Controller;
use super::services::{Healths, concerned, each, watched};
use crate::blocking;
use crate::dns::Outlet;
use crate::ids::Id;
use crate::model::{Health, looked_at};

/// A look at one backend, at one of its addresses: a program may serve at one and not at the other.
struct Look {
    endpoint: Id,
    sandbox: String,
    target: SocketAddr,
    health: Health,
}

impl Controller {
    pub(super) fn healths(&self) -> MutexGuard<'_, Healths> {
        self.inner.healths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at every service's backends from now on.
    pub(super) fn watch_services(&self) {
        let ids: Vec<u64> = {
            let state = self.state();
            each(&state).map(|(_, one)| one.id).collect()
        };
        ids.into_iter().for_each(|id| self.watch_service(id));
    }

    /// Looks at a service's backends for as long as it is there and says how.
    pub(super) fn watch_service(&self, service: u64) {
        if !self.watched().insert(service) {
            return;
        }
        let controller = self.clone();
        blocking::spawn(async move {
            while let Some((interval, looks)) = controller.due(service) {
                controller.look(service, interval, looks).await;
                tokio::select! {
                    () = sleep(interval) => {}
                    () = controller.agent_closed() => break,
                }
            }
        });
    }

    /// What there is to look at now; nothing when nobody is to look at this service any more.
    fn due(&self, service: u64) -> Option<(Duration, Vec<Look>)> {
        let state = self.state();
        let found = each(&state).find(|(_, one)| one.id == service);
        let Some((on, record, health)) = found.and_then(|(on, one)| Some((on, one, one.health.clone()?))) else {
            // With the state held, so that a service that is to be looked at again finds nobody who does.
            self.watched().remove(&service);
            self.healths().retain(|(of, _, _), _| *of != service);
            return None;
        };
        let port = looked_at(&record.ports).ok();
        let backends = watched(&state, on, record);
        self.healths().retain(|(of, id, _), _| *of != service || backends.iter().any(|one| one.endpoint.id == *id));
        let looks = backends.iter().flat_map(|one| {
            let look = |address| {
                Some(Look {
                    endpoint: one.endpoint.id.clone(),
                    sandbox: one.endpoint.sandbox(),
                    target: SocketAddr::new(address, port?),
                    health: health.clone(),
                })
            };
            concerned(record, one).filter_map(look).collect::<Vec<_>>()
        });
        Some((Duration::from_millis(record.interval_ms), looks.collect()))
    }

    /// Looks at all backends at once, each for at most an interval, and takes note of what changed.
    async fn look(&self, service: u64, patience: Duration, looks: Vec<Look>) {
        let mut running = JoinSet::new();
        for look in looks {
            let outlet = Outlet::Sandbox { agent: self.inner.agent.clone(), sandbox: look.sandbox.clone() };
            running.spawn(async move {
                let serves = timeout(patience, serves(&outlet, look.target, &look.health)).await.unwrap_or(false);
                (look, serves)
            });
        }
        while let Some(done) = running.join_next().await {
            let Ok((look, serves)) = done else { continue };
            let before = self.healths().insert((service, look.endpoint.clone(), look.target.ip()), serves);
            if before == Some(serves) {
                continue;
            }
            tracing::info!(backend = %look.target, serves, "a backend's health changed");
            let state = self.state();
            self.refresh_router_anyway(&state);
            if !serves {
                // A client that goes on sending from its port would never find another backend.
                self.cut_off(&state, |_, one| one.id == service, &[look.target.ip()]);
            }
        }
    }
}

async fn serves(outlet: &Outlet, target: SocketAddr, health: &Health) -> bool {
    let Ok(mut stream) = outlet.stream(target).await else { return false };
    let Health::Http(path) = health else { return true };
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {target}\r\nUser-Agent: vswitch-health\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    // "HTTP/1.1 200" is all that matters.
    while answer.len() < STATUS_END {
        let mut bytes = [0; STATUS_END];
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
        }
    }
    is_good(&answer)
}

/// Where the status ends in an answer's first line.
const STATUS_END: usize = 12;

fn is_good(answer: &[u8]) -> bool {
    let status = std::str::from_utf8(&answer[..STATUS_END]).ok().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status.and_then(|rest| rest.get(2..)?.parse::<u16>().ok());
    status.is_some_and(|status| (200..400).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What counts is the status of the first line.
    #[test]
    fn answers() {
        for good in ["HTTP/1.1 200 OK", "HTTP/1.0 301 Moved", "HTTP/1.1 204 No Content"] {
            assert!(is_good(good.as_bytes()), "{good}");
        }
        for bad in ["HTTP/1.1 404 Not Found", "HTTP/1.1 500 Oh", "SSH-2.0-OpenSSH", "HTTP/1.1 abc"] {
            assert!(!is_good(bad.as_bytes()), "{bad}");
        }
    }
}
