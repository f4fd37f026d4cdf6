//! The control socket: HTTP/1.1 with JSON over a Unix socket.
//!
//! - [`listen`] makes the socket, so that nobody but the owner (and a group) ever reaches it;
//! - [`serve`] accepts: a bound on connections, time limits for slow clients, credentials in the log;
//! - [`router`] maps both dialects of `vswitch-api` onto the controller, and describes itself at `openapi.json`;
//! - `stdio` takes a container's streams over a connection that the client asked to upgrade.
//!
//! Handlers translate: wire types become domain types, the controller decides, refusals become Docker's status codes.

mod answer;
mod capture;
mod containers;
mod docker;
mod endpoints;
mod engines;
mod extract;
mod fdb;
mod flows;
mod frames;
pub mod listen;
mod machines;
mod orders;
mod peerings;
mod policies;
mod replay;
pub mod serve;
mod services;
mod stdio;
mod stream;
mod system;
mod tunnels;
mod wires;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use utoipa::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use answer::Refusal;
pub(crate) use docker::version::negotiable;

use crate::controller::Controller;
use crate::model::Images;
use crate::uplink::Uplink;
use vswitch_api::version::Confinement;

/// What handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// The owner of the desired state.
    pub controller: Controller,
    /// What vswitchd was told.
    pub uplink: Uplink,
    /// Pipelines.
    pub workers: usize,
    /// Cores that vswitchd may use.
    pub cores: usize,
    /// Containers outlive a stop of vswitchd.
    pub live_restore: bool,
    /// Root directories by name.
    pub images: std::sync::Arc<Images>,
    /// What vswitchd cannot do.
    pub confinement: Confinement,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "vswitch",
    description = "The control socket of vswitchd. Paths without /vswitch/v1 follow the Docker Engine API and \
                   are served behind /v1.24 to /v1.50, too."
))]
struct Description;

/// All routes of both dialects, and the document that describes them.
pub fn describe() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut document) = routes().split_for_parts();
    for item in document.paths.paths.values_mut() {
        describe_refusals(item);
    }
    (router, document)
}

/// Any request may be refused, whatever its handler says: its query, its body, its size, its method.
fn describe_refusals(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.head, &mut item.patch];
    for operation in operations.into_iter().flatten() {
        let responses = &mut operation.responses.responses;
        for (status, description) in [("4XX", "the request's fault"), ("5XX", "vswitchd's fault, or not supported")] {
            responses.entry(status.to_owned()).or_insert_with(|| {
                let body = Ref::from_schema_name("ErrorBody");
                let content = ContentBuilder::new().schema(Some(body)).build();
                ResponseBuilder::new().description(description).content("application/json", content).build().into()
            });
        }
    }
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(system::version))
        .routes(routes!(system::openapi))
        .routes(routes!(system::stats))
        .routes(routes!(system::topology))
        .routes(routes!(containers::list, containers::create))
        .routes(routes!(containers::inspect, containers::remove))
        .routes(routes!(containers::rename))
        .routes(routes!(containers::start))
        .routes(routes!(containers::wait))
        .routes(routes!(containers::stop))
        .routes(routes!(containers::kill))
        .routes(routes!(containers::exec))
        .routes(routes!(containers::publish, containers::unpublish))
        .routes(routes!(containers::logs))
        .routes(routes!(endpoints::list, endpoints::attach))
        .routes(routes!(endpoints::inspect, endpoints::change, endpoints::detach))
        .routes(routes!(engines::attach))
        .routes(routes!(engines::interface))
        .routes(routes!(engines::detach))
        .routes(routes!(engines::republish))
        .routes(routes!(engines::publish))
        .routes(routes!(engines::resolvers))
        .routes(routes!(fdb::show, fdb::add, fdb::flush))
        .routes(routes!(fdb::remove))
        .routes(routes!(fdb::groups))
        .routes(routes!(fdb::lldp))
        .routes(routes!(policies::list, policies::add))
        .routes(routes!(policies::remove))
        .routes(routes!(services::list, services::create))
        .routes(routes!(services::inspect, services::remove))
        .routes(routes!(services::update))
        .routes(routes!(services::drain))
        .routes(routes!(peerings::change))
        .routes(routes!(peerings::list))
        .routes(routes!(peerings::join, peerings::part))
        .routes(routes!(machines::list, machines::open))
        .routes(routes!(machines::plug))
        .routes(routes!(machines::close))
        .routes(routes!(flows::list, flows::flush))
        .routes(routes!(flows::watch))
        .routes(routes!(flows::rebind))
        .routes(routes!(capture::stream))
        .routes(routes!(frames::inject))
        .routes(routes!(frames::trace, frames::live))
        .routes(routes!(frames::expect))
        .routes(routes!(replay::replay))
        .routes(routes!(wires::list, wires::change))
        .routes(routes!(wires::cut, wires::heal))
        .routes(routes!(wires::links))
        .routes(routes!(wires::seed, wires::set_seed))
        .routes(routes!(tunnels::list))
        .routes(routes!(tunnels::show))
        .routes(routes!(tunnels::add_remote))
        .routes(routes!(tunnels::remove_remote))
        .routes(routes!(tunnels::add_entry))
        .routes(routes!(tunnels::remove_entry))
        .merge(docker::routes())
}

/// The router that [`serve`] runs.
pub fn router(app: App) -> Router {
    let (router, _) = describe();
    router.fallback(unknown_path).method_not_allowed_fallback(unknown_method).with_state(app)
}

/// The router of a socket on which Docker's dialect is spoken and nothing else.
pub fn docker_router(app: App) -> Router {
    let (router, _) = docker::routes().split_for_parts();
    router.fallback(unknown_path).method_not_allowed_fallback(unknown_method).with_state(app)
}

async fn unknown_path(uri: Uri, request: Request) -> Refusal {
    extract::drain(request).await;
    if let Some(refusal) = docker::elsewhere::not_implemented(uri.path()) {
        return refusal;
    }
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("page not found: {} is not served; see /vswitch/v1/openapi.json", uri.path()),
    )
}

async fn unknown_method(method: Method, uri: Uri, request: Request) -> Refusal {
    extract::drain(request).await;
    if let Some(refusal) = docker::elsewhere::method_not_implemented(&method, uri.path()) {
        return refusal;
    }
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not allowed on {}; see /vswitch/v1/openapi.json", uri.path()),
    )
}
