//! Logs: bytes are appended, and durable when that returns.

use crate::Failure;
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// What a log keeps, in bytes.
const KEPT_BYTES: usize = 64 << 20;

/// What a log can be kept in.
#[derive(Clone, Copy)]
pub(super) enum Medium {
    /// A plain file.
    File,
    /// fjall, one record per append.
    Fjall,
}

/// A log.
pub(super) trait Log: Send {
    /// Appends, and returns once that is durable.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure>;
}

/// Opens an empty log in `dir`, which has to be there.
pub(super) fn open(medium: Medium, dir: &Path) -> Result<Box<dyn Log>, Failure> {
    Ok(match medium {
        Medium::File => Box::new(FileLog::create(&dir.join("log"))?),
        Medium::Fjall => Box::new(FjallLog::create(dir)?),
    })
}

/// A file of fixed size, written round and round. All of it was written before it is measured: an fsync then has
/// nothing to note but the bytes themselves, which is as cheap as it gets.
struct FileLog {
    file: File,
    at: usize,
}

impl FileLog {
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..KEPT_BYTES / zeros.len() {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        file.rewind()?;
        Ok(Self { file, at: 0 })
    }
}

impl Log for FileLog {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.at + bytes.len() > KEPT_BYTES {
            self.file.seek(SeekFrom::Start(0))?;
            self.at = 0;
        }
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.at += bytes.len();
        Ok(())
    }
}

/// fjall, set up as raftyard sets it up; records that are no longer kept are removed with the next append.
struct FjallLog {
    db: Database,
    records: Keyspace,
    next: u64,
    /// Number and size of those that are kept.
    kept: VecDeque<(u64, usize)>,
    kept_bytes: usize,
}

impl FjallLog {
    fn create(dir: &Path) -> Result<Self, Failure> {
        let db = Database::builder(dir.join("fjall"))
            .journal_compression(CompressionType::None)
            .worker_threads(4)
            .open()?;
        let records = db.keyspace("records", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(32 << 20)
                .data_block_size_policy(BlockSizePolicy::all(16 << 10))
                .data_block_compression_policy(CompressionPolicy::disabled())
                .filter_policy(FilterPolicy::disabled())
        })?;
        Ok(Self {
            db,
            records,
            next: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
        })
    }
}

impl Log for FjallLog {
    fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.records, self.next.to_be_bytes(), bytes);
        self.kept.push_back((self.next, bytes.len()));
        self.kept_bytes += bytes.len();
        self.next += 1;
        while self.kept_bytes > KEPT_BYTES
            && let Some((number, len)) = self.kept.pop_front()
        {
            batch.remove(&self.records, number.to_be_bytes());
            self.kept_bytes -= len;
        }
        batch.commit()?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_there_and_no_more_than_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = FileLog::create(&dir.path().join("log")).unwrap();
        for _ in 0..70 {
            file.append(&vec![7; 1 << 20]).unwrap();
        }
        let bytes = std::fs::read(dir.path().join("log")).unwrap();
        assert_eq!(bytes.len(), KEPT_BYTES);
        assert!(bytes.iter().all(|byte| *byte == 7));

        let mut fjall = FjallLog::create(dir.path()).unwrap();
        for _ in 0..70 {
            fjall.append(&vec![8; 1 << 20]).unwrap();
        }
        assert_eq!(fjall.records.len().unwrap(), 64);
    }
}
