//! `/vswitch/v1/flows…`.

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use vswitch_api::ErrorBody;
use vswitch_api::flow::{Flow, FlowEvent, FlowQuery, FlowsRebound, FlowsRemoved};

use super::App;
use super::answer::Answer;
use super::extract::Asked;

/// The flows that match.
#[utoipa::path(get, path = "/vswitch/v1/flows", params(FlowQuery),
    responses((status = 200, body = [Flow]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(app): State<App>, Asked(query): Asked<FlowQuery>) -> Answer<Json<Vec<Flow>>> {
    Ok(Json(app.controller.flows(&query)?))
}

/// Ends the flows that match.
#[utoipa::path(delete, path = "/vswitch/v1/flows", params(FlowQuery),
    responses((status = 200, body = FlowsRemoved), (status = "4XX", body = ErrorBody)))]
pub(super) async fn flush(State(app): State<App>, Asked(query): Asked<FlowQuery>) -> Answer<Json<FlowsRemoved>> {
    Ok(Json(app.controller.flush_flows(&query)?))
}

/// Gives the flows that match another external port, as if a router on the way had forgotten them: of masqueraded ones, and over host
/// sockets of UDP and echo requests. It is in force when this is answered.
#[utoipa::path(post, path = "/vswitch/v1/flows/rebind", params(FlowQuery),
    responses((status = 200, body = FlowsRebound), (status = "4XX", body = ErrorBody)))]
pub(super) async fn rebind(State(app): State<App>, Asked(query): Asked<FlowQuery>) -> Answer<Json<FlowsRebound>> {
    Ok(Json(app.controller.rebind_flows(&query)?))
}

/// What happens to the flows that match, from now on: one JSON object a line, until the client goes.
#[utoipa::path(get, path = "/vswitch/v1/flows/watch", params(FlowQuery),
    responses((status = 200, body = FlowEvent, content_type = "application/jsonl"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn watch(State(app): State<App>, Asked(query): Asked<FlowQuery>) -> Answer<Response> {
    let watch = app.controller.watch_flows(&query)?;
    let lines = futures_util::stream::unfold(watch, |mut watch| async move {
        let events = watch.next().await?;
        let mut text = Vec::new();
        for event in events {
            serde_json::to_writer(&mut text, &event).ok()?;
            text.push(b'\n');
        }
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), watch))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], HttpBody::from_stream(lines)).into_response())
}
