//! `/vswitch/v1/containers…`.

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::container::{Container, ContainerCreate, ContainerCreated, ExecRequest, ExitStatus};
use vswitch_api::port::{PortChange, PortsChanged};

use super::answer::{Answer, Refusal};
use super::extract::{Asked, Body, Flag, Segments};
use super::orders::ClientOrder;
use super::{App, stdio};
use crate::blocking::may_block;
use crate::controller::{Extent, LogQuery};
use crate::logline::Record;
use crate::model::{parse_container, parse_exec};

/// Query of a listing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listing {
    all: Flag,
    size: Flag,
}

/// Containers, newest first.
#[utoipa::path(get, path = "/vswitch/v1/containers",
    params(("all" = Option<bool>, Query, description = "also those that do not run"),
        ("size" = Option<bool>, Query, description = "with what they changed of root directories of their own")),
    responses((status = 200, body = [Container]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(app): State<App>, Asked(query): Asked<Listing>) -> Answer<Json<Vec<Container>>> {
    let mut found = app.controller.list_containers(query.all.0);
    if query.size.0 {
        let sizes = app.controller.container_sizes(found.iter().map(|one| one.id.clone()).collect()).await?;
        found.iter_mut().for_each(|one| one.size = sizes.get(&one.id).copied());
    }
    Ok(Json(found))
}

/// Makes a container, named and addressed, not started.
#[utoipa::path(post, path = "/vswitch/v1/containers", request_body = ContainerCreate,
    responses((status = 201, body = ContainerCreated), (status = "4XX", body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    order: ClientOrder,
    Body(wire): Body<ContainerCreate>,
) -> Answer<(StatusCode, Json<ContainerCreated>)> {
    let created = app.controller.create_ordered(parse_container(wire)?, order.number()?).await?;
    let (id, name, warnings) = (created.id.to_string(), created.name, created.warnings);
    Ok((StatusCode::CREATED, Json(ContainerCreated { id, name, warnings })))
}

/// One container.
#[utoipa::path(get, path = "/vswitch/v1/containers/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Container), (status = "4XX", body = ErrorBody)))]
pub(super) async fn inspect(State(app): State<App>, Segments(id): Segments<String>) -> Answer<Json<Container>> {
    Ok(Json(app.controller.inspect_container(&id)?))
}

/// Query of a renaming.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Renaming {
    name: String,
}

/// Gives a container another name.
#[utoipa::path(post, path = "/vswitch/v1/containers/{id}/rename",
    params(("id" = String, Path), ("name" = String, Query, description = "the new name")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn rename(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Renaming>,
) -> Answer<StatusCode> {
    app.controller.rename_container(&id, &query.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Publishes further ports, at once if the container runs.
#[utoipa::path(post, path = "/vswitch/v1/containers/{id}/ports", params(("id" = String, Path)),
    request_body = PortChange, responses((status = 200, body = PortsChanged), (status = "4XX", body = ErrorBody)))]
pub(super) async fn publish(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<PortChange>,
) -> Answer<Json<PortsChanged>> {
    let warnings = app.controller.publish(&id, &wire.publish).await?;
    Ok(Json(PortsChanged { ports: app.controller.inspect_container(&id)?.ports, warnings }))
}

/// Publishes ports no more. One without a port of the host stands for all that lead there.
#[utoipa::path(delete, path = "/vswitch/v1/containers/{id}/ports", params(("id" = String, Path)),
    request_body = PortChange, responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn unpublish(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<PortChange>,
) -> Answer<StatusCode> {
    app.controller.unpublish(&id, &wire.publish).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of a removal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Removal {
    force: Flag,
}

/// Removes a container.
#[utoipa::path(delete, path = "/vswitch/v1/containers/{id}",
    params(("id" = String, Path), ("force" = Option<bool>, Query, description = "kill it first")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Removal>,
) -> Answer<StatusCode> {
    app.controller.remove_container(&id, query.force.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a container. With `Upgrade: vswitch-stdio` the client hands over its streams.
#[utoipa::path(post, path = "/vswitch/v1/containers/{id}/start", params(("id" = String, Path)),
    responses((status = 204), (status = 101, description = "the streams may be sent"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn start(
    State(app): State<App>,
    Segments(id): Segments<String>,
    mut request: Request,
) -> Answer<Response> {
    let Some(upgrade) = stdio::requested(&mut request)? else {
        app.controller.start_container(&id, Vec::new()).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    app.controller.check_startable(&id)?;
    Ok(stdio::accept(upgrade, move |streams| async move {
        // Waiting must begin before the start: a container that is removed at its end is gone at once.
        let waiting = app.controller.watch_container(&id)?;
        let pid = app.controller.start_container(&id, streams).await?;
        Ok((pid, waiting))
    }))
}

/// Waits until a container's process has ended.
#[utoipa::path(get, path = "/vswitch/v1/containers/{id}/wait", params(("id" = String, Path)),
    responses((status = 200, body = ExitStatus), (status = "4XX", body = ErrorBody)))]
pub(super) async fn wait(State(app): State<App>, Segments(id): Segments<String>) -> Answer<Json<ExitStatus>> {
    Ok(Json(ExitStatus { exit_code: app.controller.wait_container(&id).await? }))
}

/// Query of a stop.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stopping {
    timeout: Option<i64>,
}

/// Ends a container's process: SIGTERM, and SIGKILL after the timeout. Stopping what does not run is no error.
#[utoipa::path(post, path = "/vswitch/v1/containers/{id}/stop",
    params(("id" = String, Path), ("timeout" = Option<i64>, Query, description = "seconds; what was said at its creation if absent, for ever if negative")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn stop(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Stopping>,
) -> Answer<StatusCode> {
    app.controller.stop_container(&id, query.timeout).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Query of a kill.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Killing {
    signal: Option<i32>,
}

/// SIGKILL.
const DEFAULT_SIGNAL: i32 = 9;

/// Sends a signal.
#[utoipa::path(post, path = "/vswitch/v1/containers/{id}/kill",
    params(("id" = String, Path), ("signal" = Option<i32>, Query, description = "number, 9 if absent")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn kill(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Killing>,
) -> Answer<StatusCode> {
    app.controller.kill_container(&id, query.signal.unwrap_or(DEFAULT_SIGNAL)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs one more process. With `Upgrade: vswitch-stdio` the client hands over its streams; without, there are none and
/// the answer comes when the process has ended.
#[utoipa::path(post, path = "/vswitch/v1/containers/{id}/exec", params(("id" = String, Path)),
    request_body = ExecRequest,
    responses((status = 200, body = ExitStatus), (status = 101, description = "the streams may be sent"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn exec(
    State(app): State<App>,
    Segments(id): Segments<String>,
    mut request: Request,
) -> Answer<Response> {
    let upgrade = stdio::requested(&mut request)?;
    let order = ClientOrder::of(request.extensions_mut());
    let Body(wire) = Body::<ExecRequest>::from_request(request, &()).await?;
    let spec = parse_exec(wire)?;
    let order = order.number()?;
    let Some(upgrade) = upgrade else {
        let (_, ended) = app.controller.exec(&id, spec, Vec::new(), order).await?;
        let lost = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the process was lost with its container");
        let exit_code = ended.await.map_err(lost)?;
        return Ok(Json(ExitStatus { exit_code }).into_response());
    };
    app.controller.check_running(&id)?;
    Ok(stdio::accept(upgrade, move |streams| async move {
        let (pid, ended) = app.controller.exec(&id, spec, streams, order).await?;
        Ok((pid, async move { ended.await.ok() }))
    }))
}

/// Query of an output.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Following {
    follow: Flag,
}

/// What a container wrote that was started without streams.
#[utoipa::path(get, path = "/vswitch/v1/containers/{id}/logs",
    params(("id" = String, Path), ("follow" = Option<bool>, Query, description = "go on until the container ends")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn logs(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Following>,
) -> Answer<Response> {
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let extent = if query.follow.0 { Extent::End } else { Extent::Now };
    let log = app.controller.docker_log(&id, extent, &LogQuery::default())?;
    let chunks = futures_util::stream::try_unfold(log, |mut log| {
        may_block(async move {
            let text = |records: Vec<Record>| records.into_iter().flat_map(|record| record.text).collect::<Vec<_>>();
            Ok::<_, std::io::Error>(log.next().await?.map(|records| (Bytes::from(text(records)), log)))
        })
    });
    Ok((text, HttpBody::from_stream(chunks)).into_response())
}
