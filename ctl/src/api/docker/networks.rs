//! `/networks…`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::network::{Network, NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect, NetworksPruned};

use super::filters;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Body, Flag, Segments};
use crate::api::orders::ClientOrder;
use crate::controller::NetworkFilter;
use crate::model::{PARENT_OPTION, apply_settings, parse_endpoint, parse_network};

/// Docker's `filters` parameter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Filters {
    pub(super) filters: String,
}

/// Networks.
#[utoipa::path(get, path = "/networks",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = [Network]), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn list(State(app): State<App>, Asked(query): Asked<Filters>) -> Answer<Json<Vec<Network>>> {
    let filter = NetworkFilter::listing(filters::parse(&query.filters)?)?;
    Ok(Json(app.controller.list_networks(&filter)))
}

/// Query of an inspection.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Inspection {
    /// Swarm services, which there are none of.
    #[serde(rename = "verbose")]
    _verbose: Flag,
    scope: String,
}

/// One network.
#[utoipa::path(get, path = "/networks/{id}",
    params(("id" = String, Path), ("verbose" = Option<bool>, Query, description = "shows nothing more"),
        ("scope" = Option<String>, Query, description = "only a network of this scope")),
    responses((status = 200, body = Network), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn inspect(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Inspection>,
) -> Answer<Json<Network>> {
    let network = app.controller.inspect_network(&id)?;
    if !query.scope.is_empty() && query.scope != network.scope {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("network {id} not found")));
    }
    Ok(Json(network))
}

/// Makes a network.
#[utoipa::path(post, path = "/networks/create", request_body = NetworkCreate,
    responses((status = 201, body = NetworkCreated), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn create(
    State(app): State<App>,
    order: ClientOrder,
    Body(mut wire): Body<NetworkCreate>,
) -> Answer<(StatusCode, Json<NetworkCreated>)> {
    let names_parent = wire.options.contains_key(PARENT_OPTION);
    app.controller.defaults().complete(&mut wire);
    if !wire.config_from.network.is_empty() {
        let settings = app.controller.settings_of(&wire.config_from.network)?;
        wire = apply_settings(wire, &settings)?;
    }
    let spec = parse_network(wire)?;
    if names_parent {
        app.controller.allow_parent(order.number()?).await?;
    }
    let warning = spec.warning();
    let (id, further) = app.controller.create_network_on_lan(spec).await?;
    let warning = warning.into_iter().chain(further).collect::<Vec<_>>().join("\n");
    Ok((StatusCode::CREATED, Json(NetworkCreated { id: id.to_string(), warning })))
}

/// Removes a network.
#[utoipa::path(delete, path = "/networks/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn remove(State(app): State<App>, Segments(id): Segments<String>) -> Answer<StatusCode> {
    app.controller.remove_network(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes all custom networks that nobody uses.
#[utoipa::path(post, path = "/networks/prune",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = NetworksPruned), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn prune(
    State(app): State<App>,
    Asked(query): Asked<Filters>,
) -> Answer<Json<NetworksPruned>> {
    let filter = NetworkFilter::pruning(filters::parse(&query.filters)?)?;
    let networks_deleted = app.controller.prune_networks(|network| filter.matches_record(network)).await?;
    Ok(Json(NetworksPruned { networks_deleted }))
}

/// Connects a container.
#[utoipa::path(post, path = "/networks/{id}/connect", params(("id" = String, Path)), request_body = NetworkConnect,
    responses((status = 200), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn connect(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<NetworkConnect>,
) -> Answer<StatusCode> {
    let spec = parse_endpoint(&wire.endpoint_config.unwrap_or_default())?;
    app.controller.connect(&id, &wire.container, spec).await?;
    Ok(StatusCode::OK)
}

/// Disconnects a container.
#[utoipa::path(post, path = "/networks/{id}/disconnect", params(("id" = String, Path)),
    request_body = NetworkDisconnect, responses((status = 200), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn disconnect(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<NetworkDisconnect>,
) -> Answer<StatusCode> {
    app.controller.disconnect(&id, &wire.container).await?;
    Ok(StatusCode::OK)
}
