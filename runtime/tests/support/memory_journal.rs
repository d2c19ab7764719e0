//! A log of what was applied, kept on a disk that is none: it can lose what was not synced, and fail.

use super::hooked_store::Gate;
use parking_lot::{Mutex, MutexGuard};
use raftyard::{DiskStateMachine, Record, Timestamp};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// What outlives the state machines that are opened on it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Default)]
pub struct Contents {
    pub committed: Kept,
    pub synced: Kept,
    /// What fails from now on.
    pub fault: Option<Fault>,
    /// What every sync waits at.
    pub sync_gate: Arc<Gate>,
    /// Commands applied, by whichever state machine.
    pub applied: usize,
}

#[derive(Clone, Default)]
pub struct Kept {
    pub lines: Vec<String>,
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Records,
    Apply,
    ApplyPanics,
    Commit,
    CommitPanics,
    Query,
    /// Syncing fails.
    Sync,
    /// Syncing says it worked, and did nothing: as if it never came to it before the crash.
    SyncLies,
    Restore,
}

impl MemoryDisk {
    pub fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock()
    }

    pub fn open(&self) -> MemoryJournal {
        MemoryJournal {
            disk: self.clone(),
            pending: Vec::new(),
        }
    }

    /// Loses all that was not synced. What failed works again.
    pub fn crash(&self) {
        let contents = &mut *self.lock();
        contents.committed = contents.synced.clone();
        contents.fault = None;
    }

    fn check(&self, fault: Fault) -> io::Result<()> {
        if self.lock().fault == Some(fault) {
            return Err(io::Error::other("asked to fail"));
        }
        Ok(())
    }
}

pub struct MemoryJournal {
    disk: MemoryDisk,
    /// Lines that are applied and not committed yet.
    pending: Vec<String>,
}

impl DiskStateMachine for MemoryJournal {
    type Command = String;
    type Response = usize;
    type Query = ();
    type Answer = Vec<String>;
    type Restored = Vec<String>;

    fn records(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.disk.check(Fault::Records)?;
        let records = self.disk.lock().committed.records.clone();
        Ok(records.into_iter().collect())
    }

    fn apply(&mut self, line: String, _: Timestamp) -> io::Result<usize> {
        self.disk.check(Fault::Apply)?;
        assert!(self.disk.check(Fault::ApplyPanics).is_ok(), "asked to");
        self.pending.push(line);
        let mut disk = self.disk.lock();
        disk.applied += 1;
        Ok(disk.committed.lines.len() + self.pending.len())
    }

    fn commit(&mut self, records: &[Record]) -> io::Result<()> {
        self.disk.check(Fault::Commit)?;
        assert!(self.disk.check(Fault::CommitPanics).is_ok(), "asked to");
        let mut disk = self.disk.lock();
        disk.committed.lines.append(&mut self.pending);
        for Record { key, value } in records.iter().cloned() {
            match value {
                Some(value) => disk.committed.records.insert(key, value),
                None => disk.committed.records.remove(&key),
            };
        }
        Ok(())
    }

    fn query(&self, (): ()) -> io::Result<Vec<String>> {
        self.disk.check(Fault::Query)?;
        Ok(self.disk.lock().committed.lines.clone())
    }

    fn sync(&self) -> impl FnOnce() -> io::Result<()> + Send + 'static {
        let (disk, covered) = (self.disk.clone(), self.disk.lock().committed.clone());
        move || {
            let gate = disk.lock().sync_gate.clone();
            gate.pass();
            disk.check(Fault::Sync)?;
            if disk.check(Fault::SyncLies).is_ok() {
                disk.lock().synced = covered;
            }
            Ok(())
        }
    }

    fn snapshot(&self) -> io::Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static> {
        let lines = self.disk.lock().committed.lines.clone();
        Ok(move |out: &mut dyn Write| {
            let lines = lines.iter().map(|line| format!("{line}\n"));
            lines.into_iter().try_for_each(|line| out.write_all(line.as_bytes()))
        })
    }

    fn restorer(&self) -> impl Fn(&mut dyn Read) -> io::Result<Vec<String>> + Send + 'static {
        |from: &mut dyn Read| {
            let mut text = String::new();
            from.read_to_string(&mut text)?;
            Ok(text.lines().map(str::to_owned).collect())
        }
    }

    fn restore(&mut self, lines: Vec<String>, records: &[Record]) -> io::Result<()> {
        self.disk.check(Fault::Restore)?;
        let records = records.iter().cloned();
        self.disk.lock().committed = Kept {
            lines,
            records: records
                .filter_map(|Record { key, value }| Some((key, value?)))
                .collect(),
        };
        Ok(())
    }
}
