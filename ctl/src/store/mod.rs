//! What survives vswitchd: networks, containers, endpoints, and a few facts about the state directory.
//!
//! One redb file, opened by one process (the lock of [`lock`] sees to that). A record is the JSON of its domain type, by
//! id. A change is one [`Change`], committed before the client that asked for it is answered, or not at all.
//!
//! **Durability.** Every commit is written and synced ([`redb::Durability::Immediate`]), so it survives a crash of the
//! machine, too. Adding an endpoint to a running container costs exactly one commit.
//!
//! **A file system that refuses.** After an error the database takes nothing more, so it is opened again and the change
//! tried once more. If that fails, too, there are two kinds of changes: what was only decided is not done
//! ([`Store::commit`]); what has happened already, like the end of a process, is *owed* ([`Store::settle`]) and written
//! with the next change that can be, or by [`Store::pay`], which control calls every second. Nothing needs a restart.
//!
//! **Damage.** At every start all checksums of a copy in memory are verified, and every record read, before the file
//! itself is opened ([`tables::examine`]). What is refused is left as it is, byte for byte, and the refusal names the last
//! copy that was found sound (`state.redb.good`, made at each start and every hour).
//!
//! **Versions.** `meta/schema` is [`SCHEMA`]. A store of a newer schema is refused with a sentence and left as it is.

mod files;
mod lock;
mod medium;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::Database;
use serde::Serialize;

pub use lock::{StateDir, StateDirError};
use medium::Medium;
use tables::{Table, Verdict, Writes};
use writer::Writer;

use crate::ids::Id;
use crate::model::{Container, Endpoint, Network};

/// Schema of this build.
pub const SCHEMA: u32 = 1;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not a store, or a damaged one.
    #[error("the store {path} cannot be read ({detail}); it was left as it is: {advice}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What redb or the decoder said.
        detail: String,
        /// What can be done.
        advice: String,
    },
    /// The file system does not give it.
    #[error("cannot open the store {path} ({detail}); see that it is a file that may be read and written")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was said.
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
    #[error(
        "cannot write the store {path} ({detail}); see that there is space and that it may be written, and try again: \
         vswitchd need not be restarted"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What was said.
        detail: String,
    },
    /// The file system refused to write down what has happened already.
    #[error(
        "it is done, but the store {path} cannot be written ({detail}); see that there is space and that it may be \
         written: that is tried again every second, and a vswitchd that starts before it worked does not know of it"
    )]
    Owed {
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

    fn writes(&self) -> Writes {
        let write = |step: &Step<'_>| match step {
            Step::PutNetwork(network) => ((Table::Networks, network.id.to_string()), Some(json(network))),
            Step::PutContainer(container) => ((Table::Containers, container.id.to_string()), Some(json(container))),
            Step::PutEndpoint(endpoint) => ((Table::Endpoints, endpoint.id.to_string()), Some(json(endpoint))),
            Step::PutUla(bits) => ((Table::Meta, "ula".to_owned()), Some(bits.to_vec())),
            Step::DropNetwork(id) => ((Table::Networks, id.to_string()), None),
            Step::DropContainer(id) => ((Table::Containers, id.to_string()), None),
            Step::DropEndpoint(id) => ((Table::Endpoints, id.to_string()), None),
        };
        self.steps.iter().map(write).collect()
    }

    fn with(mut self, step: Step<'a>) -> Self {
        self.steps.push(step);
        self
    }
}

/// The open store. A thread of its own writes, since a disk may not answer for as long as it likes.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Writer,
}

/// What the thread has, too.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    medium: Medium,
    /// None after an error, until it could be opened again. Held while something is written.
    database: Mutex<Option<Database>>,
    book: Mutex<Book>,
}

/// Held for a moment only.
#[derive(Debug, Default)]
struct Book {
    /// What must become of records that could not be written.
    owed: Writes,
    /// Why the latest change could not be written.
    trouble: String,
    /// Changes since the last copy was kept.
    changes: u64,
}

/// What becomes of a change that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Forget,
    Owe,
}

impl Store {
    /// Opens or creates the store of a state directory and reads all of it.
    ///
    /// # Errors
    /// When it is damaged, newer, in use, or cannot be written.
    pub fn open(state_dir: &Path) -> Result<(Store, Contents), StoreError> {
        let opened = files::open(state_dir)?;
        let store = Store::on(opened.path, opened.medium);
        store.begin(opened.repair)?;
        // An empty one is no reason to give up the copy of one that was not.
        if !opened.fresh {
            store.keep(&opened.bytes);
        }
        Ok((store, opened.contents))
    }

    fn on(path: PathBuf, medium: Medium) -> Store {
        let shared = Shared { path, medium, database: Mutex::default(), book: Mutex::default() };
        Store { shared: Arc::new(shared), writer: Writer::default() }
    }

    /// Opens the database. Its bytes were found sound.
    fn begin(&self, repair: bool) -> Result<(), StoreError> {
        let mut database = tables::open(&self.shared.medium).map_err(|detail| self.io(detail))?;
        if repair {
            tables::repair(&mut database).map_err(|detail| self.io(detail))?;
        }
        *self.shared.database() = Some(database);
        Ok(())
    }

    /// Commits a change.
    ///
    /// # Errors
    /// When the file system refuses; nothing was changed then.
    pub fn commit(&self, change: &Change<'_>) -> Result<(), StoreError> {
        self.write(change.writes(), Otherwise::Forget).map_err(|detail| self.io(detail))
    }

    /// Commits a change that says what has happened already. If that cannot be written now, it is later.
    ///
    /// # Errors
    /// When the file system refuses; the change is owed then.
    pub fn settle(&self, change: &Change<'_>) -> Result<(), StoreError> {
        self.write(change.writes(), Otherwise::Owe).map_err(|detail| self.owed(detail))
    }

    /// Writes what is owed, if anything is.
    ///
    /// # Errors
    /// When the file system refuses still.
    pub fn pay(&self) -> Result<(), StoreError> {
        if self.shared.book().owed.is_empty() {
            return Ok(());
        }
        self.write(Writes::new(), Otherwise::Owe).map_err(|detail| self.owed(detail))
    }

    /// Whether all that happened to a record is written.
    ///
    /// # Errors
    /// When something is owed; it says why.
    pub fn is_paid(&self, id: &Id) -> Result<(), StoreError> {
        let book = self.shared.book();
        match book.owed.keys().any(|(_, key)| key == id.as_str()) {
            true => Err(self.owed(book.trouble.clone())),
            false => Ok(()),
        }
    }

    /// Keeps a copy of the store as it is, if it has changed since the last one and is sound. Takes as long as a start;
    /// changes wait only while it is read.
    pub fn keep_copy(&self) {
        let bytes = {
            if std::mem::take(&mut self.shared.book().changes) == 0 {
                return;
            }
            let _still = self.shared.database();
            self.shared.medium.bytes()
        };
        match bytes.map(|bytes| (tables::examine(&bytes), bytes)) {
            Ok((Verdict::Sound { .. }, bytes)) => self.keep(&bytes),
            Ok((Verdict::Damaged(detail), _)) => {
                tracing::error!(
                    "the store {} is damaged ({detail}); copy it before vswitchd ends",
                    self.shared.path.display()
                );
            }
            Ok((Verdict::Newer(_) | Verdict::NeverFilled, _)) => {}
            Err(error) => tracing::warn!("cannot read the store {}: {error}", self.shared.path.display()),
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let Some(dir) = self.shared.path.parent() else { return };
        if let Err(error) = files::keep(dir, bytes) {
            tracing::warn!("cannot keep a copy of the store {}: {error}", self.shared.path.display());
        }
    }

    /// Has it written, and waits for that as long as a client would.
    fn write(&self, change: Writes, otherwise: Otherwise) -> Result<(), String> {
        self.writer.write(&self.shared, change, otherwise)
    }

    fn io(&self, detail: String) -> StoreError {
        StoreError::Io { path: self.shared.path.clone(), detail }
    }

    fn owed(&self, detail: String) -> StoreError {
        StoreError::Owed { path: self.shared.path.clone(), detail }
    }
}

impl Shared {
    /// Writes a change with all that is owed. Answers what was there before, too, if the change may be there now.
    fn write(&self, change: &Writes, otherwise: Otherwise) -> (Result<(), String>, Writes) {
        let mut all = self.book().owed.clone();
        all.extend(change.clone());
        match self.attempt(&all) {
            Ok(before) => {
                self.written(&all);
                (Ok(()), before)
            }
            Err((detail, before)) => {
                let before = before.unwrap_or_default();
                let mut book = self.book();
                match otherwise {
                    Otherwise::Owe => book.owed.extend(change.clone()),
                    // Whether it was written after all cannot be known now, so what was before is owed.
                    Otherwise::Forget => book.owe_again(before.clone(), change),
                }
                book.trouble.clone_from(&detail);
                (Err(detail), before)
            }
        }
    }

    /// Has become of a change, after all, what nobody waited for: one that was refused is undone.
    fn end_refused(&self, change: &Writes, otherwise: Otherwise, before: Writes) {
        if otherwise == Otherwise::Forget {
            self.book().owe_again(before, change);
        }
    }

    /// Writes, and once more with the database opened anew. Answers what the records were before; an error comes with that if the
    /// change may be there all the same.
    fn attempt(&self, writes: &Writes) -> Result<Writes, (String, Option<Writes>)> {
        let mut held = self.database();
        let (mut before, mut last) = (None, String::new());
        for _ in 0..ATTEMPTS {
            let database = match held.take().map_or_else(|| tables::open(&self.medium), Ok) {
                Ok(database) => database,
                Err(detail) => {
                    last = detail;
                    continue;
                }
            };
            match tables::apply(&database, writes) {
                Ok(replaced) => {
                    *held = Some(database);
                    // The first try may have got through.
                    return Ok(before.unwrap_or(replaced));
                }
                Err(failed) => {
                    (before, last) = (before.or(failed.before), failed.detail);
                    // What closing it says is about the same error.
                    let _ = tables::close(database);
                }
            }
        }
        Err((last, before))
    }

    fn written(&self, all: &Writes) {
        let mut book = self.book();
        book.changes += 1;
        if !book.owed.is_empty() {
            // What has come to be owed meanwhile still is.
            book.owed.retain(|key, value| all.get(key) != Some(value));
            if book.owed.is_empty() {
                tracing::info!("the store {} is written again, with all that was owed", self.path.display());
            }
        }
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Records of a change that did not happen are to be again what they were, unless more is known of them by now.
    fn owe_again(&mut self, before: Writes, change: &Writes) {
        for (key, value) in before.into_iter().filter(|(key, _)| change.contains_key(key)) {
            self.owed.entry(key).or_insert(value);
        }
    }
}

/// How often a change is tried.
const ATTEMPTS: u32 = 2;

fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("domain types have no map keys or values that JSON cannot say")
}

#[cfg(test)]
pub(crate) mod tests;
