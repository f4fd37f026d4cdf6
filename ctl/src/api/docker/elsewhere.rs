//! What belongs to Docker and not to vswitch. `docker inspect NAME` asks for every kind of thing in turn and goes on at
//! "not found", so looking up one plugin is answered so; everything else is not implemented.

use axum::http::{Method, StatusCode};
use vswitch_api::ErrorBody;

use crate::api::answer::Refusal;
use crate::api::extract::Segments;

fn missing(sentence: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, sentence)
}

/// There are no plugins.
#[utoipa::path(get, path = "/plugins/{name}/json", params(("name" = String, Path)),
    responses((status = 404, body = ErrorBody)))]
pub(in crate::api) async fn plugin(Segments(name): Segments<String>) -> Refusal {
    missing(format!("plugin {name:?} not found"))
}

/// The sentence about a path that is Docker's and not ours.
pub(in crate::api) fn not_implemented(path: &str) -> Option<Refusal> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let first = segments.first().copied().unwrap_or_default();
    if SWARM_PATHS.contains(&first) {
        // Docker's words where no swarm was joined, which its clients know.
        let sentence = match segments.get(1) {
            Some(&"leave") => "This node is not part of a swarm; vswitch has no swarm mode",
            _ => {
                "This node is not a swarm manager; vswitch has no swarm mode. For networks that span hosts use the driver \
                 overlay"
            }
        };
        return Some(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence));
    }
    let last = segments.last().copied().unwrap_or_default();
    let instead = match (first, last) {
        ("build" | "session" | "grpc", _) | ("images", "load" | "get") => {
            "unpack or build a root directory on the host and start vswitchd with --image NAME=DIR"
        }
        ("commit" | "distribution" | "auth" | "images", _) => {
            "there is no registry; give vswitchd root directories with --image NAME=DIR"
        }
        ("containers", "changes") => "compare its root directory with its image's on the host",
        ("containers", "export") => "pack its root directory: docker exec NAME tar -cf - -C / .",
        ("containers", "checkpoint" | "checkpoints") => "use docker pause",
        ("containers" | "exec", _) => "see docker --help and vswitchctl --help for what there is",
        ("plugins", _) => "there are no plug-ins to install",
        ("system", _) => "see docker info and docker system df",
        _ => return None,
    };
    let sentence = format!("vswitch does not serve {path} of the Docker Engine API; {instead}");
    Some(Refusal::new(StatusCode::NOT_IMPLEMENTED, sentence))
}

/// The sentence about a method that Docker has on a path of which others are ours.
pub(in crate::api) fn method_not_implemented(method: &Method, path: &str) -> Option<Refusal> {
    let (folder, _) = path.trim_matches('/').split_once('/')?;
    let docker_has = match folder {
        // Among them those whose last part looks like an image's name: save, load, search.
        "images" => method == Method::GET || method == Method::POST,
        "volumes" => method == Method::PUT,
        _ => false,
    };
    docker_has.then(|| not_implemented(path))?
}

/// First path segments that belong to swarm mode.
const SWARM_PATHS: [&str; 6] = ["configs", "nodes", "secrets", "services", "swarm", "tasks"];
