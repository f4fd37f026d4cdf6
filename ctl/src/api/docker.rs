//! The networks of the Docker Engine API 1.47.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use vswitch_api::network::{Network, NetworkConnect, NetworkCreate, NetworkCreated, NetworkDisconnect, NetworksPruned};
use vswitch_api::{DOCKER_API_VERSION, ErrorBody};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Asked, Body, Segments};
use crate::controller::NetworkFilter;
use crate::model::{parse_endpoint, parse_network};

/// Docker's clients ask this first (HEAD, too) to agree on a version.
#[utoipa::path(get, path = "/_ping", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn ping() -> impl IntoResponse {
    let headers = [
        (HeaderName::from_static("api-version"), DOCKER_API_VERSION),
        (HeaderName::from_static("docker-experimental"), "false"),
        (HeaderName::from_static("ostype"), "linux"),
        (HeaderName::from_static("cache-control"), "no-cache, no-store, must-revalidate"),
    ];
    (headers, "OK")
}

/// Oldest Docker API version whose network shapes are the same as far as vswitch speaks them.
const MIN_API_VERSION: &str = "1.24";

/// The daemon in Docker's shape.
#[utoipa::path(get, path = "/version", responses((status = 200, description = "Docker's shape")))]
pub(super) async fn version() -> Json<Value> {
    let uname = rustix::system::uname();
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({
        "Platform": {"Name": "vswitch"},
        "Components": [{"Name": "vswitchd", "Version": version, "Details": {"ApiVersion": DOCKER_API_VERSION}}],
        "Version": version,
        "ApiVersion": DOCKER_API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
        "Arch": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "KernelVersion": uname.release().to_string_lossy(),
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
    }))
}

/// Docker's `filters` parameter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    filters: String,
}

/// Networks.
#[utoipa::path(get, path = "/networks",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = [Network]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(app): State<App>, Asked(query): Asked<Filters>) -> Answer<Json<Vec<Network>>> {
    let filter = NetworkFilter::listing(parse_filters(&query.filters)?)?;
    Ok(Json(app.controller.list_networks(&filter)))
}

/// One network.
#[utoipa::path(get, path = "/networks/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Network), (status = "4XX", body = ErrorBody)))]
pub(super) async fn inspect(State(app): State<App>, Segments(id): Segments<String>) -> Answer<Json<Network>> {
    Ok(Json(app.controller.inspect_network(&id)?))
}

/// Makes a network.
#[utoipa::path(post, path = "/networks/create", request_body = NetworkCreate,
    responses((status = 201, body = NetworkCreated), (status = "4XX", body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Body(wire): Body<NetworkCreate>,
) -> Answer<(StatusCode, Json<NetworkCreated>)> {
    let id = app.controller.create_network(parse_network(wire)?)?.to_string();
    Ok((StatusCode::CREATED, Json(NetworkCreated { id, warning: String::new() })))
}

/// Removes a network.
#[utoipa::path(delete, path = "/networks/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(State(app): State<App>, Segments(id): Segments<String>) -> Answer<StatusCode> {
    app.controller.remove_network(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes all custom networks that nobody uses.
#[utoipa::path(post, path = "/networks/prune",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = NetworksPruned), (status = "4XX", body = ErrorBody)))]
pub(super) async fn prune(State(app): State<App>, Asked(query): Asked<Filters>) -> Answer<Json<NetworksPruned>> {
    let filter = NetworkFilter::pruning(parse_filters(&query.filters)?)?;
    let networks_deleted = app.controller.prune_networks(|network| filter.matches_record(network))?;
    Ok(Json(NetworksPruned { networks_deleted }))
}

/// Connects a container.
#[utoipa::path(post, path = "/networks/{id}/connect", params(("id" = String, Path)), request_body = NetworkConnect,
    responses((status = 200), (status = "4XX", body = ErrorBody)))]
pub(super) async fn connect(
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
pub(super) async fn disconnect(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<NetworkDisconnect>,
) -> Answer<StatusCode> {
    app.controller.disconnect(&id, &wire.container).await?;
    Ok(StatusCode::OK)
}

/// `{"name": {"web": true}}`, or the older `{"name": ["web"]}`.
fn parse_filters(text: &str) -> Answer<BTreeMap<String, Vec<String>>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Values {
        Set(BTreeMap<String, bool>),
        List(Vec<String>),
    }
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let parsed: BTreeMap<String, Values> =
        serde_json::from_str(text).map_err(|error| Refusal::bad(format!("invalid filters {text:?}: {error}")))?;
    let values = |values| match values {
        Values::Set(set) => set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value).collect(),
        Values::List(list) => list,
    };
    Ok(parsed.into_iter().map(|(key, given)| (key, values(given))).collect())
}
