//! Processes of an earlier agent. The kernel tells of their end to their parent only, which this agent is not; so their
//! descriptors are watched, all of them (there may be thousands) by one thread.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
};
use tokio::sync::Notify;

/// Those that are watched. They are so for good.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    epoll: Mutex<Option<Arc<OwnedFd>>>,
}

impl Orphans {
    /// Notifies `ended` once the process has ended.
    pub(crate) fn watch(&self, process: &OwnedFd, ended: &Arc<Notify>) -> io::Result<()> {
        let mut epoll = self.epoll.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = match &*epoll {
            Some(watched) => Arc::clone(watched),
            None => Arc::clone(epoll.insert(start(Arc::clone(ended))?)),
        };
        // Told once: it stays readable from then on.
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        Ok(epoll::add(&*watched, process, EventData::new_u64(0), flags)?)
    }
}

fn start(ended: Arc<Notify>) -> io::Result<Arc<OwnedFd>> {
    let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
    let watched = Arc::clone(&epoll);
    thread::Builder::new().name("orphans".to_owned()).spawn(move || {
        let mut events = Vec::with_capacity(AT_A_TIME);
        loop {
            events.clear();
            match epoll::wait(&*watched, spare_capacity(&mut events), None) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => ended.notify_one(),
                Err(error) => return tracing::error!("ends of processes will not be noticed: {error}"),
            }
        }
    })?;
    Ok(epoll)
}

/// Ends that are told together.
const AT_A_TIME: usize = 256;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::agent::pidfd;

    /// Every end is told, of processes that had ended before, too.
    #[tokio::test]
    async fn ends_are_told() {
        let (orphans, ended) = (Orphans::default(), Arc::<Notify>::default());
        for lives in [true, false] {
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            let process = pidfd::open(child.id()).unwrap();
            if lives {
                orphans.watch(&process, &ended).unwrap();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            if !lives {
                orphans.watch(&process, &ended).unwrap();
            }
            tokio::time::timeout(std::time::Duration::from_secs(20), ended.notified()).await.unwrap();
        }
    }
}
