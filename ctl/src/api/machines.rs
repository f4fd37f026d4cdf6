//! `/vswitch/v1/ports…`: ports for machines; `vswitch_api::machine` is the contract.

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use vswitch_api::ErrorBody;
use vswitch_api::machine::{MachineEvent, MachinePort, MachinePortOpen};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Body, Segments};
use super::stream::Carried;
use crate::model::parse_machine_port;

/// All ports for machines.
#[utoipa::path(get, path = "/vswitch/v1/ports", responses((status = 200, body = [MachinePort])))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<MachinePort>> {
    Json(app.controller.machine_ports())
}

/// Opens a port for machines, until the client closes the connection or the port is removed. The answer is one line of JSON, and another one
/// when vswitchd ends it.
#[utoipa::path(post, path = "/vswitch/v1/ports", request_body = MachinePortOpen,
    responses((status = 200, body = MachineEvent, content_type = "application/jsonl"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn open(State(app): State<App>, Body(wire): Body<MachinePortOpen>) -> Answer<Response> {
    let (port, mut held) = app.controller.open_machine_port(parse_machine_port(wire)?)?;
    Ok(lines(&MachineEvent::Opened(port), async move { held.closed().await }))
}

/// Plugs in the machine whose connected socket comes with the first bytes of this request, until the client closes the connection, the
/// machine its socket, or the port is removed. The answer is one line of JSON, and another one when vswitchd ends it.
#[utoipa::path(post, path = "/vswitch/v1/ports/{name}/machines", params(("name" = String, Path)),
    responses((status = 200, body = MachineEvent, content_type = "application/jsonl"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn plug(
    State(app): State<App>,
    Segments(name): Segments<String>,
    carried: Carried,
) -> Answer<Response> {
    let mut descriptors = carried.take();
    let (Some(socket), true) = (descriptors.pop(), descriptors.is_empty()) else {
        return Err(Refusal::bad("send one descriptor with the first bytes of the request: the machine's socket"));
    };
    let (machine, mut held) = app.controller.plug_machine(&name, socket)?;
    Ok(lines(&MachineEvent::Plugged(machine), async move { held.gone().await }))
}

/// Closes a port; machines that are plugged in lose their connections.
#[utoipa::path(delete, path = "/vswitch/v1/ports/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn close(State(app): State<App>, Segments(name): Segments<String>) -> Answer<StatusCode> {
    app.controller.close_machine_port(&name)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer that lasts until `end` says why it ends, or the client goes.
fn lines(first: &MachineEvent, end: impl Future<Output = String> + Send + 'static) -> Response {
    let line = |event: &MachineEvent| {
        let mut line = serde_json::to_vec(event).expect("events are plain data");
        line.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    };
    let first = line(first);
    let last = crate::blocking::may_block(async move { line(&MachineEvent::Ended(end.await)) });
    let lines = futures_util::stream::iter([first]).chain(futures_util::stream::once(last));
    ([(header::CONTENT_TYPE, "application/jsonl")], HttpBody::from_stream(lines)).into_response()
}
