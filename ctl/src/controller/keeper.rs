//! The store, looked after while vswitchd runs.

use std::time::Duration;

use super::Controller;

/// How often what is owed to the store is tried again.
const EVERY: Duration = Duration::from_secs(1);

/// After how many tries a copy of the store is kept.
const COPY_EVERY: u32 = 3600;

impl Controller {
    /// Writes down what could not be written before, and keeps copies of a store that is sound, until the agent is gone.
    pub(super) async fn keep_store(self) {
        for turn in 1u32.. {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.agent_closed() => return,
            }
            let controller = self.clone();
            let look = move || {
                // The first failure was told to whoever asked, and written to the log.
                if let Err(error) = controller.inner.store.pay() {
                    tracing::debug!("{error}");
                }
                if turn.is_multiple_of(COPY_EVERY) {
                    controller.inner.store.keep_copy();
                }
            };
            if tokio::task::spawn_blocking(look).await.is_err() {
                return;
            }
        }
    }

    /// The last chance of what is owed.
    pub(super) fn close_store(&self) {
        if let Err(error) = self.inner.store.pay() {
            tracing::error!("not everything that happened could be written down: {error}");
        }
    }
}
