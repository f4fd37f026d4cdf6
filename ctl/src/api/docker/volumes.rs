//! `/volumes…`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::volume::{Volume, VolumeCreate, VolumeList, VolumeUsage, VolumesPruned};

use super::filters;
use super::networks::Filters;
use crate::agent::protocol::VolumeRecord;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Body, Flag, Segments};
use crate::controller::{VOLUME_DRIVER, VolumeFilter};

/// Volumes.
#[utoipa::path(get, path = "/volumes",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = VolumeList), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn list(State(app): State<App>, Asked(query): Asked<Filters>) -> Answer<Json<VolumeList>> {
    let filter = VolumeFilter::listing(filters::parse(&query.filters)?)?;
    let volumes = app.controller.list_volumes(&filter).await?.into_iter().map(shown).collect();
    Ok(Json(VolumeList { volumes, warnings: Vec::new() }))
}

/// Makes a volume, or finds it.
#[utoipa::path(post, path = "/volumes/create", request_body = VolumeCreate,
    responses((status = 201, body = Volume), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn create(
    State(app): State<App>,
    Body(wire): Body<VolumeCreate>,
) -> Answer<(StatusCode, Json<Volume>)> {
    if !matches!(wire.driver.as_str(), "" | VOLUME_DRIVER) {
        return Err(Refusal::bad(format!(
            "error looking up volume plugin {}: there is no such plugin; the only driver is local",
            wire.driver
        )));
    }
    let made = app.controller.create_volume(&wire.name, wire.labels, wire.driver_opts).await?;
    Ok((StatusCode::CREATED, Json(shown(made))))
}

/// One volume.
#[utoipa::path(get, path = "/volumes/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Volume), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn inspect(State(app): State<App>, Segments(name): Segments<String>) -> Answer<Json<Volume>> {
    Ok(Json(shown(app.controller.inspect_volume(&name).await?)))
}

/// Query of a removal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Removal {
    force: Flag,
}

/// Removes a volume with what is in it.
#[utoipa::path(delete, path = "/volumes/{name}",
    params(("name" = String, Path), ("force" = Option<bool>, Query, description = "also one that does not exist")),
    responses((status = 204), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn remove(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Asked(query): Asked<Removal>,
) -> Answer<StatusCode> {
    app.controller.remove_volume(&name, query.force.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes the volumes that no container has: those without a name of somebody's, or with the filter `all` all of them.
#[utoipa::path(post, path = "/volumes/prune",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = VolumesPruned), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn prune(State(app): State<App>, Asked(query): Asked<Filters>) -> Answer<Json<VolumesPruned>> {
    let filter = VolumeFilter::pruning(filters::parse(&query.filters)?)?;
    let volumes_deleted = app.controller.prune_volumes(&filter).await?;
    Ok(Json(VolumesPruned { volumes_deleted, space_reclaimed: 0 }))
}

/// All volumes, with what they take.
pub(super) async fn measured(app: &App) -> Answer<Vec<Volume>> {
    let all = app.controller.list_volumes(&VolumeFilter::listing(BTreeMap::new())?).await?;
    let sizes = app.controller.volume_sizes(all.iter().map(|one| one.name.clone()).collect()).await?;
    let used = app.controller.used_volumes();
    let measured = all.into_iter().map(|record| {
        let size = sizes.get(&record.name).copied().unwrap_or_default();
        let ref_count = used.get(&record.name).map_or(0, BTreeSet::len);
        Volume { usage_data: Some(VolumeUsage { size, ref_count }), ..shown(record) }
    });
    Ok(measured.collect())
}

fn shown(record: VolumeRecord) -> Volume {
    Volume {
        created_at: record.created,
        driver: VOLUME_DRIVER.to_owned(),
        labels: record.labels,
        mountpoint: record.mountpoint,
        name: record.name,
        options: record.options,
        scope: "local".to_owned(),
        usage_data: None,
    }
}
