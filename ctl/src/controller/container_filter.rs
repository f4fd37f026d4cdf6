//! Which containers a listing of Docker's is about.

use std::collections::BTreeMap;
use std::path::Path;

use vswitch_api::docker::container::ContainerSummary;

use super::state::{ContainerState, State};
use super::{Controller, docker_view};
use crate::clock::{Moment, parse_until};
use crate::error::ControlError;
use crate::model::{Container, Filters, Phase, bad_value, image_id, tagged_image};
use crate::publish::PortRange;

/// What `docker ps` asks for.
#[derive(Debug, Default)]
pub struct ContainerQuery {
    /// Also those that do not run.
    pub all: bool,
    /// The newest ones only, whether they run or not.
    pub limit: Option<usize>,
    /// By key.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// Filter keys of `docker ps`. Those that speak of images, volumes, health or swarm mode are known and match as they do
/// for a container that has nothing of the kind.
const KEYS: [&str; 16] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
    "label!",
];

/// Docker's words for where a container is in its life.
const STATES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

impl Controller {
    /// Containers as `docker ps` shows them, newest first.
    ///
    /// # Errors
    /// When a filter makes no sense, or names a container that does not exist.
    pub fn docker_containers(&self, query: ContainerQuery) -> Result<Vec<ContainerSummary>, ControlError> {
        let state = self.state();
        let filter = ContainerFilter::new(query.filters, &state)?;
        // As with Docker: who asks for a state, or for the newest, means also those that do not run.
        let all = query.all || query.limit.is_some() || filter.filters.has("status");
        let mut newest: Vec<_> = state.containers.values().collect();
        newest.sort_by_key(|one| std::cmp::Reverse(one.container.created));
        let now = Moment::now();
        let found = newest
            .into_iter()
            .filter(|one| {
                (all || one.container.running() || one.restart.waiting.is_some()) && filter.matches(&state, one)
            })
            .take(query.limit.unwrap_or(usize::MAX));
        Ok(found.map(|one| docker_view::summary(&state, one, now)).collect())
    }
}

/// Which containers a prune is about.
pub(super) struct PruneFilter {
    filters: Filters,
    before: Option<Moment>,
}

impl PruneFilter {
    pub(super) fn new(by_key: BTreeMap<String, Vec<String>>) -> Result<Self, ControlError> {
        let filters = Filters::new(by_key, &["label", "label!", "until"])?;
        let moment = |text: &str| parse_until(text, Moment::now()).ok_or_else(|| bad_value("until", text));
        let before = filters.values("until").next().map(moment).transpose()?;
        Ok(PruneFilter { filters, before })
    }

    pub(super) fn matches(&self, container: &Container) -> bool {
        self.filters.labels(&container.spec.labels) && self.before.is_none_or(|before| container.created < before)
    }
}

struct ContainerFilter {
    filters: Filters,
    exited: Vec<i32>,
    before: Option<Moment>,
    since: Option<Moment>,
    publish: Vec<Ports>,
    expose: Vec<Ports>,
    is_task: Option<bool>,
}

/// `80`, `80/tcp` or `8000-8010/udp`.
struct Ports {
    range: PortRange,
    protocol: Option<String>,
}

impl ContainerFilter {
    fn new(by_key: BTreeMap<String, Vec<String>>, state: &State) -> Result<Self, ControlError> {
        let filters = Filters::new(by_key, &KEYS)?;
        filters.allow("status", &STATES)?;
        filters.allow("health", &["none", "starting", "healthy", "unhealthy"])?;
        let code = |text: &str| text.parse().map_err(|_| bad_value("exited", text));
        let exited = filters.values("exited").map(code).collect::<Result<_, _>>()?;
        let ports = |key| filters.values(key).map(|text| parse_ports(key, text)).collect::<Result<_, _>>();
        let moment = |key: &str| match filters.values(key).last() {
            Some(text) => state.container(text).map(|one| Some(one.container.created)),
            None => Ok(None),
        };
        let (publish, expose) = (ports("publish")?, ports("expose")?);
        let (before, since, is_task) = (moment("before")?, moment("since")?, filters.flag("is-task")?);
        Ok(ContainerFilter { exited, before, since, publish, expose, is_task, filters })
    }

    fn matches(&self, state: &State, one: &ContainerState) -> bool {
        let (filters, container) = (&self.filters, &one.container);
        filters.pattern("id", &[container.id.as_str()])
            && filters.pattern("name", &[&container.name, &format!("/{}", container.name)])
            && filters.exact("status", docker_view::word(one))
            && filters.labels(&container.spec.labels)
            && filters.exact("health", "none")
            && filters.any("ancestor", |text| matches_image(container, text))
            && !filters.has("volume")
            && self.is_task != Some(true)
            && self.before.is_none_or(|before| container.created < before)
            && self.since.is_none_or(|since| container.created > since)
            && self.matches_exit(container.phase)
            && self.matches_ports(container)
            && self.matches_network(state, one)
    }

    fn matches_exit(&self, phase: Phase) -> bool {
        self.exited.is_empty() || matches!(phase, Phase::Exited { code, .. } if self.exited.contains(&code))
    }

    fn matches_ports(&self, container: &Container) -> bool {
        let published = |ports: &Ports| {
            container.ports.iter().any(|one| ports.hold(one.host_port, &one.transport.protocol().to_string()))
        };
        let exposed = |ports: &Ports| {
            let published = container.spec.publish.iter().map(|one| (one.target_port, one.transport));
            let exposed = container.spec.expose.iter().map(|one| (one.port, one.transport));
            published.chain(exposed).any(|(port, transport)| ports.hold(port, &transport.protocol().to_string()))
        };
        (self.publish.is_empty() || self.publish.iter().any(published))
            && (self.expose.is_empty() || self.expose.iter().any(exposed))
    }

    fn matches_network(&self, state: &State, one: &ContainerState) -> bool {
        let endpoints = || one.endpoints.iter().filter_map(|id| state.endpoints.get(id)).map(|on| &on.endpoint);
        self.filters.any("network", |text| {
            one.container.mode_text == text
                || endpoints().any(|on| on.network_name == text || on.network.as_str().starts_with(text))
        })
    }
}

/// By name, with or without a tag, or by id.
fn matches_image(container: &Container, text: &str) -> bool {
    let id = image_id(Path::new(container.spec.mounts.root.directory()));
    let name = container.spec.image.as_deref().unwrap_or(container.spec.mounts.root.directory());
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let by_id = digits.len() >= 6 && id["sha256:".len()..].starts_with(digits);
    by_id || tagged_image(name) == tagged_image(text) || name.split(':').next() == Some(text)
}

impl Ports {
    fn hold(&self, port: u16, protocol: &str) -> bool {
        (self.range.first()..=self.range.last()).contains(&port)
            && self.protocol.as_deref().is_none_or(|wanted| wanted == protocol)
    }
}

fn parse_ports(key: &str, text: &str) -> Result<Ports, crate::model::Faults> {
    let (range, protocol) = match text.split_once('/') {
        Some((range, protocol)) => (range, Some(protocol.to_ascii_lowercase())),
        None => (text, None),
    };
    let known = protocol.as_deref().is_none_or(|protocol| matches!(protocol, "tcp" | "udp" | "sctp"));
    let range = range.parse().ok().filter(|_| known).ok_or_else(|| bad_value(key, text))?;
    Ok(Ports { range, protocol })
}
