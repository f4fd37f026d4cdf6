//! `/containers/{id}/exec` and `/exec/…`: further processes, made first and started then.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::create::DockerExec;
use vswitch_api::docker::exec::{ExecCreated, ExecInspect, ExecProcess, ExecStart};

use super::hijack::{Streams, connect};
use crate::agent::output::Attach;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Body, Segments};
use crate::api::orders::ClientOrder;
use crate::controller::ExecState;
use crate::error::ControlError;
use crate::model::{exec_from_docker, parse_exec};

/// Makes a process for a running container, which starts later.
#[utoipa::path(post, path = "/containers/{id}/exec", params(("id" = String, Path)), request_body = DockerExec,
    responses((status = 201, body = ExecCreated), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn create(
    State(app): State<App>,
    Segments(id): Segments<String>,
    order: ClientOrder,
    Body(wire): Body<DockerExec>,
) -> Answer<(StatusCode, Json<ExecCreated>)> {
    let attach = Attach { input: wire.attach_stdin, output: wire.attach_stdout, errors: wire.attach_stderr };
    app.controller.check_running(&id)?;
    let spec = parse_exec(exec_from_docker(wire)?)?;
    let id = app.controller.make_exec(&id, spec, attach, order.number()?)?.to_string();
    Ok((StatusCode::CREATED, Json(ExecCreated { id })))
}

/// Starts it; unless detached, the connection becomes its streams.
#[utoipa::path(post, path = "/exec/{id}/start", params(("id" = String, Path)), request_body = ExecStart,
    responses((status = 200), (status = 101, description = "its streams"), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn start(
    State(app): State<App>,
    Segments(id): Segments<String>,
    mut request: Request,
) -> Answer<Response> {
    let (_, exec) = app.controller.exec_record(&id)?;
    // The body is read from the request, and the upgrade stays with it.
    let (parts, body) = std::mem::take(&mut request).into_parts();
    let mut head = Request::from_parts(parts, axum::body::Body::empty());
    let Body(wire) = Body::<ExecStart>::from_request(Request::new(body), &()).await?;
    if wire.detach {
        app.controller.start_exec(&id, false).await?;
        return Ok(StatusCode::OK.into_response());
    }
    let begun = match app.controller.start_exec(&id, true).await {
        Ok(begun) => begun,
        // As Docker: the client hears of it where it listens, and asks for the exit status.
        Err(ControlError::Command { message, .. }) => {
            let streams = Streams::sentence(&message, exec.spec.tty).map_err(|error| broken(&error))?;
            return connect(&mut head, streams, async {});
        }
        Err(error) => return Err(error.into()),
    };
    let [Some(rows), Some(columns)] = wire.console_size.map_or([None, None], |size| size.map(Some)) else {
        return attach(&mut head, begun, exec.spec.tty);
    };
    if exec.spec.tty && rows > 0 {
        // It works with any size, and may have ended.
        let _ = app.controller.resize_exec(&id, rows, columns).await;
    }
    attach(&mut head, begun, exec.spec.tty)
}

fn attach(head: &mut Request, begun: crate::controller::Begun, tty: bool) -> Answer<Response> {
    let none = || std::io::Error::other("the agent sent none");
    let streams = begun.streams.ok_or_else(|| broken(&none()))?;
    let ended = begun.ended;
    connect(head, Streams { detach: Vec::new(), ..Streams::new(streams, tty, "")? }, async move {
        let _ = ended.await;
    })
}

fn broken(error: &std::io::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot use the process's streams: {error}"))
}

/// What became of it.
#[utoipa::path(get, path = "/exec/{id}/json", params(("id" = String, Path)),
    responses((status = 200, body = ExecInspect), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn inspect(
    State(app): State<App>,
    Segments(id): Segments<String>,
) -> Answer<Json<ExecInspect>> {
    let (id, exec) = app.controller.exec_record(&id)?;
    let (entrypoint, arguments) =
        exec.spec.command.split_first().map_or_else(Default::default, |(first, rest)| (first.clone(), rest.to_vec()));
    Ok(Json(ExecInspect {
        id: id.to_string(),
        running: matches!(exec.state, ExecState::Running(_) | ExecState::Starting),
        exit_code: if let ExecState::Exited(code) = exec.state { Some(code) } else { None },
        process_config: ExecProcess { tty: exec.spec.tty, entrypoint, arguments, privileged: false },
        open_stdin: exec.attach.input,
        open_stderr: exec.attach.errors,
        open_stdout: exec.attach.output,
        can_remove: false,
        container_id: exec.container.to_string(),
        pid: if let ExecState::Running(pid) = exec.state { pid } else { 0 },
    }))
}

/// Query of a size.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Size {
    pub(super) h: u16,
    pub(super) w: u16,
}

/// Changes the size of its terminal.
#[utoipa::path(post, path = "/exec/{id}/resize",
    params(("id" = String, Path), ("h" = u16, Query, description = "rows"), ("w" = u16, Query, description = "columns")),
    responses((status = 200), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn resize(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(size): Asked<Size>,
) -> Answer<StatusCode> {
    app.controller.resize_exec(&id, size.h, size.w).await?;
    Ok(StatusCode::OK)
}
