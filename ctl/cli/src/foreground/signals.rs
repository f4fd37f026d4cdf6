//! The signals that we pass on.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const PASSED_ON: [Signal; 7] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];

/// Signals as they come in.
#[derive(Debug)]
pub(crate) struct Signals {
    queue: mpsc::Receiver<Signal>,
}

impl Signals {
    /// From now on these signals do not end us.
    pub(crate) fn listen() -> io::Result<Self> {
        let (sender, queue) = mpsc::channel(16);
        for kind in PASSED_ON {
            let mut stream = signal(SignalKind::from_raw(kind.as_raw()))?;
            let sender = sender.clone();
            tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(kind).await.is_ok() {} });
        }
        Ok(Signals { queue })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.queue.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
