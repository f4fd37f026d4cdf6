//! `/vswitch/v1/networks/{network}/policy…`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vswitch_api::ErrorBody;
use vswitch_api::network::{PolicyAdd, PolicyAdded, PolicyRule};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Body, Segments};

/// The rules of a network, in the order in which they are asked.
#[utoipa::path(get, path = "/vswitch/v1/networks/{network}/policy", params(("network" = String, Path)),
    responses((status = 200, body = [PolicyRule]), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(State(app): State<App>, Segments(network): Segments<String>) -> Answer<Json<Vec<PolicyRule>>> {
    Ok(Json(app.controller.policy(&network)?))
}

/// Adds a rule.
#[utoipa::path(post, path = "/vswitch/v1/networks/{network}/policy", params(("network" = String, Path)),
    request_body = PolicyAdd, responses((status = 201, body = PolicyAdded), (status = "4XX", body = ErrorBody)))]
pub(super) async fn add(
    State(app): State<App>,
    Segments(network): Segments<String>,
    Body(wire): Body<PolicyAdd>,
) -> Answer<(StatusCode, Json<PolicyAdded>)> {
    let wish = crate::model::parse_policy(&wire).map_err(|faults| Refusal::bad(faults.to_string()))?;
    let rule = app.controller.add_policy(&network, wish)?;
    Ok((StatusCode::CREATED, Json(PolicyAdded { rule })))
}

/// Removes a rule.
#[utoipa::path(delete, path = "/vswitch/v1/networks/{network}/policy/{rule}",
    params(("network" = String, Path), ("rule" = u32, Path)),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(super) async fn remove(
    State(app): State<App>,
    Segments((network, rule)): Segments<(String, String)>,
) -> Answer<StatusCode> {
    let number = rule.parse().map_err(|_| Refusal::bad(format!("{rule} is no rule's number; list them first")))?;
    app.controller.remove_policy(&network, number)?;
    Ok(StatusCode::NO_CONTENT)
}
