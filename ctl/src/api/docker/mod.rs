//! Docker's dialect: the Docker Engine API as far as it speaks of networks and of what is on them.
//!
//! [`version`] agrees with a client on an API version; [`networks`], [`containers`], [`events`] and [`system`] translate,
//! one topic each; what belongs to Docker and not to vswitch is refused by [`elsewhere`], in words that say so.

mod archive;
pub(super) mod containers;
mod create;
pub(super) mod elsewhere;
pub(super) mod events;
mod exec;
mod filters;
mod hijack;
pub(super) mod images;
pub(super) mod networks;
mod state;
mod streams;
pub(super) mod system;
mod usage;
pub(super) mod version;
pub(super) mod volumes;

use axum::middleware::map_response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;

/// All routes of the dialect.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(system::ping))
        .routes(routes!(system::version))
        .routes(routes!(system::info))
        .routes(routes!(events::stream))
        .routes(routes!(networks::list))
        .routes(routes!(networks::create))
        .routes(routes!(networks::prune))
        .routes(routes!(networks::inspect, networks::remove))
        .routes(routes!(networks::connect))
        .routes(routes!(networks::disconnect))
        .routes(routes!(containers::list))
        .routes(routes!(containers::inspect))
        .routes(routes!(containers::start))
        .routes(routes!(containers::stop))
        .routes(routes!(containers::restart))
        .routes(routes!(containers::kill))
        .routes(routes!(containers::rename))
        .routes(routes!(containers::wait))
        .routes(routes!(containers::prune))
        .routes(routes!(containers::remove))
        .routes(routes!(create::create))
        .routes(routes!(exec::create))
        .routes(routes!(exec::start))
        .routes(routes!(exec::inspect))
        .routes(routes!(exec::resize))
        .routes(routes!(archive::look, archive::fetch, archive::store))
        .routes(routes!(usage::top))
        .routes(routes!(usage::stats))
        .routes(routes!(state::pause))
        .routes(routes!(state::unpause))
        .routes(routes!(state::update))
        .routes(routes!(system::disk))
        .routes(routes!(system::prune_builds))
        .routes(routes!(streams::attach))
        .routes(routes!(streams::logs))
        .routes(routes!(streams::resize))
        .routes(routes!(images::list))
        .routes(routes!(images::pull))
        .routes(routes!(images::prune))
        .routes(routes!(images::inspect))
        .routes(routes!(images::history))
        .routes(routes!(images::tag))
        .routes(routes!(images::remove))
        .routes(routes!(volumes::list))
        .routes(routes!(volumes::create))
        .routes(routes!(volumes::prune))
        .routes(routes!(volumes::inspect, volumes::remove))
        .routes(routes!(elsewhere::plugin))
        .layer(map_response(version::announce))
}
