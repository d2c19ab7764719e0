//! The database that holds the keys of all groups of a node that keeps them on disk.
//!
//! One keyspace for everything: then a batch, whatever it writes, becomes durable as a whole and in its turn, and no idle
//! keyspace keeps journals alive.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Snapshot};
use raftyard::{GroupId, Timestamp};

use super::super::keyspace::Entry;
use super::contents::Contents;
use super::digest::hash;
use super::journals::{self, Flaw};
use super::rows::{self, Head, Kind, Row};
use super::sweeper::Sweeper;
use super::tables;

/// Blocks of tables that are kept in memory, for all groups of a node, in bytes.
const CACHE_BYTES: u64 = 128 * 1024 * 1024;

/// What is written lies in memory until it becomes a table, in bytes.
const MEMTABLE_BYTES: u64 = 32 * 1024 * 1024;

/// Journals of what is not in a table yet, in bytes.
const JOURNALS_BYTES: u64 = 256 * 1024 * 1024;

/// Tables that are kept open. More are opened when they are read.
pub(crate) const OPEN_TABLES: usize = 128;

/// Threads that write and merge tables.
const THREADS: usize = 2;

pub(crate) struct Store {
    // Ends before the database does.
    sweeper: Sweeper,
    database: Database,
    pub(super) rows: Keyspace,
    /// The next generation: none that any row has.
    next: AtomicU64,
    /// What is wrong with groups that are not what they committed. What lies there of one is kept until something better
    /// takes its place.
    damaged: Mutex<BTreeMap<GroupId, String>>,
}

/// A key where it lies.
pub(super) struct Found {
    pub(super) place: Vec<u8>,
    pub(super) entry: Entry,
    /// Of its row.
    pub(super) hash: u64,
}

impl Store {
    /// Opens what lies in `dir`, new or as an earlier run left it. What belongs to no group that `is_hosted` is removed,
    /// in the background.
    ///
    /// # Errors
    ///
    /// The disk's, or another process has it open.
    pub(crate) fn open(dir: &Path, is_hosted: impl Fn(GroupId) -> bool) -> io::Result<Arc<Self>> {
        Self::open_with(dir, THREADS, is_hosted)
    }

    /// With so many threads that write and merge tables.
    pub(super) fn open_with(dir: &Path, threads: usize, is_hosted: impl Fn(GroupId) -> bool) -> io::Result<Arc<Self>> {
        let (database, rows, flaw) = open_database(dir, threads)?;
        if let Some(Flaw { journal, at, what, .. }) = flaw {
            let journal = journal.display();
            tracing::error!(%journal, at, what, "a journal of the keys was damaged: it is cut there, with all that came later");
        }
        let contents = Contents::read(&rows)?;
        let damaged = contents.damaged();
        for (group, what) in &damaged {
            tracing::error!(group = group.0, %what, "the keys of a group are damaged: it begins anew");
        }
        let store = Self {
            sweeper: Sweeper::start(&database, &rows)?,
            database,
            rows,
            next: AtomicU64::new(contents.newest() + 1),
            damaged: Mutex::new(damaged),
        };
        store.clear_away(&contents, is_hosted)?;
        Ok(Arc::new(store))
    }

    /// Removes what an earlier run left of groups that went away, of snapshots that were not restored to their end, and of
    /// generations that it did not get to remove.
    fn clear_away(&self, contents: &Contents, is_hosted: impl Fn(GroupId) -> bool) -> io::Result<()> {
        contents.unknown().for_each(|generation| self.discard(generation));
        let mut gone = contents.heads.keys().filter(|group| !is_hosted(**group));
        gone.try_for_each(|group| self.remove(*group))
    }

    /// Removes what there is of a group that is not hosted any more: its keys in the background, all else durably. If it
    /// is hosted again it begins anew.
    ///
    /// # Errors
    ///
    /// The disk's. What is still there is removed at the next start, if the group is not hosted then.
    pub(crate) fn remove(&self, group: GroupId) -> io::Result<()> {
        let Some(head) = self.head(group)? else {
            return Ok(());
        };
        let mut batch = self.batch();
        for (key, _) in self.records(group)? {
            batch.remove(&self.rows, rows::record(group, &key));
        }
        batch.remove(&self.rows, rows::prefix(Kind::Head, group.0));
        batch.commit().map_err(other)?;
        self.sync()?;
        // Whose the generation is that a damaged head names, the next start sees.
        if !self.forget_damage(group) {
            self.discard(head.generation);
        }
        Ok(())
    }

    /// Whether what lies there of a group is not what it committed.
    pub(super) fn is_damaged(&self, group: GroupId) -> bool {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.contains_key(&group)
    }

    /// Something else has taken the place of what lay there. Returns whether that was damaged.
    pub(super) fn forget_damage(&self, group: GroupId) -> bool {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.remove(&group).is_some()
    }

    /// A number that no generation has.
    pub(super) fn new_generation(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    /// Removes the keys of a generation that nobody needs any more, in the background.
    pub(super) fn discard(&self, generation: u64) {
        self.sweeper.discard(generation);
    }

    /// Several writes at once.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch()
    }

    /// How everything is now.
    pub(super) fn view(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// Makes durable what is written, for all groups.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(other)
    }

    /// Whether it takes writes still. Once one failed, or what is done in the background, it takes none until it is opened
    /// anew. Whom it was holding back it never lets go then. This does not wait behind them: they have written already.
    ///
    /// # Errors
    ///
    /// It takes none any more.
    pub(crate) fn check_takes_writes(&self) -> io::Result<()> {
        self.database.persist(PersistMode::Buffer).map_err(other)
    }

    pub(super) fn head(&self, group: GroupId) -> io::Result<Option<Head>> {
        let row = self.rows.get(rows::prefix(Kind::Head, group.0)).map_err(other)?;
        row.map(|row| Head::decode(&row)).transpose()
    }

    /// What the runtime wants kept of a group.
    pub(super) fn records(&self, group: GroupId) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        records(&self.rows, group)
    }

    pub(super) fn find(&self, generation: u64, key: &[u8]) -> io::Result<Option<Found>> {
        let place = rows::search(key);
        let name = rows::cell(generation, &place);
        if key.len() <= rows::SHORT_KEY_MAX {
            let row = self.rows.get(&name).map_err(other)?;
            return row
                .map(|row| {
                    let (_, entry) = rows::decode(&place, &row)?;
                    let hash = hash(&name, &row);
                    Ok(Found { place, entry, hash })
                })
                .transpose();
        }
        for row in self.rows.prefix(&name) {
            let (name, row) = row.into_inner().map_err(other)?;
            let place = rows::rest(&name);
            let (found, entry) = rows::decode(place, &row)?;
            if found == key {
                let (place, hash) = (place.to_vec(), hash(&name, &row));
                return Ok(Some(Found { place, entry, hash }));
            }
        }
        Ok(None)
    }

    /// The keys with a hash of at least `hash`, in their order.
    pub(super) fn cells_from(&self, generation: u64, hash: u64) -> impl Iterator<Item = io::Result<Row>> {
        let range = rows::cells_from(generation, hash)..rows::prefix(Kind::Cell, generation.saturating_add(1));
        self.rows.range(range).map(|row| row.into_inner().map_err(other))
    }

    /// The keys with a deadline from `first` on that is not after `last`, with their deadlines, in the order of these.
    pub(super) fn deadlines(
        &self,
        generation: u64,
        first: Timestamp,
        last: Timestamp,
    ) -> impl Iterator<Item = io::Result<(Timestamp, Bytes)>> {
        let from = rows::deadline(generation, first, &[]);
        let until = match last.0.checked_add(1) {
            Some(end) => rows::deadline(generation, Timestamp(end), &[]),
            None => rows::prefix(Kind::Deadline, generation.saturating_add(1)),
        };
        self.rows.range(from..until).map(|row| {
            let (name, key) = row.into_inner().map_err(other)?;
            Ok((rows::deadline_of(&name)?, Bytes::copy_from_slice(&key)))
        })
    }
}

/// What the runtime wants kept of a group.
pub(super) fn records(rows: &Keyspace, group: GroupId) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let found = rows.prefix(rows::prefix(Kind::Record, group.0));
    found
        .map(|row| {
            let (name, value) = row.into_inner().map_err(other)?;
            Ok((rows::rest(&name).to_vec(), value.to_vec()))
        })
        .collect()
}

/// Opens the database in `dir`, with so many threads that write and merge tables. Its journals are cut before, where they
/// cease to be whole.
pub(super) fn open_database(dir: &Path, threads: usize) -> io::Result<(Database, Keyspace, Option<Flaw>)> {
    if tables::read_dir(dir)?.is_empty() {
        begin(dir)?;
    }
    let version = fs::read(dir.join("version"));
    // All else is fjall's to refuse.
    let flaw = if version.is_ok_and(|version| version == journals::TRAILER) {
        tables::check_lists(dir)?;
        journals::mend(dir)?
    } else {
        None
    };
    let (database, rows) = open_fjall(dir, threads)?;
    Ok((database, rows, flaw))
}

/// Begins a database in an empty directory, all of it or nothing: what fjall was interrupted at it does not open again.
fn begin(dir: &Path) -> io::Result<()> {
    let new = dir.with_extension("new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (database, rows) = open_fjall(&new, 0)?;
    database.persist(PersistMode::SyncAll).map_err(other)?;
    drop((database, rows));
    for made in [&new.join("keyspaces"), &new] {
        File::open(made)?.sync_all()?;
    }
    if let Err(error) = fs::rename(&new, dir) {
        use io::ErrorKind::{CrossesDevices, NotADirectory, ResourceBusy};
        if !matches!(error.kind(), CrossesDevices | NotADirectory | ResourceBusy) {
            return Err(error);
        }
        // It is mounted, or a link: nothing can take its place, and fjall begins in it.
        return fs::remove_dir_all(&new);
    }
    let parent = dir.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn open_fjall(dir: &Path, threads: usize) -> io::Result<(Database, Keyspace)> {
    let database = Database::builder(dir)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNALS_BYTES)
        .worker_threads_unchecked(threads)
        .max_cached_files(Some(OPEN_TABLES))
        .open()
        .map_err(other)?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
    let rows = database.keyspace("state", options).map_err(other)?;
    Ok((database, rows))
}

pub(super) fn other(error: fjall::Error) -> io::Error {
    io::Error::other(error)
}
