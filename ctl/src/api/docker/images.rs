//! `/images…`: the names that the operator gave to directories (`--image NAME=DIR`). None comes, goes or is built here.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::image::{
    GraphDriver, HistoryEntry, ImageConfig, ImageInspect, ImageSummary, ImagesPruned, PullStatus, RootFs,
};

use super::filters;
use super::networks::Filters;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Segments};
use crate::model::{DockerError, Filters as Checked, Image, PATH, tagged_image};

/// A path in which an image's name is one segment: names have slashes, and clients write them as they are.
pub(crate) fn one_segment(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix("/images/")?;
    let (name, action) = match rest.rsplit_once('/') {
        Some((name, action @ ("json" | "history" | "tag" | "push" | "get"))) => (name, format!("/{action}")),
        _ => (rest, String::new()),
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    name.contains('/').then(|| format!("/images/{}{action}{query}", name.replace('/', "%2F")).parse().ok())?
}

impl From<DockerError> for Refusal {
    fn from(error: DockerError) -> Self {
        match error {
            DockerError::Faults(faults) => faults.into(),
            DockerError::NoImage(..) => Refusal::new(StatusCode::NOT_FOUND, error.to_string()),
        }
    }
}

/// Keys of a listing's filter. Those that speak of time, builds and labels are known, and match as for an image without them.
const KEYS: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// All images.
#[utoipa::path(get, path = "/images/json",
    params(("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = [ImageSummary]), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn list(
    State(app): State<App>,
    Asked(query): Asked<Filters>,
) -> Answer<Json<Vec<ImageSummary>>> {
    let filters = Checked::new(filters::parse(&query.filters)?, &KEYS)?;
    let mut found: BTreeMap<String, ImageSummary> = BTreeMap::new();
    let wanted = |image: &Image| {
        let tag = image.tag().unwrap_or_default();
        let name = tag.rsplit_once(':').map_or(tag.as_str(), |(name, _)| name);
        filters.any("reference", |text| text == name || tagged_image(text) == tag)
            && filters.flag("dangling").unwrap_or_default() != Some(true)
            && filters.labels(&BTreeMap::new())
    };
    for image in app.images.iter().filter(|image| wanted(image)) {
        let one = found.entry(image.id()).or_insert_with(|| ImageSummary {
            id: image.id(),
            shared_size: -1,
            containers: -1,
            ..ImageSummary::default()
        });
        one.repo_tags.extend(image.tag());
    }
    Ok(Json(found.into_values().collect()))
}

/// An image that has the name, or is what a container has as its root directory, or stands for all other names.
fn find(app: &App, name: &str) -> Answer<Image> {
    let known = app.images.find(name);
    let named = known.filter(|image| image.tag().is_some()).cloned();
    let found = named.or_else(|| app.controller.image_of_containers(name)).or_else(|| known.cloned());
    Ok(found.ok_or_else(|| DockerError::no_image(name))?)
}

/// All names of an image; one that has all other names has the one that it was asked by.
fn tags(app: &App, image: &Image, asked: &str) -> Vec<String> {
    let mut tags: Vec<String> =
        app.images.iter().filter(|other| other.id() == image.id()).filter_map(Image::tag).collect();
    if tags.is_empty() && !asked.starts_with("sha256:") && !image.id()["sha256:".len()..].starts_with(asked) {
        tags.push(tagged_image(asked));
    }
    tags
}

/// One image.
#[utoipa::path(get, path = "/images/{name}/json", params(("name" = String, Path)),
    responses((status = 200, body = ImageInspect), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn inspect(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Answer<Json<ImageInspect>> {
    let image = find(&app, &name)?;
    let directory = image.directory().display().to_string();
    let config = ImageConfig { cmd: vec!["sh".to_owned()], env: vec![PATH.to_owned()], ..ImageConfig::default() };
    Ok(Json(ImageInspect {
        id: image.id(),
        repo_tags: tags(&app, &image, &name),
        comment: format!("the directory {directory}"),
        created: "0001-01-01T00:00:00Z".to_owned(),
        container_config: config.clone(),
        config,
        architecture: std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        os: "linux".to_owned(),
        graph_driver: GraphDriver {
            name: "directory".to_owned(),
            data: BTreeMap::from([("Directory".to_owned(), directory)]),
        },
        root_fs: RootFs { kind: "layers".to_owned(), layers: Vec::new() },
        ..ImageInspect::default()
    }))
}

/// Where an image comes from.
#[utoipa::path(get, path = "/images/{name}/history", params(("name" = String, Path)),
    responses((status = 200, body = [HistoryEntry]), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn history(
    State(app): State<App>,
    Segments(name): Segments<String>,
) -> Answer<Json<Vec<HistoryEntry>>> {
    let image = find(&app, &name)?;
    Ok(Json(vec![HistoryEntry {
        id: image.id(),
        created_by: format!("vswitchd --image {name}={}", image.directory().display()),
        tags: tags(&app, &image, &name),
        ..HistoryEntry::default()
    }]))
}

/// Query of a pull.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Pulling {
    #[serde(rename = "fromImage")]
    from_image: String,
    #[serde(rename = "fromSrc")]
    from_source: String,
    tag: String,
}

/// What is there need not be pulled; there is nowhere to pull anything else from.
#[utoipa::path(post, path = "/images/create",
    params(("fromImage" = String, Query, description = "the name"), ("tag" = Option<String>, Query, description = "the tag"),
        ("fromSrc" = Option<String>, Query, description = "not available")),
    responses((status = 200, body = PullStatus), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn pull(State(app): State<App>, Asked(query): Asked<Pulling>) -> Answer<impl IntoResponse> {
    if !query.from_source.is_empty() {
        let sentence = "images cannot be imported; unpack the archive and start vswitchd with --image NAME=DIR";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, sentence));
    }
    let separator = if query.tag.contains(':') { '@' } else { ':' };
    let name = match query.tag.as_str() {
        "" => query.from_image,
        tag => format!("{}{separator}{tag}", query.from_image),
    };
    let image = find(&app, &name)?;
    let status = format!("Status: Image is up to date for {}", image.tag().unwrap_or_else(|| tagged_image(&name)));
    let line = serde_json::to_string(&PullStatus { status }).unwrap_or_default() + "\r\n";
    Ok(([(header::CONTENT_TYPE, "application/json")], line))
}

/// Query of a tag.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Tagging {
    repo: String,
    tag: String,
}

/// A name that leads to the same directory already is no fault; others are the operator's to give.
#[utoipa::path(post, path = "/images/{name}/tag",
    params(("name" = String, Path), ("repo" = String, Query, description = "the new name"),
        ("tag" = Option<String>, Query, description = "its tag")),
    responses((status = 201), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn tag(
    State(app): State<App>,
    Segments(name): Segments<String>,
    Asked(query): Asked<Tagging>,
) -> Answer<StatusCode> {
    let image = find(&app, &name)?;
    let new = if query.tag.is_empty() { query.repo } else { format!("{}:{}", query.repo, query.tag) };
    if app.images.find(&new).is_some_and(|other| other.id() == image.id()) {
        return Ok(StatusCode::CREATED);
    }
    let sentence = format!(
        "names of images are the operator's to give: start vswitchd with --image {new}={}",
        image.directory().display()
    );
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, sentence))
}

/// Images stay: they are the operator's directories.
#[utoipa::path(delete, path = "/images/{name}", params(("name" = String, Path)),
    responses((status = 409, body = ErrorBody)))]
pub(in crate::api) async fn remove(State(app): State<App>, Segments(name): Segments<String>) -> Answer<StatusCode> {
    find(&app, &name)?;
    let sentence = format!("image {name} is a directory that vswitchd was given; start vswitchd without its --image");
    Err(Refusal::new(StatusCode::CONFLICT, sentence))
}

/// There is nothing to prune.
#[utoipa::path(post, path = "/images/prune",
    params(("filters" = Option<String>, Query, description = "prunes nothing in any case")),
    responses((status = 200, body = ImagesPruned), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn prune(Asked(query): Asked<Filters>) -> Answer<Json<ImagesPruned>> {
    filters::parse(&query.filters)?;
    Ok(Json(ImagesPruned::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names with slashes become one segment, everything else stays.
    #[test]
    fn segments() {
        let folded = |text: &str| one_segment(&text.parse().unwrap()).map(|uri| uri.to_string());
        let full = "/images/docker.io/library/busybox:latest/json?x=1";
        assert_eq!(folded(full).as_deref(), Some("/images/docker.io%2Flibrary%2Fbusybox:latest/json?x=1"));
        assert_eq!(folded("/images/a/b").as_deref(), Some("/images/a%2Fb"));
        for kept in ["/images/json", "/images/busybox/json", "/images/create?fromImage=a/b", "/containers/a/json"] {
            assert_eq!(folded(kept), None, "{kept}");
        }
    }
}
