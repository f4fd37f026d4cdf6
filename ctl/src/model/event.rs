//! What happens to networks and containers, as it is told to whoever listens.

use std::collections::BTreeMap;

use super::{Container, Network};
use crate::clock::Moment;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A network.
    Network,
    /// A container.
    Container,
}

impl Kind {
    /// Docker's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Network => "network",
            Kind::Container => "container",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub moment: Moment,
    /// What it is about.
    pub kind: Kind,
    /// Docker's word for what happened.
    pub action: &'static str,
    /// Whose id.
    pub id: String,
    /// `name` and what else is known.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Something happened to a network.
    #[must_use]
    pub fn of_network(moment: Moment, network: &Network, action: &'static str) -> Self {
        let attributes = [("name", network.name.as_str()), ("type", network.driver.word())];
        Event::new(moment, Kind::Network, action, network.id.to_string()).with(attributes)
    }

    /// Networks were pruned.
    #[must_use]
    pub fn of_prune(moment: Moment) -> Self {
        Event::new(moment, Kind::Network, "prune", String::new()).with([("reclaimed", "0")])
    }

    /// Something happened to a container. Its labels are told, too, as Docker does.
    #[must_use]
    pub fn of_container(moment: Moment, container: &Container, action: &'static str) -> Self {
        let mut event = Event::new(moment, Kind::Container, action, container.id.to_string());
        event.attributes.clone_from(&container.spec.labels);
        let image = container.spec.image.as_deref().unwrap_or(container.spec.mounts.root.directory());
        event.with([("image", image), ("name", container.name.as_str())])
    }

    /// With these attributes, too.
    #[must_use]
    pub fn with<'a>(mut self, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.attributes.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
        self
    }

    fn new(moment: Moment, kind: Kind, action: &'static str, id: String) -> Self {
        Event { moment, kind, action, id, attributes: BTreeMap::new() }
    }
}
