//! `/containers/{id}/pause`, `…/unpause` and `…/update`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::docker::container::{ContainerUpdate, ContainerUpdated};

use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Body, Segments};
use crate::model::RestartPolicy;

/// Holds all processes of a container still.
#[utoipa::path(post, path = "/containers/{id}/pause", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn pause(State(app): State<App>, Segments(id): Segments<String>) -> Answer<StatusCode> {
    app.controller.pause_container(&id, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets them go on.
#[utoipa::path(post, path = "/containers/{id}/unpause", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn unpause(State(app): State<App>, Segments(id): Segments<String>) -> Answer<StatusCode> {
    app.controller.pause_container(&id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes what can be changed of a container: its restart policy, as there are no control groups.
#[utoipa::path(post, path = "/containers/{id}/update", params(("id" = String, Path)), request_body = ContainerUpdate,
    responses((status = 200, body = ContainerUpdated), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn update(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<ContainerUpdate>,
) -> Answer<Json<ContainerUpdated>> {
    app.controller.inspect_container(&id)?;
    let policy = wire.restart_policy;
    if !policy.name.is_empty() {
        let policy = RestartPolicy::of(&policy.name, policy.maximum_retry_count).map_err(Refusal::bad)?;
        app.controller.set_restart_policy(&id, policy)?;
    }
    let limited = wire.memory > 0 || wire.nano_cpus > 0 || wire.pids_limit > 0 || wire.cpu_shares > 0;
    let warning =
        "vswitch uses no control groups: limits of memory, processors and processes were discarded".to_owned();
    Ok(Json(ContainerUpdated { warnings: limited.then_some(warning).into_iter().collect() }))
}
