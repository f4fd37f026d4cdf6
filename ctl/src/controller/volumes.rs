//! Volumes: the agent keeps them, the controller knows who uses them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Controller, unexpected};
use crate::agent::protocol::{Reply, Request, VolumeRecord};
use crate::clock::{Moment, parse_until};
use crate::error::ControlError;
use crate::ids::Id;
use crate::model::{Filters, volume_name};

/// Docker's filters of `volume ls` and `volume prune`.
#[derive(Debug, Clone)]
pub struct VolumeFilter {
    filters: Filters,
    dangling: Option<bool>,
    before: Option<Moment>,
    /// Only those that nobody gave a name.
    nameless: bool,
}

/// Filter keys of `volume ls`.
const LIST_KEYS: [&str; 5] = ["dangling", "driver", "label", "name", "label!"];
/// Filter keys of `volume prune`.
const PRUNE_KEYS: [&str; 4] = ["label", "label!", "all", "until"];

impl VolumeFilter {
    /// For a listing.
    ///
    /// # Errors
    /// When a key is unknown or a value makes no sense for it.
    pub fn listing(by_key: BTreeMap<String, Vec<String>>) -> Result<Self, ControlError> {
        let filters = Filters::new(by_key, &LIST_KEYS)?;
        let dangling = filters.flag("dangling")?;
        Ok(VolumeFilter { filters, dangling, before: None, nameless: false })
    }

    /// For a prune.
    ///
    /// # Errors
    /// When a key is unknown or a value makes no sense for it.
    pub fn pruning(by_key: BTreeMap<String, Vec<String>>) -> Result<Self, ControlError> {
        let filters = Filters::new(by_key, &PRUNE_KEYS)?;
        let before = match filters.values("until").next() {
            None => None,
            Some(text) => Some(parse_until(text, Moment::now()).ok_or_else(|| {
                ControlError::invalid(format!("invalid filter 'until={text}'; write a time or a duration such as 24h"))
            })?),
        };
        let nameless = !filters.flag("all")?.unwrap_or_default();
        Ok(VolumeFilter { filters, dangling: Some(true), before, nameless })
    }

    fn matches(&self, volume: &VolumeRecord, used: bool) -> bool {
        let created = parse_until(&volume.created, Moment::now());
        self.dangling.is_none_or(|dangling| dangling != used)
            && self.before.is_none_or(|before| created.is_some_and(|created| created < before))
            && (!self.nameless || volume.name.parse::<Id>().is_ok())
            && self.filters.exact("driver", DRIVER)
            && self.filters.pattern("name", &[&volume.name])
            && self.filters.labels(&volume.labels)
    }
}

/// The one driver.
pub const DRIVER: &str = "local";

impl Controller {
    /// Makes a volume, or finds it; without a name it gets one.
    ///
    /// # Errors
    /// When the name makes no sense or the agent cannot make it.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<VolumeRecord, ControlError> {
        let name = match name {
            "" => Id::random(&mut rand::rng()).to_string(),
            _ => volume_name(name).map_err(ControlError::invalid)?,
        };
        match self.inner.agent.call(Request::VolumeMake { name, labels, options }, Vec::new()).await? {
            (Reply::Volumes { mut volumes, .. }, _) if volumes.len() == 1 => Ok(volumes.remove(0)),
            (reply, _) => Err(unexpected(&reply)),
        }
    }

    /// Volumes that a filter lets pass, by name.
    ///
    /// # Errors
    /// When the agent cannot read them.
    pub async fn list_volumes(&self, filter: &VolumeFilter) -> Result<Vec<VolumeRecord>, ControlError> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let (volumes, more) = match self.inner.agent.call(Request::VolumeList { after }, Vec::new()).await? {
                (Reply::Volumes { volumes, more }, _) => (volumes, more),
                (reply, _) => return Err(unexpected(&reply)),
            };
            after = volumes.last().map(|last| last.name.clone()).unwrap_or_default();
            all.extend(volumes);
            if !more || after.is_empty() {
                break;
            }
        }
        let used = self.used_volumes();
        all.retain(|volume| filter.matches(volume, used.contains_key(&volume.name)));
        Ok(all)
    }

    /// One volume.
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn inspect_volume(&self, name: &str) -> Result<VolumeRecord, ControlError> {
        let everything = VolumeFilter::listing(BTreeMap::new())?;
        let found = self.list_volumes(&everything).await?.into_iter().find(|volume| volume.name == name);
        found.ok_or_else(|| ControlError::VolumeNotFound(name.to_owned()))
    }

    /// Removes a volume with what is in it.
    ///
    /// # Errors
    /// When it does not exist (unless `force`), or a container has it.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<(), ControlError> {
        if let Some(users) = self.used_volumes().get(name) {
            let users = users.iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(ControlError::Conflict(format!("remove {name}: volume is in use - [{users}]")));
        }
        match self.ask(Request::VolumeRemove { name: name.to_owned() }).await {
            Err(ControlError::NamespaceGone(_)) if force => Ok(()),
            Err(ControlError::NamespaceGone(_)) => Err(ControlError::VolumeNotFound(name.to_owned())),
            done => done,
        }
    }

    /// Removes the volumes that no container has; as with Docker, those that somebody gave a name only where `all` is asked for. Answers
    /// their names.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub async fn prune_volumes(&self, filter: &VolumeFilter) -> Result<Vec<String>, ControlError> {
        let mut removed = Vec::new();
        for volume in self.list_volumes(filter).await? {
            self.remove_volume(&volume.name, true).await?;
            removed.push(volume.name);
        }
        Ok(removed)
    }

    /// Makes the named volumes of a container that is being created.
    pub(super) async fn make_volumes(&self, names: Vec<String>) -> Result<(), ControlError> {
        for name in names {
            self.create_volume(&name, BTreeMap::new(), BTreeMap::new()).await?;
        }
        Ok(())
    }

    /// Volumes that containers have, with the ids of those.
    #[must_use]
    pub fn used_volumes(&self) -> BTreeMap<String, BTreeSet<String>> {
        let state = self.state();
        let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for one in state.containers.values() {
            let id = one.container.id.to_string();
            let mounts = &one.container.spec.mounts;
            let own = mounts.anonymous(&id).map(|(_, name)| name);
            for name in mounts.volumes().map(str::to_owned).chain(own) {
                used.entry(name).or_default().insert(id.clone());
            }
        }
        used
    }
}
