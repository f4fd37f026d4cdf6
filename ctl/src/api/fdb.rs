//! `/vswitch/v1/networks/{network}/fdb…`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::fdb::{FdbAdd, FdbEntry, FdbRemoved, GroupEntry};
use vswitch_api::topology::LldpNeighbour;
use vswitch_frame::MacAddr;

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Body, Segments};

/// The entries of a network.
#[utoipa::path(get, path = "/vswitch/v1/networks/{network}/fdb", params(("network" = String, Path)),
    responses((status = 200, body = [FdbEntry]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(State(app): State<App>, Segments(network): Segments<String>) -> Answer<Json<Vec<FdbEntry>>> {
    Ok(Json(app.controller.fdb(&network)?))
}

/// Who asked for which group of a network that snoops.
#[utoipa::path(get, path = "/vswitch/v1/networks/{network}/mdb", params(("network" = String, Path)),
    responses((status = 200, body = [GroupEntry]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn groups(
    State(app): State<App>,
    Segments(network): Segments<String>,
) -> Answer<Json<Vec<GroupEntry>>> {
    Ok(Json(app.controller.mdb(&network)?))
}

/// Who announces itself by LLDP.
#[utoipa::path(get, path = "/vswitch/v1/lldp", responses((status = 200, body = [LldpNeighbour])))]
pub(super) async fn lldp(State(app): State<App>) -> Json<Vec<LldpNeighbour>> {
    Json(app.controller.lldp())
}

/// Adds a static entry.
#[utoipa::path(post, path = "/vswitch/v1/networks/{network}/fdb", params(("network" = String, Path)),
    request_body = FdbAdd, responses((status = 201), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add(
    State(app): State<App>,
    Segments(network): Segments<String>,
    Body(wire): Body<FdbAdd>,
) -> Answer<StatusCode> {
    app.controller.fdb_add(&network, parse(&wire.mac_address)?, &wire.endpoint)?;
    Ok(StatusCode::CREATED)
}

/// Removes all learned entries.
#[utoipa::path(delete, path = "/vswitch/v1/networks/{network}/fdb", params(("network" = String, Path)),
    responses((status = 200, body = FdbRemoved), (status = "4XX", body = ErrorBody)))]
pub(super) async fn flush(State(app): State<App>, Segments(network): Segments<String>) -> Answer<Json<FdbRemoved>> {
    Ok(Json(app.controller.fdb_flush(&network)?))
}

/// Removes one entry.
#[utoipa::path(delete, path = "/vswitch/v1/networks/{network}/fdb/{mac}",
    params(("network" = String, Path), ("mac" = String, Path)),
    responses((status = 200, body = FdbRemoved), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    Segments((network, mac)): Segments<(String, String)>,
) -> Answer<Json<FdbRemoved>> {
    Ok(Json(app.controller.fdb_remove(&network, parse(&mac)?)?))
}

fn parse(text: &str) -> Answer<MacAddr> {
    crate::ipam::parse_station(text).map_err(|fault| Refusal::bad(fault.to_string()))
}
