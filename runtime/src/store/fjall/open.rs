//! Creating and opening the database.

use super::super::identity::sync_dir;
use super::{StoreError, create_dir_durably, failed};
use ::fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use ::fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const RECORDS: &str = "records";

/// However few the cores. fjall keeps one thread free for flushes; that one passes compactions to and fro
/// through the queue while all others are busy, so with two threads a core spins during every compaction.
/// A single thread is no way out: nothing holds writers back while it compacts, and memory fills.
const WORKER_THREADS: usize = 4;
const MEMTABLE_BYTES_MAX: u64 = 32 << 20;
const BLOCK_BYTES: u32 = 16 << 10;

/// Creates an empty database at `path`, all of it or nothing: a creation that a crash cut short is started
/// afresh, because fjall does not open what it did not finish, and could not tell it from a damaged one.
pub(super) fn create(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let new = dir.join("log.new");
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(StoreError::io(format!("remove {}", new.display()), e));
        }
        _ => create_dir_durably(&new)?,
    }
    let db = start(&new)?;
    let records = db.keyspace(RECORDS, options).map_err(|e| failed("create", &new, e))?;
    drop(records);
    drop(db);
    fs::rename(&new, path).map_err(|e| StoreError::io(format!("create {}", path.display()), e))?;
    sync_dir(dir)
}

/// Opens the database at `path`, which must have been created.
pub(super) fn open(path: &Path) -> Result<(Database, Keyspace), StoreError> {
    let db = start(path)?;
    // Asked first: opening a keyspace that is gone would create it, and forget every log without a word.
    if !db.keyspace_exists(RECORDS) {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            what: "its records are gone".into(),
        });
    }
    let records = db.keyspace(RECORDS, options).map_err(|e| failed("open", path, e))?;
    Ok((db, records))
}

fn start(path: &Path) -> Result<Database, StoreError> {
    Database::builder(path)
        .journal_compression(CompressionType::None)
        .worker_threads(WORKER_THREADS)
        .open()
        .map_err(|e| failed("open", path, e))
}

/// - No compression, here or in the journal: entries are small, often compressed or encrypted by their
///   owners, and most are never read again.
/// - No bloom filters: records are found by range, which filters can't help with, and building one costs
///   a hash per record and flush.
/// - Blocks larger than the default of 4 KiB: what is read is a run of records, not one.
/// - Memtables of half the default of 64 MiB: up to five of them stand in memory before writes are held
///   back, for every node in a process, and the journals that a start replays are as long.
/// - No separation of keys and values: it pays for values of many KiB, and takes a second write, to a value
///   log, for each of them.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES_MAX)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .data_block_compression_policy(CompressionPolicy::disabled())
        .filter_policy(FilterPolicy::disabled())
}
