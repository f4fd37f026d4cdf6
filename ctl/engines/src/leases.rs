//! Ports that were given back and are wanted again.

use std::time::Duration;

use vswitch_api::client::EngineLease;
use vswitch_api::engine::EnginePorts;
use vswitch_api::{Client, ClientError};

/// So often it is tried.
const ATTEMPTS: u32 = 40;

/// Leases ports whose last lease has just been dropped: vswitchd hears of its end a moment later. Between two attempts there is a pause.
///
/// # Errors
/// That of the last attempt, or that there is no such endpoint.
pub(crate) async fn lease_anew(
    client: &Client,
    wish: &EnginePorts,
    pause: Duration,
) -> Result<EngineLease, ClientError> {
    for _ in 0..ATTEMPTS {
        match client.lease_for_engine(wish).await {
            Err(error) if !error.is_not_found() => tokio::time::sleep(pause).await,
            done => return done,
        }
    }
    client.lease_for_engine(wish).await
}
