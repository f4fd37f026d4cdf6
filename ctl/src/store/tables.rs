//! The tables of a store, and the only places that call the database.
//!
//! The database may panic on what is damaged or in a state that it did not expect. Everything here runs [`guarded`], so
//! that a panic is an error like others.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::de::DeserializeOwned;

use super::medium::{Image, Medium};
use super::{Contents, SCHEMA};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Networks,
    Containers,
    Endpoints,
    Meta,
}

type Definition = TableDefinition<'static, &'static str, &'static [u8]>;

impl Table {
    pub(super) const ALL: [Table; 4] = [Table::Networks, Table::Containers, Table::Endpoints, Table::Meta];

    pub(super) const fn definition(self) -> Definition {
        TableDefinition::new(match self {
            Table::Networks => "networks",
            Table::Containers => "containers",
            Table::Endpoints => "endpoints",
            Table::Meta => "meta",
        })
    }
}

/// What records are to become: bytes, or gone.
pub(super) type Writes = BTreeMap<(Table, String), Option<Vec<u8>>>;

/// A transaction that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) detail: String,
    /// What the records were before. Set when the failure came so late that the change may be there all the same.
    pub(super) before: Option<Writes>,
}

/// Pages that the database keeps in memory. The whole store of a thousand endpoints is smaller than that.
const CACHE_BYTES: usize = 4 << 20;

/// Opens a database; an empty medium becomes an empty database.
pub(super) fn open(medium: &Medium) -> Result<Database, String> {
    let opened = guarded(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder.create_with_backend(medium.clone())
    })?;
    opened.map_err(|error| error.to_string())
}

/// Applies all writes, or none. Answers what the records were before.
pub(super) fn apply(database: &Database, writes: &Writes) -> Result<Writes, Failed> {
    let mut before = Writes::new();
    let mut committing = false;
    let applied = guarded(|| -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        // The one flag in the file that says which version holds is turned only when all of that is written. So a damaged
        // record is never taken for a change that was cut short, which would be undone without a word.
        transaction.set_two_phase_commit(true);
        let changes = number(transaction.open_table(Table::Meta.definition())?.get(CHANGES)?.as_ref()) + 1;
        transaction.open_table(Table::Meta.definition())?.insert(CHANGES, changes.to_string().as_bytes())?;
        for ((table, key), value) in writes {
            let mut rows = transaction.open_table(table.definition())?;
            let old = match value {
                Some(value) => rows.insert(key.as_str(), value.as_slice())?,
                None => rows.remove(key.as_str())?,
            };
            before.insert((*table, key.clone()), old.map(|old| old.value().to_vec()));
        }
        committing = true;
        transaction.commit()?;
        Ok(())
    });
    let detail = match applied {
        Ok(Ok(())) => return Ok(before),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic,
    };
    Err(Failed { detail, before: committing.then_some(before) })
}

/// The bytes of a store without records.
pub(super) fn empty() -> Result<Vec<u8>, String> {
    let image = Medium::new(Image::new(Vec::new()));
    let database = open(&image)?;
    let made = guarded(|| -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        for table in Table::ALL {
            transaction.open_table(table.definition())?;
        }
        transaction.open_table(Table::Meta.definition())?.insert("schema", SCHEMA.to_string().as_bytes())?;
        transaction.commit()?;
        Ok(())
    })?;
    made.map_err(|error| error.to_string())?;
    close(database)?;
    image.bytes().map_err(|error| error.to_string())
}

/// What a store's bytes are worth.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Every checksum is right, and every record can be read.
    Sound {
        contents: Box<Contents>,
        /// How many changes led to them.
        changes: u64,
        /// The records are whole, what the database notes about free space is not: it must be made anew.
        repair: bool,
        /// [`SECOND_HOLDS`] is wrong and must be turned.
        turn: bool,
    },
    /// Written by a later version.
    Newer(u32),
    /// It never had a table.
    NeverFilled,
    /// It is damaged, or no store.
    Damaged(String),
}

/// Where the flags of the file are. Read first: docs/design.md of redb, "Database header".
pub(super) const FLAGS: usize = 9;
/// Which of the last two versions holds.
pub(super) const SECOND_HOLDS: u8 = 1;
/// Its writer did not come to close it.
const NOT_CLOSED: u8 = 2;

/// The record that counts changes.
const CHANGES: &str = "changes";

/// Opens, checks and reads a copy of a store.
pub(super) fn examine(bytes: &[u8]) -> Verdict {
    let verdict = look_at(bytes);
    // No checksum covers the flags. Turned by mistake, this one takes the last change away, if the store was not closed:
    // then its two versions are the same.
    if let Verdict::Sound { changes, .. } = verdict
        && bytes.get(FLAGS).is_some_and(|flags| flags & NOT_CLOSED != 0)
    {
        let mut other = bytes.to_vec();
        other[FLAGS] ^= SECOND_HOLDS;
        if let Verdict::Sound { contents, changes: more, repair, .. } = look_at(&other)
            && more > changes
        {
            return Verdict::Sound { contents, changes: more, repair, turn: true };
        }
    }
    verdict
}

fn look_at(bytes: &[u8]) -> Verdict {
    if bytes.is_empty() {
        return Verdict::NeverFilled;
    }
    let image = Medium::new(Image::new(bytes.to_vec()));
    let mut database = match open(&image) {
        Ok(database) => database,
        Err(detail) => return Verdict::Damaged(detail),
    };
    let checked = guarded(|| database.check_integrity()).and_then(|checked| checked.map_err(|error| error.to_string()));
    let verdict = checked.and_then(|clean| guarded(|| read(&database, !clean))).unwrap_or_else(Verdict::Damaged);
    // It may stumble over the damage once more when it is closed; what it says then changes nothing.
    let _ = close(database);
    verdict
}

/// Closes a database.
pub(super) fn close(database: Database) -> Result<(), String> {
    guarded(move || drop(database))
}

fn read(database: &Database, repair: bool) -> Verdict {
    match try_read(database) {
        Ok(Ok((contents, changes))) => Verdict::Sound { contents: Box::new(contents), changes, repair, turn: false },
        Ok(Err(verdict)) => verdict,
        Err(detail) => Verdict::Damaged(detail),
    }
}

fn try_read(database: &Database) -> Result<Result<(Contents, u64), Verdict>, String> {
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    if transaction.list_tables().map_err(|error| error.to_string())?.next().is_none() {
        return Ok(Err(Verdict::NeverFilled));
    }
    let meta = transaction.open_table(Table::Meta.definition()).map_err(|error| missing(&error))?;
    let value = |key: &str| -> Result<Option<Vec<u8>>, String> {
        let guard = meta.get(key).map_err(|error| error.to_string())?;
        Ok(guard.map(|guard| guard.value().to_vec()))
    };
    match value("schema")?.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u32>().ok()) {
        None => return Err("it does not say its schema".to_owned()),
        Some(found) if found > SCHEMA => return Ok(Err(Verdict::Newer(found))),
        Some(_) => {}
    }
    let changes = number(meta.get(CHANGES).map_err(|error| error.to_string())?.as_ref());
    let contents = Contents {
        networks: rows(&transaction, Table::Networks)?,
        containers: rows(&transaction, Table::Containers)?,
        endpoints: rows(&transaction, Table::Endpoints)?,
        ula: value("ula")?.and_then(|bytes| bytes.try_into().ok()),
    };
    Ok(Ok((contents, changes)))
}

/// A number in a record; 0 where there is none.
fn number(record: Option<&redb::AccessGuard<'_, &[u8]>>) -> u64 {
    record.and_then(|bytes| std::str::from_utf8(bytes.value()).ok()?.parse().ok()).unwrap_or(0)
}

fn rows<T: DeserializeOwned>(transaction: &redb::ReadTransaction, table: Table) -> Result<Vec<T>, String> {
    let table = transaction.open_table(table.definition()).map_err(|error| missing(&error))?;
    let rows = table.iter().map_err(|error| error.to_string())?;
    rows.map(|row| {
        let (key, value) = row.map_err(|error| error.to_string())?;
        serde_json::from_slice(value.value()).map_err(|error| format!("record {}: {error}", key.value()))
    })
    .collect()
}

fn missing(error: &TableError) -> String {
    format!("not a store of vswitch: {error}")
}

/// Makes what the database notes about free space anew.
pub(super) fn repair(database: &mut Database) -> Result<(), String> {
    let repaired = guarded(|| database.check_integrity())?;
    repaired.map(drop).map_err(|error: DatabaseError| error.to_string())
}

thread_local! {
    /// A panic of this thread is somebody's error, and printed as that.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it is an error, and its message is not printed.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                print(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // Whatever `work` was about is thrown away by its caller when this is an error.
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    result.map_err(|panic| format!("the database gave up: {}", vswitch_switch::supervise::said(panic.as_ref())))
}
