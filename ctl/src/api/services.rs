//! `/vswitch/v1/services…`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::service::{Service, ServiceCreate, ServiceDrain, ServiceUpdate};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Body, Segments};
use crate::model::{parse_service, parse_service_update};

/// All services.
#[utoipa::path(get, path = "/vswitch/v1/services", responses((status = 200, body = [Service])))]
pub(super) async fn list(State(app): State<App>) -> Json<Vec<Service>> {
    Json(app.controller.services())
}

/// Makes a service.
#[utoipa::path(post, path = "/vswitch/v1/services", request_body = ServiceCreate,
    responses((status = 201, body = Service), (status = "4XX", body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Body(wire): Body<ServiceCreate>,
) -> Answer<(StatusCode, Json<Service>)> {
    let wish = parse_service(&wire).map_err(|faults| Refusal::bad(faults.to_string()))?;
    let name = wish.name.clone();
    app.controller.create_service(&wire.network, wish).await?;
    Ok((StatusCode::CREATED, Json(app.controller.service(&name)?)))
}

/// One service, with its backends.
#[utoipa::path(get, path = "/vswitch/v1/services/{service}", params(("service" = String, Path)),
    responses((status = 200, body = Service), (status = "4XX", body = ErrorBody)))]
pub(super) async fn inspect(State(app): State<App>, Segments(service): Segments<String>) -> Answer<Json<Service>> {
    Ok(Json(app.controller.service(&service)?))
}

/// Removes a service and ends its connections.
#[utoipa::path(delete, path = "/vswitch/v1/services/{service}", params(("service" = String, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(State(app): State<App>, Segments(service): Segments<String>) -> Answer<StatusCode> {
    app.controller.remove_service(&service)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes a service; backends that are removed keep the connections that they have.
#[utoipa::path(post, path = "/vswitch/v1/services/{service}/update", params(("service" = String, Path)),
    request_body = ServiceUpdate, responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn update(
    State(app): State<App>,
    Segments(service): Segments<String>,
    Body(wire): Body<ServiceUpdate>,
) -> Answer<StatusCode> {
    let change = parse_service_update(&wire).map_err(|faults| Refusal::bad(faults.to_string()))?;
    app.controller.update_service(&service, &change)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a backend no new connections any more, or again.
#[utoipa::path(post, path = "/vswitch/v1/services/{service}/drain", params(("service" = String, Path)),
    request_body = ServiceDrain, responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn drain(
    State(app): State<App>,
    Segments(service): Segments<String>,
    Body(wire): Body<ServiceDrain>,
) -> Answer<StatusCode> {
    app.controller.drain_service(&service, &wire.backend, wire.undo)?;
    Ok(StatusCode::NO_CONTENT)
}
