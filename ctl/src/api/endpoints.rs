//! `/vswitch/v1/endpoints…`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::endpoint::{AttachRequest, Endpoint, EndpointChange};

use super::App;
use super::answer::Answer;
use super::extract::{Body, Segments};
use crate::model::parse_attach;

/// All endpoints: of containers, and of attached namespaces.
#[utoipa::path(get, path = "/vswitch/v1/endpoints", responses((status = 200, body = [Endpoint])))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Endpoint>> {
    Json(app.controller.list_endpoints())
}

/// Gives an existing network namespace an endpoint.
#[utoipa::path(post, path = "/vswitch/v1/endpoints", request_body = AttachRequest,
    responses((status = 201, body = Endpoint), (status = "4XX", body = ErrorBody)))]
pub(super) async fn attach(
    State(app): State<App>,
    Body(wire): Body<AttachRequest>,
) -> Answer<(StatusCode, Json<Endpoint>)> {
    let endpoint = app.controller.attach(parse_attach(wire)?).await?;
    Ok((StatusCode::CREATED, Json(endpoint)))
}

/// One endpoint.
#[utoipa::path(get, path = "/vswitch/v1/endpoints/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Endpoint), (status = "4XX", body = ErrorBody)))]
pub(super) async fn inspect(State(app): State<App>, Segments(id): Segments<String>) -> Answer<Json<Endpoint>> {
    Ok(Json(app.controller.inspect_endpoint(&id)?))
}

/// Changes options of an endpoint's port, at once.
#[utoipa::path(patch, path = "/vswitch/v1/endpoints/{id}", params(("id" = String, Path)), request_body = EndpointChange,
    responses((status = 200, body = Endpoint), (status = "4XX", body = ErrorBody)))]
pub(super) async fn change(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Body(wire): Body<EndpointChange>,
) -> Answer<Json<Endpoint>> {
    Ok(Json(app.controller.set_options(&id, wire.network.as_deref(), &wire.options)?))
}

/// Takes the endpoint of an attached namespace away.
#[utoipa::path(delete, path = "/vswitch/v1/endpoints/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn detach(State(app): State<App>, Segments(id): Segments<String>) -> Answer<StatusCode> {
    app.controller.detach(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
