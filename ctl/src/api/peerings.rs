//! `/vswitch/v1/networks/{network}/peerings…`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::network::{NetworkChange, NetworkPeer, NetworkPeering};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Body, Segments};

/// The networks that a network is joined with.
#[utoipa::path(get, path = "/vswitch/v1/networks/{network}/peerings", params(("network" = String, Path)),
    responses((status = 200, body = [NetworkPeering]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(
    State(app): State<App>,
    Segments(network): Segments<String>,
) -> Answer<Json<Vec<NetworkPeering>>> {
    Ok(Json(app.controller.peerings(&network)?))
}

/// Changes options of a network, at once.
#[utoipa::path(patch, path = "/vswitch/v1/networks/{network}", params(("network" = String, Path)), request_body = NetworkChange,
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn change(
    State(app): State<App>,
    Segments(network): Segments<String>,
    Body(wire): Body<NetworkChange>,
) -> Answer<StatusCode> {
    app.controller.change_network(&network, &wire.options)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Joins two networks, or says anew what may pass between them.
#[utoipa::path(put, path = "/vswitch/v1/networks/{network}/peerings/{other}",
    params(("network" = String, Path), ("other" = String, Path)), request_body = NetworkPeer,
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn join(
    State(app): State<App>,
    Segments((network, other)): Segments<(String, String)>,
    Body(wire): Body<NetworkPeer>,
) -> Answer<StatusCode> {
    let allow = crate::model::parse_traffic(&wire.allow).map_err(|faults| Refusal::bad(faults.to_string()))?;
    app.controller.peer_networks(&network, &other, allow)?;
    app.controller.reroute_members([&network, &other]).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Parts two networks.
#[utoipa::path(delete, path = "/vswitch/v1/networks/{network}/peerings/{other}",
    params(("network" = String, Path), ("other" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn part(
    State(app): State<App>,
    Segments((network, other)): Segments<(String, String)>,
) -> Answer<StatusCode> {
    app.controller.unpeer_networks(&network, &other)?;
    app.controller.reroute_members([&network, &other]).await;
    Ok(StatusCode::NO_CONTENT)
}
