//! Who answers: `/_ping`, `/version`, `/info`.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::IntoResponse;
use vswitch_api::docker::image::ImageSummary;
use vswitch_api::docker::system::{AddressPool, BuildsPruned, Component, DiskUsage, Info, Platform, Plugins, Version};
use vswitch_api::{DOCKER_API_VERSION, DOCKER_MIN_API_VERSION};

use super::volumes;
use crate::api::App;
use crate::api::answer::Answer;
use crate::clock::Moment;
use crate::controller::ContainerQuery;
use crate::model::Image;

/// vswitch's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Docker's clients ask this first (HEAD, too) to agree on a version.
#[utoipa::path(get, path = "/_ping", responses((status = 200, body = String, content_type = "text/plain")))]
pub(in crate::api) async fn ping() -> impl IntoResponse {
    let headers = [
        (HeaderName::from_static("cache-control"), "no-cache, no-store, must-revalidate"),
        (HeaderName::from_static("pragma"), "no-cache"),
        (HeaderName::from_static("swarm"), "inactive"),
    ];
    (headers, "OK")
}

/// The daemon in Docker's shape.
#[utoipa::path(get, path = "/version", responses((status = 200, body = Version)))]
pub(in crate::api) async fn version() -> Json<Version> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let arch = std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    // What the docker command line shows of a component that is named Engine.
    let details = [
        ("ApiVersion", DOCKER_API_VERSION),
        ("MinAPIVersion", DOCKER_MIN_API_VERSION),
        ("Os", "linux"),
        ("Arch", &arch),
        ("KernelVersion", &kernel),
        ("Experimental", "false"),
    ];
    let details: BTreeMap<String, String> =
        details.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Json(Version {
        platform: Platform { name: "vswitch".to_owned() },
        components: vec![Component { name: "Engine".to_owned(), version: VERSION.to_owned(), details }],
        version: VERSION.to_owned(),
        api_version: DOCKER_API_VERSION.to_owned(),
        min_api_version: DOCKER_MIN_API_VERSION.to_owned(),
        os: "linux".to_owned(),
        arch,
        kernel_version: kernel,
        git_commit: String::new(),
        go_version: String::new(),
        build_time: String::new(),
    })
}

/// The daemon and the host, described.
#[utoipa::path(get, path = "/info", responses((status = 200, body = Info)))]
pub(in crate::api) async fn info(State(app): State<App>) -> Json<Info> {
    let controller = &app.controller;
    let (containers, running) = controller.container_counts();
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let pools = controller.defaults().pools;
    Json(Info {
        id: controller.instance(),
        containers,
        containers_running: running,
        containers_stopped: containers - running,
        plugins: Plugins {
            network: ["bridge", "host", "ipvlan", "macvlan", "null", "overlay"].map(str::to_owned).to_vec(),
            volume: vec!["local".to_owned()],
            log: vec!["json-file".to_owned()],
            ..Plugins::default()
        },
        images: app.images.iter().map(Image::id).collect::<BTreeSet<_>>().len(),
        ipv4_forwarding: true,
        system_time: Moment::now().to_string(),
        cgroup_driver: "none".to_owned(),
        kernel_version: text(uname.release()),
        operating_system: format!("vswitch {VERSION}"),
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        ncpu: app.cores,
        mem_total: memory(),
        docker_root_dir: controller.state_dir().display().to_string(),
        name: text(uname.nodename()),
        server_version: VERSION.to_owned(),
        live_restore_enabled: app.live_restore,
        security_options: controller.rootless().then(|| "name=rootless".to_owned()).into_iter().collect(),
        default_address_pools: pools
            .iter()
            .map(|pool| AddressPool { base: pool.base().to_string(), size: pool.size() })
            .collect(),
        ..Info::default()
    })
}

/// `docker system df`: volumes, and what containers changed of root directories of their own; images are not counted.
#[utoipa::path(get, path = "/system/df", responses((status = 200, body = DiskUsage)))]
pub(in crate::api) async fn disk(State(app): State<App>) -> Answer<Json<DiskUsage>> {
    let all = ContainerQuery { all: true, ..ContainerQuery::default() };
    let images = app.images.iter().map(|image| ImageSummary {
        id: image.id(),
        repo_tags: image.tag().into_iter().collect(),
        ..ImageSummary::default()
    });
    let mut containers = app.controller.docker_containers(all)?;
    let sizes = app.controller.container_sizes(containers.iter().map(|one| one.id.clone()).collect()).await?;
    containers.iter_mut().for_each(|one| one.size_rw = sizes.get(&one.id).copied());
    Ok(Json(DiskUsage {
        images: images.collect(),
        containers,
        volumes: volumes::measured(&app).await?,
        ..DiskUsage::default()
    }))
}

/// There are no builds to prune, which `docker system prune` asks for.
#[utoipa::path(post, path = "/build/prune", responses((status = 200, body = BuildsPruned)))]
pub(in crate::api) async fn prune_builds() -> Json<BuildsPruned> {
    Json(BuildsPruned::default())
}

/// Bytes of the host.
pub(super) fn memory() -> u64 {
    total_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// Bytes, from the text of /proc/meminfo.
fn total_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() * 1024
}
