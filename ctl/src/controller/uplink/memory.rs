//! Memory of flows that have ended goes back to the kernel.

use std::time::Duration;

use super::UplinkState;
use crate::controller::Controller;

/// How many flows there were, as far as somebody looked.
#[derive(Debug, Default)]
struct Tide {
    most: u64,
    last: u64,
}

impl Tide {
    /// Takes a look: flows now, and the most that there were since the last look. Whether so many have ended that their memory is
    /// worth the work, and no more of them do just now.
    fn has_ebbed(&mut self, flows: u64, most: u64) -> bool {
        self.most = self.most.max(flows).max(most);
        let goes_on = flows < std::mem::replace(&mut self.last, flows);
        if goes_on || self.most - flows <= WORTH_TIDYING.max(flows / 4) {
            return false;
        }
        self.most = flows;
        true
    }
}

impl Controller {
    /// Gives memory back when many flows have ended, those of sockets and those that the router remembers for longer.
    pub(super) async fn keep_memory(&self) {
        let mut tide = Tide::default();
        loop {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            let tracked = self.inner.switch.flow_count();
            let (flows, most) = match &self.inner.uplink {
                Some(UplinkState::Sockets(sockets)) => sockets.flows(),
                _ => (0, 0),
            };
            if !tide.has_ebbed(tracked + flows, most) {
                continue;
            }
            if let Some(UplinkState::Sockets(sockets)) = &self.inner.uplink {
                sockets.shrink();
            }
            if let Err(error) = tokio::task::spawn_blocking(vswitch_switch::sys::memory::give_back).await {
                tracing::warn!(%error, "memory was not given back");
            }
        }
    }
}

/// Between two looks at how many flows there are, and how many must have ended for their memory to be worth the work.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
const WORTH_TIDYING: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Once for each ebb, when it is over, whether it was seen coming or came and went between two looks; not for the few that always
    /// come and go.
    #[test]
    fn tides() {
        let mut tide = Tide::default();
        let mut look = |flows, most| tide.has_ebbed(flows, most);
        assert_eq!(
            [look(10, 0), look(1000, 0), look(600, 0), look(100, 0), look(100, 0)],
            [false, false, false, false, true]
        );
        assert_eq!([look(100, 0), look(101, 0), look(50, 0), look(50, 0)], [false; 4]);
        assert_eq!([look(50, 5000), look(50, 0)], [true, false]);
        assert_eq!([look(1000, 0), look(800, 0), look(800, 0)], [false; 3]);
    }
}
