//! A log of what was applied, kept on disk in fjall: what a state machine on disk looks like.
//!
//! ```text
//! l, generation, number   a line of the state of that generation
//! r, key                  a record
//! g                       the generation that counts, and how many lines it has
//! ```
//!
//! A snapshot is restored into the next generation, which takes the place of the present one by changing `g`.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use raftyard::{DiskStateMachine, Record, Timestamp};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct FjallJournal {
    db: Database,
    data: Keyspace,
    generation: u64,
    /// Lines that are committed.
    lines: u64,
    /// Lines that are applied and not committed yet.
    pending: Vec<String>,
    /// Commands applied by this process.
    applied: Arc<AtomicUsize>,
}

/// A generation that was restored, and how many lines it has.
pub struct Generation {
    number: u64,
    lines: u64,
}

const STATE: &[u8] = b"g";
/// Lines that are written at a time when a snapshot is restored.
const PIECE: usize = 100;

impl FjallJournal {
    /// Opens what lies in `path`; what it applies is counted in `applied`.
    pub fn open(path: &Path, applied: Arc<AtomicUsize>) -> io::Result<Self> {
        let db = Database::builder(path).worker_threads(1).open().map_err(other)?;
        let data = db.keyspace("state", KeyspaceCreateOptions::default).map_err(other)?;
        let state = data.get(STATE).map_err(other)?;
        let (generation, lines) = match state {
            Some(state) => (number(&state, 0)?, number(&state, 8)?),
            None => (0, 0),
        };
        Ok(Self {
            db,
            data,
            generation,
            lines,
            pending: Vec::new(),
            applied,
        })
    }

    fn write(&self, lines: &[String], generation: u64, total: u64, records: &[Record]) -> io::Result<()> {
        let mut batch = self.db.batch();
        for (at, line) in (self.lines..).zip(lines) {
            batch.insert(&self.data, line_key(generation, at), line.as_str());
        }
        batch.insert(
            &self.data,
            STATE,
            [generation.to_be_bytes(), total.to_be_bytes()].concat(),
        );
        for Record { key, value } in records {
            let key = [b"r", key.as_slice()].concat();
            match value {
                Some(value) => batch.insert(&self.data, key, value.as_slice()),
                None => batch.remove(&self.data, key),
            }
        }
        batch.commit().map_err(other)
    }
}

impl DiskStateMachine for FjallJournal {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;
    type Restored = Generation;

    fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let items = self.data.prefix(b"r").map(|item| {
            let (key, value) = item.into_inner().map_err(other)?;
            Ok((key[1..].to_vec(), value.to_vec()))
        });
        items.collect()
    }

    fn apply(&mut self, line: String, _: Timestamp) -> io::Result<usize> {
        self.pending.push(line);
        self.applied.fetch_add(1, Ordering::SeqCst);
        Ok(usize::try_from(self.lines).map_err(other)? + self.pending.len())
    }

    fn commit(&mut self, records: &[Record]) -> io::Result<()> {
        let lines = std::mem::take(&mut self.pending);
        let total = self.lines + lines.len() as u64;
        self.write(&lines, self.generation, total, records)?;
        self.lines = total;
        Ok(())
    }

    fn query(&self, (): ()) -> io::Result<Vec<String>> {
        let items = self.data.prefix(line_prefix(self.generation));
        items.map(|item| text(item.value().map_err(other)?.to_vec())).collect()
    }

    fn sync(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let db = self.db.clone();
        move || db.persist(PersistMode::SyncAll).map_err(other)
    }

    fn snapshot(&self) -> io::Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static> {
        let (view, data, prefix) = (self.db.snapshot(), self.data.clone(), line_prefix(self.generation));
        Ok(move |out: &mut dyn Write| {
            for item in view.prefix(&data, prefix) {
                let line = item.value().map_err(other)?;
                out.write_all(&(line.len() as u64).to_be_bytes())?;
                out.write_all(&line)?;
            }
            Ok(())
        })
    }

    fn restorer(&self) -> impl Fn(&mut dyn Read) -> io::Result<Generation> + Send + 'static {
        let (db, data, number) = (self.db.clone(), self.data.clone(), self.generation + 1);
        move |from: &mut dyn Read| {
            // What an earlier attempt left.
            for item in data.prefix(line_prefix(number)) {
                data.remove(item.key().map_err(other)?).map_err(other)?;
            }
            let mut batch = db.batch();
            let mut lines = 0_u64;
            let mut length = [0; 8];
            while from.read(&mut length[..1])? == 1 {
                from.read_exact(&mut length[1..])?;
                let mut line = Vec::new();
                (&mut *from).take(u64::from_be_bytes(length)).read_to_end(&mut line)?;
                batch.insert(&data, line_key(number, lines), line);
                lines += 1;
                if batch.len() == PIECE {
                    std::mem::replace(&mut batch, db.batch()).commit().map_err(other)?;
                }
            }
            batch.commit().map_err(other)?;
            Ok(Generation { number, lines })
        }
    }

    fn restore(&mut self, restored: Generation, records: &[Record]) -> io::Result<()> {
        // A batch must not hold a key twice.
        let is_gone = |key: &Vec<u8>| records.iter().all(|record| record.key != *key);
        let gone = self.records()?.into_iter().map(|(key, _)| key).filter(is_gone);
        let gone = gone.map(|key| Record { key, value: None });
        let changes: Vec<Record> = gone.chain(records.iter().cloned()).collect();
        self.write(&[], restored.number, restored.lines, &changes)?;
        self.generation = restored.number;
        self.lines = restored.lines;
        Ok(())
    }
}

fn line_prefix(generation: u64) -> Vec<u8> {
    [b"l".as_slice(), &generation.to_be_bytes()].concat()
}

fn line_key(generation: u64, line: u64) -> Vec<u8> {
    [line_prefix(generation).as_slice(), &line.to_be_bytes()].concat()
}

fn number(bytes: &[u8], at: usize) -> io::Result<u64> {
    let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(u64::from_be_bytes)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(other)
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}
