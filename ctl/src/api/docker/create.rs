//! `POST /containers/create`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::create::{DockerCreate, DockerCreated};

use crate::api::App;
use crate::api::answer::Answer;
use crate::api::extract::{Asked, Body};
use crate::api::orders::ClientOrder;
use crate::model::{create_from_docker, parse_container};

/// Query of a creation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Creation {
    name: String,
    /// Whatever it is, the directory is what it is.
    #[serde(rename = "platform")]
    _platform: String,
}

/// Makes a container whose root directory is an image's.
#[utoipa::path(post, path = "/containers/create", request_body = DockerCreate,
    params(("name" = Option<String>, Query, description = "its name"),
        ("platform" = Option<String>, Query, description = "not looked at")),
    responses((status = 201, body = DockerCreated), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn create(
    State(app): State<App>,
    order: ClientOrder,
    Asked(query): Asked<Creation>,
    Body(wire): Body<DockerCreate>,
) -> Answer<(StatusCode, Json<DockerCreated>)> {
    let name = Some(query.name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty());
    let translated = create_from_docker(wire, name, &app.images)?;
    let wanted = parse_container(translated.create)?;
    let created = app.controller.create_ordered(wanted, order.number()?).await?;
    let mut warnings = translated.warnings;
    warnings.extend(created.warnings);
    Ok((StatusCode::CREATED, Json(DockerCreated { id: created.id.to_string(), warnings })))
}
