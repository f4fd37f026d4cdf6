//! What belongs to Docker and not to vswitch. `docker inspect NAME` asks for every kind of thing in turn and goes on at
//! "not found", so looking up one volume or plugin is answered so; everything else is not implemented.

use axum::http::{Method, StatusCode};
use vswitch_api::ErrorBody;

use crate::api::answer::Refusal;
use crate::api::extract::Segments;

fn missing(sentence: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, sentence)
}

/// There are no volumes.
#[utoipa::path(get, path = "/volumes/{name}", params(("name" = String, Path)),
    responses((status = 404, body = ErrorBody)))]
pub(in crate::api) async fn volume(Segments(name): Segments<String>) -> Refusal {
    missing(format!("get {name}: no such volume"))
}

/// There are no plugins.
#[utoipa::path(get, path = "/plugins/{name}/json", params(("name" = String, Path)),
    responses((status = 404, body = ErrorBody)))]
pub(in crate::api) async fn plugin(Segments(name): Segments<String>) -> Refusal {
    missing(format!("plugin {name:?} not found"))
}

/// The sentence about a path that is Docker's and not ours.
pub(in crate::api) fn not_implemented(path: &str) -> Option<Refusal> {
    let mut segments = path.trim_start_matches('/').split('/');
    let first = segments.next().unwrap_or_default();
    if SWARM_PATHS.contains(&first) {
        // Docker's words where no swarm was joined, which its clients know.
        let sentence = match segments.next() {
            Some("leave") => "This node is not part of a swarm; vswitch has no swarm mode",
            _ => {
                "This node is not a swarm manager; vswitch has no swarm mode. For networks that span hosts use the driver \
                  overlay"
            }
        };
        return Some(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence));
    }
    DOCKER_PATHS.contains(&first).then(|| {
        Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            format!(
                "vswitch serves the networks of the Docker Engine API and what is on them, so {path} is not supported; \
                 for containers on its networks use vswitchctl"
            ),
        )
    })
}

/// The sentence about a method that Docker has on a path of which others are ours.
pub(in crate::api) fn method_not_implemented(method: &Method, path: &str) -> Option<Refusal> {
    let (folder, name) = path.trim_matches('/').split_once('/')?;
    let docker_has = match folder {
        "volumes" => {
            method == Method::PUT
                || method == Method::DELETE
                || method == Method::POST && matches!(name, "create" | "prune")
        }
        _ => false,
    };
    docker_has.then(|| not_implemented(path))?
}

/// First path segments that belong to swarm mode.
const SWARM_PATHS: [&str; 6] = ["configs", "nodes", "secrets", "services", "swarm", "tasks"];

/// First path segments of the Docker Engine API that are Docker's own, altogether or in part.
const DOCKER_PATHS: [&str; 12] = [
    "auth",
    "build",
    "commit",
    "containers",
    "distribution",
    "exec",
    "grpc",
    "images",
    "plugins",
    "session",
    "system",
    "volumes",
];
