//! `/vswitch/v1/tunnels` and `/vswitch/v1/networks/{network}/tunnel…`.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::tunnel::{EntryAdd, RemoteAdd, Tunnel};
use vswitch_frame::MacAddr;

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Body, Segments};

/// The tunnels of all overlay networks.
#[utoipa::path(get, path = "/vswitch/v1/tunnels", responses((status = 200, body = [Tunnel])))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Tunnel>> {
    Json(app.controller.tunnels())
}

/// The tunnel of one overlay network.
#[utoipa::path(get, path = "/vswitch/v1/networks/{network}/tunnel", params(("network" = String, Path)),
    responses((status = 200, body = Tunnel), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(State(app): State<App>, Segments(network): Segments<String>) -> Answer<Json<Tunnel>> {
    Ok(Json(app.controller.tunnel(&network)?))
}

/// Adds a remote.
#[utoipa::path(post, path = "/vswitch/v1/networks/{network}/tunnel/remotes", params(("network" = String, Path)),
    request_body = RemoteAdd, responses((status = 201), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add_remote(
    State(app): State<App>,
    Segments(network): Segments<String>,
    Body(wire): Body<RemoteAdd>,
) -> Answer<StatusCode> {
    app.controller
        .add_remote(&network, address(&wire.address, "a remote is another host's VTEP, such as 192.0.2.2")?)?;
    Ok(StatusCode::CREATED)
}

/// Removes a remote.
#[utoipa::path(delete, path = "/vswitch/v1/networks/{network}/tunnel/remotes/{address}",
    params(("network" = String, Path), ("address" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove_remote(
    State(app): State<App>,
    Segments((network, text)): Segments<(String, String)>,
) -> Answer<StatusCode> {
    app.controller.remove_remote(&network, address(&text, "a remote is another host's VTEP, such as 192.0.2.2")?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds an entry, or adds to one.
#[utoipa::path(post, path = "/vswitch/v1/networks/{network}/tunnel/entries", params(("network" = String, Path)),
    request_body = EntryAdd, responses((status = 201), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add_entry(
    State(app): State<App>,
    Segments(network): Segments<String>,
    Body(wire): Body<EntryAdd>,
) -> Answer<StatusCode> {
    let mac = station(&wire.mac_address)?;
    let bound = wire.ip_address.as_deref().map(|text| address(text, "write a station's, such as 10.100.2.5"));
    let remote = address(&wire.remote, "a remote is another host's VTEP, such as 192.0.2.2")?;
    app.controller.add_entry(&network, mac, bound.transpose()?, remote)?;
    Ok(StatusCode::CREATED)
}

/// Removes an entry.
#[utoipa::path(delete, path = "/vswitch/v1/networks/{network}/tunnel/entries/{mac}",
    params(("network" = String, Path), ("mac" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove_entry(
    State(app): State<App>,
    Segments((network, mac)): Segments<(String, String)>,
) -> Answer<StatusCode> {
    app.controller.remove_entry(&network, station(&mac)?)?;
    Ok(StatusCode::NO_CONTENT)
}

fn address(text: &str, hint: &str) -> Answer<IpAddr> {
    text.parse().map_err(|_| Refusal::bad(format!("{text} is no IP address; {hint}")))
}

fn station(text: &str) -> Answer<MacAddr> {
    crate::ipam::parse_station(text).map_err(|fault| Refusal::bad(fault.to_string()))
}
