//! Who answers, how it is described, what it counted.

use axum::Json;
use axum::extract::State;
use vswitch_api::stats::Stats;
use vswitch_api::topology::Topology;
use vswitch_api::version::Version;
use vswitch_api::{DOCKER_API_VERSION, ErrorBody};

use super::App;

/// The daemon, described.
#[utoipa::path(get, path = "/vswitch/v1/version", responses((status = 200, body = Version)))]
pub(super) async fn version(State(app): State<App>) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        docker_api_version: DOCKER_API_VERSION.to_owned(),
        pid: std::process::id(),
        workers: app.workers,
        uplink: app.uplink.to_string(),
        state_dir: app.controller.state_dir().display().to_string(),
        rootless: app.controller.rootless(),
        confinement: app.confinement,
    })
}

/// This document.
#[utoipa::path(get, path = "/vswitch/v1/openapi.json", responses((status = 200, description = "OpenAPI 3.1"), (status = 500, body = ErrorBody)))]
pub(super) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(super::describe().1)
}

/// Everything that is counted, at one moment.
#[utoipa::path(get, path = "/vswitch/v1/stats", responses((status = 200, body = Stats)))]
pub(super) async fn stats(State(app): State<App>) -> Json<Stats> {
    Json(app.controller.stats())
}

/// Networks, containers, endpoints and the uplink, at one moment.
#[utoipa::path(get, path = "/vswitch/v1/topology", responses((status = 200, body = Topology)))]
pub(super) async fn topology(State(app): State<App>) -> Json<Topology> {
    Json(app.controller.topology(&app.uplink))
}
