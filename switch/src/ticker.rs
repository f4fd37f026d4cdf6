//! The thread that does what is due: aged FDB entries, flows and fragments that outlived their time, questions for
//! neighbours, path MTUs of the underlay. It also takes up what a worker never can: time passing while no frame comes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::datapath::Datapath;
use crate::router::Chores;
use crate::supervise::OnEnd;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    /// Wakes it; when it is dropped the thread ends.
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

/// Between two looks while the router has something pending.
const BUSY: Duration = Duration::from_millis(100);
/// Between two looks otherwise. A first question for a neighbour is repeated no later than this.
const IDLE: Duration = Duration::from_secs(1);

impl Ticker {
    pub(crate) fn start(datapath: Arc<Datapath>, on_end: &OnEnd) -> std::io::Result<Ticker> {
        let (wake, woken) = bounded::<()>(1);
        let ageing = Duration::from_secs((datapath.settings.fdb_ageing_seconds / 10).clamp(1, 60));
        let tick = move || {
            let mut chores = Chores::new(&datapath);
            let mut swept = datapath.clock().now();
            let mut second = swept.as_secs();
            let mut pause = IDLE;
            while woken.recv_timeout(pause) != Err(RecvTimeoutError::Disconnected) {
                let now = datapath.clock().now();
                if now.since(swept) >= ageing {
                    swept = now;
                    datapath.fdb.sweep(now);
                }
                if now.as_secs() != second {
                    second = now.as_secs();
                    crate::overlay::tick(&datapath.snapshot(), now);
                }
                pause = if chores.run(&datapath, now) { BUSY } else { IDLE };
            }
            Ok(())
        };
        let thread = on_end.spawn("ticker", tick)?;
        Ok(Ticker { wake, thread })
    }

    /// There is something to do at once.
    pub(crate) fn wake(&self) {
        // Full: it is about to look.
        let _ = self.wake.try_send(());
    }

    pub(crate) fn stop(self) {
        drop(self.wake);
        // How it ended was told by itself.
        let _ = self.thread.join();
    }
}
