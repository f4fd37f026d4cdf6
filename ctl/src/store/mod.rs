//! What survives vswitchd: networks, containers, endpoints, and a few facts about the state directory.
//!
//! One redb file, opened by one process (the lock of [`lock`] sees to that). A record is the JSON of its domain type, by
//! id. A change is one [`Change`], committed before the client that asked for it is answered, or not at all.
//!
//! **Durability.** Every commit is written and synced ([`redb::Durability::Immediate`]), so it survives a crash of the
//! machine, too. Adding an endpoint to a running container costs exactly one commit.
//!
//! **Versions.** `meta/schema` is [`SCHEMA`]. A store of a newer schema or one that redb cannot read is refused with a
//! sentence and left as it is.

mod lock;

use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Serialize, de::DeserializeOwned};

pub use lock::{StateDir, StateDirError};

use crate::ids::Id;
use crate::model::{Container, Endpoint, Network};

/// Schema of this build.
pub const SCHEMA: u32 = 1;

const NETWORKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("networks");
const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
const ENDPOINTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("endpoints");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Pages that redb keeps in memory. The whole store of a thousand endpoints is smaller than that.
const CACHE_BYTES: usize = 4 << 20;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not a store, or a damaged one.
    #[error(
        "the store {path} cannot be read ({detail}); it was left as it is: move it away to start empty, or restore a \
         copy of it"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What redb or the decoder said.
        detail: String,
    },
    /// Written by a later version of vswitch.
    #[error("the store {path} has schema {found} and this vswitchd knows up to {SCHEMA}; use a newer vswitchd")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// Another process has it open.
    #[error("the store {path} is open in another process; stop the other vswitchd or use another --state-dir")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot write the store {path} ({detail}); see that there is space and that it may be written")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was said.
        detail: String,
    },
}

/// Everything that is stored.
#[derive(Debug, Default)]
pub struct Contents {
    /// All networks.
    pub networks: Vec<Network>,
    /// All containers.
    pub containers: Vec<Container>,
    /// All endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The random 40 bits of the ULA prefix for automatic IPv6 subnets.
    pub ula: Option<[u8; 5]>,
}

/// One change, applied as a whole.
#[derive(Debug, Default)]
pub struct Change<'a> {
    steps: Vec<Step<'a>>,
}

#[derive(Debug)]
enum Step<'a> {
    PutNetwork(&'a Network),
    PutContainer(&'a Container),
    PutEndpoint(&'a Endpoint),
    PutUla([u8; 5]),
    DropNetwork(&'a Id),
    DropContainer(&'a Id),
    DropEndpoint(&'a Id),
}

impl<'a> Change<'a> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Change { steps: Vec::new() }
    }

    /// Adds or replaces a network.
    #[must_use]
    pub fn put_network(self, network: &'a Network) -> Self {
        self.with(Step::PutNetwork(network))
    }

    /// Adds or replaces a container.
    #[must_use]
    pub fn put_container(self, container: &'a Container) -> Self {
        self.with(Step::PutContainer(container))
    }

    /// Adds or replaces endpoints.
    #[must_use]
    pub fn put_endpoints(self, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        endpoints.into_iter().fold(self, |change, endpoint| change.with(Step::PutEndpoint(endpoint)))
    }

    /// Sets the ULA bits.
    #[must_use]
    pub fn put_ula(self, bits: [u8; 5]) -> Self {
        self.with(Step::PutUla(bits))
    }

    /// Removes a network.
    #[must_use]
    pub fn drop_network(self, id: &'a Id) -> Self {
        self.with(Step::DropNetwork(id))
    }

    /// Removes a container.
    #[must_use]
    pub fn drop_container(self, id: &'a Id) -> Self {
        self.with(Step::DropContainer(id))
    }

    /// Removes endpoints.
    #[must_use]
    pub fn drop_endpoints(self, ids: impl IntoIterator<Item = &'a Id>) -> Self {
        ids.into_iter().fold(self, |change, id| change.with(Step::DropEndpoint(id)))
    }

    fn with(mut self, step: Step<'a>) -> Self {
        self.steps.push(step);
        self
    }
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens or creates the store of a state directory and reads all of it.
    ///
    /// # Errors
    /// When it is damaged, newer, in use, or cannot be written.
    pub fn open(state_dir: &Path) -> Result<(Store, Contents), StoreError> {
        let path = state_dir.join("state.redb");
        let fresh = !path.exists();
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        // An existing file is never created anew: `create` would take an empty one for a new store.
        let opened = if fresh { builder.create(&path) } else { builder.open(&path) };
        let store = match opened {
            Ok(database) => Store { path, database },
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::InUse { path }),
            Err(error) if fresh => return Err(StoreError::Io { path, detail: error.to_string() }),
            Err(DatabaseError::Storage(redb::StorageError::Io(error)))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                return Err(StoreError::Io { path, detail: error.to_string() });
            }
            Err(error) => return Err(StoreError::Corrupt { path, detail: error.to_string() }),
        };
        if fresh {
            store.initialise()?;
        }
        let contents = store.read()?;
        Ok((store, contents))
    }

    /// Commits a change.
    ///
    /// # Errors
    /// When the file system refuses; nothing was changed then.
    pub fn commit(&self, change: &Change<'_>) -> Result<(), StoreError> {
        self.try_commit(change).map_err(|error| self.io(&error))
    }

    fn initialise(&self) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            transaction.open_table(META)?.insert("schema", SCHEMA.to_string().as_bytes())?;
            transaction.open_table(NETWORKS)?;
            transaction.open_table(CONTAINERS)?;
            transaction.open_table(ENDPOINTS)?;
            transaction.commit()?;
            Ok(())
        };
        write().map_err(|error| self.io(&error))
    }

    fn try_commit(&self, change: &Change<'_>) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut networks = transaction.open_table(NETWORKS)?;
            let mut containers = transaction.open_table(CONTAINERS)?;
            let mut endpoints = transaction.open_table(ENDPOINTS)?;
            for step in &change.steps {
                match step {
                    Step::PutNetwork(network) => {
                        networks.insert(network.id.as_str(), json(network).as_slice())?;
                    }
                    Step::PutContainer(container) => {
                        containers.insert(container.id.as_str(), json(container).as_slice())?;
                    }
                    Step::PutEndpoint(endpoint) => {
                        endpoints.insert(endpoint.id.as_str(), json(endpoint).as_slice())?;
                    }
                    Step::PutUla(bits) => {
                        transaction.open_table(META)?.insert("ula", bits.as_slice())?;
                    }
                    Step::DropNetwork(id) => drop(networks.remove(id.as_str())?),
                    Step::DropContainer(id) => drop(containers.remove(id.as_str())?),
                    Step::DropEndpoint(id) => drop(endpoints.remove(id.as_str())?),
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn read(&self) -> Result<Contents, StoreError> {
        let corrupt = |detail: String| StoreError::Corrupt { path: self.path.clone(), detail };
        let transaction = self.database.begin_read().map_err(|error| corrupt(error.to_string()))?;
        let meta = transaction.open_table(META).map_err(|error| corrupt(missing(&error)))?;
        let value = |key: &str| -> Result<Option<Vec<u8>>, StoreError> {
            let guard = meta.get(key).map_err(|error| corrupt(error.to_string()))?;
            Ok(guard.map(|guard| guard.value().to_vec()))
        };
        let schema = value("schema")?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u32>().ok());
        match schema {
            None => return Err(corrupt("it does not say its schema".to_owned())),
            Some(found) if found > SCHEMA => return Err(StoreError::Newer { path: self.path.clone(), found }),
            Some(_) => {}
        }
        Ok(Contents {
            networks: self.table(&transaction, NETWORKS)?,
            containers: self.table(&transaction, CONTAINERS)?,
            endpoints: self.table(&transaction, ENDPOINTS)?,
            ula: value("ula")?.and_then(|bytes| bytes.try_into().ok()),
        })
    }

    fn table<T: DeserializeOwned>(
        &self,
        transaction: &redb::ReadTransaction,
        definition: TableDefinition<'_, &str, &[u8]>,
    ) -> Result<Vec<T>, StoreError> {
        let corrupt = |detail: String| StoreError::Corrupt { path: self.path.clone(), detail };
        let table = transaction.open_table(definition).map_err(|error| corrupt(missing(&error)))?;
        let rows = table.iter().map_err(|error| corrupt(error.to_string()))?;
        rows.map(|row| {
            let (key, value) = row.map_err(|error| corrupt(error.to_string()))?;
            serde_json::from_slice(value.value()).map_err(|error| corrupt(format!("record {}: {error}", key.value())))
        })
        .collect()
    }

    fn io(&self, error: &redb::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), detail: error.to_string() }
    }
}

fn missing(error: &TableError) -> String {
    format!("not a store of vswitch: {error}")
}

fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("domain types have no map keys or values that JSON cannot say")
}

#[cfg(test)]
mod tests;
