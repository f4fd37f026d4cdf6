//! `/vswitch/v1/wires`, `/vswitch/v1/cuts`, `/vswitch/v1/links` and `/vswitch/v1/lab/seed`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::wire::{Cut, HealQuery, LabSeed, LinkChange, Wire, WireChange};

use super::App;
use super::answer::Answer;
use super::extract::{Asked, Body};

/// The wires on which something happens or has happened, in both directions.
#[utoipa::path(get, path = "/vswitch/v1/wires",
    responses((status = 200, body = [Wire]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(app): State<App>) -> Answer<Json<Vec<Wire>>> {
    Ok(Json(app.controller.wires()))
}

/// Changes what happens on wires, of several endpoints at once; only what is named. When this is answered, it is in force. Answers with all
/// wires.
#[utoipa::path(patch, path = "/vswitch/v1/wires", request_body = WireChange,
    responses((status = 200, body = [Wire]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn change(State(app): State<App>, Body(wish): Body<WireChange>) -> Answer<Json<Vec<Wire>>> {
    app.controller.change_wires(&wish)?;
    Ok(Json(app.controller.wires()))
}

/// Lets some endpoints not hear others any more. When this is answered, it is in force.
#[utoipa::path(post, path = "/vswitch/v1/cuts", request_body = Cut,
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn cut(State(app): State<App>, Body(wish): Body<Cut>) -> Answer<StatusCode> {
    app.controller.cut(&wish)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets all endpoints hear each other again, or those of some.
#[utoipa::path(delete, path = "/vswitch/v1/cuts", params(HealQuery),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn heal(State(app): State<App>, Asked(query): Asked<HealQuery>) -> Answer<StatusCode> {
    app.controller.heal(query.of.as_deref())?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the carrier of endpoints' interfaces away, or gives it back. When this is answered, it is in force.
#[utoipa::path(put, path = "/vswitch/v1/links", request_body = LinkChange,
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn links(State(app): State<App>, Body(wish): Body<LinkChange>) -> Answer<StatusCode> {
    app.controller.change_links(&wish).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What everything that happens by chance comes from.
#[utoipa::path(get, path = "/vswitch/v1/lab/seed",
    responses((status = 200, body = LabSeed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn seed(State(app): State<App>) -> Answer<Json<LabSeed>> {
    Ok(Json(LabSeed { seed: app.controller.lab_seed(None) }))
}

/// Lets everything that happens by chance begin again from a seed.
#[utoipa::path(put, path = "/vswitch/v1/lab/seed", request_body = LabSeed,
    responses((status = 200, body = LabSeed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn set_seed(State(app): State<App>, Body(wish): Body<LabSeed>) -> Answer<Json<LabSeed>> {
    Ok(Json(LabSeed { seed: app.controller.lab_seed(Some(wish.seed)) }))
}
