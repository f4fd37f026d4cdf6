//! `/containers…`: shown, started and stopped as Docker does it. They are made by vswitch's own API, without images.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::container::{ContainerInspect, ContainerSummary, ContainersPruned, WaitAnswer};
use vswitch_api::signal;

use super::filters;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Flag, Segments};
use crate::controller::{ContainerQuery, WaitFor};
use crate::error::ControlError;

/// Query of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Listing {
    all: Flag,
    limit: Option<i64>,
    size: Flag,
    filters: String,
}

/// Containers, newest first.
#[utoipa::path(get, path = "/containers/json",
    params(("all" = Option<bool>, Query, description = "also those that do not run"),
        ("limit" = Option<i64>, Query, description = "the newest ones only"),
        ("size" = Option<bool>, Query, description = "bytes changed of root directories of their own"),
        ("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = [ContainerSummary]), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn list(
    State(app): State<App>,
    Asked(query): Asked<Listing>,
) -> Answer<Json<Vec<ContainerSummary>>> {
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let filters = filters::parse(&query.filters)?;
    let mut found = app.controller.docker_containers(ContainerQuery { all: query.all.0, limit, filters })?;
    if query.size.0 {
        let sizes = app.controller.container_sizes(found.iter().map(|one| one.id.clone()).collect()).await?;
        for one in &mut found {
            (one.size_rw, one.size_root_fs) = (sizes.get(&one.id).copied(), Some(0));
        }
    }
    Ok(Json(found))
}

/// Query of an inspection.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Inspection {
    size: Flag,
}

/// One container.
#[utoipa::path(get, path = "/containers/{id}/json",
    params(("id" = String, Path), ("size" = Option<bool>, Query, description = "bytes changed of a root directory of its own")),
    responses((status = 200, body = ContainerInspect), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn inspect(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Inspection>,
) -> Answer<Json<ContainerInspect>> {
    let mut shown = app.controller.docker_container(&id)?;
    if query.size.0 {
        let sizes = app.controller.container_sizes(vec![shown.id.clone()]).await?;
        (shown.size_rw, shown.size_root_fs) = (sizes.get(&shown.id).copied(), Some(0));
    }
    Ok(Json(shown))
}

/// Starts a container; one that runs is not changed (304).
#[utoipa::path(post, path = "/containers/{id}/start", params(("id" = String, Path)),
    responses((status = 204), (status = 304), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn start(State(app): State<App>, Segments(id): Segments<String>) -> Answer<StatusCode> {
    if app.controller.container_runs(&id)? {
        return Ok(StatusCode::NOT_MODIFIED);
    }
    app.controller.start_container(&id, Vec::new()).await.map_err(in_dockers_words)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The docker command line looks for these words, and ends with 127 or 126 then.
fn in_dockers_words(error: ControlError) -> ControlError {
    match error {
        ControlError::Command { message, exit_code: exit_code @ 127 } => {
            ControlError::Command { message: format!("{message} (executable file not found in $PATH)"), exit_code }
        }
        ControlError::Command { message, exit_code: exit_code @ 126 } => {
            ControlError::Command { message: format!("{message} (permission denied)"), exit_code }
        }
        other => other,
    }
}

/// Query of a stop.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Stopping {
    t: Option<i64>,
}

/// Stops a container; one that does not run is not changed (304).
#[utoipa::path(post, path = "/containers/{id}/stop",
    params(("id" = String, Path), ("t" = Option<i64>, Query, description = "seconds, 10 if absent")),
    responses((status = 204), (status = 304), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn stop(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Stopping>,
) -> Answer<StatusCode> {
    let ran = app.controller.container_runs(&id)?;
    // One that does not run is not started again by itself.
    app.controller.stop_container(&id, query.t).await?;
    Ok(if ran { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED })
}

/// Stops and starts a container.
#[utoipa::path(post, path = "/containers/{id}/restart",
    params(("id" = String, Path), ("t" = Option<i64>, Query, description = "seconds, 10 if absent")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn restart(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Stopping>,
) -> Answer<StatusCode> {
    app.controller.restart_container(&id, query.t).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of a kill.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Killing {
    signal: String,
}

/// Sends a signal.
#[utoipa::path(post, path = "/containers/{id}/kill",
    params(("id" = String, Path), ("signal" = Option<String>, Query, description = "name or number, KILL if absent")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn kill(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Killing>,
) -> Answer<StatusCode> {
    let signal = match query.signal.as_str() {
        "" => "KILL",
        text => text,
    };
    let signal = signal::number(signal).ok_or_else(|| Refusal::bad(format!("Invalid signal: {signal}")))?;
    app.controller.kill_container(&id, signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of a renaming.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Renaming {
    name: String,
}

/// Gives a container another name.
#[utoipa::path(post, path = "/containers/{id}/rename",
    params(("id" = String, Path), ("name" = String, Query, description = "the new name")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn rename(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Renaming>,
) -> Answer<StatusCode> {
    app.controller.rename_container(&id, &query.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of a wait.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Waiting {
    condition: String,
}

/// Waits for a container's end. The headers come at once, so that a client knows from when on it waits.
#[utoipa::path(post, path = "/containers/{id}/wait",
    params(("id" = String, Path), ("condition" = Option<String>, Query,
        description = "not-running (if absent: at once for one that does not run), next-exit or removed")),
    responses((status = 200, body = WaitAnswer), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn wait(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Waiting>,
) -> Answer<Response> {
    let until = match query.condition.as_str() {
        "" | "not-running" => WaitFor::NotRunning,
        "next-exit" => WaitFor::NextExit,
        "removed" => WaitFor::Removed,
        other => return Err(Refusal::bad(format!("invalid condition: {other:?}"))),
    };
    let waiting = app.controller.await_container(&id, until)?;
    let answer = async move {
        let status_code = waiting.await.into();
        let text = serde_json::to_vec(&WaitAnswer { status_code }).unwrap_or_default();
        Ok::<_, std::convert::Infallible>(Bytes::from(text))
    };
    let body = Body::from_stream(futures_util::stream::once(answer));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Query of a prune.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Pruning {
    filters: String,
}

/// Removes all containers that do not run.
#[utoipa::path(post, path = "/containers/prune",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = ContainersPruned), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn prune(
    State(app): State<App>,
    Asked(query): Asked<Pruning>,
) -> Answer<Json<ContainersPruned>> {
    let containers_deleted = app.controller.prune_containers(filters::parse(&query.filters)?).await?;
    Ok(Json(ContainersPruned { containers_deleted, space_reclaimed: 0 }))
}

/// Query of a removal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Removal {
    force: Flag,
}

/// Removes a container.
#[utoipa::path(delete, path = "/containers/{id}",
    params(("id" = String, Path), ("force" = Option<bool>, Query, description = "kill it first")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn remove(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Removal>,
) -> Answer<StatusCode> {
    app.controller.remove_container(&id, query.force.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
