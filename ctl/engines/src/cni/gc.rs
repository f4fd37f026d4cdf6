//! GC and STATUS: what concerns a network as a whole.

use std::collections::BTreeSet;

use vswitch_api::engine::EngineKey;

use super::error::{self, CniError, Code};
use super::{Call, ENGINE, ipam};
use crate::complain;

/// Takes away every attachment to the network that the runtime does not know.
pub(super) async fn gc(call: &Call<'_>) -> Result<(), CniError> {
    let valid = call.config.valid_attachments()?;
    let client = call.client().map_err(|error| error::of_client(&error))?;
    let endpoints = client.endpoints().await.map_err(|error| error::of_client(&error))?;
    let network = call.config.network_key();
    let of_network = endpoints.iter().filter(|one| one.network_id == network || one.network == network);
    let keys: BTreeSet<EngineKey> = of_network.filter_map(|one| one.engine.clone()).collect();
    let stale = keys.iter().filter(|key| {
        key.engine == ENGINE
            && !valid.iter().any(|(container, interface)| *container == key.container && *interface == key.interface)
    });
    let mut failure = None;
    for key in stale {
        match client.detach_for_engine(key).await {
            Ok(()) => complain(&format!(
                "interface {} of container {}, which is no more, was taken away",
                key.interface, key.container
            )),
            Err(error) if error.is_not_found() => {}
            // The others are to go nevertheless.
            Err(error) => failure = Some(error::of_client(&error)),
        }
    }
    let delegated = match &call.config.ipam {
        Some(plugin) => ipam::call(plugin, call, "GC").map(|_| ()),
        None => Ok(()),
    };
    failure.map_or(Ok(()), Err).and(delegated)
}

/// Whether an ADD would work.
pub(super) async fn status(call: &Call<'_>) -> Result<(), CniError> {
    let unavailable = |sentence: String| CniError::new(Code::Unavailable, sentence);
    let client = call.client().map_err(|error| unavailable(error.to_string()))?;
    let endpoints = client.endpoints().await.map_err(|error| unavailable(error.to_string()))?;
    if let Some(joined) = &call.config.joins {
        client.network(joined).await.map_err(|error| unavailable(error.to_string()))?;
    }
    let network = call.config.network_key();
    let on = endpoints.iter().filter(|one| one.network_id == network || one.network == network).count();
    if let Some(room) = call.config.room()
        && u128::try_from(on).is_ok_and(|on| on >= room)
    {
        return Err(unavailable(format!(
            "network {} has {on} interfaces and no room for more; take containers away, or give it a larger subnet",
            call.config.name
        )));
    }
    match &call.config.ipam {
        Some(plugin) => ipam::call(plugin, call, "STATUS").map(|_| ()),
        None => Ok(()),
    }
}
